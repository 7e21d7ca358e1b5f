"""The ledger in the simulator: the real one, on SQLite or on PostgreSQL, with pauses around each transaction.

What is inside of a transaction runs at one go: no other task runs before it is over. On SQLite a kill before BEGIN
or after COMMIT is all that a kill can be, as what was not committed is taken back. On PostgreSQL there is a server
in between, and what else that means is in `sim_postgres`.
"""

import contextlib
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ctstate.ledger import Ledger
from tests.simulation.kernel import Kernel, Killed, Task, Worker


class SimDatabase(Protocol):
    """One database that many ledgers share; it may serve one season after the other. It begins empty.

    Attributes:
        empty: a ledger without a season, as the real migrations make it; for `put_back`.
        rates: how likely each accident of this database is.
        transactions: how many there were.
        struck: the accidents that befell it.
    """

    empty: Any
    rates: dict[str, float]
    transactions: int
    struck: Counter[str]

    def engine(self, kernel: Kernel | None, worker: Worker | None) -> Engine:
        """Return the engine of a worker; of who looks on, where it is None."""
        ...

    def accidents(self, chance: random.Random) -> dict[str, float]:
        """Choose, for a season, rates of what befalls this database alone."""
        ...

    def befall(self, kernel: Kernel, task: Task, *, writes: bool) -> DBAPIError | None:
        """Let accidents strike a transaction that is about to begin; return the error that its COMMIT ends in.

        Raises:
            LedgerError: it cannot even begin.
        """
        ...

    def snapshot(self) -> Any:
        """Return all that is in it, as a backup does."""
        ...

    def put_back(self, snapshot: Any) -> None:
        """Let it be as it was; no transaction may be open."""
        ...

    def close(self) -> None:
        """Forget it all."""
        ...


def new_database() -> SimDatabase:
    """Return a database with an empty ledger: on SQLite, or with CTSTATE_TEST_LEDGER=postgres on PostgreSQL."""
    if os.environ.get("CTSTATE_TEST_LEDGER") == "postgres":
        from tests.simulation.sim_postgres import SimPostgres

        return SimPostgres()
    from tests.simulation.sim_sqlite import SimSqlite

    return SimSqlite()


class SimLedger(Ledger):
    """One worker's ledger: that of the current task, unless another is named.

    `SimLedger.outside(database)` is for who looks on, or prepares: it never pauses and nobody can kill it.
    """

    def __init__(self, kernel: Kernel, database: SimDatabase, worker: Worker | None = None) -> None:
        if worker is None and kernel.current is not None:
            worker = kernel.current.worker
        super().__init__("simulated", database.engine(kernel, worker))
        self._kernel = kernel
        self._database = database
        self._worker = worker

    @staticmethod
    def outside(database: SimDatabase) -> Ledger:
        """Return a plain ledger over the same database."""
        return Ledger("simulated", database.engine(None, None))

    def write(self, connection: Connection | None = None) -> AbstractContextManager[Connection]:
        return _Transaction(self, super().write(connection), True)

    def read(self, connection: Connection | None = None) -> AbstractContextManager[Connection]:
        return _Transaction(self, super().read(connection), False)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        self._alive()
        with self._engine.connect() as connection:
            try:
                yield connection
            finally:
                # Also after a kill: a process takes its temporary tables along.
                with contextlib.suppress(DBAPIError):  # a connection that was cut has none
                    connection.rollback()
                    connection.detach()

    def _alive(self) -> Task | None:
        task = self._kernel.current
        if self._worker is not None and not self._worker.alive:
            if task is not None and task.worker is self._worker:
                self._kernel.refuse(task)
            raise Killed
        return task


class _Transaction:
    def __init__(self, ledger: SimLedger, inner: AbstractContextManager[Connection], writes: bool) -> None:
        self._ledger = ledger
        self._inner = inner
        self._writes = writes
        self._task: Task | None = None
        self._fails: DBAPIError | None = None

    def __enter__(self) -> Connection:
        ledger = self._ledger
        task = self._task = ledger._alive()
        if task is not None:
            # Not inside of another one: a second connection of one process, for another picture of the ledger.
            ledger._kernel.pause("begin", "a write" if self._writes else "a read")
            self._fails = ledger._database.befall(ledger._kernel, task, writes=self._writes)
        connection = self._inner.__enter__()  # which may take a while where there is a server
        if task is not None:
            task.transactions += 1
        ledger._database.transactions += 1
        return connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        task = self._task
        if task is not None:
            task.transactions -= 1
        if self._fails is not None and error is None:
            return self._inner.__exit__(type(self._fails), self._fails, None)
        done = self._inner.__exit__(kind, error, trace)
        if task is not None and error is None:
            wrote = task.memory.pop("facts", "a write") if self._writes else "a read"
            self._ledger._kernel.pause("commit", wrote)
        return done
