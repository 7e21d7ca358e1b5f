"""Slurm: the job of this process, what squeue says, and how to take out what waits."""

import os
import re
from collections.abc import Mapping, Sequence

from ctstate.capture import Job
from ctstate.cluster import tools
from ctstate.cluster.queue import Queue, Stand, Task
from ctstate.words import whole_number

# squeue(1), "JOB STATE CODES". In NODE_FAIL the node was silent, and its process may be at work still; so it is in
# whatever else a newer Slurm may say.
_STANDS = {
    **dict.fromkeys(
        ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING", "CONFIGURING"),
        Stand.RUNNING,
    ),
    **dict.fromkeys(
        (
            "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
            "TIMEOUT",
        ),
        Stand.ENDED,
    ),
    **dict.fromkeys(
        ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"), Stand.WAITING
    ),
}  # fmt: skip


class Slurm:
    """What is asked of Slurm; `ctstate.cluster.schedulers` decides when."""

    def __init__(self) -> None:
        self._cluster = ""

    def job_of(self, environment: Mapping[str, str]) -> Job | None:
        """Return the job that a process with this environment belongs to."""
        job = environment.get("SLURM_ARRAY_JOB_ID") or environment.get("SLURM_JOB_ID")
        if not job:
            return None
        return Job(
            cluster=environment.get("SLURM_CLUSTER_NAME", ""),
            user_id=os.getuid(),
            job=job,
            task=environment.get("SLURM_ARRAY_TASK_ID"),
            restarts=whole_number(environment.get("SLURM_RESTART_COUNT", "")) or 0,
        )

    def is_its(self, job: Job) -> bool:
        """Tell whether a job is one of Slurm's; no name of a cluster of its has a colon."""
        return ":" not in job.cluster

    def number(self, said: str) -> str:
        """Return a job's number, as in `Job.job`, from what sbatch said when it took the job."""
        return said

    def written(self, job: str, task: str | None) -> str:
        """Return a job as Slurm's programs take it: 17, or 17_3 for a task of an array."""
        return job if task is None else f"{job}_{task}"

    def ask(self) -> Queue | None:
        """Ask squeue about this user's jobs, all at once; None where it is not there, failed, or took too long."""
        if not tools.available("squeue"):
            return None
        command = ["squeue", "--noheader", "--all", "--array", "--states=all", f"--user={os.getuid()}"]
        try:
            self._cluster = self._cluster or _name_of_cluster()
            printed = tools.call([*command, "--format=%F|%K|%T|%r"], timeout=tools.QUICK_S)
        except tools.SchedulerError:
            return None
        tasks = parsed(printed)
        return Queue(self._cluster, tasks) if tasks is not None and self._cluster else None

    def take_out(self, tasks: Sequence[tuple[str, str | None]]) -> None:
        """Take tasks that wait out of the queue; what has begun meanwhile is left alone.

        Raises:
            SchedulerError: scancel refused.
        """
        tools.call(["scancel", "--state=PENDING", *dict.fromkeys(job for job, _ in tasks)])


def parsed(printed: str) -> dict[tuple[str, str | None], Task] | None:
    """Return what `squeue --format=%F|%K|%T|%r` printed; None where it is something else: no ground to judge on."""
    tasks: dict[tuple[str, str | None], Task] = {}
    for line in printed.splitlines():
        parts = line.strip().split("|", 3)
        if len(parts) != 4:
            return None
        number, task, state, reason = parts
        stand = _STANDS.get(state, Stand.UNSURE)
        tasks[(number, task if task.isdigit() else None)] = Task(state, stand, "" if reason == "None" else reason)
    return tasks


def _name_of_cluster() -> str:
    found = re.search(
        r"^ClusterName\s*=\s*(\S+)", tools.call(["scontrol", "show", "config"], timeout=tools.QUICK_S), re.M
    )
    return found.group(1) if found else ""
