"""The crash harness: workers, faults, kills, freezes, restarts; then the invariant.

Each round makes a season, a ledger and a sandbox, lets several `ctstate upload` processes work on them while
everything goes wrong, then brings it to its end as a data manager would (reconcile, retry, upload) and checks
`ctstate.verbs.demo.invariant.violations`.

    python -m tests.crash.harness --minutes 60 --seed 1
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from ctstate.ledger import Ledger
from ctstate.sandbox import SandboxProcess, SandboxSettings
from ctstate.verbs.demo import make_season
from ctstate.verbs.demo.invariant import violations
from ctstate.zooniverse import Credentials, Zooniverse
from tests.builders.season_on_sandbox import delete_set

SETTLE_S = 1.5
LEASE_S = 6.0


@dataclass
class Totals:
    """What happened in all rounds."""

    rounds: int = 0
    captures: int = 0
    workers: int = 0
    kills: int = 0
    freezes: int = 0
    clean_stops: int = 0
    sandbox_restarts: int = 0
    sets_deleted: int = 0
    faults: int = 0
    violations: int = 0


def fault_plan(rng: random.Random) -> dict[str, Any]:
    """Choose what goes wrong: sometimes little, sometimes nearly everything."""
    harm = rng.choice((0.02, 0.06, 0.15, 0.3))
    kinds = [
        {"kind": "status_after", "status": 504, "proxies_html": True},
        {"kind": "status_before", "status": 502},
        {"kind": "reset_after"},
        {"kind": "reset_before"},
        {"kind": "truncated", "how": rng.choice(("short", "cut"))},
        {"kind": "unknown_token"},
        {"kind": "expired_token"},
        {"kind": "retry_after", "status": 429, "seconds": 0.2},
        {"kind": "latency", "ms": 400},
    ]
    routes = ("create subject", "put image", "link subjects", "list subjects", "create set", "find set", "me", "*")
    rules = [
        {"route": rng.choice(routes), "probability": harm * rng.random(), **rng.choice(kinds)}
        for _ in range(rng.randint(2, 7))
    ]
    if rng.random() < 0.2:
        rules.append({"route": "*", "kind": "outage", "from_second": rng.uniform(0, 3), "for_seconds": 1.0})
    return {
        "seed": rng.randrange(10**6),
        "latency_ms": {"create subject": rng.choice((0, 10, 40)), "put image": rng.choice((0, 10, 30))},
        "rules": rules,
    }


class Round:
    """One season through hell."""

    def __init__(self, folder: Path, rng: random.Random, totals: Totals, captures: int) -> None:
        self.folder, self.rng, self.totals = folder, rng, totals
        self.captures_csv = make_season(folder, captures, size=(48, 32), seed=rng.randrange(10**6))
        self.sandbox = SandboxProcess(
            folder / "sandbox", SandboxSettings(counter_delay=0.0, token_lifetime=rng.choice((5, 60, 7200)))
        )
        self.sandbox.start()
        self.workers: list[subprocess.Popen[str]] = []
        self.frozen: list[tuple[float, subprocess.Popen[str]]] = []
        self.environment = {
            **os.environ,
            "CTSTATE_LEDGER": str(folder / "season.db"),
            "CTSTATE_LEASE_SECONDS": str(LEASE_S),
            "PANOPTES_ENDPOINT": self.sandbox.url,
            "PANOPTES_USERNAME": self.sandbox.login,
            "PANOPTES_PASSWORD": self.sandbox.password,
        }
        self.ctstate(
            "manifest", str(self.captures_csv), "--images-root", str(folder / "images"),
            "--attribution", "a", "--license", "l",
        )  # fmt: skip
        if rng.random() < 0.7:
            self.ctstate("batch", "--number-of-batches", str(rng.randint(1, 3)))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ctstate", *arguments]

    def ctstate(self, *arguments: str, expected: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        assert done.returncode in expected, (arguments, done.returncode, done.stdout, done.stderr[-2000:])
        return done.stdout

    def start_worker(self) -> None:
        log = (self.folder / f"worker{self.totals.workers}.log").open("w")
        self.workers.append(
            subprocess.Popen(
                self.command(
                    "upload", "--project-id", self.sandbox.project_id, "--settle-seconds", str(SETTLE_S),
                    "--connections", str(self.rng.randint(1, 4)), "--n-processes", "1",
                    "--link-batch-size", str(self.rng.choice((1, 3, 50))),
                ),
                env=self.environment, stdout=log, stderr=subprocess.STDOUT, text=True,
            )
        )  # fmt: skip
        log.close()
        self.totals.workers += 1

    def torment(self, seconds: float, most_workers: int) -> None:
        """Let workers work for a while, and do them harm."""
        self.sandbox.set_faults(fault_plan(self.rng))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.workers = [worker for worker in self.workers if worker.poll() is None]
            while self.frozen and self.frozen[0][0] < time.monotonic():
                _, worker = self.frozen.pop(0)
                worker.send_signal(signal.SIGCONT)
            if len(self.workers) < most_workers and self.rng.random() < 0.7:
                self.start_worker()
            what = self.rng.random()
            if self.workers and what < 0.25:
                self.rng.choice(self.workers).send_signal(signal.SIGKILL)
                self.totals.kills += 1
            elif self.workers and what < 0.35:
                worker = self.rng.choice(self.workers)
                worker.send_signal(signal.SIGSTOP)
                # Sometimes through its lease, so that others take over what it had.
                self.frozen.append((time.monotonic() + self.rng.choice((0.3, 1.5 * LEASE_S)), worker))
                self.frozen.sort(key=lambda pair: pair[0])
                self.totals.freezes += 1
            elif self.workers and what < 0.42:
                self.rng.choice(self.workers).send_signal(signal.SIGTERM)
                self.totals.clean_stops += 1
            elif what < 0.50:
                self.count_faults()
                with contextlib.suppress(requests.RequestException):
                    self.sandbox.set_faults(fault_plan(self.rng))
            elif what < 0.53:
                self.count_faults()
                self.sandbox.kill()
                time.sleep(self.rng.uniform(0, 0.5))
                self.sandbox.start()
                self.totals.sandbox_restarts += 1
            elif what < 0.545:
                self.delete_a_set()
            time.sleep(self.rng.uniform(0.05, 0.5))

    def count_faults(self) -> None:
        with contextlib.suppress(requests.RequestException):
            self.totals.faults += sum(self.sandbox.requests()["faults"].values())
            self.sandbox.reset_requests()

    def delete_a_set(self) -> None:
        """A colleague deletes a subject set."""
        with contextlib.suppress(requests.RequestException):
            self.count_faults()
            self.sandbox.clear_faults()
        zooniverse = Zooniverse(self.sandbox.url, Credentials(self.sandbox.login, self.sandbox.password))
        sets = zooniverse.sets(int(self.sandbox.project_id))
        if sets:
            delete_set(zooniverse, self.rng.choice(sets).id)
            self.totals.sets_deleted += 1

    def finish(self) -> list[str]:
        """End what still runs, settle the season, and return what is wrong."""
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
            worker.send_signal(signal.SIGKILL if self.rng.random() < 0.5 else signal.SIGTERM)
        for worker in self.workers:
            worker.wait(timeout=120)
        self.count_faults()
        self.sandbox.clear_faults()
        project = ("--project-id", self.sandbox.project_id)
        upload = ("upload", *project, "--settle-seconds", str(SETTLE_S), "--n-processes", "2")
        time.sleep(1.5)  # the sandbox deletes the subjects of deleted sets one by one
        for _ in range(4):
            self.ctstate("reconcile", *project, "--apply")
            self.ctstate("retry", "--state", "failed", "--state", "removed", "--state", "deleted")
            self.ctstate(*upload, expected=(0, 1, 75))
            plan = json.loads(self.ctstate("reconcile", *project, "--json"))
            if plan["to_do"] == 0 and not plan["findings"]:
                break
        found = [] if plan["to_do"] == 0 else [f"reconcile still finds: {plan['findings'][:5]}"]
        self.ctstate("verify", *project, expected=(0, 1) if found else (0,))
        with Ledger.open(self.folder / "season.db") as ledger:
            return found + violations(ledger, self.sandbox.state())

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
                worker.wait()
        self.sandbox.stop()


def run(seconds: float, seed: int, captures: int = 24, keep: Path | None = None) -> tuple[Totals, list[str]]:
    """Run rounds until the time is up; return what happened and all violations."""
    rng, totals, all_found = random.Random(seed), Totals(), []
    end = time.monotonic() + seconds
    while time.monotonic() < end or totals.rounds == 0:
        folder = Path(tempfile.mkdtemp(prefix="crash-"))
        round_seed = rng.randrange(10**9)
        one = Round(folder, random.Random(round_seed), totals, captures)
        try:
            left = end - time.monotonic()
            one.torment(max(4.0, min(rng.uniform(6, 25), left - 12)), rng.randint(1, 4))
            found = one.finish()
        except BaseException:
            print(f"round with seed {round_seed} broke; its files: {folder}", file=sys.stderr)
            one.close()
            raise
        one.close()
        totals.rounds += 1
        totals.captures += captures
        totals.violations += len(found)
        if found:
            all_found += [f"round {totals.rounds} (seed {round_seed}, files in {folder}): {what}" for what in found]
        else:
            shutil.rmtree(folder)
    return totals, all_found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--captures", type=int, default=24)
    arguments = parser.parse_args()
    totals, found = run(arguments.minutes * 60, arguments.seed, arguments.captures)
    for line in found:
        print(line)
    print(
        f"seed {arguments.seed}: "
        + ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in asdict(totals).items())
    )
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
