"""A look at a file that may be a ledger, past all the rest: it may be of another version, damaged, or no ledger.

Nothing is changed (`fold_journal` apart). `count_to_make` is for a ledger of this version.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from ctstate.errors import LedgerError
from ctstate.ledger.database import dialect_of
from ctstate.ledger.dialect import Finding, Place
from ctstate.ledger.migrate import look_at_version
from ctstate.ledger.schema import capture
from ctstate.ledger.states import PENDING


def sqlite_version() -> str:
    """Return the version of SQLite that this Python has, such as `3.40.1`."""
    return sqlite3.sqlite_version


def version_of_file(path: Path) -> str:
    """Return the version of the ledger in a file, such as `0007`.

    Raises:
        LedgerError: it cannot be read, or is no ledger.
    """
    version = _ask(path, "SELECT version_num FROM alembic_version")[0][0]
    _ask(path, "SELECT 1 FROM capture LIMIT 1")
    return str(version)


def damage(path: Path) -> str | None:
    """Return the first thing that SQLite's quick check finds wrong with a file; None: nothing.

    Raises:
        LedgerError: it cannot be read.
    """
    found = [str(row[0]) for row in _ask(path, "PRAGMA quick_check(3)")]
    return None if found == ["ok"] else found[0]


def journal_mode(path: Path) -> str:
    """Return how SQLite keeps the file's journal: `wal`, `truncate`, `delete`, ...

    Raises:
        LedgerError: it cannot be read.
    """
    return str(_ask(path, "PRAGMA journal_mode")[0][0])


def fold_journal(path: Path) -> None:
    """Bring what is still in a file's write-ahead log into the file; nobody else may have it open."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _ask(path: Path, question: str) -> list[Any]:
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=20)) as connection:
            return connection.execute(question).fetchall()
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{path}: not a readable ledger ({error})") from None


class Server(NamedTuple):
    """A ledger in a database that is a server: its version (None: it holds none yet), and what may go wrong."""

    version: str | None
    findings: list[Finding]


def look_at_server(place: Place) -> Server:
    """Look at a ledger that is in no file, and at the server that has it.

    Raises:
        LedgerError: it cannot be reached or read, or holds something else.
        UsageError: the driver is not installed.
    """
    dialect = dialect_of(place.url)
    engine = dialect.engine(place, read_only=True)
    try:
        version = look_at_version(engine, place.name)
        with dialect.translated(place.name):
            return Server(version, dialect.health(engine))
    finally:
        engine.dispose()


def count_to_make(connection: Connection) -> int:
    """Return how many captures, of all seasons, are still to get a subject."""
    wanted = (
        capture.c.state.in_([state.value for state in PENDING])
        & capture.c.excluded.is_(None)
        & capture.c.subject_id.is_(None)
    )
    return int(connection.execute(select(func.count()).select_from(capture).where(wanted)).scalar_one())
