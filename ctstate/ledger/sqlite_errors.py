"""What SQLite says when something is wrong, as one line that a data manager understands."""

import contextlib
import sqlite3
from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError

from ctstate.errors import IllegalMoveError, LedgerError


def is_busy(text: str) -> bool:
    """Tell whether the database only asks for patience, by what it said."""
    return "database is locked" in text or "database table is locked" in text


@contextlib.contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn the database's errors into one line a data manager understands.

    Raises:
        IllegalMoveError: a trigger or constraint refused the write.
        LedgerError: anything else the database said.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        text = str(error.orig if isinstance(error, DBAPIError) else error)
        low = text.lower()
        if text.startswith("ctstate: "):
            raise IllegalMoveError(f"ledger {name}: {text[len('ctstate: ') :]}") from error
        if "constraint failed" in low:
            raise IllegalMoveError(f"ledger {name}: refused, as it would break the ledger ({text})") from error
        if is_busy(text):
            message = "another process kept it locked for too long; see which with `ctstate status`, then run again"
        elif "disk is full" in low or "disk full" in low:
            message = "the disk is full; nothing was changed; free some space and run again"
        elif "disk i/o error" in low:
            message = "the disk refused a read or write (full, over quota, or failing?); nothing was changed"
        elif "not a database" in low:
            message = "this file is not a ctstate ledger"
        elif "malformed" in low:
            message = "the file is damaged; restore a backup (and never copy a ledger while it is written)"
        elif "readonly" in low or "read-only" in low:
            message = "no permission to write there"
        elif "unable to open" in low:
            message = "cannot be opened; check the path and its permissions"
        elif "no such table" in low:
            message = "this file is not a ctstate ledger"
        else:
            message = text
        raise LedgerError(f"ledger {name}: {message}") from error
