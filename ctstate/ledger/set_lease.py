"""The lease of a batch's subject set: one run at a time makes the set, links to it or takes subjects out of it.

A lease lasts until it is dropped or its run has ended; a run that dies is ended by whoever finds it dead, and so
the heartbeat that keeps a run alive renews its leases with it. What is written under a lease names it, and is
refused once another run has taken it over.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Connection

from ctstate.errors import FencedError
from ctstate.ledger.ledger import Ledger
from ctstate.ledger.live_run import LiveRun
from ctstate.ledger.schema import batch, run

MOST_BETWEEN_S = 5.0
"""A turn lasts a request or two; who waits longer waits for a run that may be dead."""


class Lease(NamedTuple):
    """The right to change a batch's subject set, as `take` gave it."""

    batch_id: int
    run_id: int
    token: int


_MINE = batch.c.lease_run_id == bindparam("run")
_TAKE = (
    update(batch)
    .where(
        batch.c.id == bindparam("batch"),
        batch.c.lease_run_id.is_(None)
        | _MINE
        | batch.c.lease_run_id.in_(select(run.c.id).where(run.c.ended_at.is_not(None))),
        # Whoever was taken for dead gets nothing.
        select(run.c.id).where(run.c.id == bindparam("run"), run.c.ended_at.is_(None)).exists(),
    )
    .values(lease_run_id=bindparam("run"), lease_token=batch.c.lease_token + 1)
)
_TOKEN = select(batch.c.lease_token).where(batch.c.id == bindparam("batch"))
_DROP = (
    update(batch)
    .where(batch.c.id == bindparam("batch"), batch.c.lease_token == bindparam("token"))
    .values(lease_run_id=None)
)


def take(connection: Connection, batch_id: int, run_id: int) -> Lease | None:
    """Take the lease of a batch's set for a run; None while another live run has it."""
    if not connection.execute(_TAKE, {"batch": batch_id, "run": run_id}).rowcount:
        return None
    return Lease(batch_id, run_id, int(connection.execute(_TOKEN, {"batch": batch_id}).scalar_one()))


def drop(connection: Connection, lease: Lease) -> None:
    """Give the lease back, unless another run has it already."""
    connection.execute(_DROP, {"batch": lease.batch_id, "token": lease.token})


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


@contextmanager
def turn(ledger: Ledger, live: LiveRun, batch_id: int, wait: Callable[[float], bool]) -> Iterator[Lease | None]:
    """Wait until no other run changes a batch's subject set; then it is this run's turn until the block is left.

    Args:
        ledger, live: whose turn it is to be.
        batch_id: the batch.
        wait: waits so many seconds; returns True where waiting is over for good.

    Yields:
        the lease; None where waiting ended before it was this run's turn.
    """
    lease = None
    for attempt in itertools.count(1):
        lease = ledger.do(lambda connection: take(connection, batch_id, live.id))
        # Who has it may be dead, and then nobody else would find that out.
        if (
            lease is not None
            or wait(random.uniform(0.05, min(0.25 * attempt, MOST_BETWEEN_S)))
            or live.lost.is_set()
        ):
            break
        ledger.recover()
    try:
        yield lease
    finally:
        if lease is not None:
            mine = lease
            ledger.do(lambda connection: drop(connection, mine))
