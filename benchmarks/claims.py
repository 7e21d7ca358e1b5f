"""Claims of 1, 4, 16 and 64 processes on one ledger, and how long they wait for its lock, beside a floor.

    python benchmarks/claims.py [--captures 300000] [--seconds 5] [--processes 1 4 16 64] [--size 50]
                                [--server postgresql+psycopg://me@host/postgres]

Each process does what an upload does to the ledger, without the network: claim 50 captures in one transaction, then
write down what becomes of them in two group commits. All begin together, once the last has imported, and only what
was done within the window counts. The floor (benchmarks/floors/claims_floor.py) is the driver alone, with SQLite's
own waiting; both begin with a copy of the same ledger. `ratio` is by captures a second, of one run. --folder says
on which disk: each commit waits for it, and on a slow one for nothing else.

With --server (on which it may make and drop databases), PostgreSQL is measured as well, in the same run.
"""

import argparse
import contextlib
import importlib
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text

from ctstate.ledger import Ledger, claims, runs
from ctstate.ledger.clock import now
from ctstate.ledger.facts import Announced, Made, Moved, write_down
from ctstate.ledger.states import State

sys.path.insert(0, str(Path(__file__).parent / "floors"))


class Files:
    """Ledgers in files of a folder."""

    name = "SQLite"

    def __init__(self, folder: Path, captures: int) -> None:
        self._folder = folder
        fill(str(folder / "full.db"), captures)

    def fresh(self) -> str:
        """Return what names a copy of the full ledger."""
        for rest in self._folder.glob("l.db-*"):
            rest.unlink()
        shutil.copyfile(self._folder / "full.db", self._folder / "l.db")
        return str(self._folder / "l.db")

    def close(self) -> None:
        """Forget them; the folder goes by itself."""


class Databases:
    """Ledgers in databases of a server."""

    name = "PostgreSQL"

    def __init__(self, server: str, captures: int) -> None:
        self._server, self._number = server, 0
        self._ask("DROP DATABASE IF EXISTS ctstate_bench_full WITH (FORCE)")
        self._ask("CREATE DATABASE ctstate_bench_full")
        fill(self._named("ctstate_bench_full"), captures)
        self._ask("VACUUM ANALYZE", "ctstate_bench_full")

    def _named(self, database: str) -> str:
        return f"{self._server.rpartition('/')[0]}/{database}"

    def _ask(self, statement: str, database: str | None = None) -> None:
        import psycopg

        url = self._server if database is None else self._named(database)
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(statement.encode())

    def fresh(self) -> str:
        """Return what names a copy of the full ledger."""
        self._ask("DROP DATABASE IF EXISTS ctstate_bench WITH (FORCE)")
        self._ask("CREATE DATABASE ctstate_bench TEMPLATE ctstate_bench_full")
        return self._named("ctstate_bench")

    def close(self) -> None:
        """Drop them."""
        for name in ("ctstate_bench", "ctstate_bench_full"):
            self._ask(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def fill(path: str, captures: int) -> None:
    """Make a ledger with one batch of captures, an image each."""
    with Ledger.open(path, create=True) as ledger, ledger.atomic_run("fill", {}) as (connection, run_id):
        for statement in (
            "INSERT INTO season (name, attribution, license, created_at) VALUES ('S', 'a', 'l', 't')",
            "INSERT INTO batch (id, season_id, name, created_at) VALUES (1, 1, 'complete', 't')",
            "WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < :count)"
            " INSERT INTO capture (id, capture_id, season_id, season, site, roll, capture, capture_number,"
            " state, run_id, moved_at)"
            " SELECT k, 'S#A#1#' || k, 1, 'S', 'A', '1', k, k, 'manifested', :run, 't' FROM n",
            "INSERT INTO image (capture_id, rank, path) SELECT id, 1, 'x.jpg' FROM capture",
            "UPDATE capture SET state = 'batched', batch_id = 1, moved_at = :at",
        ):
            values = {"count": captures, "run": run_id, "at": now()}
            connection.execute(text(statement), {k: v for k, v in values.items() if f":{k}" in statement})


class Worker:
    """As `floors/claims_floor.py: Worker`, by ctstate."""

    def __init__(self, path: str) -> None:
        self.ledger = Ledger.open(path)
        self.run_id = 0

    def start(self) -> None:
        with self.ledger.write() as connection:
            self.run_id = runs.start(connection, "upload", {})
            connection.execute(text("UPDATE run SET watermark = 0 WHERE id = :run"), {"run": self.run_id})

    def round(self, size: int, waited: Callable[[Callable[[], Any]], Any]) -> int:
        transaction = self.ledger.write()
        connection = waited(transaction.__enter__)
        got = claims.claim(connection, self.run_id, 1, 1, size)
        transaction.__exit__(None, None, None)
        transaction = self.ledger.write()
        connection = waited(transaction.__enter__)
        write_down(connection, [(mine, [Announced(self.run_id, 1)]) for mine in got])
        transaction.__exit__(None, None, None)
        transaction = self.ledger.write()
        connection = waited(transaction.__enter__)
        write_down(connection, [(mine, [Made(mine.row.id), Moved(State.UPLOADED)]) for mine in got])
        transaction.__exit__(None, None, None)
        return len(got)


def work(who: str, path: str, size: int, seconds: float, barrier: Any, results: Any) -> None:
    if who == "floor":
        floor = importlib.import_module("claims_floor_postgres" if "://" in path else "claims_floor")
        worker = floor.Worker(path)
    else:
        worker = Worker(path)
    worker.start()
    waits: list[float] = []

    def waited(begin: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = begin()
        waits.append(time.perf_counter() - began)
        return result

    barrier.wait()
    done, cpu = 0, time.process_time()
    until = time.perf_counter() + seconds
    while True:
        got = worker.round(size, waited)
        if time.perf_counter() > until:
            break
        assert got, "the ledger has no captures left: --captures more, or --seconds fewer"
        done += got
    results.put((done, time.process_time() - cpu, waits))


def measure(who: str, path: str, processes: int, size: int, seconds: float) -> tuple[float, str]:
    """Return captures a second, and a line on them."""
    context = multiprocessing.get_context("spawn")
    results, barrier = context.Queue(), context.Barrier(processes)
    workers = [
        context.Process(target=work, args=(who, path, size, seconds, barrier, results)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    rows = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    done, cpu = sum(row[0] for row in rows), sum(row[1] for row in rows)
    waits = sorted(wait for row in rows for wait in row[2])
    p99 = waits[int(0.99 * len(waits))]
    line = f"{done / seconds:10,.0f} {1e6 * cpu / max(done, 1):7.0f} {p99:7.2f} {waits[-1]:7.2f}"
    return done / seconds, line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", type=int, default=300_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--size", type=int, default=50, help="captures claimed at a time")
    parser.add_argument("--folder", help="where the ledger is made")
    parser.add_argument("--server", help="a database of a PostgreSQL server")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-claims-", dir=arguments.folder))
    try:
        made: list[Files | Databases] = [Files(folder, arguments.captures)]
        if arguments.server:
            made.append(Databases(arguments.server, arguments.captures))
        print(f"{arguments.captures:,} captures, {arguments.size} claimed at a time")
        head = "captures/s CPU us/c  p99 s worst s"
        for ledgers in made:
            with contextlib.closing(ledgers):
                print(f"{ledgers.name:10} ctstate{'':29}floor\nprocesses  {head}    {head}  ratio", flush=True)
                for processes in arguments.processes:
                    rates, lines = [], []
                    for who in ("ctstate", "floor"):
                        rate, line = measure(who, ledgers.fresh(), processes, arguments.size, arguments.seconds)
                        rates.append(rate)
                        lines.append(line)
                    print(f"{processes:9}  {'    '.join(lines)}  {rates[0] / rates[1]:5.2f}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
