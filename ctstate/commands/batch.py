"""ctstate batch"""

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import echo_json, json_option, places, season_option
from ctstate.verbs.batch import LEGACY_SEED, ORDERS
from ctstate.verbs.batch import batch as carry_out
from ctstate.words import counted


@click.command()
@season_option
@click.option("--number-of-batches", type=int, metavar="N", help="Split into N batches of about the same size.")
@click.option("--max-batch-size", type=int, metavar="M", help="Split into batches of at most M captures.")
@click.option("--order", type=click.Choice(ORDERS), default="random", show_default=True)
@click.option("--seed", type=int, default=LEGACY_SEED, show_default=True, help="For --order random.")
@json_option
@places
def batch(
    where: Places,
    season: str | None,
    number_of_batches: int | None,
    max_batch_size: int | None,
    order: str,
    seed: int,
    as_json: bool,
) -> None:
    """Split a season into batches; each becomes one subject set.

    Captures that are on their way to Zooniverse, or there, keep the batch they have.

    \b
    Example:
      ctstate batch --max-batch-size 10000
    """
    with where.open() as ledger:
        report = carry_out(
            ledger,
            season,
            number_of_batches=number_of_batches,
            max_batch_size=max_batch_size,
            order=order,
            seed=seed,
        )
    if as_json:
        echo_json(report)
        return
    for name, size in report.sizes.items():
        click.echo(f"{report.season} {name}: {counted(size, 'capture')}")
    if report.excluded:
        click.echo(f"{counted(report.excluded, 'capture', 'are')} excluded: left alone.")
    if report.kept:
        click.echo(f"Left in their batch, as on the way or on Zooniverse: {counted(report.kept, 'capture')}.")
    if report.unchanged:
        click.echo("Nothing new: the ledger is as it was.")
