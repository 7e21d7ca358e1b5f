"""ctstate reconcile"""

import click
from msgspec import structs

from ctstate.commands import answers
from ctstate.commands.root import Places
from ctstate.commands.shared import (
    ID,
    account_options,
    batch_option,
    connect,
    echo_json,
    json_option,
    places,
    season_option,
)
from ctstate.commands.survey import echo_survey, surveyed
from ctstate.verbs import reconcile as library
from ctstate.verbs.survey import ALL, DOUBTFUL, Survey, keep, survey
from ctstate.words import counted


@click.command()
@account_options
@season_option
@batch_option
@click.option("--subject-set-id", type=ID, help="The batch that has this set.")
@click.option("--check-images", is_flag=True, help="Ask the store for every image, not only the doubtful ones.")
@click.option("--apply", "carry_out", is_flag=True, help="Carry the plan out.")
@click.option(
    "--accept",
    type=ID,
    multiple=True,
    metavar="SUBJECT",
    help="This stranger is fine in its set; remembered. May be given several times.",
)
@json_option
@places
def reconcile(
    where: Places,
    project_id: int,
    password_file: str | None,
    season: str | None,
    batch: str | None,
    subject_set_id: int | None,
    check_images: bool,
    carry_out: bool,
    accept: tuple[int, ...],
    as_json: bool,
) -> None:
    """Compare the ledger with what Zooniverse really has, and make the two agree.

    Prints the plan, and exits with 1 if there is something to do; --apply carries it out. Subjects that are not
    this ledger's are never touched.

    \b
    Examples:
      ctstate reconcile --project-id 593
      ctstate reconcile --project-id 593 --apply
    """
    with where.open() as ledger:
        zooniverse = connect(where, password_file)
        ledger.recover()
        accepted = library.accept(ledger, zooniverse, project_id, accept) if accept else None
        found = survey(
            ledger,
            zooniverse,
            project_id,
            season=season,
            batch_name=batch,
            subject_set_id=subject_set_id,
            share=ALL if check_images else DOUBTFUL,
        )
        keep(ledger, "reconcile", project_id, found, batch)
        done = None
        if carry_out and found.to_do:
            arguments = {"project_id": project_id, "season": found.season, "batch": batch}
            done = library.reconcile(ledger, zooniverse, project_id, found, arguments)
    if as_json:
        echo_json(answers.Reconciled(**structs.asdict(surveyed(found)), applied=done))
    else:
        _echo(found, done, accepted)
    if found.to_do and done is None:
        raise SystemExit(1)


def _echo(found: Survey, done: dict[str, int] | None, accepted: int | None) -> None:
    if accepted is not None:
        click.echo(f"{counted(accepted, 'subject')} accepted.")
    echo_survey(found)
    if not found.to_do:
        left = found.advice
        click.echo(f"Nothing to do here. {left}" if left else "Nothing to do.")
    elif done is None:
        click.echo("Nothing was changed. `ctstate reconcile --apply` carries this out.")
    else:
        click.echo("Done: " + ", ".join(f"{count:,} {kind}" for kind, count in done.items()) + ".")
