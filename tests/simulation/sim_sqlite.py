"""The simulator's ledger on SQLite, in memory."""

import contextlib
import functools
import itertools
import os
import random
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from ctstate.errors import LedgerError
from ctstate.ledger import Ledger
from ctstate.ledger.sqlite import _begin
from ctstate.machine import machine
from tests.simulation.kernel import Kernel, Task, Worker

IN_MEMORY = sqlite3.sqlite_version_info >= (3, 36)
"""Whether this SQLite can share a database in memory between connections (else it is a file in memory)."""

_numbers = itertools.count()


@functools.cache
def _template() -> bytes:
    """Return an empty ledger: made by the real migrations."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        Ledger.open(path, create=True).close()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            # The header says WAL, which a database in memory cannot have.
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            return connection.serialize()


class SimSqlite:
    """Serves `sim_ledger.SimDatabase`.

    Attributes:
        rates: how likely a write finds the ledger "busy" for too long, or the disk "full" at its commit.
    """

    def __init__(self) -> None:
        name = f"ctstate-simulation-{os.getpid()}-{next(_numbers)}"
        if IN_MEMORY:
            self._file, self._url = None, f"file:/{name}?vfs=memdb"
        else:
            memory = Path("/dev/shm")
            self._file = (memory if memory.is_dir() else Path(tempfile.gettempdir())) / name
            self._url = f"file:{self._file}"
        self._scratch = sqlite3.connect(":memory:")
        self._keeper = self._connect()  # what is in memory only goes with its last connection
        self.empty = _template()
        self.put_back(self.empty)
        # Kept for all seasons, with its compiled statements, which are dear.
        self._engine = create_engine("sqlite://", creator=self._connect, poolclass=QueuePool, max_overflow=-1)
        event.listen(self._engine, "begin", _begin)
        self.rates: dict[str, float] = {}
        self.transactions = 0
        self.struck: Counter[str] = Counter()

    def close(self) -> None:
        """Forget it all."""
        self._engine.dispose()
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

    def engine(self, kernel: Kernel | None, worker: Worker | None) -> Engine:
        """Return the one engine: what workers share is the database."""
        return self._engine

    def accidents(self, chance: random.Random) -> dict[str, float]:
        """Return nothing: there is no server between a process and its file."""
        return {}

    def befall(self, kernel: Kernel, task: Task, *, writes: bool) -> DBAPIError | None:
        """Let a write find the ledger busy, or the disk full."""
        if not writes or not self.rates:
            return None
        if kernel.accident(f"ledger busy for {task.worker.name}", self.rates.get("busy", 0.0)):
            self.struck["busy"] += 1
            raise LedgerError("ledger simulated: another process kept it locked for too long")
        if kernel.accident(f"disk full for {task.worker.name}", self.rates.get("full", 0.0)):
            self.struck["full"] += 1
            return OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"))
        return None

    def snapshot(self) -> bytes:
        """Return all that is in it, as a backup does."""
        return self._keeper.serialize()

    def put_back(self, snapshot: bytes) -> None:
        """Let it be as it was; no transaction may be open."""
        with contextlib.closing(sqlite3.connect(":memory:")) as old:
            old.deserialize(snapshot)
            old.backup(self._keeper)
