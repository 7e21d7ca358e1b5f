"""What a ledger asks of its database, whichever it is; `sqlite` and `postgres` serve it, `database` knows both.

Nothing outside of these four modules asks which database a ledger is in.
"""

import enum
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sqlalchemy import BigInteger, Integer, Table
from sqlalchemy.engine import URL, Connection, Engine

BUSY_PATIENCE_S = 600
"""How long a writer keeps asking for the write lock before it tells the user; a person's SQL may take as long."""

BACK_AGAIN_S = 120
"""How long a worker waits for a server that went away: a restart with recovery takes less."""

# SQLite numbers rows by itself only where the column is INTEGER; elsewhere subject ids need 64 bits.
Key = BigInteger().with_variant(Integer, "sqlite")

Value = str | int | float | bytes | None
"""What a question in SQL is answered with."""


class Kind(enum.Enum):
    """What a transaction is for."""

    READ = "read"  # one consistent picture; nothing can be written
    STAGING = "staging"  # the same, beside temporary tables that are filled
    WRITE = "write"  # one at a time in the whole ledger


@dataclass(frozen=True)
class Place:
    """Where a ledger is.

    Attributes:
        url: for SQLAlchemy.
        path: its file; None: it is in none.
    """

    url: URL
    path: Path | None

    @property
    def name(self) -> str:
        """What messages call it: its path as the user named it, or its URL, which holds no password."""
        return str(self.path) if self.path is not None else self.url.render_as_string()

    @property
    def for_jobs(self) -> str:
        """What it is called from any folder and on any node."""
        return os.path.abspath(self.path) if self.path is not None else self.url.render_as_string()


class Answer(NamedTuple):
    """The answer to a question in SQL: column names and rows, which are read as they are asked for."""

    columns: Sequence[str]
    rows: Iterator[Sequence[Value]]


class SqlError(Exception):
    """A person's SQL cannot be answered; `str(error)` is what the database says of it.

    Args:
        said: by the database, one line.
        denied: it would do more than read.
        missing_column: the column that is not there, where that is what is wrong.
    """

    def __init__(self, said: str, *, denied: bool = False, missing_column: str | None = None) -> None:
        super().__init__(said)
        self.denied = denied
        self.missing_column = missing_column


class Reader(Protocol):
    """Answers questions that a person typed, in one transaction in which the database lets nothing be written."""

    def ask(self, question: str) -> Answer:
        """Answer one question.

        Raises:
            SqlError: the database does not understand it, or it would do more than read; also while rows are read.
        """
        ...


class Level(enum.Enum):
    """How grave a finding is."""

    FINE = "fine"
    ODD = "odd"  # works, but a long run may come to grief
    BAD = "bad"


class Finding(NamedTuple):
    """Something that a look at the database showed: what was seen, and what to do about it ('' where nothing)."""

    about: str
    level: Level
    seen: str
    advice: str


class Stored(NamedTuple):
    """What a ledger takes in its database.

    Attributes:
        bytes: all of it.
        journal: how what is written is kept from being lost, in words.
        journal_bytes: of that, what is not yet in the ledger's file; None: nobody but the server knows.
    """

    bytes: int
    journal: str
    journal_bytes: int | None


class Driver(Protocol):
    """Carries out one statement, with `?` and a sequence of values, or `:name` and a mapping."""

    def execute(self, statement: str, values: Any = (), /) -> Any:
        """Return a cursor: rows as tuples, `fetchone`, `fetchall`, `rowcount`."""
        ...


class Dialect(Protocol):
    """One kind of database."""

    def engine(self, place: Place, *, read_only: bool) -> Engine:
        """Return an engine whose connections are set up for a ledger; `read_only`: so by construction.

        Raises:
            UsageError: the driver is not installed.
        """
        ...

    def prepare(self, place: Place, *, create: bool) -> None:
        """Refuse a place where no ledger can be; make it ready where one is to be made.

        Raises:
            LedgerMissingError: there is none and `create` is False.
            LedgerError: there can be none.
        """
        ...

    def may_be_looked_at(self, place: Place, *, read_only: bool) -> bool:
        """Tell whether a ledger is to be looked at read-only before it is opened for writing."""
        ...

    def transaction(
        self, engine: Engine, kind: Kind, lent: Connection | None
    ) -> AbstractContextManager[Connection]:
        """Return a transaction: committed on leaving, rolled back on an error.

        Args:
            engine: from `engine`.
            kind: what it is for.
            lent: use this connection, which keeps its temporary tables, instead of one from the pool.
        """
        ...

    def translated(self, name: str) -> AbstractContextManager[None]:
        """Turn the database's errors into one line a data manager understands.

        Raises:
            IllegalMoveError: a trigger or constraint refused the write.
            LedgerLostError: the connection broke; nothing of the transaction was written.
            LedgerError: anything else the database said.
        """
        ...

    def moment(self, connection: Connection) -> str:
        """Return this moment, by the clock that all of the ledger's workers share, if there is one."""
        ...

    def upsert(self, table: Table) -> Any:
        """Return `insert(table)` that knows ON CONFLICT."""
        ...

    for_update: str
    """What a SELECT ends with that locks what it finds."""

    most_workers: int
    """So many uploads at the same time it was seen to serve before more of them brought no more."""

    def driver(self, connection: Connection) -> "Driver":
        """Return a short way to the driver, in the same transaction."""
        ...

    def fill(
        self, connection: Connection, table: Table, rows: Collection[tuple[Any, ...]], *, replace: bool = False
    ) -> None:
        """Add many rows, whose values stand in the order of the table's columns, to a table that has no triggers.

        `replace`: a row takes the place of the one that has its primary key, also among these rows.
        """
        ...

    def filled(self, connection: Connection, table: Table) -> None:
        """Let the database count a temporary table that is whole now, so that it plans well."""
        ...

    def lasts(self, connection: Connection) -> None:
        """Say that a write transaction takes long, and that who is silent in it is not frozen."""
        ...

    def filling(self, connection: Connection, tables: Sequence[Table]) -> AbstractContextManager[None]:
        """Empty tables; while they are filled no trigger fires and nothing need be there that a row refers to.

        On leaving, or at the latest at the COMMIT, all is as it was, what is referred to is looked for, and the
        numbering of rows goes on after the highest.

        Args:
            connection: a write transaction.
            tables: all of the ledger's; a table stands after those that it refers to, as far as that can be.
        """
        ...

    def close(self, connection: Connection, tables: Sequence[Table], why: str) -> None:
        """Let the database refuse all that would write to these tables, whoever asks, with these words."""
        ...

    def open_again(self, connection: Connection) -> None:
        """Take back `close`, on whatever tables."""
        ...

    def back_up(self, path: Path | None, target: Path) -> int:
        """Copy a ledger's file as it is at one moment, look whether the copy is whole, and return its captures.

        Raises:
            LedgerError: no copy could be made, or what there is to copy is damaged; nothing is left at `target`.
        """
        ...

    def before_migration(self, engine: Engine, place: Place, version: str) -> Path | None:
        """Copy an older ledger and return the copy's path; None where that is left to the person, who is told how.

        Raises:
            LedgerError: no copy could be made.
        """
        ...

    def reader(
        self, engine: Engine, path: Path | None, seconds: float = BUSY_PATIENCE_S
    ) -> AbstractContextManager[Reader]:
        """Return who answers questions in SQL.

        Args:
            engine: the ledger's.
            path: its file, where it is in one.
            seconds: so long a question may take (at least by a server; a person at a file can press Ctrl-C).

        Raises:
            LedgerError: the ledger cannot be read.
        """
        ...

    def version(self, connection: Connection) -> str:
        """Return what stays the same on a connection for as long as nobody writes: the cheapest question there is.

        In a transaction, of which it is the first question: what is read after it is of that version.
        """
        ...

    def impatient(self, connection: Connection, seconds: float) -> None:
        """Let a connection wait no longer than this, for whoever has the ledger locked or for an answer."""
        ...

    def readers_hold_up_writers(self, connection: Connection) -> bool:
        """Tell whether nobody can commit for as long as somebody reads."""
        ...

    def health(self, engine: Engine) -> list[Finding]:
        """Look at the database as a whole: what may go wrong in a long run."""
        ...

    def stored(self, engine: Engine, path: Path | None) -> Stored:
        """Return how large the ledger is, and how its journal is kept."""
        ...
