"""ctstate exclude, ctstate include"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import echo_json, json_option, places
from ctstate.verbs.exclude import ExclusionReport
from ctstate.verbs.exclude import exclude as carry_out
from ctstate.verbs.exclude import include as undo
from ctstate.words import counted

F = TypeVar("F", bound=Callable[..., Any])


def _choice(function: F) -> F:
    """Add the options that say which captures or images."""
    whole = click.option(
        "--whole-captures", is_flag=True, help="Where FILE names images, take the captures that hold them."
    )
    where = click.option("--where", "condition", metavar="SQL", help="A condition on the view v_captures.")
    listed = click.argument("listed", metavar="[FILE]", required=False, type=click.Path())
    return listed(where(whole(function)))


@click.command()
@_choice
@click.option("--reason", required=True, help="Stays in the ledger.")
@json_option
@places
def exclude(
    where: Places, listed: str | None, condition: str | None, whole_captures: bool, reason: str, as_json: bool
) -> None:
    """Keep captures or single images from being uploaded.

    FILE lists capture ids or image paths: plain lines, a CSV with a column capture_id or path, or a report of
    ctstate's.

    \b
    Examples:
      ctstate exclude --where "machine_person > 0.5" --reason people
      ctstate exclude farm_workers.csv --whole-captures --reason "farm workers"
    """
    with where.open() as ledger:
        report = carry_out(ledger, reason=reason, where=condition, listed=listed, whole_captures=whole_captures)
    if as_json:
        echo_json(report)
    else:
        _echo_excluded(report)
    if report.uploading or report.images_too_late or report.unknown:
        raise SystemExit(1)


def _echo_excluded(report: ExclusionReport) -> None:
    click.echo(f"Excluded: {counted(report.captures, 'capture')}, {counted(report.images, 'single image')}.")
    _echo_rest(report, "excluded")
    if report.on_zooniverse:
        click.echo(
            f"{counted(report.on_zooniverse, 'capture', 'have')} a subject on Zooniverse already: "
            "`ctstate remove` takes such captures out.",
            err=True,
        )
    if report.uploading:
        click.echo(
            f"{counted(report.uploading, 'capture', 'are')} being uploaded at this moment, or may be there "
            "already: look again with `ctstate status`; `ctstate remove` takes such captures out.",
            err=True,
        )
    if report.images_too_late:
        click.echo(
            f"{counted(report.images_too_late, 'image', 'belong')} to captures that are on Zooniverse or on "
            "their way: left alone; `ctstate remove` takes such captures out.",
            err=True,
        )
    _echo_examples(report)


@click.command()
@_choice
@json_option
@places
def include(where: Places, listed: str | None, condition: str | None, whole_captures: bool, as_json: bool) -> None:
    """Let excluded captures or images be uploaded again: undoes `ctstate exclude`.

    \b
    Example:
      ctstate include --where "excluded = 'people' AND site = 'B04'"
    """
    with where.open() as ledger:
        report = undo(ledger, where=condition, listed=listed, whole_captures=whole_captures)
    if as_json:
        echo_json(report)
    else:
        what = f"{counted(report.captures, 'capture')}, {counted(report.images, 'single image')}"
        click.echo(f"Included again: {what}.")
        _echo_rest(report, "included, or have a reason that is not yours to undo")
        _echo_examples(report)
    if report.unknown:
        raise SystemExit(1)


def _echo_rest(report: ExclusionReport, what: str) -> None:
    if not report.chosen:
        click.echo("Nothing in the ledger fits.")
    if report.unchanged_captures or report.unchanged_images:
        click.echo(
            f"As before: {counted(report.unchanged_captures, 'capture')}, "
            f"{counted(report.unchanged_images, 'image')} "
            f"(already {what})."
        )
    if report.unknown:
        click.echo(f"{counted(report.unknown, 'entry', 'name')} nothing in the ledger.", err=True)


def _echo_examples(report: ExclusionReport) -> None:
    for example in report.examples:
        click.echo(f"  {example}", err=True)
