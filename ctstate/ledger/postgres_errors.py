"""What PostgreSQL's errors mean to a data manager. They are told apart by their SQLSTATE, which no language changes
(https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

import contextlib
from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError, TimeoutError

from ctstate.errors import IllegalMoveError, LedgerError, LedgerLostError, LedgerMissingError

_GOING_AWAY = ("08", "57P01", "57P02", "57P03", "57P05", "25P03")
"""No connection, or the server ends it: shut down, crashed, starting, idle for too long."""

_CROWDED = "53300"

_MEANINGS = {
    "28": "the database refuses the log-in; check the user, ~/.pgpass and what the server allows (pg_hba.conf)",
    "3D": "there is no such database; make it with `createdb` (docs/postgres.md)",
    "3F": "there is no such schema; check search_path",
    "40": "another writer was in the way; nothing was changed; run again",
    "42501": "no permission for that; ask who owns the database",
    "25006": "no permission to write there",
    "42P01": "this database is not a ctstate ledger",
    _CROWDED: "the database has no connection left; start fewer workers, or raise max_connections",
    "53100": "the database's disk is full; nothing was changed; free some space and run again",
    "53": "the database ran out of memory or another resource; nothing was changed",
    "55P03": "another process kept it locked for too long; see which with `ctstate status`, then run again",
    "57014": "that took too long and was cancelled; nothing was changed",
    "XX": "the database is damaged; ask its administrator, restore a backup",
}
"""By the SQLSTATE, or by its first two characters."""


def sqlstate(error: DBAPIError) -> str:
    """Return an error's code; '' where it never came from the server."""
    return getattr(error.orig, "sqlstate", None) or ""


def said(error: DBAPIError) -> str:
    """Return the first line of what the database said, without what comes from its own functions."""
    primary = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    return next(iter(str(primary or error.orig).strip().splitlines()), type(error.orig).__name__)


def is_crowded(error: DBAPIError) -> bool:
    """Tell whether the server has no connection left at this moment."""
    return sqlstate(error) == _CROWDED or _at_the_door(error) == _CROWDED


def is_lost(error: DBAPIError) -> bool:
    """Tell whether there is no connection to the server (any more)."""
    code = sqlstate(error)
    if code:
        return code.startswith(_GOING_AWAY)
    broken = type(error.orig).__name__ in ("OperationalError", "ConnectionTimeout") or error.connection_invalidated
    return broken and not _at_the_door(error)


def is_starting(error: DBAPIError) -> bool:
    """Tell whether a server is there that starts or stops; False where it says so in another language."""
    return sqlstate(error) == "57P03" or "the database system is" in str(error.orig)


def is_unknown_number(error: DBAPIError) -> bool:
    """Tell whether a transaction was asked about whose number the server has not given yet."""
    return sqlstate(error) == "22023"


_REFUSALS = {
    "too many clients": _CROWDED,
    "too many connections": _CROWDED,
    "remaining connection slots": _CROWDED,
    'role "': "28",
    "does not exist": "3D",
    "authentication failed": "28",
    "no password supplied": "28",
    "no pg_hba.conf entry": "28",
    "not permitted": "28",
}
"""What a server says that lets nobody in: the driver passes on the words only. Those of a server that speaks
another language are taken for no connection, with the words."""


def _at_the_door(error: DBAPIError) -> str:
    """Return why the server let nobody in, as a beginning of an SQLSTATE; '' where that is not what happened."""
    if sqlstate(error) or type(error.orig).__name__ != "OperationalError":
        return ""
    return next((code for words, code in _REFUSALS.items() if words in str(error.orig)), "")


@contextlib.contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn the database's errors into one line; see `Dialect.translated`.

    Raises:
        IllegalMoveError: a trigger or constraint refused the write.
        LedgerMissingError: no such database.
        LedgerLostError: the connection broke; nothing of the transaction was written.
        LedgerError: anything else the database said.
    """
    try:
        yield
    except TimeoutError as error:
        raise LedgerError(f"ledger {name}: no connection became free in this process; run again") from error
    except DBAPIError as error:
        what, code = said(error), sqlstate(error) or _at_the_door(error)
        if what.startswith("ctstate: "):
            raise IllegalMoveError(f"ledger {name}: {what[len('ctstate: ') :]}") from error
        if code.startswith("23"):
            raise IllegalMoveError(f"ledger {name}: refused, as it would break the ledger ({what})") from error
        if is_lost(error):
            raise LedgerLostError(
                f"ledger {name}: no connection to the database ({what}); nothing of this step was written; "
                "run it again once the database is there"
            ) from error
        kind = LedgerMissingError if code.startswith("3D") else LedgerError
        raise kind(f"ledger {name}: {_MEANINGS.get(code) or _MEANINGS.get(code[:2]) or what}") from error
