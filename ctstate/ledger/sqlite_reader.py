"""SQL that a person types, on SQLite: one gate, in which the connection opens the file read-only and an authorizer
of SQLite's lets it read and compute and nothing else.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from ctstate.errors import LedgerError
from ctstate.ledger.dialect import Answer, SqlError, Value

_RECURSIVE = 33  # SQLITE_RECURSIVE, which Python names from 3.12 on
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, _RECURSIVE})
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})

_NO_COLUMN = "no such column: "


@contextlib.contextmanager
def reading(path: Path, timeout: float) -> Iterator["SqliteReader"]:
    """Open a ledger's file so that it can only be read, even where this process may write.

    Args:
        path: the file.
        timeout: how many seconds to wait for whoever has it locked.
    """
    file = f"file:{quote(str(path.absolute()))}?mode=ro"
    with contextlib.closing(sqlite3.connect(file, uri=True, timeout=timeout, isolation_level=None)) as connection:
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(_authorize)
        yield SqliteReader(connection, path)


class SqliteReader:
    """Serves `dialect.Reader`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def ask(self, question: str) -> Answer:
        """Answer one question.

        Raises:
            SqlError: SQLite does not understand it, or it would do more than read.
            LedgerError: another process kept the file locked.
        """
        try:
            cursor = self._connection.execute(question)
        except (sqlite3.Warning, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise LedgerError(f"ledger {self._path}: {error}") from None
            raise _explained(error) from None
        if cursor.description is None:
            raise SqlError("no question", denied=True)
        return Answer([column[0] for column in cursor.description], _rows(cursor))


def _rows(cursor: sqlite3.Cursor) -> Iterator[Sequence[Value]]:
    try:
        for row in cursor:  # noqa: UP028 (`yield from` would close the cursor, after its connection)
            yield row
    except sqlite3.DatabaseError as error:
        raise _explained(error) from None


def _explained(error: Exception) -> SqlError:
    said = str(error)
    if isinstance(error, sqlite3.Warning):  # Python 3.11's word for several statements
        said = f"{said}: one statement at a time"
    missing = said[len(_NO_COLUMN) :].strip('"') if said.startswith(_NO_COLUMN) else None
    return SqlError(said, denied="not authorized" in said or "prohibited" in said, missing_column=missing)


def _authorize(action: int, first: str | None, second: str | None, database: str | None, inner: str | None) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and second in _FORBIDDEN_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
