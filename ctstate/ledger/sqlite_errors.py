"""What SQLite says when something is wrong, as one line that a data manager understands."""

import contextlib
import sqlite3
from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError

from ctstate.errors import IllegalMoveError, LedgerError

BUSY = ("database is locked", "database table is locked")


def is_busy(text: str) -> bool:
    """Tell whether the database only asks for patience, by what it said."""
    return any(said in text for said in BUSY)


_BUSY = "another process kept it locked for too long; see which with `ctstate status`, then run again"
_FULL = "the disk is full; nothing was changed; free some space and run again"
_NO_LEDGER = "this file is not a ctstate ledger"
_READ_ONLY = "no permission to write there"
_MEANINGS = {
    **dict.fromkeys(BUSY, _BUSY),
    **dict.fromkeys(("disk is full", "disk full"), _FULL),
    "disk i/o error": "the disk refused a read or write (full, over quota, or failing?); nothing was changed",
    "malformed": "the file is damaged; restore a backup (and never copy a ledger while it is written)",
    **dict.fromkeys(("not a database", "no such table"), _NO_LEDGER),
    **dict.fromkeys(("readonly", "read-only"), _READ_ONLY),
    "unable to open": "cannot be opened; check the path and its permissions",
}
"""What SQLite's words mean for a data manager; the first that fit count."""


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
        message = next((message for said, message in _MEANINGS.items() if said in low), text)
        raise LedgerError(f"ledger {name}: {message}") from error
