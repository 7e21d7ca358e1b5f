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
from ctstate.verbs.verify import verify as carry_out
from ctstate.words import counted


@click.command()
@account_options
@season_option
@batch_option
@json_option
@places
def verify(
    where: Places,
    project_id: int,
    password_file: str | None,
    season: str | None,
    batch: str | None,
    as_json: bool,
) -> None:
    """Check a season on Zooniverse: each capture one subject, in the right set, every image whole, nothing else.

    Asks the store for every image and compares its MD5. Changes nothing; exits with 1 if anything is off.

    \b
    Example:
      ctstate verify --project-id 593 --password-file ~/keys/passwords.ini
    """
    with where.open(read_only=True) as ledger:
        zooniverse = connect(where, password_file)
        found = carry_out(ledger, zooniverse, project_id, season=season, batch_name=batch)
    if as_json:
        echo_json(answers.Verified(**structs.asdict(surveyed(found)), ok=found.all_is_well))
    else:
        echo_survey(found)
        if found.all_is_well:
            click.echo(f"All is well: {counted(found.agree, 'capture')}, each exactly once, every image whole.")
        else:
            click.echo(f"Not all is well. {found.advice}")
    if not found.all_is_well:
        raise SystemExit(1)
