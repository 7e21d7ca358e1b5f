"""What squeue says of jobs, and which runs are gone because of it.

A wrong verdict would take work from a live run (the fencing tokens would keep it harmless, but it costs). So a
run is judged only where this process can know: the run wrote down the same cluster and the same user (a site may
hide other users' jobs: PrivateData), it stood in the ledger before squeue was asked, and squeue answered without
an error and in time. Anything else is no verdict, and the lease decides.

This module knows nothing of the ledger; a ledger is given `SLURM` as its `jobs` (see `ctstate.ledger.runs.Jobs`).
"""

import os
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ctstate.capture import Job
from ctstate.cluster import tools

KEEP_S = 20.0
"""An answer of squeue serves so long: many workers ask, and one scheduler answers all its users."""

QUIET_S = 15.0
"""A heartbeat and a half. A run is only gone by what Slurm does *not* say if it has been silent for that long."""

# States in which Slurm has seen the processes end (squeue(1), "JOB STATE CODES"). NODE_FAIL is not among them:
# there the node was silent, and the process may be at work still.
ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    }
)
RUNNING = frozenset(
    {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING", "CONFIGURING"}
)


def job_of_this_process(environment: Mapping[str, str] | None = None) -> Job | None:
    """Return the Slurm job that this process belongs to, from what Slurm puts into its environment."""
    env = os.environ if environment is None else environment
    job = env.get("SLURM_ARRAY_JOB_ID") or env.get("SLURM_JOB_ID")
    if not job:
        return None
    restarts = env.get("SLURM_RESTART_COUNT", "0")
    return Job(
        cluster=env.get("SLURM_CLUSTER_NAME", ""),
        user_id=os.getuid(),
        job=job,
        task=env.get("SLURM_ARRAY_TASK_ID"),
        restarts=int(restarts) if restarts.isdigit() else 0,
    )


@dataclass(frozen=True)
class Queue:
    """One answer of squeue about this user's jobs on one cluster.

    Attributes:
        cluster: its name.
        states: by (job, task); task is None where the job is no array.
    """

    cluster: str
    states: Mapping[tuple[str, str | None], str]

    def state(self, job: str, task: str | None) -> str | None:
        """Return the state, such as RUNNING, or None where it is not listed (ended a while ago, or waiting)."""
        return self.states.get((job, task))

    def of_job(self, job: str) -> list[str]:
        """Return the states of all tasks of a job."""
        return [state for (number, _), state in self.states.items() if number == job]

    def gone(self, job: Job, silent: float) -> bool:
        """Tell whether a run of this job cannot be alive.

        Args:
            job: where the run was.
            silent: seconds since its last heartbeat.
        """
        if not job.cluster or job.cluster != self.cluster or job.user_id != os.getuid():
            return False
        state = self.state(job.job, job.task)
        if state in ENDED:
            return True
        return state not in RUNNING and silent > QUIET_S


def _cluster() -> str:
    """Return the name of the cluster that squeue speaks of; '' where it is not known."""
    try:
        found = re.search(
            r"^ClusterName\s*=\s*(\S+)", tools.call(["scontrol", "show", "config"], timeout=tools.QUICK_S), re.M
        )
    except tools.SchedulerError:
        return ""
    return found.group(1) if found else ""


_known_cluster = ""


def ask() -> Queue | None:
    """Ask squeue about this user's jobs; None where it is not there, failed, or took too long."""
    global _known_cluster
    if not tools.available("squeue"):
        return None
    if not _known_cluster:
        _known_cluster = _cluster()
    if not _known_cluster:
        return None
    command = ["squeue", "--noheader", "--all", "--array", "--states=all", f"--user={os.getuid()}"]
    try:
        printed = tools.call([*command, "--format=%F|%K|%T"], timeout=tools.QUICK_S)
    except tools.SchedulerError:
        return None
    states: dict[tuple[str, str | None], str] = {}
    for line in printed.splitlines():
        parts = line.strip().split("|")
        if len(parts) != 3:
            return None  # not what squeue prints: no ground to judge on
        number, task, state = parts
        states[(number, task if task.isdigit() else None)] = state
    return Queue(_known_cluster, states)


class SlurmJobs:
    """Which runs Slurm shows to be gone, with one call of squeue for all and every `KEEP_S` seconds at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at = -KEEP_S
        self._queue: Queue | None = None
        self._known: frozenset[int] = frozenset()

    def of_this_process(self) -> Job | None:
        """Return the job that this process belongs to, or None."""
        return job_of_this_process()

    def look(self, run_ids: Iterable[int]) -> None:
        """Ask squeue, unless it was asked a moment ago. Call it outside of any transaction.

        Args:
            run_ids: of runs that were in the ledger before this call. Only those can be judged by the answer: a run
                that began later may have a job that it does not list yet.
        """
        with self._lock:
            if time.monotonic() - self._asked_at < KEEP_S:
                return
            known = frozenset(run_ids)
            self._queue = ask()
            self._asked_at = time.monotonic()
            self._known = known

    def gone(self, run_id: int, job: Job, silent: float) -> bool:
        """Tell whether a run is gone, by the last answer.

        Args:
            run_id: the run.
            job: where it was.
            silent: seconds since its last heartbeat.
        """
        queue = self._queue
        return queue is not None and run_id in self._known and queue.gone(job, silent)

    def supersedes(self, job: Job, other: Job) -> bool:
        """Tell whether `job` is a later start of `other`: Slurm starts one only when the former has ended."""
        same = (job.cluster, job.user_id, job.job, job.task) == (
            other.cluster,
            other.user_id,
            other.job,
            other.task,
        )
        return same and job.restarts > other.restarts


SLURM = SlurmJobs()
"""One for the process: all its ledgers share the answers."""
