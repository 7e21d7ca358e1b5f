"""The chain: what the small job between two arrays does (`ctstate submit --continue`)."""

from dataclasses import dataclass, replace

from ctstate.cluster import scripts as script
from ctstate.errors import CtstateError, UsageError
from ctstate.ledger import Ledger, submissions
from ctstate.verbs.submit.hand_over import Submitted, hand_over
from ctstate.verbs.submit.left import count_pending
from ctstate.verbs.submit.order import Order, Place
from ctstate.words import counted

IDLE_ROUNDS = 2
"""A chain ends after so many rounds in a row that brought nothing; each but the first begins an hour later, as
Zooniverse may be down."""
IDLE_WAIT = "now+1hour"


@dataclass
class Continuation:
    """What the job between two arrays did, and why."""

    reason: str
    submitted: Submitted | None = None


def continue_chain(ledger: Ledger, run_id: int, last: str | None = None) -> Continuation:
    """Submit the next array of a chain, if there is something to do and it can be done.

    Args:
        ledger: the ledger.
        run_id: the run that submitted the array before.
        last: the chain's last job, if it has one: it is told to wait for the next array, too.

    Raises:
        UsageError: that run submitted nothing.
        CtstateError: captures are pending, but the chain must end.
        SchedulerError: as `submit`.
    """
    with ledger.read() as connection:
        before = submissions.find(connection, run_id)
    if before is None:
        raise UsageError(f"run {run_id} is no `ctstate submit`")
    order = Order.of(before)
    chain_id = before.chain_id or run_id
    with ledger.read() as connection:
        if submissions.is_continued(connection, run_id):
            return Continuation("the next array was submitted already")  # this job was requeued
    pending = count_pending(ledger, order.season, order.batch)
    if pending == 0:
        return Continuation("nothing is pending any more")
    with ledger.read() as connection:
        if submissions.is_ended(connection, chain_id):
            return Continuation(
                f"`ctstate stop --all` ended the chain, {counted(pending, 'capture', 'are')} pending"
            )
    if before.round >= order.max_rounds:
        raise CtstateError(
            f"{counted(pending, 'capture', 'are')} still pending after {counted(before.round, 'round')}; run "
            "`ctstate submit` again"
        )
    idle = 0 if pending < before.pending else before.idle_rounds + 1
    if idle >= IDLE_ROUNDS:
        raise CtstateError(
            f"the last {counted(idle, 'round')} brought none of {counted(pending, 'pending capture')} to "
            f"Zooniverse; see the logs in {order.log_folder}, then run `ctstate submit` again"
        )
    more = tuple(option for option in order.job.more if option.partition("=")[0] not in script.ONCE)
    order = replace(order, job=replace(order.job, more=more))
    place = Place(before.round + 1, idle, chain_id, follows_id=run_id)
    done = hand_over(ledger, order, pending, place, begin=IDLE_WAIT if idle else None, last=last)
    return Continuation(f"{counted(pending, 'capture', 'are')} pending", done)
