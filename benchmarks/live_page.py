"""What commits take with and without a live page that ten browsers look at.

    python benchmarks/live_page.py [--captures 200000] [--writers 4] [--seconds 12] [--rounds 7] [--pages 10]
                                   [--pause 0.3] [--folder FOLDER] [--server postgresql+psycopg://me@host/postgres]

Processes do what uploads do to the ledger, as in benchmarks/claims.py, with a pause between two rounds as a network
makes one: by default each writes some 150 captures a second, as many as an upload ever does. Measured is how long
each transaction takes, from the wish to write to its commit. With and without `ctstate serve` and its readers
take turns within a round, each on a fresh copy of the same ledger, so that a machine that others use as well
disturbs both alike. A round holds too few transactions for a 99th percentile that says much, so `ratio` is of all
rounds' transactions together; the rounds' own stand beside it.

Each reader is a browser that asks for a page every 5 s, as pages do by themselves: half of them the overview, the
others runs, sites and failures; one person goes through captures by words that no index leads to.
"""

import argparse
import contextlib
import http.client
import itertools
import multiprocessing
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from claims import Databases, Files, Worker

PATHS = ("/", "/runs", "/", "/sites", "/", "/failures", "/", "/captures?text=nothing+like+it", "/", "/runs")
SIZE = 50


class RollbackFiles:
    """The same files without a write-ahead log, as on a network file system."""

    name = "SQLite, rollback journal"

    def __init__(self, files: Files) -> None:
        self._files = files

    def fresh(self) -> str:
        """Return what names a copy of the full ledger."""
        path = self._files.fresh()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
        return path

    def close(self) -> None:
        """Forget them."""


def write(path: str, rollback: bool, seconds: float, pause: float, barrier: Any, results: Any) -> None:
    """Do what an upload does, and say how long each of its transactions took."""
    network = (
        mock.patch("ctstate.ledger.sqlite.on_network", return_value=True) if rollback else contextlib.nullcontext()
    )
    with network:
        worker = Worker(path)
        worker.start()
        took: list[float] = []
        write_transaction = worker.ledger.write

        @contextlib.contextmanager
        def timed() -> Iterator[Any]:
            began = time.perf_counter()
            with write_transaction() as connection:
                yield connection
            took.append(time.perf_counter() - began)

        worker.ledger.write = timed  # type: ignore[method-assign, assignment]
        barrier.wait()
        until = time.perf_counter() + seconds
        done = 0
        while time.perf_counter() < until:
            done += worker.round(SIZE, lambda begin: begin())
            time.sleep(pause)
    results.put((done, took))


@contextlib.contextmanager
def looked_at(path: str, pages: int) -> Iterator[list[float]]:
    """Run `ctstate serve` and browsers; give the list of how long their pages took."""
    waits: list[float] = []
    command = [sys.executable, "-m", "ctstate", "--ledger", path, "serve", "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        over = threading.Event()
        browsers: list[threading.Thread] = []
        try:
            assert serving.stdout is not None
            where, _, entrance = serving.stdout.readline().split("http://")[1].strip().partition("/")
            reply = asked(where, f"/{entrance}", "")
            cookie = str(reply.headers["Set-Cookie"]).partition(";")[0]

            def browse(number: int) -> None:
                over.wait(5.0 * number / pages)
                while not over.is_set():
                    began = time.perf_counter()
                    assert asked(where, PATHS[number % len(PATHS)], cookie).status == 200
                    waits.append(time.perf_counter() - began)
                    over.wait(5.0)

            browsers += [threading.Thread(target=browse, args=(number,)) for number in range(pages)]
            for browser in browsers:
                browser.start()
            yield waits
        finally:
            over.set()
            for browser in browsers:
                browser.join()
            serving.terminate()


def asked(where: str, path: str, cookie: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(where, timeout=60)
    connection.request("GET", path, headers={"Cookie": cookie})
    reply = connection.getresponse()
    reply.read()
    connection.close()
    return reply


def measure(path: str, arguments: argparse.Namespace, *, rollback: bool) -> tuple[int, list[float]]:
    """Return how many captures came up, and how long each transaction took."""
    context = multiprocessing.get_context("spawn")
    results, barrier = context.Queue(), context.Barrier(arguments.writers)
    writers = [
        context.Process(target=write, args=(path, rollback, arguments.seconds, arguments.pause, barrier, results))
        for _ in range(arguments.writers)
    ]
    for writer in writers:
        writer.start()
    rows = [results.get() for _ in writers]
    for writer in writers:
        writer.join()
    return sum(row[0] for row in rows), sorted(took for row in rows for took in row[1])


def p99(took: list[float]) -> float:
    return took[int(0.99 * len(took))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", type=int, default=200_000)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pause", type=float, default=0.3, help="seconds between two rounds of a writer")
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--folder", help="where the ledger is made")
    parser.add_argument("--only", help="of the kinds of ledgers those whose names hold this, such as rollback")
    parser.add_argument("--server", help="a database of a PostgreSQL server")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-live-", dir=arguments.folder))
    try:
        files = Files(folder, arguments.captures)
        made: list[Files | RollbackFiles | Databases] = [files, RollbackFiles(files)]
        if arguments.server:
            made.append(Databases(arguments.server, arguments.captures))
        print(f"{arguments.captures:,} captures, {arguments.writers} writers, {arguments.pages} pages; ms a commit")
        print(f"{'':26}  without p50     p99    with p50     p99   ratio p99   page median", flush=True)
        for ledgers in made:
            if arguments.only and arguments.only not in ledgers.name:
                continue
            rollback = isinstance(ledgers, RollbackFiles)
            ratios, alone, beside, pages = [], [], [], []
            for number in range(arguments.rounds):
                for looked in (False, True) if number % 2 else (True, False):
                    path = ledgers.fresh()
                    with looked_at(path, arguments.pages) if looked else contextlib.nullcontext([]) as waits:
                        _, took = measure(path, arguments, rollback=rollback)
                    (beside if looked else alone).append(took)
                    pages += waits
                ratios.append(p99(beside[-1]) / p99(alone[-1]))
            whole = [sorted(itertools.chain(*all_of)) for all_of in (alone, beside)]
            halves, tails = [1000 * took[len(took) // 2] for took in whole], [1000 * p99(took) for took in whole]
            print(f"{ledgers.name:26}  {halves[0]:11.1f} {tails[0]:7.1f} {halves[1]:11.1f} {tails[1]:7.1f}"
                  f" {tails[1] / tails[0]:11.2f}   {1000 * statistics.median(pages):8.1f} ms"
                  f"   ({len(whole[0]):,} and {len(whole[1]):,} commits; rounds:"
                  f" {', '.join(f'{ratio:.2f}' for ratio in ratios)})", flush=True)  # fmt: skip
            ledgers.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
