"""Workers as jobs of a real PBS: at work, waiting, deleted, stopped."""

import os
import signal
import time
from pathlib import Path

from ctstate.cluster.pbs import Pbs
from ctstate.ledger.runs import LEASE_S
from tests.pbs.rehearsal import OnPbs
from tests.slurm.cluster import wait_until

CAPTURES = 60
SLOW = {"latency_ms": {"create subject": 500, "*": 50}}
PBS = ("--scheduler", "pbspro", "--cpus", "1", "--time", "10")


def test_tasks_of_an_array_share_a_season(rehearsal: OnPbs) -> None:
    rehearsal.season(CAPTURES)
    rehearsal.sandbox.set_faults(SLOW)
    array = rehearsal.submit(*PBS, "--workers", "3")
    number = Pbs().number(array)
    live = rehearsal.wait_for_live(2)
    assert {run.job for run in live} == {f"{number}[1]", f"{number}[2]"}
    assert {run.slurm_state for run in live} == {"R"}
    assert f"In the queue: 1 worker of job {number}" in rehearsal.ctstate("runs")
    rehearsal.sandbox.clear_faults()
    rehearsal.wait_until_settled()
    rehearsal.check(CAPTURES)
    assert {(run.state, run.outcome) for run in rehearsal.runs()} == {("ended", "done")}
    outputs = sorted(path.name for path in (rehearsal.folder / "ctstate-logs").glob("*.OU"))
    assert len(outputs) == 3
    only = rehearsal.ctstate("submit", *rehearsal.upload_options(), *PBS, "--workers", "1")
    assert "Nothing is pending" in only


def test_one_worker_is_no_array(rehearsal: OnPbs) -> None:
    rehearsal.season(20)
    job = rehearsal.submit(*PBS, "--workers", "1", "--job-name", "a name with blanks")
    assert "[" not in job
    rehearsal.wait_until_settled()
    rehearsal.check(20)
    assert [run.job for run in rehearsal.runs()] == [Pbs().number(job)]


def test_stop_all_deletes_what_has_not_begun(rehearsal: OnPbs) -> None:
    rehearsal.season(200)
    rehearsal.sandbox.set_faults(SLOW)
    number = Pbs().number(rehearsal.submit(*PBS, "--workers", "4"))
    rehearsal.wait_for_live(2)
    assert f"Taken out of the queue: what had not begun of job {number}." in rehearsal.ctstate("stop", "--all")
    rehearsal.wait_until_settled()
    assert {(run.outcome, run.slurm_task) for run in rehearsal.runs()} == {("stopped", "1"), ("stopped", "2")}
    assert set(rehearsal.states()) == {"batched", "uploaded"}


def test_a_deleted_worker_stops_cleanly(rehearsal: OnPbs) -> None:
    rehearsal.season(CAPTURES)
    rehearsal.sandbox.set_faults(SLOW)
    job = rehearsal.submit(*PBS, "--workers", "1")
    rehearsal.wait_for_uploaded(1, 120)
    rehearsal.cluster.run("qdel", job)
    rehearsal.wait_until_settled()
    assert [run.outcome for run in rehearsal.runs()] == ["stopped"]
    assert "Traceback" not in rehearsal.logs()
    rehearsal.sandbox.clear_faults()
    rehearsal.submit(*PBS, "--workers", "1")
    rehearsal.wait_until_settled()
    rehearsal.check(CAPTURES)


def test_a_deleted_worker_that_cannot_say_so_is_not_live_until_its_lease_ends(rehearsal: OnPbs) -> None:
    """It stands still, as on a node that hangs, so that PBS kills it after kill_delay. Seen from another host."""
    rehearsal.season(CAPTURES)
    rehearsal.sandbox.set_faults(SLOW)
    job = rehearsal.submit(*PBS, "--workers", "1")
    rehearsal.wait_for_uploaded(1, 120)
    (live,) = rehearsal.wait_for_live(1)
    began = time.monotonic()
    above = int(Path(f"/proc/{live.pid}/stat").read_text().rpartition(")")[2].split()[1])
    for pid in (above, live.pid):  # `timeout` would wake it up, and hand the signal on
        os.kill(pid, signal.SIGSTOP)
    rehearsal.move_elsewhere()
    assert [run.state for run in rehearsal.runs()] == ["live"]
    rehearsal.cluster.run("qdel", job)
    wait_until(lambda: not rehearsal.queued(), 60, "the end of the job")
    wait_until(lambda: [run.state for run in rehearsal.runs()] == ["lost"], 90, "a lost run")
    assert time.monotonic() - began < LEASE_S / 3, "by its lease, and not by what PBS says"
