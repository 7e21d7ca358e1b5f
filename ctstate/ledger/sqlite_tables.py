"""What is done to all tables of a ledger in a file at once: filled anew, or closed to every writer.

Triggers and tables are read from the file itself, so that nothing here knows a table by name.
"""

import contextlib
from collections.abc import Iterator, Sequence

from sqlalchemy import Table
from sqlalchemy.engine import Connection

_CLOSED = "ctstate_closed"


@contextlib.contextmanager
def filling(connection: Connection, tables: Sequence[Table]) -> Iterator[None]:
    """See `dialect.Dialect.filling`. Whether all is there that is referred to, SQLite looks at the COMMIT."""
    # An index that is made of rows in order is written once. Those of a key have no text of their own, and stay.
    around = connection.exec_driver_sql(
        "SELECT type, name, sql FROM sqlite_master WHERE type IN ('trigger', 'index') AND sql IS NOT NULL"
    ).all()
    for kind, name, _ in around:
        connection.exec_driver_sql(f"DROP {kind} {_quoted(name)}")
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    for table in reversed(tables):
        connection.exec_driver_sql(f"DELETE FROM {_quoted(table.name)}")
    yield
    for _, _, made_by in around:
        connection.exec_driver_sql(made_by)


def close(connection: Connection, tables: Sequence[Table], why: str) -> None:
    """See `dialect.Dialect.close`."""
    words = why.replace("'", "''")
    for table in tables:
        for event in ("INSERT", "UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER {_quoted(f'{_CLOSED}_{table.name}_{event.lower()}')} BEFORE {event}"
                f" ON {_quoted(table.name)} BEGIN SELECT RAISE(ABORT, 'ctstate: {words}'); END"
            )


def open_again(connection: Connection) -> None:
    """See `dialect.Dialect.open_again`."""
    triggers = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
    for name in triggers:
        if name.startswith(_CLOSED):
            connection.exec_driver_sql(f"DROP TRIGGER {_quoted(name)}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
