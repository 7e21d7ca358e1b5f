"""ctstate verify"""

import click
from msgspec import structs

from ctstate.commands import answers
from ctstate.commands.root import Places
from ctstate.commands.shared import (
    account_options,
    batch_option,
    connect,
    echo_json,
    json_option,
    places,
    season_option,
)
from ctstate.commands.survey import echo_survey, surveyed
from ctstate.errors import UsageError
from ctstate.verbs.survey import ALL, Share
from ctstate.verbs.verify import verify as carry_out
from ctstate.words import counted


@click.command()
@account_options
@season_option
@batch_option
@click.option("--sample", metavar="PERCENT", help="Ask for the images of a random share only, such as 5%.")
@click.option(
    "--part", metavar="K/N", help="Ask for the images of one part of N, such as 3/7: all parts are all images."
)
@json_option
@places
def verify(
    where: Places,
    project_id: int,
    password_file: str | None,
    season: str | None,
    batch: str | None,
    sample: str | None,
    part: str | None,
    as_json: bool,
) -> None:
    """Check a season on Zooniverse: each capture one subject, in the right set, every image whole, nothing else.

    Asks the store for every image and compares its MD5. Changes nothing but a line of the ledger that says what was
    found (v_verifications); exits with 1 if anything is off.

    \b
    Examples:
      ctstate verify --project-id 593 --password-file ~/keys/passwords.ini
      ctstate verify --project-id 593 --part 3/7
    """
    if sample is not None and part is not None:
        raise UsageError("give --sample or --part, not both")
    share = Share.sample(sample) if sample is not None else Share.one_of(part) if part is not None else ALL
    with where.open_to_look() as ledger:
        zooniverse = connect(where, password_file)
        found = carry_out(ledger, zooniverse, project_id, season=season, batch_name=batch, share=share)
    if as_json:
        echo_json(answers.Verified(**structs.asdict(surveyed(found)), ok=found.all_is_well))
    else:
        echo_survey(found)
        if found.all_is_well:
            images = "every image whole"
            if found.part is not None and found.images_asked:
                images = f"every image whole of the {found.images_asked:,} that were asked for ({found.part})"
            elif found.part is not None:
                images = f"but no image was asked for ({found.part})"
            click.echo(f"All is well: {counted(found.agree, 'capture')}, each exactly once, {images}.")
        else:
            click.echo(f"Not all is well. {found.advice}")
    if not found.all_is_well:
        raise SystemExit(1)
