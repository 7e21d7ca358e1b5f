"""The schedulers that there are, and what of them is known to this process: each is asked rarely, once for all.

A busy cluster has one scheduler for thousands of users, and many workers would ask it the same. So nobody is asked
about runs whose heartbeats tell that they live (the ledger names those that are silent), one call is about all jobs
of the user, and its answer serves for a while.

This module knows nothing of the ledger; a ledger is given `CLUSTER` as its `jobs` (see `ctstate.ledger.runs.Jobs`).
"""

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ctstate.capture import Job
from ctstate.cluster.pbs import Pbs
from ctstate.cluster.queue import Queue, Task
from ctstate.cluster.slurm import Slurm

KEEP_S = 20.0
"""An answer serves so long: many workers ask, and one scheduler answers all its users."""


class Scheduler(Protocol):
    """One kind of scheduler."""

    def job_of(self, environment: Mapping[str, str]) -> Job | None:
        """Return the job that a process with this environment belongs to."""
        ...

    def is_its(self, job: Job) -> bool:
        """Tell whether it runs a job."""
        ...

    def number(self, said: str) -> str:
        """Return a job's number, as in `Job.job`, from what the scheduler said when it took the job."""
        ...

    def written(self, job: str, task: str | None) -> str:
        """Return a job as the scheduler's programs take it."""
        ...

    def ask(self) -> Queue | None:
        """Ask about this user's jobs; None where there is no answer to judge on."""
        ...

    def take_out(self, tasks: Sequence[tuple[str, str | None]]) -> None:
        """Take tasks that wait out of the queue.

        Raises:
            SchedulerError: it refused.
        """
        ...


SLURM, PBS = Slurm(), Pbs()

BY_NAME: Mapping[str, Scheduler] = {"slurm": SLURM, "pbs": PBS, "pbspro": PBS}
"""What asks about the jobs of a submission; see `scripts.SCHEDULERS`."""

_ALL: tuple[Scheduler, ...] = (SLURM, PBS)


def scheduler_of(job: Job) -> Scheduler:
    """Return who runs a job."""
    return next(one for one in _ALL if one.is_its(job))


def job_of_this_process(environment: Mapping[str, str] | None = None) -> Job | None:
    """Return the job that this process belongs to, from what its scheduler puts into its environment."""
    env = os.environ if environment is None else environment
    return next((job for one in _ALL if (job := one.job_of(env)) is not None), None)


@dataclass
class _Answer:
    """What a scheduler said last, and about which runs it can be believed."""

    queue: Queue | None
    at: float
    known: frozenset[int] = frozenset()


class Cluster:
    """Which runs a scheduler shows to be gone, with one call for all and every `KEEP_S` seconds at most."""

    def __init__(self, schedulers: Iterable[Scheduler] = _ALL) -> None:
        self._lock = threading.Lock()
        self._schedulers = tuple(schedulers)
        self._answers: dict[Scheduler, _Answer] = {}

    def of_this_process(self) -> Job | None:
        """Return the job that this process belongs to, or None."""
        return job_of_this_process()

    def look(self, runs: Mapping[int, Job], keep: float | None = None) -> None:
        """Ask about runs, unless that was done a moment ago. Call it outside of any transaction.

        Args:
            runs: with their jobs; all were in the ledger before this call. Only those can be judged by the answer:
                a run that began later may have a job that it does not list yet.
            keep: an answer that is no older (seconds) does; None: than `KEEP_S`.
        """
        for scheduler in self._schedulers:
            its = frozenset(run_id for run_id, job in runs.items() if scheduler.is_its(job))
            if its:
                self._ask(scheduler, keep, its)

    def queue(self, scheduler: Scheduler, keep: float | None = None) -> Queue | None:
        """Return what a scheduler says of this user's jobs; None where it says nothing to judge on.

        Args:
            scheduler: which.
            keep: see `look`.
        """
        return self._ask(scheduler, keep, frozenset())

    def _ask(self, scheduler: Scheduler, keep: float | None, runs: frozenset[int]) -> Queue | None:
        with self._lock:
            answer = self._answers.get(scheduler)
            if answer is None or time.monotonic() - answer.at >= (KEEP_S if keep is None else keep):
                answer = self._answers[scheduler] = _Answer(scheduler.ask(), time.monotonic(), runs)
            return answer.queue

    def find(self, job: Job) -> Task | None:
        """Return how a job stood when its scheduler was last asked; None where it was not, or does not list it."""
        answer = self._answers.get(scheduler_of(job))
        return answer.queue.find(job) if answer is not None and answer.queue is not None else None

    def gone(self, run_id: int, job: Job, silent: float) -> bool:
        """Tell whether a run is gone, by the last answer.

        Args:
            run_id: the run.
            job: where it was.
            silent: seconds since its last heartbeat.
        """
        answer = self._answers.get(scheduler_of(job))
        if answer is None or answer.queue is None:
            return False
        return run_id in answer.known and answer.queue.gone(job, silent)

    def supersedes(self, job: Job, other: Job) -> bool:
        """Tell whether `job` is a later start of `other`: a scheduler starts one only when the former has ended."""
        same = (job.cluster, job.user_id, job.job, job.task) == (
            other.cluster,
            other.user_id,
            other.job,
            other.task,
        )
        return same and job.restarts > other.restarts


CLUSTER = Cluster()
"""One for the process: all its ledgers share the answers."""
