"""What follows when a season is done: a shell that waits, and other jobs that depend on a number."""

import subprocess
import sys

from tests.slurm.cluster import wait_until
from tests.slurm.rehearsal import Rehearsal

SLOW = {"latency_ms": {"create subject": 500, "*": 50}}


def follower(rehearsal: Rehearsal, condition: str, job: str) -> str:
    """Submit a job that begins when another has ended like this."""
    return rehearsal.cluster.run(
        *("sbatch", "--parsable", f"--dependency={condition}:{job}", "--output=/dev/null", "--wrap=true")
    ).strip()


def last_job(rehearsal: Rehearsal, *options: str) -> str:
    printed = rehearsal.ctstate("submit", *rehearsal.upload_options(), "--last-job", *options)
    assert printed.strip().isdigit(), "a script takes it as it is"
    return printed.strip()


def test_other_jobs_follow_when_the_season_is_done(rehearsal: Rehearsal) -> None:
    """Two rounds, whose arrays have numbers of their own: the last job's stays."""
    captures = 100
    rehearsal.season(captures)
    rehearsal.sandbox.set_faults(SLOW)
    last = last_job(rehearsal, "--workers", "1", "--time", "10", "--job-name", "chain")
    next_step = follower(rehearsal, "afterok", last)
    first = rehearsal.wait_for_live(1)[0].slurm_job
    assert first is not None
    rehearsal.wait_for_uploaded(1)
    rehearsal.cluster.run("scancel", first)
    wait_until(lambda: len(rehearsal.runs("submit")) == 2, 60, "the second round")
    assert rehearsal.cluster.job(last)["JobState"] == "PENDING"
    assert rehearsal.cluster.job(next_step)["JobState"] == "PENDING"
    rehearsal.sandbox.clear_faults()
    rehearsal.wait_until_settled()
    assert rehearsal.cluster.wait_for(last)["JobState"] == "COMPLETED"
    assert rehearsal.cluster.wait_for(next_step)["JobState"] == "COMPLETED"
    assert "All of season TST_S1 is on Zooniverse." in rehearsal.logs()
    rehearsal.check(captures)
    # Nothing is left to do: whoever depends on it begins at once.
    again = last_job(rehearsal)
    assert rehearsal.cluster.wait_for(follower(rehearsal, "afterok", again))["JobState"] == "COMPLETED"


def test_other_jobs_do_not_follow_an_upload_that_was_stopped(rehearsal: Rehearsal) -> None:
    rehearsal.season(150)
    rehearsal.sandbox.set_faults(SLOW)
    last = last_job(rehearsal, "--workers", "1", "--time", "10")
    good, bad = follower(rehearsal, "afterok", last), follower(rehearsal, "afternotok", last)
    rehearsal.wait_for_live(1)
    rehearsal.ctstate("stop", "--all")
    assert rehearsal.cluster.wait_for(last)["JobState"] == "FAILED"
    assert rehearsal.cluster.wait_for(bad)["JobState"] == "COMPLETED"
    assert rehearsal.cluster.job(good)["Reason"] == "DependencyNeverSatisfied"
    rehearsal.cluster.run("scancel", good)
    assert "the upload of season TST_S1 ended and" in rehearsal.logs().replace("The", "the")


def test_a_shell_waits_until_all_is_there(rehearsal: Rehearsal) -> None:
    rehearsal.season(30)
    said = rehearsal.ctstate("submit", *rehearsal.upload_options(), "--workers", "2", "--time", "10", "--wait")
    assert said.endswith("All of season TST_S1 is on Zooniverse.\n")
    rehearsal.check(30)
    rehearsal.wait_until_settled()
    assert "Nothing is pending" in rehearsal.ctstate("submit", *rehearsal.upload_options(), "--wait")


IMPATIENT = """
from ctstate.__main__ import main
from ctstate.verbs.submit import waiting
waiting.LOOK_S, waiting.ASK_S = 2.0, 5.0
main()
"""
"""The command line, which looks more often than every ten seconds."""


def test_a_shell_does_not_wait_for_a_chain_that_was_taken_away(rehearsal: Rehearsal) -> None:
    rehearsal.season(60)
    rehearsal.sandbox.set_faults(SLOW)
    waiting = subprocess.Popen(
        [
            *(sys.executable, "-c", IMPATIENT, "--ledger", str(rehearsal.ledger)),
            *("--endpoint", rehearsal.sandbox.url, "submit", *rehearsal.upload_options()),
            *("--workers", "1", "--time", "10", "--wait"),
        ],
        env={**rehearsal.cluster.environment, "HOME": str(rehearsal.folder)},
        cwd=rehearsal.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        rehearsal.wait_for_live(1)
        for line in rehearsal.queued():
            rehearsal.cluster.run("scancel", line.partition("|")[0].partition("_")[0])
        said, _ = waiting.communicate(timeout=150)
    finally:
        waiting.kill()
        waiting.wait()
    assert waiting.returncode == 1, said
    assert "pending: see `ctstate runs`" in said
    assert "Traceback" not in said
