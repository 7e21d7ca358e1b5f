"""The ledger in the simulator: the real one, on SQLite in memory, with pauses around each transaction.

What is inside of a transaction runs at one go: no other task runs and no accident strikes before it is over. A kill
before BEGIN or after COMMIT is all that a kill can be, as SQLite takes back what was not committed.
"""

import contextlib
import functools
import itertools
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from ctstate.errors import LedgerError
from ctstate.ledger import Ledger
from ctstate.ledger.sqlite import _begin
from ctstate.machine import machine
from tests.simulation.kernel import Kernel, Killed, Task, Worker

IN_MEMORY = sqlite3.sqlite_version_info >= (3, 36)
"""Whether this SQLite can share a database in memory between connections (else it is a file in memory)."""

_numbers = itertools.count()


@functools.cache
def new_template() -> bytes:
    """Return an empty ledger as a new season begins with it: made by the real migrations."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        Ledger.open(path, create=True).close()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            # The header says WAL, which a database in memory cannot have.
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            return connection.serialize()


class SimDatabase:
    """One database that many ledgers share; it may serve one season after the other.

    Args:
        template: what it begins with; see `new_template`, `snapshot`.

    Attributes:
        engine: SQLAlchemy's; keeping it keeps its compiled statements, which are dear.
        rates: how likely a write finds the ledger "busy" for too long, or the disk "full" at its commit.
        transactions: how many there were.
    """

    def __init__(self, template: bytes) -> None:
        name = f"ctstate-simulation-{os.getpid()}-{next(_numbers)}"
        if IN_MEMORY:
            self._file, self._url = None, f"file:/{name}?vfs=memdb"
        else:
            memory = Path("/dev/shm")
            self._file = (memory if memory.is_dir() else Path(tempfile.gettempdir())) / name
            self._url = f"file:{self._file}"
        self._scratch = sqlite3.connect(":memory:")
        self._keeper = self._connect()  # what is in memory only goes with its last connection
        self.put_back(template)
        self.engine = create_engine("sqlite://", creator=self._connect, poolclass=QueuePool, max_overflow=-1)
        event.listen(self.engine, "begin", _begin)
        self.rates: dict[str, float] = {}
        self.transactions = 0

    def close(self) -> None:
        """Forget it all."""
        self.engine.dispose()
        self._keeper.close()
        self._scratch.close()
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._url, uri=True, timeout=0.0, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY").fetchone()
        # The triggers ask SQLite for the time; here it is the worker's.
        connection.create_function("strftime", -1, self._strftime)
        return connection

    def _strftime(self, *arguments: Any) -> Any:
        given = list(arguments)
        if given[1:2] == ["now"]:
            given[1:2] = [machine().wall(), "unixepoch"]
        marks = ", ".join("?" * len(given))
        return self._scratch.execute(f"SELECT strftime({marks})", given).fetchone()[0]

    def snapshot(self) -> bytes:
        """Return all that is in it, as a backup does."""
        return self._keeper.serialize()

    def put_back(self, snapshot: bytes) -> None:
        """Let it be as it was; no transaction may be open."""
        with contextlib.closing(sqlite3.connect(":memory:")) as old:
            old.deserialize(snapshot)
            old.backup(self._keeper)


class SimLedger(Ledger):
    """One worker's ledger: that of the current task, unless another is named.

    `SimLedger.outside(database)` is for who looks on, or prepares: it never pauses and nobody can kill it.
    """

    def __init__(self, kernel: Kernel, database: SimDatabase, worker: Worker | None = None) -> None:
        super().__init__("simulated", database.engine)
        self._kernel = kernel
        self._database = database
        if worker is None and kernel.current is not None:
            worker = kernel.current.worker
        self._worker = worker

    @staticmethod
    def outside(database: SimDatabase) -> Ledger:
        """Return a plain ledger over the same database."""
        return Ledger("simulated", database.engine)

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
        self._nested = False
        self._full = False

    def __enter__(self) -> Connection:
        ledger = self._ledger
        task = self._task = ledger._alive()
        if task is not None:
            # A reader inside of a transaction is a thing of SQLite's alone; a writer would wait for ever.
            self._nested = task.transactions > 0 and not self._writes
            if not self._nested:
                kernel, rates = ledger._kernel, ledger._database.rates
                kernel.pause("begin", "a write" if self._writes else "a read")
                if self._writes and rates:
                    if kernel.accident(f"ledger busy for {task.worker.name}", rates.get("busy", 0.0)):
                        raise LedgerError(f"ledger {ledger.name}: another process kept it locked for too long")
                    self._full = kernel.accident(f"disk full for {task.worker.name}", rates.get("full", 0.0))
            task.transactions += 1
        try:
            connection = self._inner.__enter__()
        except BaseException:
            if task is not None:
                task.transactions -= 1
            raise
        ledger._database.transactions += 1
        return connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        task = self._task
        try:
            if self._full and error is None:
                full = OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"))
                return self._inner.__exit__(type(full), full, None)
            done = self._inner.__exit__(kind, error, trace)
        finally:
            if task is not None:
                task.transactions -= 1
        if task is not None and not self._nested and error is None:
            wrote = task.memory.pop("facts", "a write") if self._writes else "a read"
            self._ledger._kernel.pause("commit", wrote)
        return done
