"""PBS (OpenPBS and PBS Professional; Torque): the job of this process, what qstat says, how to take out what waits.

A job's number is 17.server, a task of an array 17[3].server, an array 17[].server.
"""

import os
import pwd
import re
from collections.abc import Iterator, Mapping, Sequence

from ctstate.capture import Job
from ctstate.cluster import tools
from ctstate.cluster.queue import Queue, Stand, Task

_ID = re.compile(r"(\d+)(?:\[(\d*)\])?(?:\.(\S+))?\Z")
_MARK = "pbs:"
"""What the names of PBS's clusters begin with, so that they are not taken for one of Slurm's."""

# qstat(1B), "job_state"; C is Torque's, F and X are OpenPBS's. M has moved to another server.
_STANDS = {
    **dict.fromkeys("RESUB", Stand.RUNNING),
    **dict.fromkeys("QHWT", Stand.WAITING),
    **dict.fromkeys("FXC", Stand.ENDED),
}


class Pbs:
    """What is asked of PBS; `ctstate.cluster.schedulers` decides when."""

    def __init__(self) -> None:
        self._cluster = ""

    def job_of(self, environment: Mapping[str, str]) -> Job | None:
        """Return the job that a process with this environment belongs to."""
        found = _ID.match(environment.get("PBS_JOBID", ""))
        if found is None:
            return None
        number, task, server = found.groups()
        return Job(cluster=f"{_MARK}{server or ''}", user_id=os.getuid(), job=number, task=task or None, restarts=0)

    def is_its(self, job: Job) -> bool:
        """Tell whether a job is one of PBS's."""
        return job.cluster.startswith(_MARK)

    def number(self, said: str) -> str:
        """Return a job's number, as in `Job.job`, from what qsub said when it took the job."""
        found = _ID.match(said)
        return found.group(1) if found is not None else said

    def written(self, job: str, task: str | None) -> str:
        """Return a job as PBS's programs take it: 17, or 17[3] for a task of an array."""
        return job if task is None else f"{job}[{task}]"

    def ask(self) -> Queue | None:
        """Ask qstat about this user's jobs, all at once; None where it is not there, failed, or took too long."""
        if not tools.available("qstat") or not tools.available("qselect"):
            return None
        try:
            self._cluster = self._cluster or _name_of_server()
            mine = tools.call(["qselect", "-u", pwd.getpwuid(os.getuid()).pw_name], timeout=tools.QUICK_S).split()
            printed = tools.call(["qstat", "-f", "-t", *mine], timeout=tools.QUICK_S) if mine else ""
        except (tools.SchedulerError, KeyError):
            return None
        return Queue(f"{_MARK}{self._cluster}", parsed(printed)) if self._cluster else None

    def take_out(self, tasks: Sequence[tuple[str, str | None]]) -> None:
        """Take tasks that wait out of the queue. One that begins in the same moment ends, too: it is told to stop.

        Raises:
            SchedulerError: qdel refused.
        """
        tools.call(["qdel", *(self.written(job, task) for job, task in tasks)])


def parsed(printed: str) -> dict[tuple[str, str | None], Task]:
    """Return what `qstat -f -t` printed, arrays apart, whose tasks are listed beside them."""
    tasks: dict[tuple[str, str | None], Task] = {}
    for number, task, attributes in _jobs(printed):
        state = attributes.get("job_state", "")
        if task != "":
            stand = _STANDS.get(state, Stand.UNSURE)
            tasks[(number, task)] = Task(state, stand, _reason(attributes) if stand is Stand.WAITING else "")
    return tasks


def _reason(attributes: Mapping[str, str]) -> str:
    """Return why a task waits; one of an array has the comment of the array, which says only when that began."""
    comment = attributes.get("comment", "")
    return "" if comment.startswith("Job Array Began") else comment.removeprefix("Not Running: ")


def _jobs(printed: str) -> Iterator[tuple[str, str | None, dict[str, str]]]:
    """Yield each job that `qstat -f` lists: its number, its task ('' for an array) and what is said of it."""
    unfolded = printed.replace("\n\t", "")  # a long value goes on in the next line
    for block in re.split(r"^Job Id: ", unfolded, flags=re.MULTILINE)[1:]:
        first, _, rest = block.partition("\n")
        found = _ID.match(first.strip())
        if found is not None:
            pairs = (line.strip().partition(" = ") for line in rest.splitlines())
            yield found.group(1), found.group(2), {name: value for name, equals, value in pairs if equals}


def _name_of_server() -> str:
    found = re.search(r"^Server: (\S+)", tools.call(["qstat", "-B", "-f"], timeout=tools.QUICK_S), re.M)
    return found.group(1) if found else ""
