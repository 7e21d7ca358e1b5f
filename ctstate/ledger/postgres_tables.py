"""What is done to all tables of a ledger on PostgreSQL at once: filled anew, or closed to every writer.

All of it is allowed to the tables' owner, who need not be a superuser, and is part of the transaction. Keys and
counters are read from the database itself, so that nothing here knows a table by name.
"""

import contextlib
from collections.abc import Iterator, Sequence

from sqlalchemy import Table, text
from sqlalchemy.engine import Connection

_CLOSED = "ctstate_closed"

_FOREIGN_KEYS = """
SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND conrelid = to_regclass(:name) ORDER BY conname
"""
_COUNTERS = """
SELECT quote_ident(attname), pg_get_serial_sequence(:name, attname) FROM pg_attribute
WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped
  AND pg_get_serial_sequence(:name, attname) IS NOT NULL
"""
_CLOSED_TABLES = f"""
SELECT tgrelid::regclass::text FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE tgname = '{_CLOSED}' AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('meta'))
"""


@contextlib.contextmanager
def filling(connection: Connection, tables: Sequence[Table]) -> Iterator[None]:
    """See `dialect.Dialect.filling`.

    Foreign keys are taken off and put on again, which looks at each once: in whatever order tables refer to each
    other, and in a fraction of the time that a look for each row takes.
    """
    names = [_quoted(connection, table) for table in tables]
    for name in names:
        _do(connection, f"ALTER TABLE {name} DISABLE TRIGGER USER")
    keys = [tuple(key) for name in names for key in connection.execute(text(_FOREIGN_KEYS), {"name": name})]
    for table, key, _ in keys:
        _do(connection, f"ALTER TABLE {table} DROP CONSTRAINT {key}")
    _do(connection, f"TRUNCATE {', '.join(names)}")
    yield
    for table, key, definition in keys:
        _do(connection, f"ALTER TABLE {table} ADD CONSTRAINT {key} {definition}")
    for name in names:
        for column, counter in connection.execute(text(_COUNTERS), {"name": name}).all():
            highest = f"SELECT setval(:counter, coalesce(max({column}), 1), max({column}) IS NOT NULL) FROM {name}"
            connection.execute(text(highest), {"counter": counter})
        _do(connection, f"ALTER TABLE {name} ENABLE TRIGGER USER")
        _do(connection, f"ANALYZE {name}")


def close(connection: Connection, tables: Sequence[Table], why: str) -> None:
    """See `dialect.Dialect.close`. Whoever writes at this moment, also past ctstate, is waited for."""
    words = why.replace("'", "''")
    for table in tables:
        _do(
            connection,
            f"CREATE TRIGGER {_CLOSED} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE"
            f" ON {_quoted(connection, table)} FOR EACH STATEMENT EXECUTE FUNCTION ctstate_refuse('{words}')",
        )


def open_again(connection: Connection) -> None:
    """See `dialect.Dialect.open_again`."""
    for table in connection.execute(text(_CLOSED_TABLES)).scalars().all():
        _do(connection, f"DROP TRIGGER {_CLOSED} ON {table}")


def _quoted(connection: Connection, table: Table) -> str:
    return connection.dialect.identifier_preparer.quote(table.name)


def _do(connection: Connection, statement: str) -> None:
    """Carry out a statement as it stands: a name in it may hold a percent sign."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
