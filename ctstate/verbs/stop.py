"""`ctstate stop`: ask uploads to stop cleanly, and end the chains that `submit` began."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ctstate.cluster.queue import Stand
from ctstate.cluster.schedulers import BY_NAME, CLUSTER
from ctstate.cluster.tools import SchedulerError
from ctstate.errors import UsageError
from ctstate.ledger import Ledger, runs, submissions


@dataclass
class StopReport:
    """What `stop_runs` did.

    Attributes:
        asked: runs that were asked to stop.
        ended: runs that were named and had ended already.
        cancelled: job arrays whose tasks that had not begun were taken out of the queue.
        problem: why tasks that wait could not be taken out; empty where all went well.
    """

    asked: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    problem: str = ""


def stop_runs(ledger: Ledger, run_ids: Sequence[int] | None = None) -> StopReport:
    """Ask running uploads to stop cleanly: each hears it with its next heartbeat (ten seconds).

    Args:
        ledger: the ledger.
        run_ids: which; None: all, and with them the chains that `submit` began, whose tasks that wait in the queue
            are taken out of it.

    Raises:
        UsageError: a run that is not there, or that does not upload.
    """
    arguments = {"all": run_ids is None, "runs": run_ids}
    with ledger.atomic_run("stop", arguments) as (connection, run_id):
        if run_ids is None:
            report = StopReport(asked=runs.live_uploads(connection))
            submissions.end_chains(connection, run_id)
        else:
            found = runs.named(connection, run_ids)
            missing = sorted(set(run_ids) - {run.id for run in found})
            if missing:
                raise UsageError(f"no run {missing[0]} in ledger {ledger.name}; `ctstate runs` lists them")
            other = next((run for run in found if run.verb != "upload"), None)
            if other is not None:
                raise UsageError(f"run {other.id} is `ctstate {other.verb}`; only uploads are stopped this way")
            report = StopReport(
                asked=[run.id for run in found if not run.ended], ended=[run.id for run in found if run.ended]
            )
        runs.request_stop(connection, report.asked)
    if run_ids is None:
        _take_out_waiting(ledger, report)
    return report


def _take_out_waiting(ledger: Ledger, report: StopReport) -> None:
    with ledger.read() as connection:
        took = submissions.jobs(connection)
    for name in dict.fromkeys(one.scheduler for one in took):
        scheduler = BY_NAME[name]
        arrays = {scheduler.number(one.array) for one in took if one.scheduler == name}
        queue = CLUSTER.queue(scheduler, keep=0.0)
        waiting = queue.of_jobs(arrays, Stand.WAITING) if queue is not None else []
        if not waiting:
            continue
        try:
            scheduler.take_out(waiting)
            report.cancelled += dict.fromkeys(job for job, _ in waiting)
        except SchedulerError as error:
            report.problem = str(error)
