"""SQL that a person types, on SQLite: one gate, in which the connection opens the file read-only and an authorizer
of SQLite's lets it read and compute and nothing else.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from ctstate.ledger.dialect import Answer, SqlError, Value
from ctstate.ledger.sqlite_errors import translated
from ctstate.machine import machine

_RECURSIVE = 33  # SQLITE_RECURSIVE, which Python names from 3.12 on
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, _RECURSIVE})
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})

_OF_THE_FILE = frozenset(
    {
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB,
    }
)  # fmt: skip
"""Errors that are no fault of the question (https://sqlite.org/rescode.html)."""

_NO_COLUMN = "no such column: "

_LOOK_AT_CLOCK = 10_000
"""So many steps of SQLite's machine, well under a millisecond, are done between two looks at the clock."""


_LONGEST = 1_000_000
"""Bytes of a value or a row where time is limited, too: one `zeroblob(1e9)` fills a shared machine's memory."""


@contextlib.contextmanager
def reading(path: Path, timeout: float, seconds: float | None = None) -> Iterator["SqliteReader"]:
    """Open a ledger's file so that it can only be read, even where this process may write.

    Args:
        path: the file.
        timeout: how many seconds to wait for whoever has it locked.
        seconds: so long a question may take, all in all; None: as long as it likes.

    Raises:
        LedgerError: it cannot be opened (any more).
    """
    file = f"file:{quote(str(path.absolute()))}?mode=ro"
    with translated(str(path)):  # its disk may have gone away since the ledger was opened
        opened = sqlite3.connect(file, uri=True, timeout=min(timeout, seconds or timeout), isolation_level=None)
    with contextlib.closing(opened) as connection:
        with translated(str(path)):
            connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(_authorize)
        if seconds is not None:
            until = machine().monotonic() + seconds
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
            connection.set_progress_handler(lambda: machine().monotonic() > until, _LOOK_AT_CLOCK)
        yield SqliteReader(connection, path, seconds)


class SqliteReader:
    """Serves `dialect.Reader`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, seconds: float | None = None) -> None:
        self._connection = connection
        self._path = path
        self._seconds = seconds

    def ask(self, question: str) -> Answer:
        """Answer one question.

        Raises:
            SqlError: SQLite does not understand it, or it would do more than read.
            LedgerError: the file cannot be read (any more), or another process kept it locked.
        """
        try:
            cursor = self._connection.execute(question)
        except (sqlite3.Warning, sqlite3.DatabaseError) as error:
            self._explain(error)
        if cursor.description is None:
            raise SqlError("no question", denied=True)
        return Answer([column[0] for column in cursor.description], self._rows(cursor))

    def _rows(self, cursor: sqlite3.Cursor) -> Iterator[Sequence[Value]]:
        try:
            for row in cursor:  # noqa: UP028 (`yield from` would close the cursor, after its connection)
                yield row
        except sqlite3.DatabaseError as error:
            self._explain(error)

    def _explain(self, error: Exception) -> NoReturn:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_THE_FILE:
            with translated(str(self._path)):
                raise error
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            raise SqlError(f"stopped after {self._seconds:g} s") from None
        raise _of_the_question(error) from None


def _of_the_question(error: Exception) -> SqlError:
    said = str(error)
    if isinstance(error, sqlite3.Warning):  # Python 3.11's word for several statements
        said = f"{said}: one statement at a time"
    missing = said[len(_NO_COLUMN) :].strip('"') if said.startswith(_NO_COLUMN) else None
    return SqlError(said, denied="not authorized" in said or "prohibited" in said, missing_column=missing)


def _authorize(action: int, first: str | None, second: str | None, database: str | None, inner: str | None) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and second in _FORBIDDEN_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
