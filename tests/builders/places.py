"""Ledgers in a database of either kind within one test, and what is in them."""

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Float, Table, select

from ctstate.errors import LedgerError
from ctstate.ledger import Ledger, State
from ctstate.ledger.closed import MARKS
from ctstate.ledger.database import dialect_of
from ctstate.ledger.schema import metadata
from ctstate.ledger.staging import fill
from tests.builders.postgres import cluster

FILE, POSTGRES = "file", "postgres"

_numbers = itertools.count()

ROWS = 7
"""So many rows has each table of `make_full`."""


def new_place(kind: str, folder: Path) -> str:
    """Return what names a ledger that is not there yet: no file, or an empty database."""
    number = next(_numbers)
    if kind == FILE:
        return str(folder / f"ledger{number}.db")
    database = f"place_{number}"
    cluster().ask(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    cluster().ask(f"CREATE DATABASE {database}")
    return cluster().url(database)


def make_full(place: str) -> str:
    """Make a ledger that has rows in every table, whatever tables there are, with values that are not the usual."""
    with Ledger.open(place, create=True) as ledger, ledger.write() as connection:
        tables = metadata.sorted_tables
        kept = {t: [tuple(r) for r in connection.execute(select(t))] for t in tables if t.name in _OF_MIGRATIONS}
        with dialect_of(connection).filling(connection, tables):
            for table in tables:
                rows = kept.get(table) or [
                    tuple(_value(table, column, number + 1) for column in table.columns) for number in range(ROWS)
                ]
                fill(connection, table, [*rows, ("ledger_id", ledger.ledger_id)] if table.name == "meta" else rows)
    return place


_OF_MIGRATIONS = ("state", "transition")
_ALWAYS = {("capture", "batch_id"), ("capture", "subject_id"), ("capture", "run_id"), ("run", "ended_at")}
_NEVER = {("capture", "create_sent_at"), ("capture", "ambiguous_at")}


def _value(table: Table, column: Column[Any], number: int) -> Any:
    where = (table.name, column.name)
    nothing = column.nullable and where not in _ALWAYS and (number + len(column.name)) % 5 == 0
    if nothing or where in _NEVER:
        return None
    if {key.column.table.name for key in column.foreign_keys} == {"state"}:
        return [state for state in State if state is not State.UPLOADING][number % 7].value
    if isinstance(column.type, Boolean):
        return number % 2 == 0
    if isinstance(column.type, Float):
        return (0.95, 2 / 3, 0.0, -0.0, 1e-300, 1.0, 1.7976931348623157e308)[number % 7]
    if column.type.python_type is int:
        small = column.primary_key or column.foreign_keys
        return number if small else 999_999_999_999_999 - number
    return _TEXTS[number % 7] + str(number)


_TEXTS = ("plain", "ä 'quoted' \"twice\"", "a\\b\tc\nd", "\\N", "%s {x} :name", "日本 🦁", "")


Rows = dict[str, list[tuple[Any, ...]]]


def rows_of(place: str, *, but_marks: bool = False) -> Rows:
    """Return all that is in a ledger, by table and in the order of the keys."""
    found = {}
    with Ledger.open(place, read_only=True) as ledger, ledger.read() as connection:
        for table in metadata.sorted_tables:
            rows = [tuple(row) for row in connection.execute(select(*table.columns))]
            if but_marks and table.name == "meta":
                rows = [row for row in rows if row[0] not in MARKS]
            found[table.name] = sorted(rows, key=repr)
    return found


def schema_of(place: str) -> list[tuple[Any, ...]]:
    """Return tables, columns, keys, indexes, triggers and views as the database itself describes them."""
    if "://" not in place:
        question = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
        with closing(sqlite3.connect(place)) as connection:
            return sorted(connection.execute(question).fetchall())
    database = place.rpartition("/")[2]
    questions = (
        "SELECT tgrelid::regclass::text, tgname::text, tgenabled::text, pg_get_triggerdef(oid) FROM pg_trigger"
        " WHERE NOT tgisinternal",
        "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace",
        "SELECT tablename::text, indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT table_name::text, column_name::text, data_type::text, is_nullable::text"
        " FROM information_schema.columns WHERE table_schema = 'public'",
    )
    return sorted((row for question in questions for row in cluster().ask(question, database)), key=repr)


@contextmanager
def shell(place: str) -> Iterator[Any]:
    """Open a ledger as a person with sqlite3 or psql would; what is said there is committed at once."""
    if "://" not in place:
        with closing(sqlite3.connect(place, isolation_level=None, timeout=20)) as connection:
            yield connection
        return
    import psycopg

    with psycopg.connect(place.replace("+psycopg", ""), autocommit=True) as server:
        yield server


def may_be_written(place: str) -> str | None:
    """Return the identity of the ledger there if it can be written, else None.

    ctstate and a person's shell must agree on that.
    """
    try:
        with Ledger.open(place) as ledger:
            identity = ledger.ledger_id
    except LedgerError:
        identity = None
    with contextlib.ExitStack() as stack:
        if identity is None:
            stack.enter_context(pytest.raises(Exception, match=r"(ctstate: |meta)"))  # closed, or no ledger at all
        person = stack.enter_context(shell(place))
        person.execute("INSERT INTO meta VALUES ('tried', 'shell')")
        person.execute("DELETE FROM meta WHERE name = 'tried'")
    return identity
