"""`ctstate runs`: who works on a ledger, how fast, and what waits in the scheduler's queue."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from ctstate.cluster.queue import Stand
from ctstate.cluster.schedulers import BY_NAME, CLUSTER, SLURM, scheduler_of
from ctstate.ledger import Ledger, runs, submissions, uploads
from ctstate.ledger.clock import age
from ctstate.ledger.runs import RunRow

LIVE, ENDED, LOST, QUEUED = "live", "ended", "lost", "queued"

_FRESH_S = 1.0
"""A person who looks wants to see the queue as it is now."""


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
        rate: captures per second of its life, with those that are whole on Zooniverse and wait for their link (a
            young worker has linked none yet); None: it uploads nothing, or a live one has brought none there yet.
        started_at, heartbeat_at, ended_at: times.
        host, pid, username: where, and whose.
        job: its job as the scheduler's own programs take it: 17_3 (Slurm), 17[3] (PBS); '' where it is in none.
        slurm_job, slurm_task: the same in two parts (whichever the scheduler).
        slurm_state: what the scheduler says of the job; None where it says nothing.
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
    job: str
    slurm_job: str | None
    slurm_task: str | None
    slurm_state: str | None
    log_file: str | None
    message: str | None


@dataclass(frozen=True)
class Queued:
    """Jobs that wait in the queue, as long as they wait for the same.

    Attributes:
        job: as the scheduler's own programs take it; of an array the array.
        tasks: how many of it.
        follows: it is no array, but the small job that looks whether another array is needed.
        reason: why they wait, in the scheduler's words; '' where it does not say.
        advice: what that means, where it will not pass by itself; '' otherwise.
    """

    job: str
    tasks: int
    follows: bool
    reason: str
    advice: str


_NEVER = {
    "PartitionTimeLimit": "--time is more than the partition allows, so that it never begins",
    "QOSMaxWallDurationPerJobLimit": "--time is more than its QOS allows, so that it never begins",
    "AssocMaxWallDurationPerJobLimit": "--time is more than its account allows, so that it never begins",
    "PartitionNodeLimit": "it asks for more than the partition has, so that it never begins",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is closed",
    "BadConstraints": "no node is as it asks for, so that it never begins",
    "InvalidAccount": "the account may not run jobs there",
    "InvalidQOS": "the QOS may not be used there",
    "JobHeldUser": "somebody holds it: `scontrol release` lets it go",
    "JobHeldAdmin": "an administrator holds it",
    "DependencyNeverSatisfied": "what it waits for will never be, so that it never begins",
}
"""What a scheduler's reason means, where waiting alone does not help (squeue(1), "JOB REASON CODES")."""


def list_runs(ledger: Ledger, *, most: int | None = 20) -> list[RunStatus]:
    """Return the runs that live and the newest that ended, oldest first; nothing is changed.

    Args:
        ledger: may be open for reading only.
        most: how many of those that ended; None: all.
    """
    ledger.look_at_jobs(_FRESH_S)
    with ledger.read() as connection:
        gone = set(ledger.dead_runs(connection))
        rows = runs.newest(connection, most)
        under_way = uploads.under_way(connection)
        schedulers = {BY_NAME[one.scheduler] for one in submissions.jobs(connection)}
    schedulers |= {scheduler_of(row.job) for row in rows if row.job is not None and row.ended_at is None}
    for scheduler in schedulers:
        CLUSTER.queue(scheduler, _FRESH_S)  # the same answer, where it was asked above
    return [_status(row, row.id in gone, under_way.get(row.id)) for row in rows]


def list_queued(ledger: Ledger) -> list[Queued]:
    """Return what of the arrays that `submit` submitted waits in the queue, and why; oldest first.

    Args:
        ledger: may be open for reading only.
    """
    with ledger.read() as connection:
        took = submissions.jobs(connection)
    found: list[Queued] = []
    for name in dict.fromkeys(one.scheduler for one in took):
        scheduler, queue = BY_NAME[name], CLUSTER.queue(BY_NAME[name], _FRESH_S)
        if queue is None:
            continue
        arrays = {scheduler.number(one.array) for one in took if one.scheduler == name}
        links = {one.link for one in took if one.scheduler == name and one.link is not None}
        counts: Counter[tuple[str, str]] = Counter()
        for job, task in queue.of_jobs(arrays | links, Stand.WAITING):
            reason = queue.tasks[(job, task)].reason
            # A link waits for its array, as it should.
            if job in arrays or reason != "Dependency":
                counts[(job, reason)] += 1
        found += [
            Queued(job, number, job in links, reason, _NEVER.get(reason, ""))
            for (job, reason), number in sorted(counts.items(), key=lambda item: int(item[0][0]))
        ]
    return found


def _status(row: RunRow, gone: bool, under_way: uploads.UnderWay | None) -> RunStatus:
    lost = gone if row.ended_at is None else row.outcome == runs.LOST
    state = LOST if lost else LIVE if row.ended_at is None else ENDED
    task = CLUSTER.find(row.job) if row.job is not None else None
    # A live run's rate is up to now, and not up to a heartbeat some seconds ago.
    until = age(row.started_at) if state == LIVE else _seconds(row.started_at, row.ended_at or row.heartbeat_at)
    brought = row.uploaded + (under_way.whole if under_way is not None else 0)
    # One that died before its first heartbeat worked for nobody knows how long.
    has_rate = row.verb == "upload" and until > 0 and (brought or state != LIVE)
    return RunStatus(
        id=row.id,
        verb=row.verb,
        state=state,
        outcome=row.outcome,
        stopping=row.ended_at is None and not gone and row.stop_requested_at is not None,
        uploaded=row.uploaded,
        failed=row.failed,
        rate=brought / until if has_rate else None,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        ended_at=row.ended_at,
        host=row.host,
        pid=row.pid,
        username=row.username,
        job=_written(row),
        slurm_job=row.slurm_job,
        slurm_task=row.slurm_task,
        slurm_state=task.state if task is not None else None,
        log_file=row.log_file,
        message=row.message,
    )


def _written(row: RunRow) -> str:
    if row.slurm_job is None:
        return ""
    # What an older version wrote down of a job is too little to ask by; it was Slurm's.
    return (scheduler_of(row.job) if row.job is not None else SLURM).written(row.slurm_job, row.slurm_task)


def _seconds(begin: str, end: str) -> float:
    first, last = (datetime.fromisoformat(moment.rstrip("Z")) for moment in (begin, end))
    return (last - first).total_seconds()
