"""The lease of a batch's subject set: one run at a time makes the set, links to it or takes subjects out of it.

A lease lasts until it is dropped or its run has ended; a run that dies is ended by whoever finds it dead, and so
the heartbeat that keeps a run alive renews its leases with it. What is written under a lease names it, and is
refused once another run has taken it over.
"""

from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from ctstate.errors import FencedError
from ctstate.schema import batch, run


class Lease(NamedTuple):
    """The right to change a batch's subject set, as `take` gave it."""

    batch_id: int
    run_id: int
    token: int


def take(connection: Connection, batch_id: int, run_id: int) -> Lease | None:
    """Take the lease of a batch's set for a run; None while another live run has it."""
    ended = select(run.c.id).where(run.c.ended_at.is_not(None))
    free = batch.c.lease_run_id.is_(None) | (batch.c.lease_run_id == run_id) | batch.c.lease_run_id.in_(ended)
    alive = select(run.c.id).where(run.c.id == run_id, run.c.ended_at.is_(None)).exists()
    taken = connection.execute(
        update(batch)
        .where(batch.c.id == batch_id, free, alive)
        .values(lease_run_id=run_id, lease_token=batch.c.lease_token + 1)
    ).rowcount
    if not taken:
        return None
    token = connection.execute(select(batch.c.lease_token).where(batch.c.id == batch_id)).scalar_one()
    return Lease(batch_id, run_id, int(token))


def drop(connection: Connection, lease: Lease) -> None:
    """Give the lease back, unless another run has it already."""
    connection.execute(
        update(batch)
        .where(batch.c.id == lease.batch_id, batch.c.lease_token == lease.token)
        .values(lease_run_id=None)
    )


def note_subject_set(
    connection: Connection, lease: Lease, project_id: int, subject_set_id: int | None, name: str | None
) -> None:
    """Write down which subject set a batch has (None: it has none any more).

    Raises:
        FencedError: another run has taken the lease over.
    """
    changed = connection.execute(
        update(batch)
        .where(batch.c.id == lease.batch_id, batch.c.lease_token == lease.token)
        .values(project_id=project_id, subject_set_id=subject_set_id, subject_set_name=name)
    ).rowcount
    if changed != 1:
        raise FencedError("another run has taken over the making of the subject set")
