"""Rows on their way into the ledger: temporary tables, and how they are filled.

A temporary table belongs to one connection (`Ledger.connection`) and goes with it. Filling it takes no lock on the
ledger, so that other workers go on while a large file is read; SQL then finds what contradicts what, and merges.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Column, ColumnExpressionArgument, Index, Integer, MetaData, Table, Text, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from ctstate.capture import IncomingImage
from ctstate.ledger.database import dialect_of

MOST_EXAMPLES = 5
"""So many rows are shown of those that have the same thing wrong with them."""


AS_A_STREAM = {"yield_per": 1_000}
"""Execution options of a question that is answered with many rows: read a thousand at a time, which is faster than
one by one, and in bounded memory."""


def temporary(name: str, *columns: Column[Any]) -> Table:
    """Return the description of a temporary table; `fresh` makes it.

    Its rows lie in the order of the primary key, if it has one.
    """
    clustered = any(column.primary_key for column in columns)
    return Table(name, MetaData(), *columns, prefixes=["TEMPORARY"], sqlite_with_rowid=not clustered)


def fresh(connection: Connection, *tables: Table) -> None:
    """Make temporary tables, empty ones even where this connection has them already."""
    for table in tables:
        connection.execute(DropTable(table, if_exists=True))
        connection.execute(CreateTable(table))


def fill(connection: Connection, table: Table, rows: Collection[tuple[Any, ...]], *, replace: bool = False) -> None:
    """Add rows, whose values stand in the order of the table's columns, the fastest way that the database has.

    Args:
        connection, table, rows: what goes where.
        replace: a row that is there takes the place of the one that has its primary key.
    """
    if rows:
        dialect_of(connection).fill(connection, table, rows, replace=replace)


def index(connection: Connection, table: Table) -> None:
    """Make a table's indexes: once it is filled, which is faster. Now it is whole."""
    for each in sorted(table.indexes, key=lambda found: str(found.name)):
        connection.execute(CreateIndex(each))
    dialect_of(connection).filled(connection, table)


def count(connection: Connection, table: Table, *which: ColumnExpressionArgument[bool]) -> int:
    """Return how many rows of a table meet all conditions."""
    return int(connection.execute(select(func.count()).select_from(table).where(*which)).scalar_one())


# -- images ----------------------------------------------------------------------------------------------------

incoming = temporary(
    "incoming",
    Column("row", Integer),
    Column("capture_id", Text),
    Column("season", Text),
    Column("site", Text),
    Column("roll", Text),
    Column("capture", Text),
    Column("capture_number", Integer),
    Column("rank", Integer),
    Column("path", Text),
    Column("problem", Text),
    Column("problem_reason", Text),
    Column("metadata", Text),
    Column("rule", Text),
    Column("taken_at", Text),
    Column("taken_text", Text),
)
"""The images that a file lists, as `IncomingImage` has them, whatever the file's format."""

Index("incoming_capture", incoming.c.capture_id, incoming.c.rank)


def begin_images(connection: Connection) -> None:
    """Make `incoming`, empty."""
    fresh(connection, incoming)


def add_images(connection: Connection, images: Sequence[IncomingImage]) -> None:
    """Add images to `incoming`."""
    fill(connection, incoming, images)


def end_images(connection: Connection) -> None:
    """Say that `incoming` is whole: it can be looked into from now on."""
    index(connection, incoming)
