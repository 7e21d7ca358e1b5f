"""What a scheduler says of jobs, and which runs are gone because of it; the same for every scheduler.

A wrong verdict would take work from a live run (the fencing tokens would keep it harmless, but it costs). So a
run is judged only where this process can know: the run wrote down the same cluster and the same user (a site may
hide other users' jobs: PrivateData of Slurm, query_other_jobs of PBS), it stood in the ledger before the scheduler
was asked, and the scheduler answered without an error and in time. Anything else is no verdict, and the lease
decides.
"""

import enum
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ctstate.capture import Job

QUIET_S = 15.0
"""A heartbeat and a half. By what a scheduler does *not* say, a run is gone only if it has been silent so long."""


class Stand(enum.Enum):
    """How a task stands, whatever its scheduler calls that."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"  # the scheduler has seen its processes end
    UNSURE = "unsure"  # such as on a node that is silent: the process may be at work still


@dataclass(frozen=True)
class Task:
    """A job, or a task of an array, in the queue.

    Attributes:
        state: what the scheduler calls it, such as PENDING or Q.
        stand: what that means.
        reason: why it waits, in the scheduler's words; '' where it does not say.
    """

    state: str
    stand: Stand
    reason: str = ""


@dataclass(frozen=True)
class Queue:
    """One answer of a scheduler about this user's jobs on one cluster.

    Attributes:
        cluster: its name, as in `Job.cluster`.
        tasks: by (job, task); task is None where the job is no array.
    """

    cluster: str
    tasks: Mapping[tuple[str, str | None], Task]

    def find(self, job: Job) -> Task | None:
        """Return how a job stands, or None where it is not listed (ended a while ago, or of another cluster)."""
        return self.tasks.get((job.job, job.task)) if self._knows(job) else None

    def of_jobs(self, jobs: Collection[str], *stands: Stand) -> list[tuple[str, str | None]]:
        """Return the tasks of some jobs that stand like this."""
        return [key for key, task in self.tasks.items() if key[0] in jobs and task.stand in stands]

    def _knows(self, job: Job) -> bool:
        return bool(job.cluster) and job.cluster == self.cluster

    def gone(self, job: Job, silent: float) -> bool:
        """Tell whether a run of this job cannot be alive.

        Args:
            job: where the run was.
            silent: seconds since its last heartbeat.
        """
        if not self._knows(job) or job.user_id != os.getuid():
            return False
        task = self.find(job)
        if task is not None and task.stand is Stand.ENDED:
            return True
        return (task is None or task.stand is not Stand.RUNNING) and silent > QUIET_S
