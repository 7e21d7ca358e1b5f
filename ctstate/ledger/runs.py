"""Runs: who writes to the ledger, whether they still live, and what becomes of what dead ones had claimed."""

import getpass
import json
import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import case, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from ctstate import __version__
from ctstate.cluster.queue import WATCH, Job, job_of_this_process
from ctstate.ledger.clock import age, now, surely_older
from ctstate.ledger.schema import capture, run
from ctstate.ledger.states import State
from ctstate.machine import machine

LEASE_S = float(os.environ.get("CTSTATE_LEASE_SECONDS", "300"))
"""A run that is known to be silent for so long is dead: its captures are recovered, and it must not send a create.

All runs of a ledger must agree on it; CTSTATE_LEASE_SECONDS is for rehearsals, such as the crash harness.
"""

HEARTBEAT_S = LEASE_S / 30
"""How often a live run says so."""

LOST = "lost"


@dataclass(frozen=True)
class Whereabouts:
    """Where this process is: enough to tell later, on the same host, whether it still lives."""

    host: str
    host_id: str
    pid: int
    pid_started: str


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _host_id() -> str:
    # A pid means something only within one boot of one host and one pid namespace (containers).
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{_read('/proc/sys/kernel/random/boot_id')} {namespace}".strip() or socket.gethostname()


def _started(pid: int) -> str:
    # Field 22 of /proc/PID/stat; the command name before it may hold spaces and parentheses.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def whereabouts() -> Whereabouts:
    """Return the whereabouts of this process."""
    pid = os.getpid()
    return Whereabouts(socket.gethostname(), _host_id(), pid, _started(pid))


def _gone_from_here(here: Whereabouts, row: Any) -> bool:
    """Tell whether a run of this very host has no process any more."""
    if row.host_id != here.host_id:
        return False
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    fields = _read(f"/proc/{row.pid}/stat").rpartition(")")[2].split()
    zombie = bool(fields) and fields[0] in ("Z", "X")
    return zombie or (bool(row.pid_started) and _started(row.pid) != row.pid_started)


def start(connection: Connection, verb: str, arguments: Mapping[str, Any], log_file: str | None = None) -> int:
    """Write down that an invocation begins, and return the run's id.

    Args:
        connection: a write transaction.
        verb: such as `upload`.
        arguments: what it was called with; never a password.
        log_file: where its log goes.
    """
    here = whereabouts()
    moment = now()
    job = job_of_this_process()
    if job is not None:
        arguments = {**arguments, "slurm": asdict(job)}
    result = connection.execute(
        insert(run).values(
            verb=verb,
            arguments=json.dumps(dict(arguments), sort_keys=True, default=str, ensure_ascii=False),
            version=__version__,
            username=_username(),
            host=here.host,
            host_id=here.host_id,
            pid=here.pid,
            pid_started=here.pid_started,
            slurm_job=job.job if job is not None else None,
            slurm_task=job.task if job is not None else None,
            log_file=log_file,
            started_at=moment,
            heartbeat_at=moment,
        )
    )
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def _username() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


class Silence:
    """How long other runs have been silent, as one process saw it, by its own clock.

    What a heartbeat says of the time was written by another host's clock, which may be off by minutes. That it has
    not moved while this process looked on is certain.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}  # run: the beats it had, and since when by this process

    def of(self, run_id: int, beats: int) -> float:
        """Return for how many seconds at least the run has not beaten; look again to learn more."""
        moment = machine().monotonic()
        known = self._seen.get(run_id)
        if known is None or known[0] != beats:
            self._seen[run_id] = (beats, moment)
            return 0.0
        return moment - known[1]


def beat(connection: Connection, run_id: int) -> str | None:
    """Say that the run lives.

    Returns:
        `stop` where somebody asked it to stop, `lost` where others took it for dead, else None.
    """
    live = (run.c.id == run_id) & run.c.ended_at.is_(None)
    if connection.execute(update(run).where(live).values(heartbeat_at=now(), beats=run.c.beats + 1)).rowcount == 0:
        return LOST
    asked = connection.execute(select(run.c.stop_requested_at).where(run.c.id == run_id)).scalar()
    return "stop" if asked else None


def end(connection: Connection, run_id: int, outcome: str, message: str = "") -> None:
    """Write down how a run ended (`done`, `failed` or `stopped`); a run that others declared lost stays so."""
    connection.execute(
        update(run)
        .where(run.c.id == run_id, run.c.ended_at.is_(None))
        .values(ended_at=now(), heartbeat_at=now(), outcome=outcome, message=message or None)
    )


def forget(connection: Connection, run_id: int) -> None:
    """Take back that an invocation began, as it has changed nothing."""
    connection.execute(delete(run).where(run.c.id == run_id))


def slurm_job(arguments: str) -> Job | None:
    """Return the Slurm job that a run wrote into its arguments, or None."""
    facts = json.loads(arguments).get("slurm")
    try:
        return Job(**facts)
    except TypeError:  # none, or of another version
        return None


_IN_SLURM = select(run.c.id, run.c.host_id).where(run.c.ended_at.is_(None), run.c.slurm_job.is_not(None))


def look_at_jobs(connection: Connection) -> list[int]:
    """Return the live runs of other hosts that Slurm can tell about; `WATCH.look` asks it, in no transaction."""
    rows = connection.execute(_IN_SLURM).all()
    here = whereabouts()
    return [row.id for row in rows if row.host_id != here.host_id]


_NOT_ENDED = select(
    run.c.id,
    run.c.host_id,
    run.c.pid,
    run.c.pid_started,
    run.c.heartbeat_at,
    run.c.beats,
    run.c.slurm_job,
    run.c.arguments,
).where(run.c.ended_at.is_(None))


def dead(connection: Connection, silence: Silence, lease: float = LEASE_S) -> list[int]:
    """Return the runs that have not ended but cannot be alive.

    Those are: seen to be silent for `lease` seconds; silent for so long that no difference between two hosts'
    clocks explains it; gone from this host; in a Slurm job that no longer runs (by what squeue said last, see
    `WATCH`); or in a Slurm job that was requeued and has begun anew.

    Args:
        connection: a transaction.
        silence: what this process saw of the runs so far.
        lease: see LEASE_S.
    """
    here = whereabouts()
    rows = connection.execute(_NOT_ENDED).all()
    jobs = {row.id: slurm_job(row.arguments) for row in rows if row.slurm_job is not None}

    def gone(row: Any) -> bool:
        if silence.of(row.id, row.beats) > lease or surely_older(row.heartbeat_at, lease):
            return True
        if _gone_from_here(here, row):
            return True
        job = jobs.get(row.id)
        if job is None:
            return False
        if any(other is not None and other.supersedes(job) for other in jobs.values()):
            return True
        # A process of this host was just seen to live, and that is more than Slurm knows.
        return row.host_id != here.host_id and WATCH.gone(row.id, job, age(row.heartbeat_at))

    return [row.id for row in rows if gone(row)]


def request_stop(connection: Connection, run_ids: Collection[int] | None = None) -> list[int]:
    """Ask runs that have not ended to stop cleanly; each hears it with its next heartbeat.

    Args:
        connection: a write transaction.
        run_ids: which; None: all.

    Returns:
        the runs that were asked.
    """
    rows = connection.execute(select(run.c.id).where(run.c.ended_at.is_(None))).scalars().all()
    asked = [key for key in rows if run_ids is None or key in run_ids]
    for key in asked:
        connection.execute(
            update(run)
            .where(run.c.id == key)
            .values(stop_requested_at=func.coalesce(run.c.stop_requested_at, now()))
        )
    return asked


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
    moment = now()
    if lost:
        connection.execute(
            update(run).where(run.c.id.in_(lost), run.c.ended_at.is_(None)).values(ended_at=moment, outcome=LOST)
        )
    # An index range per (season, batch) serves this; runs that ended are found by their id.
    orphaned = (capture.c.state == State.UPLOADING.value) & capture.c.run_id.in_(
        select(run.c.id).where(run.c.ended_at.is_not(None))
    )
    in_doubt = capture.c.create_sent_at.is_not(None) & capture.c.subject_id.is_(None)
    return connection.execute(
        update(capture)
        .where(orphaned)
        .values(
            state=State.BATCHED.value,
            moved_at=moment,
            reason=case(
                (in_doubt, "run is gone; it may have made a subject: to be looked for"), else_="run is gone"
            ),
            ambiguous_at=case((in_doubt & capture.c.ambiguous_at.is_(None), moment), else_=capture.c.ambiguous_at),
        )
    ).rowcount
