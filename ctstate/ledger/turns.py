"""Taking turns at a subject set: one run at a time makes it, links to it or takes subjects out of it."""

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ctstate.ledger import Ledger, LiveRun, set_lease
from ctstate.ledger.set_lease import Lease

LEDGER_KEY = "ctstate_ledger"
"""Key of a subject set's metadata that says which ledger feeds it."""

MOST_BETWEEN_S = 5.0
"""A turn lasts a request or two; who waits longer waits for a run that may be dead."""


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
        with ledger.write() as connection:
            lease = set_lease.take(connection, batch_id, live.id)
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
            with ledger.write() as connection:
                set_lease.drop(connection, lease)
