"""Arrays of workers on one ledger, and the chain that follows them."""

import json
import subprocess
from pathlib import Path

from tests.slurm.cluster import wait_until
from tests.slurm.rehearsal import PASSWORD_IN_ENVIRONMENT, Rehearsal

CAPTURES = 180
SLOW = {"latency_ms": {"create subject": 500, "*": 50}}


def test_workers_of_an_array_share_a_season(rehearsal: Rehearsal) -> None:
    rehearsal.season(CAPTURES)
    rehearsal.sandbox.set_faults(SLOW)
    job = rehearsal.submit("--workers", "4", "--at-once", "3", "--time", "10", "--", "--comment=a rehearsal")
    facts = rehearsal.cluster.job(job)
    assert facts["ArrayTaskThrottle"] == "3"
    live = rehearsal.wait_for_live(3)
    assert all(run.slurm_state == "RUNNING" for run in live)
    listed = json.loads(rehearsal.ctstate("runs", "--json"))
    assert {run.job for run in live} <= {row["job"] for row in listed if row["state"] == "live"}
    assert "3 live workers" in rehearsal.ctstate("runs")
    rehearsal.sandbox.clear_faults()
    rehearsal.wait_until_settled()
    rehearsal.check(CAPTURES)
    runs = rehearsal.runs()
    assert {(run.slurm_job, run.slurm_task) for run in runs} == {(job, str(task)) for task in range(1, 5)}
    assert {(run.state, run.outcome) for run in runs} == {("ended", "done")}
    assert sum(run.uploaded for run in runs) == CAPTURES
    assert sum(run.uploaded > 0 for run in runs) >= 2, "one worker did it all: nothing was shared"
    assert all(run.rate > 0 for run in runs if run.uploaded)
    assert all(Path(run.log_file).is_file() for run in runs)
    # One array was enough: the job behind it looked, and submitted nothing.
    assert "Nothing is pending any more." in rehearsal.logs()
    assert len(rehearsal.runs("submit")) == 1
    assert "Nothing is pending" in rehearsal.ctstate("submit", *rehearsal.upload_options())


def test_no_password_reaches_a_job(rehearsal: Rehearsal) -> None:
    rehearsal.season(50)
    job = rehearsal.submit("--workers", "1", "--time", "10", "--max-rounds", "1")
    pid = wait_until(lambda: [run.pid for run in rehearsal.runs() if run.state == "live"], 20, "a worker")
    script = rehearsal.cluster.run("scontrol", "write", "batch_script", job, "-")
    environment = [
        Path(f"/proc/{number}/environ").read_text(errors="replace")
        for number in rehearsal.cluster.processes_of(job)
    ]
    assert pid
    assert environment
    kept = [path for path in (rehearsal.cluster.folder / "state").rglob("*") if path.is_file()]
    assert any(path.name == "environment" for path in kept)  # what slurmctld keeps of a job
    for content in (script, *environment, *(path.read_bytes().decode(errors="replace") for path in kept)):
        assert PASSWORD_IN_ENVIRONMENT not in content
        assert rehearsal.sandbox.password not in content
    # Where the password is only in the environment, a job would not find it: said before it waits in the queue.
    options = ("--project-id", rehearsal.sandbox.project_id)
    assert "--password-file" in rehearsal.ctstate("submit", *options, code=2)
    rehearsal.wait_until_settled()
    rehearsal.check(50)


def test_time_limit_stops_cleanly_and_the_chain_goes_on(rehearsal: Rehearsal) -> None:
    captures = 150
    rehearsal.season(captures)
    # So slow that there is still something to do when Slurm looks at its clock, every half minute.
    rehearsal.sandbox.set_faults({"latency_ms": {"create subject": 4000, "*": 50}})
    # One minute of wall time, and the signal nearly as long before its end: as soon as Slurm looks at its clock.
    job = rehearsal.submit("--workers", "2", "--time", "1", "--stop-before", "59")
    first = wait_until(
        lambda: [run for run in rehearsal.runs() if run.slurm_job == job and run.outcome == "stopped"],
        75,
        "a clean stop before the time limit",
    )
    assert all("SIGTERM" in run.message for run in first)
    rehearsal.sandbox.clear_faults()
    rehearsal.wait_until_settled()
    rehearsal.check(captures)
    stopped = [task for task in ("1", "2") if rehearsal.cluster.job(f"{job}_{task}")["ExitCode"] == "75:0"]
    assert len(stopped) == 2
    rounds = rehearsal.runs("submit")
    assert len(rounds) == 2
    assert {run.slurm_job for run in rehearsal.runs()} - {job}, "the second array did nothing"


def test_stop_all_ends_workers_and_chain(rehearsal: Rehearsal) -> None:
    captures = 170
    rehearsal.season(captures)
    rehearsal.sandbox.set_faults(SLOW)
    job = rehearsal.submit("--workers", "3", "--at-once", "2", "--time", "10")
    rehearsal.wait_for_live(2)
    said = rehearsal.ctstate("stop", "--all")
    assert "Asked to stop: " in said
    assert f"Taken out of the queue: what had not begun of job {job}." in said
    assert any(run.stopping for run in rehearsal.runs())
    rehearsal.wait_until_settled()
    states = rehearsal.states()
    assert set(states) == {"batched", "uploaded"}, states
    runs = rehearsal.runs()
    assert {(run.outcome, run.message) for run in runs} == {("stopped", "asked to stop by `ctstate stop`")}
    assert {run.slurm_task for run in runs} == {"1", "2"}
    assert "`ctstate stop --all` ended the chain" in rehearsal.logs()
    assert len(rehearsal.runs("submit")) == 1
    # A new chain is not ended by what ended the old one; and one worker of it can be stopped alone.
    rehearsal.submit("--workers", "2", "--time", "10")
    one = rehearsal.wait_for_live(1)[0].id
    assert rehearsal.ctstate("stop", str(one)) == f"Asked to stop: {one}.\n"
    rehearsal.sandbox.clear_faults()
    rehearsal.wait_until_settled()
    rehearsal.check(captures)


def test_a_chain_that_gets_nowhere_ends(rehearsal: Rehearsal) -> None:
    rehearsal.season(5)
    # Zooniverse takes nothing: each round ends without a capture brought there.
    rehearsal.password_file.write_text("[zooniverse]\nusername = demo\npassword = wrong\n", encoding="utf-8")
    rehearsal.submit("--workers", "1", "--time", "10")
    wait_until(lambda: len(rehearsal.runs("submit")) == 2, 40, "the second round")
    array = wait_until(
        lambda: [line for line in rehearsal.queued() if "_" in line and "|PENDING|" in line], 10, "it"
    )
    waiting = array[0].partition("_")[0]
    wait_until(lambda: rehearsal.cluster.job(waiting)["Reason"] == "BeginTime", 10, "a begin an hour later")
    rehearsal.cluster.run("scontrol", "update", f"job={waiting}", "StartTime=now")
    wait_until(lambda: "the last 2 rounds brought none of 5 pending captures" in rehearsal.logs(), 40, "the end")
    rehearsal.wait_until_settled()
    assert len(rehearsal.runs("submit")) == 2


def test_the_old_call_of_upload_manifest(rehearsal: Rehearsal) -> None:
    rehearsal.season(20)
    script = rehearsal.folder / "upload_manifest.sh"
    script.write_text(rehearsal.ctstate("submit", "--legacy-script"), encoding="utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True)
    values = {
        "SITE": "TST",
        "SEASON": "TST_S1",
        "PROJECT_ID": rehearsal.sandbox.project_id,
        "BATCH": "complete",
        "PASSWORD_FILE": rehearsal.password_file,
        "PANOPTES_ENDPOINT": rehearsal.sandbox.url,
    }
    exports = ",".join(f"{name}={value}" for name, value in values.items())
    job = rehearsal.cluster.run(
        "sbatch", "--parsable", f"--export={exports}", str(script), cwd=rehearsal.folder
    ).strip()
    assert rehearsal.cluster.wait_for(job)["JobState"] == "COMPLETED", (
        rehearsal.folder / f"slurm-{job}.out"
    ).read_text()
    rehearsal.check(20)
    # Once more, with the subject set's number as after a failure of old: nothing is left to do.
    set_id = rehearsal.sandbox.state()["subject_sets"][0]["id"]
    again = rehearsal.cluster.run(
        "sbatch", "--parsable", f"--export={exports},SUBJECT_SET_ID={set_id}", str(script), cwd=rehearsal.folder
    ).strip()
    assert rehearsal.cluster.wait_for(again)["JobState"] == "COMPLETED"
    rehearsal.check(20)
