"""Several workers on one ledger: together, frozen through a lease, and one after another's death."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ctstate.ledger import Ledger
from tests.builders.ledgers import ON_POSTGRES, raw
from tests.builders.season_on_sandbox import Season

LEASE_S = 4.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start(season, *options)`: an upload in a process of its own, with a short lease; ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def go(season: Season, *options: str) -> subprocess.Popen[str]:
        log = (tmp_path / f"worker{len(started)}.log").open("w")
        process = subprocess.Popen(
            [
                sys.executable, "-m", "ctstate", "upload", "--project-id", season.z.project_id,
                "--settle-seconds", "0.5", "--connections", "2", "--n-processes", "1", *options,
            ],
            env={
                **os.environ, "CTSTATE_LEDGER": str(season.path), "CTSTATE_LEASE_SECONDS": str(LEASE_S),
                "PANOPTES_ENDPOINT": season.z.url, "PANOPTES_USERNAME": season.z.login,
                "PANOPTES_PASSWORD": season.z.password,
            },
            stdout=log, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        log.close()
        started.append(process)
        return process

    yield go
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


def wait_for(season: Season, sql: str, *, least: int = 1) -> None:
    end = time.monotonic() + 60
    while season.rows(sql)[0][0] < least:
        assert time.monotonic() < end, sql
        time.sleep(0.05)


def test_workers_share_a_season(new_season: Any, start: Any) -> None:
    season = new_season(30)
    season.z.set_faults({"latency_ms": {"create subject": 30}})
    workers = [start(season, "--link-batch-size", "4") for _ in range(3)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0, 0]
    season.check()
    assert len(season.subjects()) >= 30


def freeze(process: subprocess.Popen[str], season: Season) -> None:
    """Stop a process while it holds no lock of the ledger: whoever holds one, everybody would wait for."""
    process.send_signal(signal.SIGSTOP)
    while somebody_writes(season):
        process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)


def somebody_writes(season: Season) -> bool:
    if not ON_POSTGRES:
        with contextlib.closing(sqlite3.connect(season.path, timeout=0.2, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            return False
    held = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory'"
    with raw(season.path, read_only=True) as connection:
        return connection.execute(f"{held} AND granted AND datname = current_database()").fetchall() != [(0,)]


def test_who_was_frozen_through_its_lease_commits_nothing_over_its_successor(new_season: Any, start: Any) -> None:
    season = new_season(12)
    season.z.set_faults({"latency_ms": {"create subject": 150, "put image": 50}})
    frozen = start(season, "--link-batch-size", "50")
    wait_for(season, "SELECT count(*) FROM capture WHERE subject_id IS NOT NULL")
    freeze(frozen, season)
    # Where a process is gone is told at once; that a live one sleeps, only by its lease.
    with Ledger.open(season.path) as ledger, ledger.write() as connection:
        connection.exec_driver_sql("UPDATE run SET host_id = 'another host' WHERE verb = 'upload'")
    time.sleep(LEASE_S + 1)
    season.z.clear_faults()
    successor = start(season)
    assert successor.wait(timeout=120) == 0
    season.check(complete=False)
    before = season.rows("SELECT id, state, subject_id, claim, run_id, moved_at FROM capture ORDER BY id")
    assert {row[1] for row in before} == {"uploaded"}
    frozen.send_signal(signal.SIGCONT)
    assert frozen.wait(timeout=120) != 0
    assert season.rows("SELECT id, state, subject_id, claim, run_id, moved_at FROM capture ORDER BY id") == before
    ((outcome,),) = season.rows("SELECT outcome FROM run WHERE verb = 'upload' ORDER BY id LIMIT 1")
    assert outcome == "lost"
    # What it had sent before it froze and could not write down is surplus, in no set; reconcile takes it back.
    from ctstate.verbs.reconcile import reconcile
    from ctstate.verbs.survey import survey

    with Ledger.open(season.path) as ledger:
        found = survey(ledger, season.connect(), int(season.z.project_id))
        reconcile(ledger, season.connect(), int(season.z.project_id), found, {})
    season.check()


def test_a_set_is_made_once_by_workers_that_begin_together(new_season: Any, start: Any) -> None:
    season = new_season(8)
    season.z.set_faults({"latency_ms": {"find set": 200, "create set": 200}})
    workers = [start(season) for _ in range(4)]
    assert [worker.wait(timeout=120) for worker in workers] == [0] * 4
    names = [s["display_name"] for s in season.z.state()["subject_sets"] if not s["deleted"]]
    assert names.count(f"{season.name}_complete") == 1
    season.check()
