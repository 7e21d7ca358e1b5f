"""Handing an order to the scheduler: the array, the small job that follows it, the last job of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctstate.cluster import partitions, tools
from ctstate.cluster import scripts as script
from ctstate.cluster.scripts import JobOptions, Program
from ctstate.errors import CtstateError
from ctstate.ledger import Ledger, submissions
from ctstate.verbs.submit.order import Order, Place

SMALL_JOB_S = 30 * 60
"""Wall time of the jobs that only look into the ledger: they may have to wait for its lock, and for sbatch."""


@dataclass
class Submitted:
    """What was submitted.

    Attributes:
        pending: captures, then.
        round: number of the array in its chain.
        chain_id: the run that submitted the chain's first array; None: nothing was pending.
        job: of the array; None: nothing was pending.
        link: the job that follows it; None: nothing follows.
        last: the job that ends when all is over; None: none was wanted.
        problem: what of it went wrong, for a person; '' where nothing did.
    """

    pending: int
    round: int = 1
    chain_id: int | None = None
    job: str | None = None
    link: str | None = None
    last: str | None = None
    problem: str = ""


def worker_script(order: Order, begin: str | None = None) -> str:
    """Return the script of an order's job array."""
    program = _program(order, ("upload", *order.upload))
    folder, logs = Path(order.folder), Path(order.log_folder)
    if order.scheduler == "slurm":
        return script.slurm_workers(order.job, program, folder, logs, begin)
    return script.pbs_workers(order.job, program, folder, logs, pro=order.scheduler == "pbspro")


def _program(order: Order, arguments: Sequence[str]) -> Program:
    ahead = ("--ledger", order.ledger, "--endpoint", order.endpoint)
    return Program((*ahead, *arguments), import_path=script.import_path())


def hand_over(
    ledger: Ledger,
    order: Order,
    pending: int,
    place: Place,
    *,
    begin: str | None = None,
    last: str | None = None,
    with_last: bool = False,
) -> Submitted:
    """Submit an array, and what follows it; write down what was submitted, whatever becomes of the rest.

    Args:
        ledger: the ledger.
        order: what the array is to do.
        pending: captures, now.
        place: where in its chain the array is.
        begin: not before then, as sbatch takes it.
        last: the chain's last job, which is to wait for this array as well.
        with_last: submit the chain's last job.

    Raises:
        SchedulerError: the scheduler is not here or refused.
    """
    Path(order.log_folder).mkdir(parents=True, exist_ok=True)
    about = order.submission(pending, place)
    arguments = {"season": order.season, "batch": order.batch, "workers": order.job.workers, "round": place.round}
    live = ledger.live_run(
        "submit", arguments, also=lambda connection, run_id: submissions.add(connection, run_id, about)
    )
    done = Submitted(pending, place.round, place.chain_id or live.id, last=last)
    outcome, message = "failed", ""
    try:
        text = worker_script(order, begin)
        if order.scheduler != "slurm":
            done.job = tools.call(["qsub"], text=text).strip()
        else:
            _to_slurm(order, live.id, text, done, with_last=with_last)
        outcome = "done"
    except CtstateError as error:
        message = str(error)
        raise
    finally:
        # What was submitted is written down also where the rest failed: `ctstate stop --all` must find it.
        with ledger.write() as connection:
            submissions.note_jobs(connection, live.id, done.job, done.link)
        live.end(outcome, message)
    return done


def _to_slurm(order: Order, run_id: int, text: str, done: Submitted, *, with_last: bool) -> None:
    done.job = _sbatch(text)
    small = _SmallJobs(order)
    if with_last:
        # Before the link, which is told of it.
        done.last = small.last(done.job)
    if order.max_rounds > 1:
        of_last = ("--last-is", done.last) if done.last is not None else ()
        done.link = small.submit("next", ("submit", "--continue", str(run_id), *of_last), done.job)
        if done.last is not None:
            done.problem = _wait_for(done.last, done.link)


class _SmallJobs:
    """The jobs of an order that only look into the ledger, as long as its partition lets a job run."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._time = where_to(order.scheduler, order.job.partition, order.job.more).at_most(SMALL_JOB_S)

    def submit(self, name: str, arguments: Sequence[str], after: str | None) -> str:
        order = self._order
        program, folder, logs = _program(order, arguments), Path(order.folder), Path(order.log_folder)
        options: JobOptions = order.job
        return _sbatch(script.slurm_small(options, program, folder, logs, name=name, time=self._time, after=after))

    def last(self, after: str | None) -> str:
        batch = ("--batch", self._order.batch) if self._order.batch is not None else ()
        return self.submit("last", ("submit", "--judge", "--season", self._order.season, *batch), after)


def last_job(order: Order) -> str:
    """Submit a chain's last job where there is no chain, as nothing is pending: it ends at once.

    Raises:
        SchedulerError: the scheduler is not here or refused.
    """
    Path(order.log_folder).mkdir(parents=True, exist_ok=True)
    return _SmallJobs(order).last(None)


def where_to(scheduler: str, partition: str | None, more: Sequence[str]) -> partitions.Place:
    """Return where an order's jobs will run, as far as the scheduler tells before they are submitted.

    PBS refuses at once what its queues do not allow; Slurm takes it and lets it wait for ever.

    Raises:
        UsageError: there is no such partition.
    """
    return partitions.place(partition, more, partitions.ask() if scheduler == "slurm" else ())


def _wait_for(last: str, link: str) -> str:
    """Let a chain's last job wait for another link; return why that cannot be, or ''."""
    try:
        tools.call(["scontrol", "update", f"JobId={last}", f"Dependency=afterany:{link}"])
    except tools.SchedulerError as error:
        return f"job {last} will end before the upload has, as it cannot be told to wait: {error}"
    return ""


def _sbatch(text: str) -> str:
    # JOBID, or JOBID;CLUSTER (sbatch(1), --parsable).
    printed = tools.call(["sbatch", "--parsable", *script.directives(text)], text=text).strip()
    job = printed.splitlines()[-1].partition(";")[0] if printed else ""
    if not job.isdigit():
        raise tools.SchedulerError(f"sbatch gave no job number but {printed!r}")
    return job
