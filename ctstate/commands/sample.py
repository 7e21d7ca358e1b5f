"""ctstate sample"""

import click

from ctstate.commands.answers import SampleTaken
from ctstate.commands.root import Places
from ctstate.commands.shared import echo_json, json_option, places, season_option
from ctstate.errors import UsageError
from ctstate.verbs.sample import sample as carry_out
from ctstate.words import counted


@click.command()
@click.argument("most_images", metavar="[IMAGES]", required=False, type=click.IntRange(min=1))
@click.option("--all", "everything", is_flag=True, help="All images go up again.")
@season_option
@json_option
@places
def sample(where: Places, most_images: int | None, everything: bool, season: str | None, as_json: bool) -> None:
    """Upload at most so many IMAGES of each capture, spread evenly over its sequence.

    Decided in the ledger, before captures are uploaded, and written down at each image that is left out (problem
    `sampled`); it holds for captures that are read later, too. What is on Zooniverse already stays as it is.

    \b
    Examples:
      ctstate sample 3
      ctstate sample --all
    """
    if everything:
        most_images = None  # whatever the season's file says
    elif most_images is None:
        raise UsageError("say how many images of a capture may go up, or --all")
    with where.open() as ledger:
        found = carry_out(ledger, most_images, season=season)
    if as_json:
        echo_json(SampleTaken(most_images, **found._asdict()))
        return
    if most_images is None:
        click.echo("All images go up.")
    else:
        of = f" of {counted(found.captures, 'capture')}" if found.captures else ""
        left_out = counted(found.images, "image")
        click.echo(f"At most {counted(most_images, 'image')} a capture: {left_out}{of} left out.")
    if found.too_late:
        click.echo(
            f"{counted(found.too_late, 'capture')} with more images on Zooniverse already, or on the way: left as "
            "they are."
        )
