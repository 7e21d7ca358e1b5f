"""The crash harness' ledger on PostgreSQL: a server of its own on a small disk, behind a network that fails."""

import contextlib
import itertools
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg

from tests.builders.postgres import Cluster, new_cluster
from tests.crash.database_network import CUT, RESTARTED, DatabaseNetwork
from tests.crash.ledger_in_file import filled, mount, unmount

SMALL_DISK = "200m"

SETTINGS = """
max_wal_size = 64MB
min_wal_size = 32MB
checkpoint_timeout = 60s
fsync = off
"""
"""So that it fits onto the small disk. That disk is memory: to wait for it proves nothing."""

_numbers = itertools.count(1)


class Server:
    """The server of all rounds."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ctstate-postgres-"))
        self.small_disk = mount(self.folder, SMALL_DISK)
        self.cluster: Cluster = new_cluster(self.folder, SETTINGS)

    def close(self) -> None:
        """Stop it."""
        self.cluster.close()
        if self.small_disk:
            unmount(self.folder)
            self.folder.rmdir()


class LedgerOnServer:
    """Serves `LedgerPlace`.

    Args:
        server: it runs.
        folder: of the season; gets the backups.
        chance: decides what happens.
    """

    def __init__(self, server: Server, folder: Path, chance: random.Random) -> None:
        self._server, self._folder, self._chance = server, folder, chance
        cluster = server.cluster
        self._database = f"round_{os.getpid()}_{next(_numbers)}"
        cluster.ask(f"CREATE DATABASE {self._database}")
        self.network = DatabaseNetwork(cluster.port, random.Random(chance.random()))
        self.direct = cluster.url(self._database)
        self.name = self.direct.replace(f":{cluster.port}/", f":{self.network.port}/")
        self.small_disk = server.small_disk
        self.backups: list[Path] = []
        self.trouble: dict[str, Callable[[], None]] = {RESTARTED: self._restart, CUT: self._cut}
        self._asking: psycopg.Connection[Any] | None = None

    @property
    def commits_lost(self) -> int:
        """How many COMMITs had no reply."""
        return self.network.commits_lost

    def harm(self, likely: float, met: Callable[[str, str], object], kill: Callable[[str], object]) -> None:
        """Let COMMITs be lost from now on."""
        self.network.met, self.network.kill, self.network.harm = met, kill, likely

    def environment(self, process: str) -> dict[str, str]:
        """See `DatabaseNetwork.environment`."""
        return self.network.environment(process)

    def rows(self, question: str) -> list[Any] | None:
        """Ask the server, past the network."""
        try:
            if self._asking is None or self._asking.closed:
                self._asking = psycopg.connect(
                    self.direct.replace("+psycopg", ""), autocommit=True, connect_timeout=5
                )
            return self._asking.execute(question).fetchall()  # type: ignore[call-overload, no-any-return]
        except psycopg.Error:
            if self._asking is not None:
                self._asking.close()
            return None

    def out_of_reach(self) -> AbstractContextManager[None]:
        """Nobody gets through to the server."""
        return self.network.away()

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """The server's disk is full, which may be its end; then its administrator starts it again."""
        with filled(self._server.folder):
            yield
        self._is_there()

    def _restart(self) -> None:
        """The server dies as its machine might, and is started again."""
        if self._chance.random() < 0.3:
            self._server.cluster.stop_at_once()
            time.sleep(self._chance.uniform(0.5, 4.0))
            self._server.cluster.start()
        else:
            self._server.cluster.restart_at_once()

    def _cut(self) -> None:
        """The server ends all connections, perhaps again and again."""
        for _ in range(self._chance.choice((1, 1, 4))):
            self._server.cluster.ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = '{self._database}' AND application_name = 'ctstate'"
            )
            time.sleep(self._chance.uniform(0.05, 0.4))

    def _is_there(self) -> None:
        """Make sure that the server runs."""
        end = time.monotonic() + 60
        while True:
            try:
                self._server.cluster.ask("SELECT 1")
                return
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                if not self._server.cluster.is_running():
                    self._server.cluster.start()
                time.sleep(0.2)

    def _run(self, program: str, *arguments: str) -> bool:
        cluster = self._server.cluster
        done = subprocess.run(
            [str(cluster.programs / program), "--host=127.0.0.1", f"--port={cluster.port}", "--username=ctstate",
             "--no-password", *arguments],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.returncode == 0

    def take_backup(self) -> None:
        """As docs/postgres.md has it."""
        copy = self._folder / f"backup{len(self.backups)}.dump"
        if self._run("pg_dump", "--format=custom", f"--file={copy}", self._database):
            self.backups.append(copy)

    def put_back(self, backup: Path) -> None:
        """As docs/postgres.md has it."""
        assert self._run("pg_restore", "--clean", "--if-exists", f"--dbname={self._database}", str(backup))

    def close(self) -> None:
        """Forget the database; a dump of it stays."""
        self.network.close()
        self._is_there()
        self._run("pg_dump", f"--file={self._folder / 'ledger.sql'}", self._database)
        if self._asking is not None:
            self._asking.close()
        self._server.cluster.ask(f"DROP DATABASE {self._database} WITH (FORCE)")
