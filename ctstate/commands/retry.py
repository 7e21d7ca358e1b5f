"""ctstate retry"""

import click

from ctstate.commands.answers import Retried
from ctstate.commands.completion import capture_states
from ctstate.commands.root import Places
from ctstate.commands.shared import batch_option, echo_json, json_option, places, season_option
from ctstate.ledger import State
from ctstate.ledger.states import RETRYABLE
from ctstate.verbs.retry import retry as carry_out
from ctstate.words import counted


@click.command()
@click.argument("capture_ids", metavar="[CAPTURE]...", nargs=-1)
@season_option
@batch_option
@click.option("--site", "sites", multiple=True, help="Only this site (repeatable).")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([str(state) for state in RETRYABLE]),
    shell_complete=capture_states,
    help="Which captures (repeatable); failed ones by default, and any of these where captures are named.",
)
@click.option("--reason", default="retry", show_default=True, help="For the history.")
@json_option
@places
def retry(
    where: Places,
    capture_ids: tuple[str, ...],
    season: str | None,
    batch: str | None,
    sites: tuple[str, ...],
    states: tuple[str, ...],
    reason: str,
    as_json: bool,
) -> None:
    """Give failed, removed or deleted captures another try.

    A removed one keeps its subject: the next upload links it again and sends nothing anew.

    \b
    Examples:
      ctstate retry --batch batch_1
      ctstate retry 'WLD_S6#B04#1#17'
    """
    wanted = states or (tuple(map(str, RETRYABLE)) if capture_ids else (str(State.FAILED),))
    with where.open() as ledger:
        count = carry_out(
            ledger, states=wanted, season=season, batch=batch, sites=sites, capture_ids=capture_ids, reason=reason
        )
    if as_json:
        echo_json(Retried(count))
        return
    click.echo(f"{counted(count, 'capture', 'are')} batched again: `ctstate upload` goes on from there.")
