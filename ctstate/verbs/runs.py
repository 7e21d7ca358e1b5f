"""Who works on a ledger and how fast (`ctstate runs`), and how to stop them (`ctstate stop`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select

from ctstate.cluster import queue, tools
from ctstate.errors import UsageError
from ctstate.ledger import Ledger, runs
from ctstate.ledger.clock import age
from ctstate.ledger.schema import event, run
from ctstate.verbs.submit import jobs_submitted

LIVE, ENDED, LOST = "live", "ended", "lost"


@dataclass(frozen=True)
class RunStatus:
    """One run.

    Attributes:
        id: of the run.
        verb: such as `upload`.
        state: `live`; `ended` (see `outcome`); `lost`: it is gone and what it had claimed is or will be recovered.
        outcome: done, failed, stopped, lost; None while it lives.
        stopping: it was asked to stop and has not ended yet.
        uploaded, failed: captures.
        rate: captures uploaded per second of its life; None where it uploads nothing.
        started_at, heartbeat_at, ended_at: times.
        host, pid, username: where, and whose.
        slurm_job, slurm_task: its Slurm job; None outside of Slurm.
        slurm_state: what squeue says of the job; None where it says nothing.
        log_file: its log.
        message: why it ended.
    """

    id: int
    verb: str
    state: str
    outcome: str | None
    stopping: bool
    uploaded: int
    failed: int
    rate: float | None
    started_at: str
    heartbeat_at: str
    ended_at: str | None
    host: str
    pid: int
    username: str
    slurm_job: str | None
    slurm_task: str | None
    slurm_state: str | None
    log_file: str | None
    message: str | None

    @property
    def job(self) -> str:
        """The job as Slurm writes it: 17, or 17_3 for a task of an array."""
        if self.slurm_job is None:
            return ""
        return self.slurm_job if self.slurm_task is None else f"{self.slurm_job}_{self.slurm_task}"


def list_runs(ledger: Ledger, *, most: int | None = 20) -> list[RunStatus]:
    """Return the runs that live and the newest that ended, oldest first; nothing is changed.

    Args:
        ledger: may be open for reading only.
        most: how many of those that ended; None: all.
    """
    with ledger.read() as connection:
        watched = runs.look_at_jobs(connection)
    if watched:
        queue.WATCH.look(watched)
    known = queue.ask()
    with ledger.read() as connection:
        gone = set(runs.dead(connection, runs.Silence()))
        ended = select(run.c.id).where(run.c.ended_at.is_not(None)).order_by(run.c.id.desc())
        newest = ended.limit(most) if most is not None else ended
        rows = connection.execute(
            select(run, _count("uploaded").label("uploaded"), _count("failed").label("failed"))
            .where(or_(run.c.ended_at.is_(None), run.c.id.in_(newest)))
            .order_by(run.c.id)
        ).all()
    return [_status(row, row.id in gone, known) for row in rows]


def _count(target: str) -> Any:
    return (
        select(func.count())
        .select_from(event)
        .where(event.c.run_id == run.c.id, event.c.target == target)
        .scalar_subquery()
    )


def _status(row: Any, gone: bool, known: queue.Queue | None) -> RunStatus:
    lost = gone if row.ended_at is None else row.outcome == runs.LOST
    state = LOST if lost else LIVE if row.ended_at is None else ENDED
    job = runs.slurm_job(row.arguments) if row.slurm_job is not None else None
    slurm_state = None
    if known is not None and job is not None and job.cluster == known.cluster:
        slurm_state = known.state(job.job, job.task)
    # A live run's rate is up to now, and not up to a heartbeat some seconds ago.
    until = age(row.started_at) if state == LIVE else _seconds(row.started_at, row.ended_at or row.heartbeat_at)
    return RunStatus(
        id=row.id,
        verb=row.verb,
        state=state,
        outcome=row.outcome,
        stopping=row.ended_at is None and not gone and row.stop_requested_at is not None,
        uploaded=row.uploaded,
        failed=row.failed,
        rate=round(row.uploaded / max(until, 0.001), 3) if row.verb == "upload" else None,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        ended_at=row.ended_at,
        host=row.host,
        pid=row.pid,
        username=row.username,
        slurm_job=row.slurm_job,
        slurm_task=row.slurm_task,
        slurm_state=slurm_state,
        log_file=row.log_file,
        message=row.message,
    )


def _seconds(begin: str, end: str) -> float:
    first, last = (datetime.fromisoformat(moment.rstrip("Z")) for moment in (begin, end))
    return (last - first).total_seconds()


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
            are cancelled.

    Raises:
        UsageError: a run that is not there, or that does not upload.
    """
    everything = run_ids is None
    with ledger.atomic_run("stop", {"all": everything, "runs": run_ids}) as (connection, _):
        rows = connection.execute(
            select(run.c.id, run.c.verb, run.c.ended_at).where(
                (run.c.verb == "upload") & run.c.ended_at.is_(None) if everything else run.c.id.in_(run_ids or ())
            )
        ).all()
        missing = sorted(set(run_ids or ()) - {row.id for row in rows})
        if missing:
            raise UsageError(f"no run {missing[0]} in ledger {ledger.name}; `ctstate runs` lists them")
        other = [row for row in rows if row.verb != "upload"]
        if other:
            raise UsageError(f"run {other[0].id} is `ctstate {other[0].verb}`; only uploads are stopped this way")
        asked = runs.request_stop(connection, [row.id for row in rows])
    report = StopReport(asked, sorted(row.id for row in rows if row.id not in asked))
    if everything:
        _cancel_waiting(ledger, report)
    return report


def _cancel_waiting(ledger: Ledger, report: StopReport) -> None:
    jobs = jobs_submitted(ledger)
    known = queue.ask() if jobs else None
    if known is None:
        return
    for job in jobs:
        if "PENDING" not in known.of_job(job):
            continue
        try:
            tools.call(["scancel", "--state=PENDING", job])
            report.cancelled.append(job)
        except tools.SchedulerError as error:
            report.problem = str(error)
