"""ctstate remove, ctstate delete"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import account_options, batch_option, connect, echo_table, places, season_option
from ctstate.errors import UsageError
from ctstate.ledger.states import State
from ctstate.verbs import remove as removal
from ctstate.verbs.choose import Criteria

F = TypeVar("F", bound=Callable[..., Any])

SHOWN = 10


def _choice(function: F) -> F:
    """Add what says which captures."""
    for option in reversed(
        (
            click.argument("capture_ids", metavar="[CAPTURE]...", nargs=-1),
            click.option("--subject-id", "subject_ids", type=int, multiple=True, help="By subject (repeatable)."),
            click.option(
                "--from-file",
                "listed",
                type=click.Path(),
                help="By a file of capture or subject ids: plain lines, CSV or JSON.",
            ),
            season_option,
            batch_option,
            click.option("--site", "sites", multiple=True, help="Only this site (repeatable)."),
            click.option("--roll", "rolls", multiple=True, help="Only this roll (repeatable)."),
            click.option(
                "--state",
                "states",
                multiple=True,
                type=click.Choice([str(state) for state in State]),
                help="Only in this state (repeatable).",
            ),
            click.option("--where", "condition", metavar="SQL", help="A condition on the view v_captures."),
        )
    ):
        function = option(function)
    return function


def _consent(function: F) -> F:
    """Add what every way of taking back is told."""
    for option in reversed(
        (
            click.option("--reason", required=True, help="Why; stays in the history of each capture."),
            click.option(
                "--force-foreign", is_flag=True, help="Also subjects that are not this ledger's (--subject-id)."
            ),
            click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
            click.option("--yes", is_flag=True, help="Do not ask."),
        )
    ):
        function = option(function)
    return function


@click.command()
@_choice
@_consent
@account_options
@places
def remove(
    where: Places,
    /,
    project_id: int,
    password_file: str | None,
    reason: str,
    force_foreign: bool,
    dry_run: bool,
    yes: bool,
    **choice: Any,
) -> None:
    """Take subjects out of their subject set; they stay on Zooniverse.

    `ctstate retry` and the next upload put them in again. Run it again to resume.
    """
    consent = removal.Consent(foreign=force_foreign)
    _take_back(where, removal.REMOVE, project_id, password_file, choice, consent, reason, dry_run, yes, 1)


@click.command()
@_choice
@click.option("--even-if-shared", is_flag=True, help="Also subjects that another subject set has, too.")
@click.option("--even-if-classified", is_flag=True, help="Also subjects that volunteers classified.")
@click.option("--connections", type=click.IntRange(1, 16), default=4, show_default=True, help="At the same time.")
@_consent
@account_options
@places
def delete(
    where: Places,
    /,
    project_id: int,
    password_file: str | None,
    reason: str,
    force_foreign: bool,
    dry_run: bool,
    yes: bool,
    even_if_shared: bool,
    even_if_classified: bool,
    connections: int,
    **choice: Any,
) -> None:
    """Delete subjects on Zooniverse, for good.

    `ctstate remove` is milder. Run it again to resume: what is gone already counts as done.
    """
    consent = removal.Consent(shared=even_if_shared, classified=even_if_classified, foreign=force_foreign)
    _take_back(where, removal.DELETE, project_id, password_file, choice, consent, reason, dry_run, yes, connections)


def _take_back(
    where: Places,
    verb: str,
    project_id: int,
    password_file: str | None,
    choice: dict[str, Any],
    consent: removal.Consent,
    reason: str,
    dry_run: bool,
    yes: bool,
    connections: int,
) -> None:
    criteria = Criteria(where=choice.pop("condition"), **choice)
    with where.open() as ledger:
        zooniverse = connect(where, password_file, connections=connections)
        plan = removal.plan_removal(ledger, zooniverse, project_id, verb, criteria, consent)
        _echo_plan(plan, where.endpoint)
        if not plan.work:
            click.echo("Nothing to do.")
            raise SystemExit(1 if plan.left_alone else 0)
        if dry_run:
            click.echo("Dry run: nothing was done.")
            return
        if not yes:
            _ask(plan, where.endpoint)
        report = removal.carry_out(ledger, zooniverse, plan, reason, connections=connections)
    _echo_report(verb, report)
    if report.stopped:
        raise SystemExit(75)
    if report.left_alone or plan.left_alone:
        raise SystemExit(1)


def _ask(plan: removal.Plan, endpoint: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to ask, so nothing was changed; --yes goes ahead without asking")
    what = "Delete" if plan.verb == removal.DELETE else "Take out"
    forever = ", for good" if plan.verb == removal.DELETE else ""
    click.confirm(f"{what} {len(plan.todo):,} subjects on {endpoint}{forever}?", abort=True)


def _echo_plan(plan: removal.Plan, endpoint: str) -> None:
    deletes = plan.verb == removal.DELETE
    todo = "delete on Zooniverse, for good" if deletes else "take out of their subject set"
    why = {
        "shared": "left alone: another subject set has them, too (--even-if-shared)",
        "classified": "left alone: volunteers classified them (--even-if-classified)",
        "uploading": "left alone: a run is uploading them at this moment",
        "unfinished": "left alone: their upload is not finished; finish it, or exclude them first",
    }
    nowhere = "have no subject" if deletes else "are in no subject set"
    rows = [
        (todo, len(plan.todo)),
        ("gone from Zooniverse already: note that", len(plan.gone)),
        ("deleted already" if deletes else "removed or deleted already", plan.done),
        *((meaning, len(getattr(plan, name))) for name, meaning in why.items()),
        (nowhere, len(plan.nowhere)),
    ]
    click.echo(f"Project {plan.project_id} on {endpoint}:")
    echo_table(("subjects", "what"), [(f"{count:,}", meaning) for meaning, count in rows if count])
    if plan.foreign:
        click.echo(f"{plan.foreign:,} of them are not this ledger's.")
    _echo_some("To delete" if deletes else "To take out", [(t.subject_id, t.name) for t in plan.todo])
    for name in ("shared", "classified"):
        _echo_some(f"Left alone, {name}", [(t.subject_id, t.name) for t in getattr(plan, name)])
    for name in ("uploading", "unfinished"):
        _echo_some(f"Left alone, {name}", [(c.subject_id or "?", c.capture_id) for c in getattr(plan, name)])


def _echo_some(title: str, rows: Sequence[tuple[Any, str]]) -> None:
    if rows:
        click.echo(f"{title}:")
        for subject_id, name in rows[:SHOWN]:
            click.echo(f"  subject {subject_id}  {name}")
        if len(rows) > SHOWN:
            click.echo(f"  ... and {len(rows) - SHOWN:,} more")


def _echo_report(verb: str, report: removal.Report) -> None:
    what = "deleted" if verb == removal.DELETE else "taken out of their subject set"
    gone = f", {report.gone:,} were gone already" if report.gone else ""
    click.echo(f"Done: {report.done:,} subjects {what}{gone}.")
    for name, why in (
        ("moved", "moved meanwhile and were left to the run that moved them"),
        ("shared", "got into another subject set meanwhile and were left alone"),
        ("classified", "were classified meanwhile and left alone"),
    ):
        targets = getattr(report, name)
        if targets:
            click.echo(f"{len(targets):,} {why}.")
            _echo_some("These", [(t.subject_id, t.name) for t in targets])
    if report.stopped:
        click.echo("Stopped before all was done. Run the same command again to go on.")
