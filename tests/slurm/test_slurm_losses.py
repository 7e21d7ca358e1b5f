"""Jobs that end before their work is done: cancelled, requeued, or gone with their node."""

import os
import signal
import time

import pytest

from ctstate.ledger.runs import LEASE_S
from tests.slurm.cluster import wait_until
from tests.slurm.rehearsal import QUICK, Rehearsal

CAPTURES = 120


def test_a_cancelled_array_is_followed_by_the_next(rehearsal: Rehearsal) -> None:
    rehearsal.season(CAPTURES)
    job = rehearsal.submit("--workers", "2", "--time", "10")
    rehearsal.wait_for_uploaded(5)
    rehearsal.cluster.run("scancel", job)
    rehearsal.wait_until_settled()
    rehearsal.check(CAPTURES)
    # The workers heard the SIGTERM that comes first, and gave back what they had not begun.
    assert {run.outcome for run in rehearsal.runs() if run.slurm_job == job} == {"stopped"}
    assert len(rehearsal.runs("submit")) == 2


@pytest.mark.parametrize("after", [0.6, 0.9, 1.2, 3.0])
def test_a_cancelled_worker_stops_without_a_traceback(rehearsal: Rehearsal, after: float) -> None:
    """Cancelled at its begin, as its encoding processes begin, as it logs in, and at work."""
    rehearsal.season(40)
    rehearsal.sandbox.set_faults({"latency_ms": {"create subject": 300, "*": 50}})
    encoding = ("--n-processes", "2", *QUICK)
    job = rehearsal.submit("--workers", "1", "--time", "10", "--max-rounds", "1", worker=encoding)
    wait_until(lambda: rehearsal.cluster.job(job)["JobState"] == "RUNNING", 20, "a running job")
    time.sleep(after)
    rehearsal.cluster.run("scancel", f"{job}_1")
    rehearsal.wait_until_settled()
    said = rehearsal.logs()
    assert "CANCELLED" in said, "slurmd says so in the job's own output"
    assert "Traceback" not in said
    assert "Error" not in said
    assert {run.outcome for run in rehearsal.runs()} <= {"stopped"}
    rehearsal.sandbox.clear_faults()
    rehearsal.submit("--workers", "1", "--time", "10", "--max-rounds", "1")
    rehearsal.wait_until_settled()
    rehearsal.check(40)


def test_a_requeued_worker_goes_on_on_another_node(rehearsal: Rehearsal) -> None:
    captures = 100
    rehearsal.season(captures)
    job = rehearsal.submit("--workers", "1", "--time", "10", "--max-rounds", "1", "--", "--nodelist=n1")
    rehearsal.wait_for_uploaded(5)
    began = time.monotonic()
    # Killed, so that its run never says that it has ended; Slurm sees the job fail.
    for pid in rehearsal.cluster.processes_of(job):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: rehearsal.cluster.job(f"{job}_1")["JobState"] == "FAILED", 20, "a failed job")
    assert [run.outcome for run in rehearsal.runs()] == [None]
    rehearsal.cluster.run("scontrol", "requeue", f"{job}_1")
    rehearsal.cluster.run("scontrol", "update", f"job={job}_1", "ReqNodeList=n2")
    rehearsal.wait_until_settled()
    assert time.monotonic() - began < LEASE_S / 3, "by its lease, and not as it was requeued"
    rehearsal.check(captures)
    first, second = rehearsal.runs()
    assert (first.state, second.outcome) == ("lost", "done")
    assert first.job == second.job == f"{job}_1"
    assert len(set(rehearsal.hosts())) == 2


def test_the_work_of_a_lost_node_is_taken_over_at_once(rehearsal: Rehearsal) -> None:
    captures = 130
    rehearsal.season(captures)
    cluster = rehearsal.cluster
    rehearsal.sandbox.set_faults({"latency_ms": {"create subject": 300, "*": 50}})
    # A worker per node, as each takes all its cores.
    options = ("--time", "10", "--no-requeue", "--cpus", "8")
    job = rehearsal.submit("--workers", "2", *options, "--", "--exclude=n[3-4]")
    wait_until(lambda: len([run for run in rehearsal.runs() if run.uploaded >= 2]) == 2, 40, "two at work")
    began = time.monotonic()
    cluster.lose_node("n2")
    rehearsal.sandbox.clear_faults()
    try:
        lost = wait_until(
            lambda: [run for run in rehearsal.runs() if run.outcome == "lost"], 90, "a run declared lost"
        )
        assert time.monotonic() - began < LEASE_S / 3, "by its lease, and not by what squeue says"
        assert [run.slurm_job for run in lost] == [job]
        # What the scheduler said is kept for some seconds, and another worker may have asked it later than this.
        wait_until(
            lambda: [run for run in rehearsal.runs() if run.outcome == "lost" and run.slurm_state == "NODE_FAIL"],
            60,
            "runs to say that the node failed",
        )
    finally:
        cluster.start_node("n2")
    rehearsal.wait_until_settled()
    rehearsal.check(captures)
