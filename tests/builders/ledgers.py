"""Where the tests' ledgers are: files, or with CTSTATE_TEST_LEDGER=postgres databases of a server of their own.

A test says where its ledger would be if it were a file, and gets what names it to ctstate.
"""

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine

from ctstate.ledger import Ledger
from ctstate.ledger.schema import metadata
from tests.builders.postgres import cluster

ON_POSTGRES = os.environ.get("CTSTATE_TEST_LEDGER") == "postgres"

of_files = pytest.mark.skipif(ON_POSTGRES, reason="about SQLite's files")
"""Marks tests that make no sense on PostgreSQL."""


def _database_of(path: Path) -> str:
    return "t_" + hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:20]


def no_ledger_at(path: Path) -> str:
    """Return what names the ledger that is to be made at `path`: there is none, or an empty database."""
    if not ON_POSTGRES:
        return str(path)
    database = _database_of(path)
    if not cluster().ask(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"):
        cluster().ask(f"CREATE DATABASE {database}")
    return cluster().url(database)


def new_ledger_at(path: Path) -> str:
    """Make a ledger without a season; return what names it."""
    name = no_ledger_at(path)
    make_empty(name)
    return name


def make_empty(name: str | os.PathLike[str]) -> None:
    """Make a ledger without a season where there is none, as a copy of one that was made once (a migration takes
    ten times as long); it gets a mark of its own, else all copies were one ledger."""
    copy_ledger(empty_database() if ON_POSTGRES else _empty_file(), name)
    with raw(name) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'ledger_id'", (uuid.uuid4().hex[:12],))


def copy_ledger(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Put a copy of a ledger that nobody has open in the place of another one, or of none."""
    if not ON_POSTGRES:
        shutil.copyfile(source, target)
        return
    cluster().ask(f"DROP DATABASE IF EXISTS {_database(target)} WITH (FORCE)")
    cluster().ask(f"CREATE DATABASE {_database(target)} TEMPLATE {_database(source)}")


def _database(name: str | os.PathLike[str]) -> str:
    return str(name).rpartition("/")[2]


@cache
def _empty_file() -> Path:
    path = Path(tempfile.mkdtemp()) / "empty.db"
    Ledger.open(path, create=True).close()
    return path


@cache
def empty_database() -> str:
    """Make an empty ledger once in the server of this process; return what names it."""
    name = cluster().url("empty_ledger")
    cluster().ask(f"CREATE DATABASE {_database(name)}")
    Ledger.open(name, create=True).close()
    return name


def is_ledger(name: str | os.PathLike[str]) -> bool:
    """Tell whether there is a ledger."""
    if not ON_POSTGRES:
        return Path(name).exists()
    with raw(name) as connection:
        return connection.execute("SELECT to_regclass('alembic_version')").fetchone() != (None,)


def refusals() -> tuple[type[Exception], ...]:
    """What a refused statement raises in `raw`."""
    if not ON_POSTGRES:
        return (sqlite3.IntegrityError,)
    import psycopg

    return (psycopg.IntegrityError,)


class Raw:
    """A database past all of ctstate, as a person's shell sees it; each statement is a transaction of its own."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Do a statement with `?` for its parameters."""
        given = tuple(parameters) if parameters or not ON_POSTGRES else None
        return self._connection.execute(with_parameters(statement, parameters), given)


def with_parameters(statement: str, parameters: Sequence[Any]) -> str:
    """Return a statement with `?` for its parameters as the driver has it."""
    return statement.replace("%", "%%").replace("?", "%s") if ON_POSTGRES and parameters else statement


@contextlib.contextmanager
def raw(name: str | os.PathLike[str], read_only: bool = False) -> Iterator[Raw]:
    """Open a ledger as a person with the shell of its database would."""
    if not ON_POSTGRES:
        uri = f"file:{os.fspath(name)}?mode={'ro' if read_only else 'rw'}"
        with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=20)) as connection:
            yield Raw(connection)
        return
    import psycopg

    with psycopg.connect(str(name).replace("postgresql+psycopg", "postgresql"), autocommit=True) as connection:
        connection.execute(f"SET default_transaction_read_only = {'on' if read_only else 'off'}")  # type: ignore[call-overload]
        yield Raw(connection)


def contents(name: str | os.PathLike[str]) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """Return all rows of all tables of a ledger."""
    found = []
    with raw(name, read_only=True) as connection:
        for table in metadata.sorted_tables:
            rows = connection.execute(f'SELECT * FROM "{table.name}"').fetchall()
            found.append((table.name, sorted(rows, key=repr)))
    return found


@contextlib.contextmanager
def rows_found_backwards() -> Iterator[None]:
    """Let SQLite give rows the other way round wherever a question leaves their order to it."""

    def backwards(connection: Any, _: object) -> None:
        connection.execute("PRAGMA reverse_unordered_selects = ON")

    event.listen(Engine, "connect", backwards)
    try:
        yield
    finally:
        event.remove(Engine, "connect", backwards)


def count_on(connection: Connection) -> None:
    """Let a database that numbers rows by a counter go on after the numbers that a test gave."""
    if not ON_POSTGRES:
        return
    for table in metadata.sorted_tables:
        if "id" in table.columns:
            counter = f"pg_get_serial_sequence('{table.name}', 'id')"
            highest = f"coalesce(max(id), 1), max(id) IS NOT NULL FROM {table.name}"
            connection.execute(text(f"SELECT setval({counter}, {highest}".replace(" FROM", ") FROM")))
