"""The simulator's ledger on PostgreSQL: a real server, whose clock is virtual, and what befalls its clients.

All that stands between the product and the server is the driver's connection. `SimConnection` is psycopg's own, and

* tells the server the time with each BEGIN: `clock_timestamp()` is found in a schema of the simulator's before the
  real one, so that the product's statements and the ledger's triggers are as they are;
* waits for the ledger's lock in the kernel, where another simulated process holds it; in the real server all would
  stand still, as they are one thread;
* strikes: what can happen to a transaction that SQLite does not know is in `FATES`. Connections are cut by the
  server (`pg_terminate_backend`), and what is looked up then is asked of it, so that all errors are its own.
"""

import itertools
import os
import random
import time
from collections import Counter
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import psycopg
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from ctstate.ledger.clock import from_microseconds
from ctstate.ledger.database import place_of
from ctstate.ledger.dialect import BUSY_PATIENCE_S
from ctstate.ledger.postgres import _LIFE, FROZEN_S, Postgres
from ctstate.ledger.schema import metadata
from ctstate.machine import machine
from tests.builders.ledgers import empty_database
from tests.builders.postgres import cluster
from tests.simulation.kernel import Kernel, Task, Worker
from tests.simulation.sim_machine import EPOCH, SimMachine

REPLY_LOST, LOST, UNDECIDED = "COMMIT's reply lost", "COMMIT lost", "COMMIT still under way when cut off"
CRASHED = "COMMIT lost in a crash, its number given to another"
CUT, SUSPENDED, FULL = "cut off in mid-transaction", "suspended in mid-transaction", "disk full at COMMIT"

AT_COMMIT = {REPLY_LOST: 0.008, LOST: 0.005, UNDECIDED: 0.004, CRASHED: 0.006, SUSPENDED: 0.003, FULL: 0.003}
FATES = {CUT: 0.006, **AT_COMMIT}
"""What befalls a transaction that writes, and how likely."""

SORE_AT, SORE = ("Announced", "Made"), 8.0
"""Where it hurts most: a create is announced there, or its subject written down. So many times likelier there."""

ALL_CUT, RESTART = "all connections cut", "server started anew"

CUTS = {ALL_CUT: 0.003, RESTART: 0.002}
"""What befalls everybody, before some transaction begins."""

AWAY_S = ((0.0, 5.0), (0.0, 60.0), (100.0, 200.0))
"""So long a server takes to come back: between the two of one of these; the last may be more than workers wait."""

UNDECIDED_S = ((0.0, 1.0), (0.0, 30.0), (100.0, 200.0))
"""So long a COMMIT may still be under way; the last, again, may be more than workers wait for."""

SLEEPS_S = ((1.0, 50.0), (70.0, 290.0), (320.0, 900.0))
"""So long is suspended who holds the lock: shorter than the server allows, longer, and longer than a lease."""

STATEMENTS = 6
"""A transaction that is cut off is so at one of so many statements, or at its COMMIT where it has fewer."""

_SCHEMA = """
CREATE SCHEMA sim;
CREATE FUNCTION sim.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS $$ SELECT current_setting('sim.clock')::timestamptz $$
"""
_OPTIONS = "-c search_path=public,sim,pg_catalog -c sim.clock=2026-11-01T00:00:00Z"
_TABLES = [table.name for table in metadata.sorted_tables if table.name not in ("state", "transition")]
_COUNTED = [table.name for table in metadata.sorted_tables if "id" in table.columns]
_numbers = itertools.count()


class Snapshot(NamedTuple):
    """A copy of a ledger: each table's rows as COPY has them, and where the numbers of new rows go on."""

    rows: dict[str, bytes]
    counters: dict[str, tuple[int, bool]]


class SimPostgres:
    """Serves `sim_ledger.SimDatabase`.

    Attributes:
        rates: of FATES and CUTS.
        skew: by how many seconds the server's clock is ahead.
        holder: the connection that has the ledger's lock.
        away_until: when the server is there again, as virtual time.
        connections: all that simulated processes have.
        lives: how often the server crashed.
    """

    def __init__(self) -> None:
        server = cluster()
        name = f"simulation_{os.getpid()}_{next(_numbers)}"
        server.ask(f"CREATE DATABASE {name} TEMPLATE {empty_database().rpartition('/')[2]}")
        self._keeper = psycopg.connect(
            host="127.0.0.1", port=server.port, user="ctstate", dbname=name, autocommit=True
        )
        self._do(_SCHEMA)
        self._do("SET session_replication_role = replica; SET lock_timeout = '10s'")  # no triggers, no waiting
        for table in metadata.sorted_tables:
            # Plans, and so the order of rows for which no order is asked, are to be the same each time.
            self._do(f"ALTER TABLE {table.name} SET (autovacuum_enabled = off)")
        place = place_of(server.url(name))
        # One pool for all simulated processes: a connection is dear, and keeps nothing of its last user.
        self._pooled = Postgres().engine(place, read_only=False)
        self._pooled.pool._max_overflow = -1  # type: ignore[attr-defined]
        event.listen(self._pooled, "do_connect", self._connect)
        # Who looks on is nobody's victim: no accident finds these.
        self._outside = Postgres().engine(place, read_only=False)
        event.listen(self._outside, "do_connect", self._connect_outside)
        self._engines: WeakKeyDictionary[Worker, Engine] = WeakKeyDictionary()
        self.connections: WeakSet[SimConnection] = WeakSet()
        self._waiting: list[tuple[Task, int]] = []
        self.holder: SimConnection | None = None
        self.rates: dict[str, float] = {}
        self.transactions = 0
        self.struck: Counter[str] = Counter()
        self.skew = 0.0
        self.away_until = 0.0
        self.lives = 0
        self.empty = self.snapshot()

    def close(self) -> None:
        """Forget it all."""
        self._pooled.dispose()
        self._outside.dispose()
        self._keeper.close()

    def _do(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self._keeper.execute(statement, values or None)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description is not None else []

    @property
    def kernel(self) -> Kernel | None:
        """The season's, in which something is running."""
        here = machine()
        return here.kernel if isinstance(here, SimMachine) and here.kernel.current is not None else None

    # -- as `SimDatabase` ----------------------------------------------------------------------------------

    def engine(self, kernel: Kernel | None, worker: Worker | None) -> Engine:
        """Return an engine of the worker's own, by which its threads write one after the other."""
        if worker is None:
            return self._outside.execution_options()
        if worker not in self._engines:
            self._engines[worker] = self._pooled.execution_options()
        return self._engines[worker]

    def accidents(self, chance: random.Random) -> dict[str, float]:
        """Choose what befalls a season's transactions, and how wrong the server's clock is."""
        self.skew = chance.choice((0.0, 590.0, chance.uniform(0, 590)))
        self.away_until = 0.0
        if chance.random() < 0.3:
            return {}
        harm = chance.choice((0.3, 1.0, 2.0, 4.0))
        return {what: harm * rate for what, rate in (FATES | CUTS).items() if chance.random() < 0.8}

    def befall(self, kernel: Kernel, task: Task, *, writes: bool) -> DBAPIError | None:
        """Choose the fate of a transaction; `SimConnection` carries it out."""
        task.memory.pop("cut at", None)
        if not self.rates:
            return None
        for what in CUTS:
            if kernel.accident(what, self.rates.get(what, 0.0)):
                self.away_until = kernel.time + (_between(kernel, AWAY_S) if what == RESTART else 0.0)
                self.cut(list(self.connections))
                self.struck[what] += 1
        if writes and self.strikes(CUT, kernel, task):
            task.memory["cut at"] = kernel.latencies.randint(1, STATEMENTS)
        return None

    def strikes(self, what: str, kernel: Kernel, task: Task, times: float = 1.0) -> bool:
        """Tell whether something befalls the task's transaction."""
        struck = kernel.accident(f"{what} ({task.worker.name})", min(times * self.rates.get(what, 0.0), 1.0))
        self.struck[what] += struck
        return struck

    def snapshot(self) -> Snapshot:
        """Return all that is in it, as `pg_dump` does."""
        with self._keeper.transaction():
            rows = {}
            for table in _TABLES:
                with self._keeper.cursor() as cursor, cursor.copy(f"COPY {table} TO STDOUT") as copy:  # type: ignore[arg-type]
                    rows[table] = b"".join(bytes(block) for block in copy)
            counters = {
                table: self._do(f"SELECT last_value, is_called FROM {table}_id_seq")[0] for table in _COUNTED
            }
        return Snapshot(rows, counters)  # type: ignore[arg-type]

    def put_back(self, snapshot: Snapshot) -> None:
        """Let it be as it was; a COMMIT that is still under way is cut off."""
        if self.holder is not None:
            self.cut([self.holder])
        with self._keeper.transaction():
            self._do(f"TRUNCATE {', '.join(_TABLES)}")
            for table, rows in snapshot.rows.items():
                if rows:
                    with self._keeper.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:  # type: ignore[arg-type]
                        copy.write(rows)
            for table, (last, called) in snapshot.counters.items():
                self._do("SELECT setval(%s, %s, %s)", f"{table}_id_seq", last, called)

    # -- the server's side ---------------------------------------------------------------------------------

    def _connect(self, dialect: Any, record: Any, arguments: Any, named: dict[str, Any]) -> "SimConnection":
        kernel = self.kernel
        if kernel is not None and kernel.time < self.away_until:
            # The last one from time to time: too many want back at once.
            said = (
                "Connection refused",
                "FATAL:  the database system is starting up",
                "FATAL:  sorry, too many clients already",
            )
            raise psycopg.OperationalError(f"connection failed: {kernel.latencies.choice(said)}")
        made = self._connect_outside(dialect, record, arguments, named)
        self.connections.add(made)
        return made

    def _connect_outside(self, dialect: Any, record: Any, arguments: Any, named: dict[str, Any]) -> "SimConnection":
        made = SimConnection.connect(*arguments, **named, options=_OPTIONS)
        made.cursor_factory = SimCursor
        made.database = self
        return made

    def now(self) -> str:
        """Return the time by the server's clock."""
        here = machine()
        time = here.kernel.time if isinstance(here, SimMachine) else 0.0
        return from_microseconds(round((EPOCH + time + self.skew) * 1_000_000))

    def cut(self, connections: "list[SimConnection]") -> None:
        """Let the server end connections; what they had not committed is gone."""
        pids = [one.info.backend_pid for one in connections if not one.closed]
        self._do("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", pids)
        # The server's own way to wait for it looks ten times a second only.
        while self._do("SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", pids):
            time.sleep(0.001)
        for one in connections:
            one.was_cut = True
            self.release(one)
        self._wake()

    def lock(self, mine: "SimConnection") -> bool:
        """Wait for the ledger's lock; return whether there was anything to wait for."""
        kernel = self.kernel
        waited = False
        if kernel is not None and kernel.current is not None:
            until = kernel.time + BUSY_PATIENCE_S
            while self.holder not in (None, mine) and not mine.was_cut:
                if kernel.time >= until:
                    raise psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")
                waited = True
                self._waiting.append((kernel.current, kernel.current.ticket))
                kernel.park(f"the ledger's lock, which {self.holder} has", until)
        if self.holder is None:
            self.holder = mine
        return waited

    def release(self, mine: "SimConnection") -> None:
        """Give the ledger's lock back, where this connection has it."""
        if self.holder is mine:
            self.holder = None
            self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for task, ticket in waiting:
            task.worker.kernel.wake(task, ticket)


class SimConnection(psycopg.Connection[Any]):
    """One connection.

    Attributes:
        database: where to.
        writes: whether its transaction has asked for the ledger's lock.
        was_cut: whether the server has ended it.
        undecided: whether the server is still at work on its COMMIT, though its client believes it lost.
    """

    database: SimPostgres
    writes = False
    was_cut = False
    undecided = False

    def commit(self) -> None:
        """COMMIT, or what becomes of it."""
        database = self.database
        kernel = database.kernel
        task = kernel.current if kernel is not None else None
        if kernel is None or task is None or not self.writes or not database.rates:
            self._end(commit=True)
            return
        facts = task.memory.get("facts", "a write")
        times = SORE if any(name in facts for name in SORE_AT) else 1.0
        fate = next((what for what in AT_COMMIT if database.strikes(what, kernel, task, times)), "")
        if not fate and task.memory.get("cut at"):
            fate = CUT  # it has fewer statements
        if fate:
            kernel.note_where(fate, task.worker, "", facts)
        if fate == FULL:
            self._end(commit=False)
            raise psycopg.errors.DiskFull("could not extend file: No space left on device")
        if fate == REPLY_LOST:
            self._end(commit=True)
            self.close()
            raise psycopg.OperationalError("consuming input failed: Connection reset by peer")
        if fate == UNDECIDED:
            self.undecided = True
            commit = kernel.latencies.random() < 0.5
            kernel.after(_between(kernel, UNDECIDED_S), lambda: self._decide(commit))
            raise psycopg.OperationalError("consuming input failed: Connection timed out")
        if fate == SUSPENDED:
            kernel.suspend(task.worker, _between(kernel, SLEEPS_S))
            awake = False
            # As the server's idle_in_transaction_session_timeout does.
            kernel.after(FROZEN_S, lambda: awake or database.cut([self]))
            try:
                kernel.pause("suspended", "in mid-transaction")
            finally:
                awake = True  # or dead, and its connection with it
        elif fate == CRASHED:
            database.cut(list(database.connections))
            database.lives += 1
            task.memory["given to another"] = True
            raise psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly")
        elif fate in (LOST, CUT) and not self.was_cut:
            database.cut([self])
        self._end(commit=True)

    def _decide(self, commit: bool) -> None:
        if self.was_cut:
            commit = False
        self.undecided = False
        if not self.was_cut:
            self._end(commit=commit)
        self.close()

    def _end(self, *, commit: bool) -> None:
        try:
            if commit:
                super().commit()
            else:
                super().rollback()
        finally:
            self.writes = False
            self.database.release(self)

    def rollback(self) -> None:
        """ROLLBACK, unless the client only believes that this connection is lost."""
        if not self.undecided:
            self._end(commit=False)

    def close(self) -> None:
        """Close it, unless the client only believes that it is lost."""
        if not self.undecided:
            super().close()
            self.database.release(self)

    def __str__(self) -> str:
        return f"connection {id(self) if self.closed else self.info.backend_pid}"


class SimCursor(psycopg.Cursor[Any]):
    """Statements of a connection."""

    def execute(self, query: Any, *values: Any, **how: Any) -> Any:
        """Carry out a statement."""
        mine = self.connection
        assert isinstance(mine, SimConnection)
        database = mine.database
        if query.startswith("BEGIN"):
            mine.writes = False
            if database.kernel is not None and database.kernel.current is not None:
                database.kernel.current.memory.pop("given to another", None)
            query = f"{query}; SET LOCAL sim.clock = '{database.now()}'"
        elif query == _LIFE:
            query = f"SELECT 'life {database.lives}'"
        elif "pg_xact_status" in query:
            kernel = database.kernel
            if kernel is not None and kernel.current is not None and kernel.current.memory.get("given to another"):
                return super().execute("SELECT 'committed'")
        elif "pg_advisory_xact_lock" in query:
            if database.lock(mine):
                super().execute(f"SET LOCAL sim.clock = '{database.now()}'")
            mine.writes = True
        elif mine.writes and database.kernel is not None and database.kernel.current is not None:
            memory = database.kernel.current.memory
            if memory.get("cut at") == 1:
                database.cut([mine])
            memory["cut at"] = max(memory.get("cut at", 0) - 1, 0)
        return super().execute(query, *values, **how)


def _between(kernel: Kernel, ranges: tuple[tuple[float, float], ...]) -> float:
    low, high = kernel.latencies.choice(ranges)
    return kernel.latencies.uniform(low, high)
