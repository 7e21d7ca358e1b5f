"""Claims and commits per second of 1, 4, 16 and 64 processes on one SQLite ledger of a million captures.

    python benchmarks/claims.py [--captures 1000000] [--seconds 5]

Each process does what an upload does to the ledger, without the network: claim 50 captures in one transaction, then
write down what becomes of them in group commits of 50. A second column claims one at a time.
"""

import argparse
import multiprocessing
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text

from ctstate.ledger import Ledger, claims, runs
from ctstate.ledger.clock import now
from ctstate.ledger.states import State

PROCESSES = (1, 4, 16, 64)


def fill(path: Path, captures: int) -> None:
    with Ledger.open(path, create=True) as ledger, ledger.atomic_run("fill", {}) as (connection, run_id):
        connection.execute(
            text("INSERT INTO season (name, attribution, license, created_at) VALUES ('S', 'a', 'l', 't')")
        )
        connection.execute(
            text("INSERT INTO batch (id, season_id, name, created_at) VALUES (1, 1, 'complete', 't')")
        )
        connection.execute(
            text(
                "WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < :count)"
                " INSERT INTO capture (id, capture_id, season_id, season, site, roll, capture, capture_number,"
                " state, run_id, moved_at)"
                " SELECT k, 'S#A#1#' || k, 1, 'S', 'A', '1', k, k, 'manifested', :run, :at FROM n"
            ),
            {"count": captures, "run": run_id, "at": now()},
        )
        connection.execute(text("INSERT INTO image (capture_id, rank, path) SELECT id, 1, 'x.jpg' FROM capture"))
        connection.execute(
            text("UPDATE capture SET state = 'batched', batch_id = 1, moved_at = :at"), {"at": now()}
        )


def work(path: str, size: int, until: float, number: int, results: Any) -> None:
    done = commits = 0
    longest = 0.0
    with Ledger.open(path) as ledger:
        with ledger.write() as connection:
            run_id = runs.start(connection, "upload", {})
        while time.time() < until:
            began = time.perf_counter()
            with ledger.write() as connection:
                got = claims.claim(connection, run_id, 1, 1, size)
            longest = max(longest, time.perf_counter() - began)
            if not got:
                break
            with ledger.write() as connection:
                for mine in got:
                    claims.note_create_intent(connection, mine, run_id, 1)
            with ledger.write() as connection:
                for mine in got:
                    claims.note_created(connection, mine, mine.row.id)
                    claims.note_moved(connection, mine, State.UPLOADED)
            done += len(got)
            commits += 3
    results.put((done, commits, longest))


def measure(path: Path, processes: int, size: int, seconds: float) -> tuple[float, float, float]:
    """Return captures per second, commits per second, and the longest wait for a claim."""
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    start = time.time() + 1.5 + processes * 0.15  # until all have started
    workers = [
        context.Process(target=work, args=(str(path), size, start + seconds, n, results)) for n in range(processes)
    ]
    began = time.time()
    for worker in workers:
        worker.start()
    rows = [results.get() for _ in workers]
    took = time.time() - began - 1.0
    for worker in workers:
        worker.join()
    return sum(r[0] for r in rows) / took, sum(r[1] for r in rows) / took, max(r[2] for r in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-claims-"))
    try:
        path = folder / "l.db"
        fill(path, arguments.captures)
        print(f"{arguments.captures:,} captures, ledger of {path.stat().st_size / 1e6:,.0f} MB", flush=True)
        print("processes  claimed  captures/s  ratio  commits/s  longest wait for a claim")
        for size in (50, 1):
            first = 0.0
            for processes in PROCESSES:
                captures, commits, longest = measure(path, processes, size, arguments.seconds)
                first = first or captures
                print(
                    f"{processes:9}  {size:7}  {captures:10,.0f}  {captures / first:5.2f}"
                    f"  {commits:9,.0f}  {longest:8.2f} s",
                    flush=True,
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
