"""ctstate update-metadata"""

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import (
    account_options,
    batch_option,
    connect,
    echo_json,
    echo_table,
    json_option,
    places,
    season_option,
)
from ctstate.verbs import update_metadata as library
from ctstate.words import counted

SHOWN = 10


@click.command("update-metadata")
@account_options
@season_option
@batch_option
@click.option("--all", "everything", is_flag=True, help="Compare every subject, not only those known to differ.")
@click.option("--dry-run", is_flag=True, help="Compare and say what differs; change nothing.")
@click.option("--connections", type=click.IntRange(1, 16), default=4, show_default=True, help="At the same time.")
@json_option
@places
def update_metadata(
    where: Places,
    project_id: int,
    password_file: str | None,
    season: str | None,
    batch: str | None,
    everything: bool,
    dry_run: bool,
    connections: int,
    as_json: bool,
) -> None:
    """Push changed predictions and metadata to subjects that are on Zooniverse already.

    Keys that others put there stay. Run it again to resume.

    \b
    Example:
      ctstate update-metadata --project-id 593 --dry-run
    """
    with where.open() as ledger:
        report = library.update_metadata(
            ledger,
            connect(where, password_file, connections=connections),
            project_id,
            season=season,
            batch_name=batch,
            everything=everything,
            dry_run=dry_run,
            connections=connections,
        )
    if as_json:
        echo_json(report)
    else:
        _echo(report, dry_run)
    if report.stopped:
        raise SystemExit(75)
    if report.gone:
        raise SystemExit(1)


def _echo(report: library.UpdateReport, dry_run: bool) -> None:
    if report.examples:
        echo_table(("capture", "subject", "keys"), report.examples)
        if report.updated > len(report.examples):
            click.echo(f"... and {report.updated - len(report.examples):,} more")
    if not report.looked_at:
        click.echo("No subject waits for new metadata; --all compares every one.")
    elif dry_run:
        click.echo(
            f"{counted(report.updated, 'subject', 'differ')}, not: {report.same:,}. Dry run: nothing was changed."
        )
    else:
        click.echo(f"{counted(report.updated, 'subject')} updated, {report.same:,} carried it already.")
    if report.stopped:
        click.echo("Stopped before all was done. Run the same command again to go on.")
    if report.gone:
        shown = ", ".join(report.gone[:SHOWN]) + (", ..." if len(report.gone) > SHOWN else "")
        click.echo(
            f"{counted(len(report.gone), 'subject', 'are')} no longer on Zooniverse ({shown}): see "
            "`ctstate reconcile`.",
            err=True,
        )
