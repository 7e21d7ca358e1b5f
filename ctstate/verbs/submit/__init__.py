"""`ctstate submit`: upload workers as a job array, and the chain of arrays that goes on until nothing is pending.

A chain needs no process that waits. After each array comes a small job (`--dependency=afterany:ARRAY`) that looks
into the ledger and submits the next array if there is something to do. What it needs to know stands in the ledger's
table `submission`, under the number of the run `submit` that submitted the array; the job itself carries only that.

Who wants to do something when the season is done has a last job (`--last-job`), whose number stays while those of
the arrays change: it waits for the link, and each link, before it ends, lets it wait for the next one. It fails
unless all is on Zooniverse. It begins, and fails, as well where a chain is cancelled and its link never runs.
"""

import os
from pathlib import Path

from ctstate.errors import UsageError
from ctstate.ledger import Ledger
from ctstate.ledger.database import place_of
from ctstate.verbs.submit.chain import Continuation, continue_chain
from ctstate.verbs.submit.hand_over import Submitted, hand_over, last_job, where_to, worker_script
from ctstate.verbs.submit.left import Verdict, count_pending, judge
from ctstate.verbs.submit.legacy import legacy_script
from ctstate.verbs.submit.order import MAX_ROUNDS, Order, Place
from ctstate.verbs.submit.waiting import wait_until_over
from ctstate.verbs.submit.workers import USUAL, Choice, choose_workers
from ctstate.zooniverse import read_credentials

__all__ = [
    "MAX_ROUNDS",
    "USUAL",
    "Choice",
    "Continuation",
    "Order",
    "Submitted",
    "Verdict",
    "check_account",
    "choose_workers",
    "continue_chain",
    "judge",
    "ledger_for_jobs",
    "legacy_script",
    "submit",
    "wait_until_over",
    "where_to",
    "worker_script",
]


def submit(ledger: Ledger, order: Order, *, with_last: bool = False) -> Submitted:
    """Submit the first array of a chain; no array where nothing is pending.

    Args:
        ledger: the ledger.
        order: what the chain is to do.
        with_last: submit the chain's last job as well.

    Raises:
        SchedulerError: the scheduler is not here or refused.
        UsageError: no such season or batch; or a last job where the scheduler is not Slurm.
    """
    if with_last and order.scheduler != "slurm":
        raise UsageError("--last-job: only with Slurm; with PBS let others depend on the array itself")
    pending = count_pending(ledger, order.season, order.batch)
    if pending == 0:
        return Submitted(0, last=last_job(order) if with_last else None)
    return hand_over(ledger, order, pending, Place(), with_last=with_last)


def ledger_for_jobs(url_or_path: str) -> str:
    """Return the ledger as a job on another node can name it.

    Raises:
        UsageError: see `place_of`.
    """
    return place_of(url_or_path).for_jobs


def check_account(password_file: str | None) -> None:
    """Make sure, before any job waits for hours, that a job will find the account.

    Raises:
        InputError, UsageError: see `read_credentials`; or the password is in the environment only, which jobs do
            not get (the scheduler would keep it, and show it to its administrators).
    """
    if password_file is None and os.environ.get("PANOPTES_PASSWORD"):
        if not Path("~/.panoptes/config.yml").expanduser().is_file():
            raise UsageError(
                "a job is not given PANOPTES_PASSWORD, as the scheduler would keep it: "
                "put the account into a file (chmod 600) and name it with --password-file"
            )
        return
    read_credentials(password_file)
