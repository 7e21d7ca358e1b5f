"""Subjects per second with 1, 4, 16 and 32 workers of `ctstate submit` on a real Slurm, on both kinds of ledger.

    python -m benchmarks.cluster [--workers 1 4 16 32] [--seconds 15] [--latency 100] [--ledgers sqlite postgresql]

Slurm (slurmctld, munged, four slurmd of eight pretended cores) and PostgreSQL (without fsync) are those of the
tests, and run as root on this machine. Zooniverse is a sandbox that answers after 100 ms; images are tiny and sent
as they are; each worker has two connections. Of each step only the time counts in which all workers are at work.
Beside the rates stands what could limit them: the cores that the sandbox used (it is one process), and those that
were idle.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from sqlalchemy import text

from ctstate.ledger import Ledger
from ctstate.sandbox import SandboxProcess, SandboxSettings
from ctstate.verbs.manifest import manifest
from tests.builders import postgres
from tests.slurm.cluster import Cluster, wait_until

SEASON = "BEN_S1"
WORKER = ("--n-processes", "1", "--connections", "2", "--dont-compress-images", "--cpus", "1", "--time", "60")
AT_WORK = "SELECT count(*) FROM run WHERE verb = 'upload' AND ended_at IS NULL AND watermark IS NOT NULL"


def season(folder: Path, url: str, captures: int) -> None:
    """Read a season of so many captures, one tiny image each (all are one file), into a ledger."""
    from PIL import Image

    images = folder / "images"
    images.mkdir(exist_ok=True)
    Image.new("RGB", (16, 12), (90, 120, 60)).save(images / "image.jpg")
    csv = folder / "captures.csv"
    rows = [f"{SEASON},A01,1,{number},1,image.jpg" for number in range(captures)]
    csv.write_text("\n".join(["season,site,roll,capture,image,path", *rows, ""]), encoding="utf-8")
    with Ledger.open(url, create=True) as ledger:
        manifest(ledger, csv, attribution="a", license="l", images_root=images)


def new_database() -> str:
    """Return a database of PostgreSQL (which the tests' server does not sync to disk)."""
    server = postgres.cluster()
    server.ask("CREATE DATABASE bench")
    return server.url("bench")


class Bench:
    """A season on its way, with so many workers at a time."""

    def __init__(self, folder: Path, url: str, slurm: Cluster, sandbox: SandboxProcess) -> None:
        self._folder, self._url, self._slurm, self._sandbox = folder, url, slurm, sandbox
        self._password = folder / "passwords.ini"
        self._password.write_text(f"[zooniverse]\nusername = {sandbox.login}\npassword = {sandbox.password}\n")

    def _ctstate(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "ctstate", "--ledger", self._url, "--endpoint", self._sandbox.url, *arguments],
            env=self._slurm.environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)

    def _at_work(self) -> int:
        with Ledger.open(self._url, read_only=True) as ledger, ledger.read() as connection:
            return int(connection.execute(text(AT_WORK)).scalar_one())

    def _arrived(self) -> int:
        return int(self._sandbox.requests()["routes"].get("put image", 0))

    def measure(self, workers: int, seconds: float) -> tuple[float, float, float]:
        """Return subjects per second, and the cores that the sandbox used and that were idle."""
        before = self._arrived()
        self._ctstate(
            *("submit", "--project-id", self._sandbox.project_id, "--password-file", str(self._password)),
            *("--workers", str(workers), "--max-rounds", "1", *WORKER),
        )
        wait_until(lambda: self._at_work() == workers, 300, f"{workers} workers")
        wait_until(lambda: self._arrived() >= before + 2 * workers, 120, "first images")
        time.sleep(2.0)
        server = psutil.Process(self._sandbox.pid)
        first, began, idle, used = self._arrived(), time.perf_counter(), psutil.cpu_times().idle, server.cpu_times()
        time.sleep(seconds)
        took, last, now = time.perf_counter() - began, self._arrived(), server.cpu_times()
        idle = psutil.cpu_times().idle - idle
        self._ctstate("stop", "--all")
        wait_until(lambda: not self._slurm.run("squeue", "--noheader").strip(), 180, "an empty queue")
        busy = now.user + now.system - used.user - used.system
        return (last - first) / took, busy / took, idle / took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--latency", type=float, default=100.0, help="of every request, in ms")
    parser.add_argument("--ledgers", nargs="+", default=["sqlite", "postgresql"])
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cb", dir="/tmp"))
    slurm = Cluster(folder, 4)
    print(f"{os.cpu_count()} cores, {given.latency:.0f} ms latency, 2 connections a worker, Slurm with 4 nodes")
    try:
        slurm.start()
        for kind in given.ledgers:
            place = folder / kind
            place.mkdir()
            url = str(place / "season.db") if kind == "sqlite" else new_database()
            season(place, url, 60_000)
            settings = SandboxSettings(subject_limit=1_000_000, discard_images=True)
            faults = {"latency_ms": {"*": given.latency}}
            with SandboxProcess(place / "sandbox", settings, faults=faults) as sandbox:
                bench, one = Bench(place, url, slurm, sandbox), 0.0
                print(f"{kind}: workers, subjects/s, ratio, cores of the sandbox, idle cores")
                for workers in given.workers:
                    rate, busy, idle = bench.measure(workers, given.seconds)
                    one = one or rate
                    print(
                        f"{workers:>7}  {rate:>8.1f}  {rate / one:>5.2f}x  {busy:>5.2f}  {idle:>5.2f}", flush=True
                    )
    finally:
        slurm.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
