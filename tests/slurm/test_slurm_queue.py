"""What squeue's answer proves about a run, and what it does not; and how rarely it is asked."""

import os
import shutil
from pathlib import Path

import pytest

from ctstate.capture import Job
from ctstate.cluster import schedulers, tools
from ctstate.cluster.queue import QUIET_S, Queue
from ctstate.cluster.schedulers import SLURM
from ctstate.cluster.slurm import Slurm, parsed
from tests.slurm.cluster import Cluster, wait_until

HERE = Job("ctest", os.getuid(), "17", "3", 0)


def watching() -> schedulers.Cluster:
    return schedulers.Cluster([SLURM])


def seen(state: str) -> Queue:
    tasks = parsed(f"17|3|{state}|None\n18|N/A|RUNNING|None\n")
    assert tasks is not None
    return Queue("ctest", tasks)


@pytest.mark.parametrize("state", ["COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "PREEMPTED"])
def test_ended_jobs_have_no_run(state: str) -> None:
    assert seen(state).gone(HERE, silent=0.0)


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "SUSPENDED"])
def test_running_jobs_are_left_to_the_lease(state: str) -> None:
    assert not seen(state).gone(HERE, silent=290.0)


@pytest.mark.parametrize("state", ["NODE_FAIL", "PENDING", "SOMETHING_NEW"])
def test_what_slurm_does_not_know_needs_silence_too(state: str) -> None:
    assert not seen(state).gone(HERE, silent=QUIET_S - 1)
    assert seen(state).gone(HERE, silent=QUIET_S + 1)


def test_unlisted_jobs_need_silence_too() -> None:
    assert not Queue("ctest", {}).gone(HERE, silent=QUIET_S - 1)
    assert Queue("ctest", {}).gone(HERE, silent=QUIET_S + 1)


def test_no_verdict_on_what_this_process_cannot_see() -> None:
    for job in (
        Job("elsewhere", os.getuid(), "17", "3", 0),
        Job("", os.getuid(), "17", "3", 0),
        Job("ctest", os.getuid() + 1, "17", "3", 0),
    ):
        assert not seen("COMPLETED").gone(job, silent=1000.0)


def test_a_later_start_of_the_same_job_supersedes() -> None:
    supersedes = watching().supersedes
    again = Job("ctest", os.getuid(), "17", "3", 1)
    assert supersedes(again, HERE)
    assert not supersedes(HERE, again)
    assert not supersedes(HERE, HERE)  # several workers in one job are no successors of each other
    assert not supersedes(Job("ctest", os.getuid(), "17", "4", 1), HERE)
    assert not supersedes(Job("other", os.getuid(), "17", "3", 1), HERE)


def test_no_answer_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A configuration whose controller is not there: squeue fails, or hangs until it is given up.
    conf = tmp_path / "slurm.conf"
    conf.write_text("ClusterName=ctest\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\n")
    monkeypatch.setenv("SLURM_CONF", str(conf))
    monkeypatch.setattr(tools, "QUICK_S", 1.0)
    watch = schedulers.Cluster([Slurm()])
    watch.look({1: HERE})
    assert not watch.gone(1, HERE, silent=1000.0)
    assert parsed("slurm_load_jobs error: something\n") is None


def test_only_runs_from_before_the_question_are_judged(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    job = cluster.run("sbatch", "--parsable", "--array=5", "--output=/dev/null", "--wrap=sleep 30").strip()
    here = Job("ctest", os.getuid(), job, "5", 0)
    wait_until(lambda: cluster.job(job)["JobState"] == "RUNNING", 20, "a running job")
    watch = watching()
    with monkeypatch.context() as patch:
        patch.setenv("SQUEUE_STATES", "PENDING")  # a user's filter must not hide jobs
        patch.setenv("SLURM_CLUSTERS", "elsewhere")
        watch.look({1: here})
    assert not watch.gone(1, here, silent=1000.0)
    gone = Job("ctest", os.getuid(), "999999", None, 0)
    assert watch.gone(1, gone, silent=1000.0)
    assert not watch.gone(2, gone, silent=1000.0), "run 2 began after squeue was asked"
    cluster.run("scancel", job)
    wait_until(lambda: cluster.job(job)["JobState"] == "CANCELLED", 20, "a cancelled job")
    watch.look({1: here, 2: gone})
    assert not watch.gone(1, here, silent=1000.0), "the answer is kept for a while"
    watch = watching()
    watch.look({1: here, 2: gone})
    assert watch.gone(1, here, silent=0.0)


def test_one_call_of_squeue_is_about_all_jobs_and_serves_a_while(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted at the real program: a squeue ahead of it on PATH writes down each call and hands it on."""
    real, calls = shutil.which("squeue"), tmp_path / "calls"
    ahead = tmp_path / "squeue"
    ahead.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexec {real} "$@"\n')
    ahead.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    watch = watching()
    for run_id in range(1, 40):
        watch.look({run_id: HERE, 1000 + run_id: Job("ctest", os.getuid(), "18", None, 0)})
        watch.queue(SLURM)
    assert len(calls.read_text().splitlines()) == 1
    watch.queue(SLURM, keep=0.0)
    assert len(calls.read_text().splitlines()) == 2
    watch.look({2: Job("pbs:server", os.getuid(), "18", None, 0)}, keep=0.0)
    assert len(calls.read_text().splitlines()) == 2, "asked about a job of another scheduler"
