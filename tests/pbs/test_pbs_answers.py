"""Scripts and parsers, held to what a real OpenPBS 23.06.06 said. Torque was never at hand."""

import os
from pathlib import Path

import pytest

from ctstate.capture import Job
from ctstate.cluster.pbs import Pbs, parsed
from ctstate.cluster.queue import QUIET_S, Queue, Stand
from ctstate.cluster.schedulers import job_of_this_process, scheduler_of
from ctstate.cluster.scripts import JobOptions, Program, pbs_workers
from ctstate.cluster.slurm import Slurm
from tests.pbs.answers import given, out, refusal

FOLDER = Path("/tmp/pbs answers")


def directives(script: str) -> list[str]:
    return [line for line in script.splitlines() if line.startswith("#PBS ")]


def environment(name: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in out(name).splitlines())


@pytest.mark.parametrize(
    ("what", "directive", "said"),
    [
        ("log folder with a blank, unquoted", "#PBS -o /tmp/pbs answers/my logs/", "qsub: directive error"),
        ("array of one", "#PBS -J 1-1", "qsub: illegal -J value"),
        ("name with a blank", "#PBS -N ctstate-WLD S6", "qsub: directive error"),
    ],
)
def test_what_was_refused_is_not_written_any_more(what: str, directive: str, said: str) -> None:
    assert directive in directives(given(what))
    assert refusal(what).startswith(said)
    workers = 1 if "one" in what.split() else 2
    script = pbs_workers(
        JobOptions(workers=workers, job_name="ctstate-WLD S6"), Program(()), FOLDER, FOLDER / "my logs", pro=True
    )
    assert directive not in directives(script)


@pytest.mark.parametrize(("what", "workers"), [("array taken", 5), ("single taken", 1)])
def test_what_was_taken_is_what_is_written(what: str, workers: int) -> None:
    script = pbs_workers(
        JobOptions(workers=workers, job_name="ctstate-WLD S6"), Program(()), FOLDER, FOLDER / "my logs", pro=True
    )
    assert directives(script) == directives(given(what))


def test_a_job_is_known_by_its_environment() -> None:
    task = job_of_this_process(environment("environment of a task"))
    only = job_of_this_process(environment("environment of a single job"))
    array = Pbs().number(out("array taken").strip())
    assert task == Job("pbs:pbs01", os.getuid(), array, "1", 0)
    assert only == Job("pbs:pbs01", os.getuid(), Pbs().number(out("only one taken").strip()), None, 0)
    assert scheduler_of(task).written(task.job, task.task) == f"{array}[1]"
    assert isinstance(scheduler_of(task), Pbs)
    assert isinstance(scheduler_of(Job("ctest", 0, "17", None, 0)), Slurm)
    assert job_of_this_process({}) is None


def test_tasks_at_work_and_tasks_that_wait() -> None:
    tasks = parsed(out("two of five at work"))
    array, single = (Pbs().number(out(name).strip()) for name in ("array taken", "single taken"))
    stands = {task: tasks[(array, task)].stand for task in "12345"}
    assert stands == {**dict.fromkeys("12", Stand.RUNNING), **dict.fromkeys("345", Stand.WAITING)}
    assert (array, "") not in tasks, "the array itself is none of its tasks"
    assert tasks[(array, "3")].reason == "", "when the array began is no reason"
    assert tasks[(single, None)].reason == "Not enough free nodes available"
    held = parsed(out("while one is held"))[(single, None)]
    assert (held.state, held.stand) == ("H", Stand.WAITING)
    assert held.reason.startswith("Job held by root")
    assert parsed("") == {}
    assert parsed("Job Id: ") == parsed("Job Id: \nJob Id: what?\n    job_state = R\n") == {}


def test_a_deleted_task_has_no_run() -> None:
    """Both: one that was at work, and one that never began."""
    queue = Queue("pbs:pbs01", parsed(out("after it has ended")))
    array = Pbs().number(out("array taken").strip())
    for task, gone in (("1", True), ("5", True), ("2", False), ("3", False)):
        assert queue.gone(Job("pbs:pbs01", os.getuid(), array, task, 0), silent=0.0) == gone
    assert queue.gone(Job("pbs:pbs01", os.getuid(), array, "9", 0), silent=QUIET_S + 1), "not listed any more"
    assert not queue.gone(Job("pbs:other", os.getuid(), array, "1", 0), silent=1000.0)
    assert out("after all") == "", "PBS forgets what has ended"


def test_a_queue_s_limit_is_refused_at_once() -> None:
    """So that nothing needs to be checked ahead, as with Slurm."""
    assert refusal("more time than the queue allows") == "qsub: Job violates queue and/or server resource limits\n"
    assert refusal("no such queue") == "qsub: Unknown queue\n"
