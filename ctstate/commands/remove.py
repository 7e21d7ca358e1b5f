"""ctstate remove, and what `ctstate delete` shares with it"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from ctstate.commands import answers
from ctstate.commands.completion import capture_states
from ctstate.commands.root import Places
from ctstate.commands.shared import (
    ID,
    account_options,
    batch_option,
    connect,
    echo_json,
    echo_table,
    json_option,
    places,
    season_option,
)
from ctstate.errors import UsageError
from ctstate.ledger import Selection, State
from ctstate.verbs.choose import Wanted
from ctstate.verbs.remove import DELETE, Consent, Plan, Report, SubjectToRemove, plan_removal
from ctstate.verbs.remove import remove as carry_out
from ctstate.words import counted

F = TypeVar("F", bound=Callable[..., Any])

SHOWN = 10


def choice_options(function: F) -> F:
    """Add what says which captures."""
    for option in reversed(
        (
            click.argument("capture_ids", metavar="[CAPTURE]...", nargs=-1),
            click.option("--subject-id", "subject_ids", type=ID, multiple=True, help="By subject (repeatable)."),
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
                shell_complete=capture_states,
                help="Only in this state (repeatable).",
            ),
            click.option("--where", "condition", metavar="SQL", help="A condition on the view v_captures."),
        )
    ):
        function = option(function)
    return function


def consent_options(function: F) -> F:
    """Add what every way of taking back is told."""
    for option in reversed(
        (
            click.option("--reason", required=True, help="Why; stays in the history of each capture."),
            click.option(
                "--force-foreign", is_flag=True, help="Also subjects that are not this ledger's (--subject-id)."
            ),
            click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
            click.option("--yes", is_flag=True, help="Do not ask."),
            json_option,
        )
    ):
        function = option(function)
    return function


@click.command()
@choice_options
@consent_options
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
    as_json: bool,
    **choice: Any,
) -> None:
    """Take subjects out of their subject set; they stay on Zooniverse.

    `ctstate retry` and the next upload put them in again. Run it again to resume.

    \b
    Example:
      ctstate remove --project-id 593 --site B04 --reason "camera was stolen" --dry-run
    """
    with where.open() as ledger:
        zooniverse = connect(where, password_file, connections=1)
        plan = plan_removal(ledger, zooniverse, project_id, wanted(**choice), Consent(foreign=force_foreign))
        if not goes_ahead(plan, where.endpoint, dry_run=dry_run, yes=yes, as_json=as_json):
            return
        report = carry_out(ledger, zooniverse, plan, reason)
    conclude(plan, report, as_json=as_json)


def wanted(
    capture_ids: Sequence[str],
    subject_ids: Sequence[int],
    listed: str | None,
    season: str | None,
    batch: str | None,
    sites: Sequence[str],
    rolls: Sequence[str],
    states: Sequence[str],
    condition: str | None,
) -> Wanted:
    """Return what the options of `choice_options` ask for."""
    selection = Selection(season=season, batch=batch, sites=sites, rolls=rolls, states=states)
    return Wanted(selection, capture_ids, subject_ids, listed, condition)


def goes_ahead(plan: Plan, endpoint: str, *, dry_run: bool, yes: bool, as_json: bool) -> bool:
    """Show a plan and ask whether to carry it out; return False after a dry run.

    As JSON it is shown here only where it is all that there will be.

    Raises:
        UsageError: nobody is there to ask.
        SystemExit: there is nothing to do.
    """
    if not as_json:
        _echo_plan(plan, endpoint)
    elif dry_run or not plan.work:
        echo_json(_as_json(plan, None))
    if not plan.work:
        if not as_json:
            click.echo("Nothing to do.")
        raise SystemExit(1 if plan.left_alone else 0)
    if dry_run:
        if not as_json:
            click.echo("Dry run: nothing was done.")
        return False
    if not yes:
        if as_json:
            raise UsageError("--json shows no plan to say yes to: add --yes, or --dry-run to see the plan alone")
        _ask(plan, endpoint)
    return True


def conclude(plan: Plan, report: Report, *, as_json: bool) -> None:
    """Say what was done; exit with 75 where it was stopped, with 1 where something was left alone."""
    if as_json:
        echo_json(_as_json(plan, report))
    else:
        _echo_report(plan.verb, report)
    if report.stopped:
        raise SystemExit(75)
    if report.left_alone or plan.left_alone:
        raise SystemExit(1)


def _as_json(plan: Plan, report: Report | None) -> answers.TakenBack:
    def named(targets: Sequence[SubjectToRemove]) -> list[answers.Named]:
        return [answers.Named(t.subject_id, None if t.seen is None else t.seen.capture_id) for t in targets]

    return answers.TakenBack(
        verb=plan.verb,
        project_id=plan.project_id,
        todo=named(plan.todo),
        gone=named(plan.gone),
        done_before=plan.done,
        shared=named(plan.shared),
        classified=named(plan.classified),
        uploading=[answers.Named(seen.subject_id, seen.capture_id) for seen in plan.uploading],
        unfinished=[answers.Named(seen.subject_id, seen.capture_id) for seen in plan.unfinished],
        nowhere=len(plan.nowhere),
        foreign=plan.foreign,
        carried_out=None
        if report is None
        else answers.CarriedOut(
            done=report.done,
            gone=report.gone,
            moved=named(report.moved),
            shared=named(report.shared),
            classified=named(report.classified),
            stopped=report.stopped,
        ),
    )


def _ask(plan: Plan, endpoint: str) -> None:
    if sys.stdin is None or sys.stdin.closed or not sys.stdin.isatty():
        raise UsageError("nobody is there to ask, so nothing was changed; --yes goes ahead without asking")
    what = "Delete" if plan.verb == DELETE else "Take out"
    forever = ", for good" if plan.verb == DELETE else ""
    click.confirm(f"{what} {counted(len(plan.todo), 'subject')} on {endpoint}{forever}?", abort=True)


def _echo_plan(plan: Plan, endpoint: str) -> None:
    deletes = plan.verb == DELETE
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
        click.echo(f"Not this ledger's: {counted(plan.foreign, 'subject')}.")
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


def _echo_report(verb: str, report: Report) -> None:
    what = "deleted" if verb == DELETE else "taken out of the subject set"
    gone = f", {report.gone:,} gone already" if report.gone else ""
    click.echo(f"Done: {counted(report.done, 'subject')} {what}{gone}.")
    for name, why in (
        ("moved", "moved meanwhile: left to the run that did it"),
        ("shared", "got into another subject set meanwhile: left alone"),
        ("classified", "classified meanwhile: left alone"),
    ):
        targets = getattr(report, name)
        if targets:
            click.echo(f"{counted(len(targets), 'subject')} {why}.")
            _echo_some("These", [(t.subject_id, t.name) for t in targets])
    if report.stopped:
        click.echo("Stopped before all was done. Run the same command again to go on.")
