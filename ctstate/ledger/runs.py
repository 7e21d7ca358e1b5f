"""Runs: who writes to the ledger, whether they still live, and what becomes of what dead ones had claimed."""

import json
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Row, ScalarSelect, Select, case, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from ctstate import __version__
from ctstate.capture import Job, pages
from ctstate.ledger.clock import age, surely_older
from ctstate.ledger.database import moment
from ctstate.ledger.processes import Process, gone_from_here, this_process, username
from ctstate.ledger.schema import capture, event, run
from ctstate.ledger.states import State
from ctstate.machine import machine

LEASE_S = float(os.environ.get("CTSTATE_LEASE_SECONDS", "300"))
"""A run that is known to be silent for so long is dead: its captures are recovered, and it must not send a create.

All runs of a ledger must agree on it; CTSTATE_LEASE_SECONDS is for rehearsals, such as the crash harness.
"""

HEARTBEAT_S = LEASE_S / 30
"""How often a live run says so."""

QUIET_S = 1.5 * HEARTBEAT_S
"""A run whose last heartbeat is older may be dead: its scheduler is asked. Before, the heartbeat tells enough."""

LOST = "lost"


class Jobs(Protocol):
    """What the scheduler of a cluster can tell about runs: a ledger is opened with it."""

    def of_this_process(self) -> Job | None:
        """Return the job that this process belongs to, or None."""
        ...

    def look(self, runs: Mapping[int, Job], keep: float | None = None) -> None:
        """Ask the scheduler about jobs: a call over the network, never made inside a transaction.

        Args:
            runs: that `gone` may be asked about afterwards, with their jobs; all were in the ledger before.
            keep: what was answered no longer ago (seconds) does; None: as long ago as is usual.
        """
        ...

    def gone(self, run_id: int, job: Job, silent: float) -> bool:
        """Tell whether a run cannot be alive, by what `look` saw last; False where that is not known.

        Args:
            run_id: the run.
            job: where it was.
            silent: seconds since its last heartbeat.
        """
        ...

    def supersedes(self, job: Job, other: Job) -> bool:
        """Tell whether `job` can only have begun after the processes of `other` had ended."""
        ...


class NoJobs:
    """No scheduler is asked: runs are in no job, and their leases decide."""

    def of_this_process(self) -> Job | None:
        """Return None."""
        return None

    def look(self, runs: Mapping[int, Job], keep: float | None = None) -> None:
        """Ask nobody."""

    def gone(self, run_id: int, job: Job, silent: float) -> bool:
        """Return False: it is not known."""
        return False

    def supersedes(self, job: Job, other: Job) -> bool:
        """Return False: it is not known."""
        return False


# -- a run's life ----------------------------------------------------------------------------------------------


def start(
    connection: Connection,
    verb: str,
    arguments: Mapping[str, Any],
    log_file: str | None = None,
    job: Job | None = None,
) -> int:
    """Write down that an invocation begins, and return the run's id. `Ledger.begin_run` knows the job.

    Args:
        connection: a write transaction.
        verb: such as `upload`.
        arguments: what it was called with; never a password.
        log_file: where its log goes.
        job: the scheduler's job that it runs in.
    """
    here = this_process()
    at = moment(connection)
    result = connection.execute(
        insert(run).values(
            verb=verb,
            arguments=json.dumps(dict(arguments), sort_keys=True, default=str, ensure_ascii=False),
            version=__version__,
            username=username(),
            host=here.host,
            host_id=here.host_id,
            pid=here.pid,
            pid_started=here.pid_started,
            slurm_cluster=job.cluster if job is not None else None,
            slurm_user_id=job.user_id if job is not None else None,
            slurm_job=job.job if job is not None else None,
            slurm_task=job.task if job is not None else None,
            slurm_restarts=job.restarts if job is not None else None,
            log_file=log_file,
            started_at=at,
            heartbeat_at=at,
        )
    )
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def beat(connection: Connection, run_id: int) -> str | None:
    """Say that the run lives.

    Returns:
        `stop` where somebody asked it to stop, `lost` where others took it for dead, else None.
    """
    live = (run.c.id == run_id) & run.c.ended_at.is_(None)
    beaten = {"heartbeat_at": moment(connection), "beats": run.c.beats + 1}
    if connection.execute(update(run).where(live).values(beaten)).rowcount == 0:
        return LOST
    asked = connection.execute(select(run.c.stop_requested_at).where(run.c.id == run_id)).scalar()
    return "stop" if asked else None


def end(connection: Connection, run_id: int, outcome: str, message: str = "") -> None:
    """Write down how a run ended (`done`, `failed` or `stopped`); a run that others declared lost stays so."""
    at = moment(connection)
    connection.execute(
        update(run)
        .where(run.c.id == run_id, run.c.ended_at.is_(None))
        .values(ended_at=at, heartbeat_at=at, outcome=outcome, message=message or None)
    )


def forget(connection: Connection, run_id: int) -> None:
    """Take back that an invocation began, as it has changed nothing."""
    connection.execute(delete(run).where(run.c.id == run_id))


# -- which runs are dead ---------------------------------------------------------------------------------------


class Silence:
    """How long other runs have been silent, as one process saw it, by its own clock.

    What a heartbeat says of the time was written by another host's clock, which may be off by minutes. That it has
    not moved while this process looked on is certain.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}  # run: the beats it had, and since when by this process

    def of(self, run_id: int, beats: int) -> float:
        """Return for how many seconds at least the run has not beaten; look again to learn more."""
        at = machine().monotonic()
        known = self._seen.get(run_id)
        if known is None or known[0] != beats:
            self._seen[run_id] = (beats, at)
            return 0.0
        return at - known[1]


_NOT_ENDED: Select[Any] = select(
    run.c.id,
    run.c.host,
    run.c.host_id,
    run.c.pid,
    run.c.pid_started,
    run.c.heartbeat_at,
    run.c.beats,
    run.c.slurm_cluster,
    run.c.slurm_user_id,
    run.c.slurm_job,
    run.c.slurm_task,
    run.c.slurm_restarts,
).where(run.c.ended_at.is_(None))


def _job_of(row: Row[Any]) -> Job | None:
    facts = (row.slurm_cluster, row.slurm_user_id, row.slurm_job, row.slurm_restarts)
    if None in facts:  # not in a job, or an older version did not write down all of it
        return None
    return Job(row.slurm_cluster, row.slurm_user_id, row.slurm_job, row.slurm_task, row.slurm_restarts)


def dead(connection: Connection, silence: Silence, jobs: Jobs) -> list[int]:
    """Return the runs that have not ended but cannot be alive.

    Those are: seen to be silent for a lease; silent for so long that no difference between two hosts' clocks
    explains it; gone from this host; in a job that no longer runs (by what the scheduler said last, see
    `Jobs.look`); or in a job that was requeued and has begun anew.

    Args:
        connection: a transaction.
        silence: what this process saw of the runs so far.
        jobs: what the scheduler knows of them.
    """
    here = this_process()
    rows = connection.execute(_NOT_ENDED).all()
    job_of = {row.id: job for row in rows if (job := _job_of(row)) is not None}
    at = moment(connection)

    def gone(row: Row[Any]) -> bool:
        if silence.of(row.id, row.beats) > LEASE_S or surely_older(row.heartbeat_at, LEASE_S, at):
            return True
        if gone_from_here(here, Process(row.host, row.host_id, row.pid, row.pid_started)):
            return True
        job = job_of.get(row.id)
        if job is None:
            return False
        if any(jobs.supersedes(other, job) for other in job_of.values()):
            return True
        # A process of this host was just seen to live, and that is more than the scheduler knows.
        return row.host_id != here.host_id and jobs.gone(row.id, job, age(row.heartbeat_at, at))

    return [row.id for row in rows if gone(row)]


def silent_in_jobs(connection: Connection) -> dict[int, Job]:
    """Return the runs that a scheduler is to be asked about (`Jobs.look`), with their jobs.

    Those are runs of other hosts that have not ended and whose heartbeat does not tell that they live. (A clock
    that is ahead hides a dead run for the 30 s in which its last heartbeat seems to be of now, and no longer.)
    """
    rows = connection.execute(_NOT_ENDED.where(run.c.slurm_job.is_not(None))).all()
    here, at = this_process(), moment(connection)
    silent = (row for row in rows if row.host_id != here.host_id and abs(age(row.heartbeat_at, at)) > QUIET_S)
    return {row.id: job for row in silent if (job := _job_of(row)) is not None}


_ORPHANED = (capture.c.state == State.UPLOADING.value) & capture.c.run_id.in_(
    select(run.c.id).where(run.c.ended_at.is_not(None))
)
"""Claimed by a run that has ended. An index range per (season, batch) serves this; runs are found by their id."""


def left_claims(connection: Connection) -> bool:
    """Tell whether runs that have ended still have claims."""
    return connection.execute(select(capture.c.id).where(_ORPHANED).limit(1)).first() is not None


def recover(connection: Connection, lost: list[int]) -> int:
    """Declare runs lost and put what they had claimed back to batched, with all that is known of it.

    A capture whose create may have been sent becomes ambiguous as of now: it will be looked for before it is
    sent again. Claims of runs that ended without releasing them are put back as well.

    Args:
        connection: a write transaction.
        lost: runs to declare lost, from `dead`.

    Returns:
        the number of captures put back.
    """
    at = moment(connection)
    for some in pages(lost):
        connection.execute(
            update(run).where(run.c.id.in_(some), run.c.ended_at.is_(None)).values(ended_at=at, outcome=LOST)
        )
    in_doubt = capture.c.create_sent_at.is_not(None) & capture.c.subject_id.is_(None)
    return connection.execute(
        update(capture)
        .where(_ORPHANED)
        .values(
            state=State.BATCHED.value,
            moved_at=at,
            reason=case(
                (in_doubt, "run is gone; it may have made a subject: to be looked for"), else_="run is gone"
            ),
            ambiguous_at=case((in_doubt & capture.c.ambiguous_at.is_(None), at), else_=capture.c.ambiguous_at),
        )
    ).rowcount


# -- for people ------------------------------------------------------------------------------------------------


class RunRow(NamedTuple):
    """A run, and what it did to captures."""

    id: int
    verb: str
    outcome: str | None  # done, failed, stopped, lost; None: it has not ended
    started_at: str
    heartbeat_at: str
    stop_requested_at: str | None
    ended_at: str | None
    host: str
    pid: int
    username: str
    slurm_job: str | None
    slurm_task: str | None
    job: Job | None  # with all that the scheduler can be asked by
    log_file: str | None
    message: str | None
    uploaded: int
    failed: int


def _moved_to(state: State) -> ScalarSelect[int]:
    return (
        select(func.count())
        .select_from(event)
        .where(event.c.run_id == run.c.id, event.c.target == state.value)
        .scalar_subquery()
    )


def newest(connection: Connection, most: int | None) -> list[RunRow]:
    """Return the runs that have not ended and the newest that have, oldest first.

    Args:
        connection: a transaction.
        most: how many of those that ended; None: all.
    """
    ended = select(run.c.id).where(run.c.ended_at.is_not(None)).order_by(run.c.id.desc()).limit(most)
    wanted: Select[Any] = (
        select(run, _moved_to(State.UPLOADED).label("uploaded"), _moved_to(State.FAILED).label("failed"))
        .where(run.c.ended_at.is_(None) | run.c.id.in_(ended))
        .order_by(run.c.id)
    )
    return [
        RunRow(job=_job_of(row), **{name: getattr(row, name) for name in RunRow._fields if name != "job"})
        for row in connection.execute(wanted)
    ]


class RunState(NamedTuple):
    """A run that somebody names."""

    id: int
    verb: str
    ended: bool


def named(connection: Connection, run_ids: Iterable[int]) -> list[RunState]:
    """Return those of these runs that are there, by id."""
    rows: list[RunState] = []
    for some in pages(run_ids):
        found = connection.execute(select(run.c.id, run.c.verb, run.c.ended_at).where(run.c.id.in_(some)))
        rows += [RunState(row.id, row.verb, row.ended_at is not None) for row in found]
    return sorted(rows)


def live_uploads(connection: Connection) -> list[int]:
    """Return the uploads that have not ended."""
    return list(
        connection.execute(
            select(run.c.id).where(run.c.verb == "upload", run.c.ended_at.is_(None)).order_by(run.c.id)
        ).scalars()
    )


def live_uploads_in_jobs(connection: Connection) -> list[tuple[int, str]]:
    """Return the uploads in jobs that have not ended, with the numbers of their jobs (or arrays)."""
    live = select(run.c.id, run.c.slurm_job).where(
        run.c.verb == "upload", run.c.ended_at.is_(None), run.c.slurm_job.is_not(None)
    )
    return [(row.id, row.slurm_job) for row in connection.execute(live)]


def request_stop(connection: Connection, run_ids: Collection[int]) -> None:
    """Ask runs that have not ended to stop cleanly; each hears it with its next heartbeat.

    Args:
        connection: a write transaction.
        run_ids: which.
    """
    for some in pages(run_ids):
        connection.execute(
            update(run)
            .where(run.c.id.in_(some), run.c.ended_at.is_(None))
            .values(stop_requested_at=func.coalesce(run.c.stop_requested_at, moment(connection)))
        )
