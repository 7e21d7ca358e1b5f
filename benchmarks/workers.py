"""Captures per second with 1, 2, 4, ... workers on one ledger, as ratios to one worker, in one run.

    python benchmarks/workers.py [--workers 1 2 4 8 16 32] [--seconds 12] [--latency 100]
                                 [--ledger postgresql+psycopg://me@host/empty_database]

Each worker is a process of `ctstate upload` with two connections, as a task of a job array would be; Zooniverse is
a sandbox on this machine that answers after 100 ms. Images are tiny and sent as they are, so that workers mostly
wait, as they do for the real Zooniverse. Of each step only the time counts in which all workers are at work: from
2 s after the last has begun to upload, for --seconds.

Beside the rates stand what could limit them: the share of this machine's cores that the sandbox and the workers
used, and the time for which a writer of the ledger waits for its lock (asked by an own process ten times a second).
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import text

from ctstate.ledger import Ledger
from ctstate.sandbox import SandboxProcess, SandboxSettings
from ctstate.verbs.manifest import manifest

SEASON = "BEN_S1"
CONNECTIONS = 2


@dataclass
class Step:
    """What was measured with so many workers."""

    workers: int
    rate: float
    sandbox: float  # cores
    others: float  # cores: the workers
    idle: float  # cores
    lock_ms: float  # mean wait for the ledger's write lock
    lock_worst_ms: float


def make_season(folder: Path, captures: int, name: str) -> None:
    """Make a ledger of so many captures, one tiny image each (all links to one file)."""
    from PIL import Image

    images = folder / "images"
    images.mkdir()
    Image.new("RGB", (16, 12), (90, 120, 60)).save(images / "image.jpg")
    csv = folder / "captures.csv"
    with csv.open("w", encoding="utf-8") as out:
        out.write("season,site,roll,capture,image,path\n")
        for number in range(captures):
            out.write(f"{SEASON},A01,1,{number},1,image.jpg\n")
    with Ledger.open(name, create=True) as ledger:
        manifest(ledger, csv, attribution="a", license="l", images_root=images)


@contextlib.contextmanager
def working(count: int, ledger: str, log: Path, sandbox: SandboxProcess) -> Iterator[list[psutil.Process]]:
    """Run so many workers; leaving stops them."""
    environment = {
        **os.environ,
        "PANOPTES_USERNAME": sandbox.login,
        "PANOPTES_PASSWORD": sandbox.password,
        "PANOPTES_ENDPOINT": sandbox.url,
        "CTSTATE_LEDGER": ledger,
    }
    command = [sys.executable, "-m", "ctstate", "upload", "--project-id", sandbox.project_id]
    command += ["--dont-compress-images", "--n-processes", "1", "--connections", str(CONNECTIONS)]
    said = log.open("ab")
    children = [
        psutil.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        for _ in range(count)
    ]
    try:
        yield children
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(120)
        said.close()


def arrived(sandbox: SandboxProcess) -> int:
    """Return how many images the sandbox has taken: one a capture."""
    return int(sandbox.requests()["routes"].get("put image", 0))


def lock_waits(name: str, stop: threading.Event, waits: list[float]) -> None:
    """Take the ledger's write lock for a moment, again and again, and note how long it took to get it."""
    with Ledger.open(name) as ledger:
        while not stop.wait(0.1):
            began = time.perf_counter()
            with ledger.write():
                waits.append(time.perf_counter() - began)


def cpu(processes: list[psutil.Process]) -> float:
    """Return the processor seconds of processes and all below them."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = one.cpu_times()
                    total += times.user + times.system
    return total


def measure(count: int, ledger: str, log: Path, sandbox: SandboxProcess, seconds: float) -> Step:
    """Measure one step."""
    server = [psutil.Process(sandbox.pid)]
    before = arrived(sandbox)
    with working(count, ledger, log, sandbox) as children:
        deadline = time.monotonic() + 180
        while live_uploads(ledger) < count or arrived(sandbox) < before + 2 * count:
            if time.monotonic() > deadline:
                raise SystemExit(f"{count} workers did not begin in time; see {log}")
            time.sleep(0.2)
        time.sleep(2.0)
        stop, waits = threading.Event(), list[float]()
        thread = threading.Thread(target=lock_waits, args=(ledger, stop, waits))
        thread.start()
        first, began = arrived(sandbox), time.perf_counter()
        used = cpu(server), cpu(list(children)), psutil.cpu_times().idle
        time.sleep(seconds)
        last, took = arrived(sandbox), time.perf_counter() - began
        now = cpu(server), cpu(list(children)), psutil.cpu_times().idle
        stop.set()
        thread.join()
    shares = [(after - earlier) / took for earlier, after in zip(used, now, strict=False)]
    mean = sum(waits) / max(len(waits), 1)
    return Step(count, (last - first) / took, *shares, 1000 * mean, 1000 * max(waits, default=0.0))


def live_uploads(name: str) -> int:
    """Return how many uploads have written down that they began."""
    live = "SELECT count(*) FROM run WHERE verb = 'upload' AND ended_at IS NULL AND watermark IS NOT NULL"
    with Ledger.open(name) as ledger, ledger.read() as connection:
        return int(connection.execute(text(live)).scalar_one())


def verdict(steps: list[Step], cores: int) -> str:
    """Say where the rate stops growing, and what limits it there."""
    grown = steps[0]
    for step in steps[1:]:
        if step.rate < 1.15 * grown.rate:
            break
        grown = step
    else:
        return f"Still growing at {steps[-1].workers} workers."
    full = step
    reasons = []
    if full.sandbox > 0.85:
        reasons.append(f"the sandbox, one process, which uses {full.sandbox:.2f} of the one core it can use")
    if full.idle < 0.15 * cores:
        reasons.append(
            f"this machine: its {cores} cores are busy (sandbox {full.sandbox:.2f}, workers {full.others:.2f})"
        )
    if full.lock_ms > 100:
        reasons.append(f"the ledger's write lock, for which a writer waits {full.lock_ms:.0f} ms")
    limit = "; ".join(reasons) or "none of what was measured"
    return (
        f"Grows up to {grown.workers} workers ({grown.rate:.0f}/s); what limits it beyond that: {limit}. "
        f"A writer waits {full.lock_ms:.1f} ms for the ledger there."
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--latency", type=float, default=100.0, help="of every request, in ms")
    parser.add_argument("--ledger", help="an empty database of a PostgreSQL server")
    given = parser.parse_args()
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("making the season...", file=sys.stderr)
        ledger = given.ledger or str(folder / "season.db")
        make_season(folder, 60_000, ledger)
        settings = SandboxSettings(subject_limit=1_000_000, discard_images=True)
        with SandboxProcess(folder / "sandbox", settings, faults={"latency_ms": {"*": given.latency}}) as sandbox:
            steps: list[Step] = []
            print(
                f"{cores} cores, {given.latency:.0f} ms latency, {CONNECTIONS} connections per worker, "
                f"{'PostgreSQL' if given.ledger else 'SQLite (WAL)'}"
            )
            print("workers  captures/s   ratio  sandbox  workers  idle cores  lock wait ms (mean, worst)")
            for count in given.workers:
                step = measure(count, ledger, folder / "workers.log", sandbox, given.seconds)
                steps.append(step)
                print(
                    f"{count:>7}  {step.rate:>10.1f}  {step.rate / steps[0].rate:>5.2f}x  {step.sandbox:>7.2f}"
                    f"  {step.others:>7.2f}  {step.idle:>10.2f}  {step.lock_ms:>9.1f}, {step.lock_worst_ms:.0f}",
                    flush=True,
                )
    print(verdict(steps, cores))


if __name__ == "__main__":
    main()
