"""A PostgreSQL server of the tests' own: on loopback, in a temporary folder, stopped with the process."""

import atexit
import contextlib
import functools
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

NO_POWER_CUTS = "fsync = off"
"""What is tested is killed processes."""


def _programs() -> Path | None:
    """Where initdb and pg_ctl are: Debian has them outside of PATH."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr/pgsql-15").glob("bin")]
    if (there := shutil.which("pg_ctl")) is not None:
        found.insert(0, Path(there).resolve().parent)
    usable = [folder for folder in found if (folder / "initdb").exists() and (folder / "pg_ctl").exists()]
    return max(usable, default=None)


class Cluster:
    """A server that is running.

    Attributes:
        programs, folder: see below.
        port: where it listens, on loopback.

    Args:
        programs: where initdb and pg_ctl are.
        folder: gets all of it; None: a temporary one.
        settings: lines of its postgresql.conf, besides those that all tests need.
    """

    def __init__(self, programs: Path, folder: Path | None = None, settings: str = NO_POWER_CUTS) -> None:
        self.programs = programs
        self.folder = folder or Path(tempfile.mkdtemp(prefix="ctstate-postgres-"))
        self._as: list[str] = []
        if os.getuid() == 0:  # which PostgreSQL refuses to run as
            names = {entry.pw_name for entry in pwd.getpwall()}
            user = "postgres" if "postgres" in names else "nobody"
            shutil.chown(self.folder, user)
            self._as = ["setpriv", f"--reuid={user}", "--clear-groups"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # Sorted by the rules of a language, as servers are: the ledger's order must not depend on it.
        self._run(
            "initdb", "--username=ctstate", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
            "--locale-provider=icu", "--icu-locale=en", f"--pgdata={self.folder}/data",
        )  # fmt: skip
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = ''\n"
                f"log_min_messages = fatal\n{settings}\n"
            )
        self.start()

    def _run(self, program: str, *arguments: str, expected: tuple[int, ...] = (0,)) -> int:
        done = subprocess.run(
            [*self._as, str(self.programs / program), *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=(self.folder.parent / f"{self.folder.name}.log").open("a"),
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        said = self.folder.parent / f"{self.folder.name}.log"
        assert done.returncode in expected, (program, said.read_text()[-2000:])
        return done.returncode

    def _control(self, what: str, *how: str, expected: tuple[int, ...] = (0,)) -> int:
        where = (f"--pgdata={self.folder}/data", f"--log={self.folder}/log")
        return self._run(
            "pg_ctl", what, *where, *(("--wait",) if what != "status" else ()), *how, expected=expected
        )

    def start(self) -> None:
        """Start it."""
        self._control("start")

    def is_running(self) -> bool:
        """Tell whether it is there at all."""
        return self._control("status", expected=(0, 3)) == 0

    def stop_at_once(self) -> None:
        """Let it die as if its machine had."""
        self._control("stop", "--mode=immediate")

    def restart_at_once(self) -> None:
        """Let it die as if its machine had, and start it again."""
        self._control("restart", "--mode=immediate")

    def close(self) -> None:
        """Stop it, and forget all that is in it."""
        atexit.unregister(self.close)
        with contextlib.suppress(AssertionError):
            self.stop_at_once()
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder.parent / f"{self.folder.name}.log").unlink(missing_ok=True)

    def url(self, database: str) -> str:
        """What names a database to ctstate."""
        return f"postgresql+psycopg://ctstate@127.0.0.1:{self.port}/{database}"

    def ask(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Let the server do something, outside of any transaction."""
        import psycopg

        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="ctstate", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description is not None else []


def missing() -> str:
    """Return what is missing for a server of the tests' own; empty where there is all."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed"
    return (
        "" if _programs() is not None else "no PostgreSQL server is installed (Debian: apt-get install postgresql)"
    )


def new_cluster(folder: Path | None = None, settings: str = NO_POWER_CUTS) -> Cluster:
    """Start a server, which is stopped with the process; see `missing`."""
    programs = _programs()
    assert programs is not None
    server = Cluster(programs, folder, settings)
    atexit.register(server.close)
    return server


@functools.cache
def cluster() -> Cluster:
    """The server of this process; without one, the test is skipped on a person's machine and fails in CI."""
    if what := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(what)
        pytest.skip(what)
    return new_cluster()


def on_postgres_or_not_at_all() -> None:
    """For programs: end this one with a reason, as `cluster` does, where there is no server."""
    if what := missing():
        print(f"{'failed' if os.environ.get('CI') == 'true' else 'skipped'}: {what}")
        sys.exit(os.environ.get("CI") == "true")
