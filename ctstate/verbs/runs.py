"""`ctstate runs`: who works on a ledger, and how fast."""

from dataclasses import dataclass
from datetime import datetime

from ctstate.cluster import queue
from ctstate.ledger import Ledger, runs, uploads
from ctstate.ledger.clock import age
from ctstate.ledger.runs import RunRow

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
        rate: captures per second of its life, with those that are whole on Zooniverse and wait for their link (a
            young worker has linked none yet); None: it uploads nothing, or a live one has brought none there yet.
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
    ledger.look_at_jobs()
    known = queue.ask()
    with ledger.read() as connection:
        gone = set(ledger.dead_runs(connection))
        rows = runs.newest(connection, most)
        under_way = uploads.under_way(connection)
    return [_status(row, row.id in gone, known, under_way.get(row.id)) for row in rows]


def _status(row: RunRow, gone: bool, known: queue.Queue | None, under_way: uploads.UnderWay | None) -> RunStatus:
    lost = gone if row.ended_at is None else row.outcome == runs.LOST
    state = LOST if lost else LIVE if row.ended_at is None else ENDED
    slurm_state = None
    if known is not None and row.job is not None and row.job.cluster == known.cluster:
        slurm_state = known.state(row.job.job, row.job.task)
    # A live run's rate is up to now, and not up to a heartbeat some seconds ago.
    until = age(row.started_at) if state == LIVE else _seconds(row.started_at, row.ended_at or row.heartbeat_at)
    brought = row.uploaded + (under_way.whole if under_way is not None else 0)
    has_rate = row.verb == "upload" and (brought or state != LIVE)
    return RunStatus(
        id=row.id,
        verb=row.verb,
        state=state,
        outcome=row.outcome,
        stopping=row.ended_at is None and not gone and row.stop_requested_at is not None,
        uploaded=row.uploaded,
        failed=row.failed,
        rate=brought / max(until, 0.001) if has_rate else None,
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
