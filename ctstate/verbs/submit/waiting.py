"""`ctstate submit --wait`: stay until a chain is over."""

from collections.abc import Callable

from ctstate.cluster.queue import Stand
from ctstate.cluster.schedulers import BY_NAME, CLUSTER
from ctstate.ledger import Ledger, runs, submissions
from ctstate.machine import machine
from ctstate.verbs.submit.left import Verdict, count_pending, judge
from ctstate.verbs.submit.order import Order

LOOK_S = 10.0
"""How often the ledger is asked."""

ASK_S = 30.0
"""How often the scheduler is asked at most, and only while no worker lives."""

LOOKS_IN_VAIN = 3
"""A chain that has no worker and no job for so many looks is over: between two jobs there may be none."""


def wait_until_over(
    ledger: Ledger, order: Order, chain_id: int | None, on_look: Callable[[int], None] = lambda pending: None
) -> Verdict:
    """Return when all is on Zooniverse, or when nobody is left who would bring the rest there.

    Workers say in the ledger that they live; the scheduler is asked only while none does.

    Args:
        ledger: the ledger.
        order: what was submitted.
        chain_id: the run that submitted it; None: nothing was pending.
        on_look: told how many captures are pending.
    """
    in_vain = 0
    while chain_id is not None and in_vain < LOOKS_IN_VAIN:
        pending = count_pending(ledger, order.season, order.batch)
        on_look(pending)
        if pending == 0:
            break
        in_vain = 0 if _goes_on(ledger, order.scheduler, chain_id) else in_vain + 1
        machine().sleep(LOOK_S)
    with ledger.read() as connection:
        stopped = chain_id is not None and submissions.is_ended(connection, chain_id)
    return judge(ledger, order.season, order.batch, stopped=stopped)


def _goes_on(ledger: Ledger, scheduler: str, chain_id: int) -> bool:
    """Tell whether a worker of a chain lives, or a job of it is in the queue; True where that is not known."""
    asked = BY_NAME[scheduler]
    ledger.look_at_jobs()
    with ledger.read() as connection:
        took = submissions.jobs(connection, chain_id)
        jobs = {asked.number(said) for one in took for said in (one.array, one.link) if said is not None}
        gone = set(ledger.dead_runs(connection))
        if any(job in jobs and run_id not in gone for run_id, job in runs.live_uploads_in_jobs(connection)):
            return True
    queue = CLUSTER.queue(asked, ASK_S)
    return queue is None or bool(queue.of_jobs(jobs, Stand.WAITING, Stand.RUNNING, Stand.UNSURE))
