"""The dialect of PostgreSQL (13 and newer): a ledger is a database, or a schema of one, that many hosts share.

* **A write transaction takes one advisory lock for the ledger, at READ COMMITTED**: what BEGIN IMMEDIATE is on
  SQLite. Each statement sees all that was committed before it, and so all of the writers before this one; the
  snapshot of REPEATABLE READ would be older than the lock.
* **Reads are REPEATABLE READ READ ONLY**: one consistent picture, in which the server lets nothing be written.
* **A COMMIT whose reply is lost is looked up** by its transaction's number: what was written is known, not guessed.
  A server that crashed may have given that number to another transaction since; then "committed" proves nothing.
* `synchronous_commit` is at least `on`: a create that was announced must stay announced through a power cut.
* Few connections: one writer at a time in each process, so that 64 workers fit into the 100 that a server allows.
* Waiting instead of failing where the server starts anew or has no connection left, once it was there.
"""

import contextlib
import functools
import logging
import random
import re
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Table, create_engine, event, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ctstate.errors import LedgerError, UsageError
from ctstate.ledger import postgres_tables
from ctstate.ledger.clock import from_microseconds
from ctstate.ledger.dialect import BACK_AGAIN_S, BUSY_PATIENCE_S, Driver, Finding, Kind, Place, Reader, Stored
from ctstate.ledger.postgres_errors import is_crowded, is_lost, is_starting, is_unknown_number, translated
from ctstate.ledger.postgres_health import health
from ctstate.ledger.postgres_reader import PostgresReader
from ctstate.ledger.postgres_types import Tables, Types
from ctstate.machine import machine

log = logging.getLogger(__name__)

FROZEN_S = 60
"""A writer that says nothing for so long is frozen, or its host is gone: the server takes the lock from it. That is
well below the lease after which others take a run for dead."""

_SETTINGS = f"""
SET TIME ZONE 'UTC';
SET lock_timeout = '{BUSY_PATIENCE_S}s';
SET client_min_messages = 'warning';
SET tcp_keepalives_idle = 30;
SET tcp_keepalives_interval = 10;
SET tcp_keepalives_count = 3;
SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') IN ('off', 'local')
"""
"""Of each connection. A host that goes away is found out."""

_BEGIN = {
    Kind.READ: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    # Not READ WRITE: of a ledger that was opened read-only they shall be READ ONLY.
    Kind.STAGING: "BEGIN ISOLATION LEVEL REPEATABLE READ",
    Kind.WRITE: "BEGIN ISOLATION LEVEL READ COMMITTED;"
    f" SET LOCAL idle_in_transaction_session_timeout = '{FROZEN_S}s'",
}

_OF_MANY = "; SET LOCAL work_mem = '256MB'"
"""For a verb that brings many captures in temporary tables: there is one of them, not 64."""

_LOCK_CLASS = 0x63747374  # "ctst": the ledger's lock among those of other programs in the same database
# By the ledger's very table, whatever way a role's search_path finds it; where none was made yet, makers wait for
# each other.
_LOCK = text(
    f"SELECT pg_advisory_xact_lock((CAST({_LOCK_CLASS} AS bigint) << 32)"
    " | coalesce(CAST(CAST(to_regclass('capture') AS oid) AS bigint), 0)),"
    " CAST(pg_current_xact_id() AS text), extract(epoch FROM clock_timestamp()) * 1000000"
)
_CLOCK = text("SELECT extract(epoch FROM clock_timestamp()) * 1000000")
_SEEN = text("SELECT CAST(pg_current_snapshot() AS text)")
_OUTCOME = text("SELECT pg_xact_status(CAST(:number AS xid8))")
_LIFE = "SELECT CAST(stats_reset AS text) FROM pg_stat_bgwriter"
"""What is another after a crash of the server, which forgets its statistics, and the same after a clean restart."""

_writing: WeakKeyDictionary[Engine, "_Turns"] = WeakKeyDictionary()
_writing_guard = threading.Lock()


class Postgres:
    """Serves `dialect.Dialect`."""

    def engine(self, place: Place, *, read_only: bool) -> Engine:
        """Return an engine; see the module's text.

        Raises:
            UsageError: psycopg is not installed.
        """
        try:
            import psycopg  # noqa: F401
        except ImportError:
            raise UsageError(
                "a ledger on PostgreSQL needs psycopg: run `pip install 'ctstate[postgres]'`"
            ) from None
        engine = create_engine(
            place.url,
            # BEGIN is ours, as it says what the transaction is for.
            connect_args={"autocommit": True, "connect_timeout": 20, "application_name": "ctstate"},
            pool_size=1,
            max_overflow=4,
            pool_timeout=BUSY_PATIENCE_S,
            # How many rows INSERT ... SELECT has added is forgotten otherwise.
            execution_options={"preserve_rowcount": True},
        )
        engine.dialect.ddl_compiler = Tables
        engine.dialect.type_compiler_instance = Types(engine.dialect)

        def set_up(connection: Any, record: Any) -> None:
            connection.execute(_SETTINGS + (";SET default_transaction_read_only = on" if read_only else ""))
            record.info["ctstate_life"] = connection.execute(_LIFE).fetchone()[0]

        event.listen(engine, "connect", set_up)
        return engine

    def prepare(self, place: Place, *, create: bool) -> None:
        """Do nothing: the database is made by its administrator (docs/postgres.md)."""

    def may_be_looked_at(self, place: Place, *, read_only: bool) -> bool:
        """Return True."""
        return True

    @contextlib.contextmanager
    def transaction(self, engine: Engine, kind: Kind, lent: Connection | None) -> Iterator[Connection]:
        """One transaction; see the module's text."""
        with contextlib.ExitStack() as stack:
            if kind is Kind.WRITE:
                stack.enter_context(_one_writer(engine))
            connection, number = _begun(engine, kind, lent, stack)
            try:
                yield connection
                _commit(engine, connection, kind, number)
            except BaseException:
                _roll_back(connection)
                raise

    def translated(self, name: str) -> AbstractContextManager[None]:
        """See `postgres_errors.translated`."""
        return translated(name)

    def moment(self, connection: Connection) -> str:
        """Return this moment by the database's clock; never the same twice in a transaction, and never ahead.

        The clock is asked once in a transaction; what has passed since is measured here.
        """
        clock = connection.info.get("ctstate_clock")
        if clock is None:
            clock = connection.info["ctstate_clock"] = _Clock(connection.execute(_CLOCK).scalar_one())
        assert isinstance(clock, _Clock)
        return clock.read()

    def upsert(self, table: Table) -> Any:
        """Return `insert(table)` that knows ON CONFLICT."""
        return upsert(table)

    for_update = " FOR UPDATE"
    most_workers = 64  # docs/postgres.md

    def driver(self, connection: Connection) -> Driver:
        """Return a way that takes the placeholders of SQLite's driver."""
        return _Driver(connection)

    def fill(
        self, connection: Connection, table: Table, rows: Collection[tuple[Any, ...]], *, replace: bool = False
    ) -> None:
        """Add many rows by COPY."""
        if replace:  # COPY replaces nothing
            keys = [table.columns.keys().index(column.name) for column in table.primary_key.columns]
            rows = {tuple(row[key] for key in keys): row for row in rows}.values()
            new = upsert(table)
            also = {c.name: new.excluded[c.name] for c in table.columns if not c.primary_key}
            named = [dict(zip(table.columns.keys(), row, strict=True)) for row in rows]
            connection.execute(new.on_conflict_do_update(index_elements=list(table.primary_key), set_=also), named)
            return
        quote = connection.dialect.identifier_preparer.quote
        columns = ", ".join(quote(column.name) for column in table.columns)
        cursor = connection.connection.cursor()
        try:
            with cursor.copy(f"COPY {quote(table.name)} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        except connection.dialect.loaded_dbapi.Error as error:
            raise DBAPIError.instance(
                "COPY", None, error, connection.dialect.loaded_dbapi.Error, dialect=connection.dialect
            ) from error
        finally:
            cursor.close()

    def filled(self, connection: Connection, table: Table) -> None:
        """Let the server count the rows: it does not do so by itself with temporary tables."""
        connection.exec_driver_sql(f"ANALYZE {connection.dialect.identifier_preparer.quote(table.name)}")

    def lasts(self, connection: Connection) -> None:
        """Let the transaction be silent while another database is at work; a host that goes away is found out."""
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")

    def filling(self, connection: Connection, tables: Sequence[Table]) -> AbstractContextManager[None]:
        """See `postgres_tables.filling`."""
        return postgres_tables.filling(connection, tables)

    def close(self, connection: Connection, tables: Sequence[Table], why: str) -> None:
        """See `postgres_tables.close`."""
        postgres_tables.close(connection, tables, why)

    def open_again(self, connection: Connection) -> None:
        """See `postgres_tables.open_again`."""
        postgres_tables.open_again(connection)

    def back_up(self, path: Path | None, target: Path) -> int:
        """Refuse: a server's own tool makes copies."""
        raise LedgerError("a ledger on a server is copied by its own tool, pg_dump")

    def before_migration(self, engine: Engine, place: Place, version: str) -> Path | None:
        """Say that it happens and how a backup is made; the migration leaves all or nothing."""
        log.warning(
            "ledger %s: is of version %s and is brought up to date, in one transaction; the way back is a copy that"
            " was made before with `pg_dump --format=custom --file=ledger.dump DATABASE`",
            place.name,
            version,
        )
        return None

    @contextlib.contextmanager
    def reader(self, engine: Engine, path: Path | None, seconds: float = BUSY_PATIENCE_S) -> Iterator[Reader]:
        """Return who answers questions, in a transaction in which the server lets nothing be written."""
        with self.transaction(engine, Kind.READ, None) as connection:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {round(1000 * seconds)}")
            try:
                yield PostgresReader(connection, machine().monotonic() + seconds, seconds)
            finally:
                # What a person's SQL did to the session (a lock, a setting) ends here.
                connection.detach()

    def version(self, connection: Connection) -> str:
        """Ask which transactions can be seen: as long as they are the same, so is all that is read."""
        return str(connection.execute(_SEEN).scalar_one())

    def impatient(self, connection: Connection, seconds: float) -> None:
        """Let the server end what takes longer."""
        driver_connection: Any = connection.connection.dbapi_connection
        driver_connection.execute(f"SET statement_timeout = {round(1000 * seconds)}")

    def readers_hold_up_writers(self, connection: Connection) -> bool:
        """Return False: who reads has a picture of its own."""
        return False

    def health(self, engine: Engine) -> list[Finding]:
        """See `postgres_health.health`."""
        with self.transaction(engine, Kind.READ, None) as connection:
            return health(connection)

    def stored(self, engine: Engine, path: Path | None) -> Stored:
        """Ask the server for its database's size."""
        asked = "SELECT pg_database_size(current_database()), current_setting('synchronous_commit')"
        with self.transaction(engine, Kind.READ, None) as connection:
            size, commits = connection.exec_driver_sql(asked).one()
        return Stored(int(size), f"the server's write-ahead log (synchronous_commit {commits})", None)


class _Driver:
    """Statements as they are written for SQLite's driver."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Any = (), /) -> Any:
        """See `dialect.Driver`."""
        given = values if isinstance(values, dict) else tuple(values)
        return self._connection.exec_driver_sql(_as_psycopg(statement), given)


@functools.lru_cache(256)
def _as_psycopg(statement: str) -> str:
    return re.sub(r"(?<!:):([a-z_][a-z_0-9]*)", r"%(\1)s", statement.replace("?", "%s"))


# -- transactions ----------------------------------------------------------------------------------------------


class _Clock:
    """The database's clock, as it was asked once in a transaction."""

    def __init__(self, microseconds: Any) -> None:
        self._asked = int(microseconds)
        self._at = machine().monotonic()
        self._last = 0

    def read(self) -> str:
        passed = int((machine().monotonic() - self._at) * 1_000_000)
        self._last = max(self._asked + passed, self._last + 1)
        return from_microseconds(self._last)


class _Turns:
    """Whose turn it is to write in this process."""

    def __init__(self) -> None:
        self.free = machine().condition()
        self.taken = False


@contextlib.contextmanager
def _one_writer(engine: Engine) -> Iterator[None]:
    """Let the writers of this process wait for each other here, and not each with a connection of its own."""
    with _writing_guard:
        turns = _writing.setdefault(engine, _Turns())
    until = machine().monotonic() + BUSY_PATIENCE_S
    with turns.free:
        while turns.taken:
            left = until - machine().monotonic()
            if left <= 0:
                raise LedgerError("another part of this process kept the ledger locked for too long; run again")
            turns.free.wait(left)
        turns.taken = True
    try:
        yield
    finally:
        with turns.free:
            turns.taken = False
            turns.free.notify_all()


def _begun(
    engine: Engine, kind: Kind, lent: Connection | None, stack: contextlib.ExitStack
) -> tuple[Connection, str | None]:
    """Begin a transaction, patiently; nothing is lost where a connection breaks before it has begun.

    Returns:
        the connection, and the transaction's number where it writes.
    """
    was_there = getattr(engine.dialect, "server_version_info", None) is not None
    deadline = machine().monotonic() + BACK_AGAIN_S
    while True:
        connection = None
        try:
            connection = lent if lent is not None else engine.connect()
            number = _begin(connection, kind, lent=lent is not None)
        except DBAPIError as error:
            lost = is_lost(error)
            if connection is not None:
                _roll_back(connection, broken=lost)
                if lent is None:
                    connection.close()
            # A lent connection takes its temporary tables along. A server that was never there is a wrong address.
            worth_it = is_crowded(error) or (lost and lent is None and (was_there or is_starting(error)))
            if not worth_it or machine().monotonic() > deadline:
                raise
            machine().sleep(random.uniform(0.05, 0.5))
            continue
        if lent is None:
            stack.callback(connection.close)
        return connection, number


def _begin(connection: Connection, kind: Kind, *, lent: bool) -> str | None:
    connection.info.pop("ctstate_clock", None)
    connection.begin()
    # Without parameters, so that the server takes both statements in one message.
    begin = _BEGIN[kind] + (_OF_MANY if lent else "")
    connection.exec_driver_sql(begin, execution_options={"no_parameters": True})
    if kind is not Kind.WRITE:
        return None
    _, number, microseconds = connection.execute(_LOCK).one()
    connection.info["ctstate_clock"] = _Clock(microseconds)
    return str(number)


def _roll_back(connection: Connection, broken: bool = False) -> None:
    if broken and not connection.invalidated:
        connection.invalidate()
    with contextlib.suppress(DBAPIError):  # the connection is gone, and what was not committed with it
        connection.rollback()


def _commit(engine: Engine, connection: Connection, kind: Kind, number: str | None) -> None:
    life = connection.info["ctstate_life"]
    try:
        connection.commit()
    except DBAPIError as error:
        # One that was lent takes its temporary tables along; what was read is read.
        if kind is Kind.STAGING or not is_lost(error):
            raise
        _roll_back(connection, broken=True)
        if number is not None and not _was_committed(engine, number, life):
            raise


def _was_committed(engine: Engine, number: str, life: str | None) -> bool:
    """Ask what became of a transaction whose COMMIT got no reply.

    Args:
        engine: of the ledger.
        number: the transaction's.
        life: of the server (`_LIFE`) that gave it.

    Raises:
        LedgerError: nobody could say.
    """
    deadline = machine().monotonic() + BACK_AGAIN_S
    while True:
        try:
            with engine.connect() as connection:
                same = life is not None and connection.info["ctstate_life"] == life
                outcome = connection.execute(_OUTCOME, {"number": number}).scalar()
        except DBAPIError as error:
            if is_unknown_number(error):  # a crash took it along
                return False
            if not is_lost(error) and not is_crowded(error):
                raise
            outcome = "in progress"
        if outcome == "aborted" or (outcome == "committed" and same):
            return bool(outcome == "committed")
        if outcome != "in progress" or machine().monotonic() > deadline:
            raise LedgerError(
                "the database crashed or went away while it was told to commit: whether the last step was written "
                "is not known; run it again once the database is there, which finds out"
            )
        machine().sleep(random.uniform(0.05, 0.5))
