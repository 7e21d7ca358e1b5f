"""Conditions that a user types (`--where "machine_person > 0.5"`), run on the view `v_captures`, read-only.

A condition is SQL of the user's, so three fences stand around it: it must be one expression (no `;`, brackets
that match), the connection opens the file read-only, and an authorizer of SQLite's lets it read and compute and
nothing else.
"""

import difflib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from ctstate.errors import LedgerError, UsageError
from ctstate.ledger import Ledger
from ctstate.ledger.sqlite import BUSY_TIMEOUT_S

VIEW = "v_captures"
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION})
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})
_CLOSING = {"'": "'", '"': '"', "`": "`", "[": "]"}


def captures_where(ledger: Ledger, condition: str) -> Iterator[str]:
    """Yield the ids of the captures for which a condition on `v_captures` holds.

    All is read in one transaction that lasts until the iterator is used up: use it up before writing.

    Args:
        ledger: the ledger.
        condition: what follows WHERE, such as `machine_person > 0.5 AND site = 'B04'`.

    Raises:
        UsageError: it is no condition, or names a column that is not there.
        LedgerError: the ledger cannot be read.
    """
    if ledger.path is None:
        raise UsageError("--where needs a ledger in a file")
    with closing(_connect(ledger.path)) as connection:
        columns = _columns(connection, ledger.name)
        _check(condition, columns)
        connection.set_authorizer(_authorize)
        try:
            # The line break ends a comment at the condition's end.
            rows = connection.execute(f"SELECT capture_id FROM {VIEW} WHERE (\n{condition}\n)")
            for (capture_id,) in rows:
                yield str(capture_id)
        except sqlite3.Error as error:
            raise UsageError(_explained(condition, error, columns)) from None
        except sqlite3.Warning as error:  # Python 3.9's word for several statements
            raise UsageError(f"--where {condition!r}: {error}") from None


def _connect(path: Path) -> sqlite3.Connection:
    # The condition's tables are opened read-only even where this process may write.
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )
    connection.execute("PRAGMA query_only = ON")
    return connection


def _columns(connection: sqlite3.Connection, name: str) -> list[str]:
    try:
        return [column[0] for column in connection.execute(f"SELECT * FROM {VIEW} LIMIT 0").description]
    except sqlite3.Error as error:
        raise LedgerError(f"ledger {name}: {error}") from error


def _authorize(action: int, first: str | None, second: str | None, database: str | None, inner: str | None) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and second in _FORBIDDEN_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _check(condition: str, columns: list[str]) -> None:
    """Refuse what is not one expression.

    SQLite takes a name in double quotes that no column has for text: `"machine_persn" > 0.5` would hold for every
    capture. So such a name is refused here.
    """
    if not condition.strip():
        raise UsageError('--where is empty; give a condition such as "machine_person > 0.5"')
    if "\0" in condition:
        raise UsageError("--where holds a NUL character")
    depth = position = 0
    while position < len(condition):
        sign = condition[position]
        if sign in _CLOSING:
            end = condition.find(_CLOSING[sign], position + 1)
            if end < 0:
                raise UsageError(f"--where {condition!r}: the {sign} at character {position + 1} is not closed")
            name = condition[position + 1 : end]
            if sign == '"' and name.lower() not in (column.lower() for column in columns):
                raise UsageError(f"--where {condition!r}: text goes in single quotes: '{name}', not \"{name}\"")
            position = end
        elif condition.startswith("--", position):
            end = condition.find("\n", position)
            position = len(condition) if end < 0 else end
        elif condition.startswith("/*", position):
            end = condition.find("*/", position)
            if end < 0:
                raise UsageError(f"--where {condition!r}: the comment is not closed")
            position = end + 1
        elif sign == ";":
            raise UsageError(f"--where {condition!r}: one condition only, without ';'")
        elif sign in "()":
            depth += 1 if sign == "(" else -1
            if depth < 0:
                break
        position += 1
    if depth != 0:
        raise UsageError(f"--where {condition!r}: the brackets do not match")


def _explained(condition: str, error: Exception, columns: list[str]) -> str:
    text = str(error)
    if text.startswith("no such column: "):
        name = text[len("no such column: ") :].strip('"')
        near = difflib.get_close_matches(name.lower(), columns, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the columns are {', '.join(columns)}"
        return f"--where {condition!r}: no column {name!r}; {hint} (text goes in single quotes)"
    if "not authorized" in text or "prohibited" in text:
        return f"--where {condition!r}: a condition may only read captures"
    return f"--where {condition!r}: {text}"
