"""ctstate adopt"""

import click

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
from ctstate.verbs.adopt import AdoptReport
from ctstate.verbs.adopt import adopt as carry_out
from ctstate.words import counted


@click.command()
@account_options
@season_option
@batch_option
@click.option("--subject-set-id", type=ID, help="Take in this set; else the sets of the season's batches.")
@click.option("--images-root", type=click.Path(), help="Where the images are, for a season new to the ledger.")
@click.option(
    "--even-if-gone", is_flag=True, help="Free what files claim also where most of it is not on Zooniverse."
)
@json_option
@places
def adopt(
    where: Places,
    project_id: int,
    password_file: str | None,
    season: str | None,
    batch: str | None,
    subject_set_id: int | None,
    images_root: str | None,
    even_if_gone: bool,
    as_json: bool,
) -> None:
    """Take in what the old scripts (or others) have uploaded.

    From a subject set alone, or from what `ctstate import` read: everything is checked on Zooniverse first.

    \b
    Example:
      ctstate adopt --project-id 593 --subject-set-id 112953
    """
    report = where.open_or_make(
        lambda ledger: carry_out(
            ledger,
            connect(where, password_file),
            project_id,
            subject_set_id=subject_set_id,
            season_name=season,
            batch_name=batch,
            images_root=images_root,
            even_if_gone=even_if_gone,
        )
    )
    if as_json:
        echo_json(_as_json(report))
    else:
        _echo(report)


def _as_json(report: AdoptReport) -> answers.Adopted:
    return answers.Adopted(
        season=report.season,
        batches=report.batches,
        captures_new=report.captures_new,
        adopted=report.adopted,
        to_finish=report.to_finish,
        released=report.released,
        without_id=report.without_id,
        excluded=report.excluded,
        left=None if report.left is None else surveyed(report.left),
    )


def _echo(report: AdoptReport) -> None:
    click.echo(
        f"Season {report.season} ({', '.join(report.batches) or 'no batch'}): "
        f"{counted(report.captures_new, 'capture')} new "
        f"to the ledger, {report.adopted:,} adopted as uploaded."
    )
    if report.to_finish:
        click.echo(
            f"{counted(report.to_finish, 'capture', 'have')} a subject that is not whole or not linked: the "
            "next upload finishes what is missing."
        )
    if report.released:
        click.echo(
            f"{counted(report.released, 'capture', 'are')} not on Zooniverse, whatever the files say: free to "
            "be uploaded."
        )
    if report.without_id:
        click.echo(f"{counted(report.without_id, 'subject', 'have')} no #capture_id: left alone.")
    if report.excluded:
        named = ", ".join(report.examples) + (", ..." if report.excluded > len(report.examples) else "")
        click.echo(
            f"{counted(report.excluded, 'capture', 'are')} on Zooniverse though excluded here ({named}): "
            "`ctstate remove` takes such captures out.",
            err=True,
        )
    if report.left is not None and report.left.findings:
        click.echo("Left for `ctstate reconcile`:")
        echo_survey(report.left)
