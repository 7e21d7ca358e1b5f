"""Which database a ledger is in, and what every module of this room asks of it: a place, a transaction, the time.

The one module that knows both dialects; the others say what they want here, or of an engine or connection that they
have (`dialect_of`).
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from ctstate.errors import UsageError
from ctstate.ledger.dialect import Dialect, Driver, Kind, Place
from ctstate.ledger.sqlite import Sqlite

_SQLITE = Sqlite()


def dialect_of(of: Engine | Connection | URL) -> Dialect:
    """Return the dialect of a database."""
    name = of.get_backend_name() if isinstance(of, URL) else of.dialect.name
    if name == "sqlite":
        return _SQLITE
    # Loaded only where it is needed: most ledgers are files.
    from ctstate.ledger.postgres import Postgres

    return Postgres()


def place_of(url_or_path: str | os.PathLike[str]) -> Place:
    """Turn what the user named into a place.

    Raises:
        UsageError: it is neither a path nor a URL of a supported database, or the URL holds a password.
    """
    text = os.fspath(url_or_path)
    if "://" not in text:
        return _file(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        shown = re.sub(r"://.*@", "://...@", text)  # what stands there may be a password
        raise UsageError(f"{shown!r} is neither a path nor a database URL") from None
    if url.drivername == "sqlite":
        return _file(url.database or "")
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        if url.password is not None or {"password", "sslpassword"} & url.query.keys():
            raise UsageError(
                "no password in a ledger's URL, as job scripts and process lists would show it: put it into "
                "~/.pgpass (chmod 600) or a service file, and leave it out of the URL"
            )
        return Place(url.set(drivername="postgresql+psycopg"), None)
    raise UsageError(
        f"{url.drivername} ledgers are not supported: name a file, or postgresql+psycopg://USER@HOST/DATABASE"
    )


def _file(path: str) -> Place:
    if not path or path == ":memory:":
        raise UsageError("a ledger is a file: name one with --ledger or CTSTATE_LEDGER")
    return Place(URL.create("sqlite", database=path), Path(path))


@contextmanager
def transaction(
    engine: Engine, name: str, *, write: bool, connection: Connection | None = None
) -> Iterator[Connection]:
    """One transaction; committed on leaving, rolled back on an error.

    Args:
        engine: of the ledger.
        name: of the ledger, for messages.
        write: no other writer is at work at the same time.
        connection: use this one (it keeps its temporary tables) instead of one from the pool.

    Raises:
        LedgerError: see `Dialect.translated`.
    """
    dialect = dialect_of(engine)
    kind = Kind.WRITE if write else Kind.STAGING if connection is not None else Kind.READ
    with dialect.translated(name), dialect.transaction(engine, kind, connection) as begun:
        yield begun


def moment(connection: Connection) -> str:
    """Return this moment, as what is written in a transaction is to say it: by the clock that all workers share.

    That is the database's where it is a server, and this host's where the ledger is a file.
    """
    return dialect_of(connection).moment(connection)


def driver(connection: Connection) -> Driver:
    """Return a short way to the driver, in the same transaction.

    For the few statements that are said of every capture: SQLAlchemy takes several times as long as SQLite itself.
    """
    return dialect_of(connection).driver(connection)


def upsert(connection: Connection, table: Table) -> Any:
    """Return `insert(table)` that knows ON CONFLICT, as this database says it."""
    return dialect_of(connection).upsert(table)
