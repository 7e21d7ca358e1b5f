"""ctstate workflows, link, unlink, sets"""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import (
    account_options,
    connect,
    echo_json,
    echo_table,
    json_option,
    places,
    season_option,
)
from ctstate.errors import LedgerMissingError
from ctstate.ledger import Ledger
from ctstate.verbs import workflows as library

F = TypeVar("F", bound=Callable[..., Any])


@click.command()
@account_options
@json_option
@places
def workflows(where: Places, project_id: int, password_file: str | None, as_json: bool) -> None:
    """List a project's workflows and their subject sets."""
    found = library.workflows(connect(where, password_file), project_id)
    if as_json:
        echo_json(
            [{**vars(flow), "sets": [{"id": key, "name": name} for key, name in flow.sets]} for flow in found]
        )
        return
    if not found:
        click.echo(f"Project {project_id} has no workflow yet.")
        return
    rows: list[tuple[object, ...]] = []
    for flow in found:
        facts = (flow.id, flow.name, "yes" if flow.active else "no", f"{flow.completeness:.0%}")
        counts = (f"{flow.retired:,}", f"{flow.subjects:,}")
        sets = [f"{key} {name}".rstrip() for key, name in flow.sets] or [""]
        rows.append((*facts, *counts, sets[0]))
        rows += [("", "", "", "", "", "", more) for more in sets[1:]]
    echo_table(("workflow", "name", "active", "complete", "retired", "subjects", "subject set"), rows)


def _of_a_batch(function: F) -> F:
    """Add what says which set and which workflow."""
    batch = click.option("--batch", metavar="NAME", required=True, help="The batch whose subject set it is.")
    workflow = click.option("--workflow-id", type=int, required=True, help="See `ctstate workflows`.")
    return account_options(workflow(season_option(batch(function))))


@click.command()
@_of_a_batch
@places
def link(
    where: Places,
    project_id: int,
    password_file: str | None,
    workflow_id: int,
    season: str | None,
    batch: str,
) -> None:
    """Put a batch's subject set into a workflow, which shows it to volunteers if it is active."""
    with where.open() as ledger:
        done = library.link(ledger, connect(where, password_file), project_id, workflow_id, batch, season)
    what = f"subject set {done.set_id} ({done.set_name}), workflow {workflow_id} ({done.workflow})"
    click.echo(f"{'Linked' if done.changed else 'Linked already'}: {what}.")
    if done.active:
        click.echo("The workflow is active: volunteers see the set.")
    if done.pending:
        click.echo(f"{done.pending:,} captures of the batch are not uploaded yet; they join as they are.")


@click.command()
@_of_a_batch
@places
def unlink(
    where: Places,
    project_id: int,
    password_file: str | None,
    workflow_id: int,
    season: str | None,
    batch: str,
) -> None:
    """Take a batch's subject set out of a workflow; its subjects stay where they are."""
    with where.open() as ledger:
        done = library.unlink(ledger, connect(where, password_file), project_id, workflow_id, batch, season)
    what = f"subject set {done.set_id} ({done.set_name}), workflow {workflow_id} ({done.workflow})"
    click.echo(f"{'Unlinked' if done.changed else 'Was not linked'}: {what}.")


@click.command()
@account_options
@json_option
@places
def sets(where: Places, project_id: int, password_file: str | None, as_json: bool) -> None:
    """List a project's subject sets, counted now, with what the ledger knows of each."""
    with contextlib.ExitStack() as stack:
        ledger: Ledger | None = None
        with contextlib.suppress(LedgerMissingError):  # the list is worth having without one
            ledger = stack.enter_context(where.open(read_only=True))
        found = library.subject_sets(ledger, connect(where, password_file), project_id)
    if as_json:
        echo_json([{**vars(item), "verdict": item.verdict} for item in found])
        return
    if not found:
        click.echo(f"Project {project_id} has no subject set yet.")
        return
    echo_table(
        ("set", "name", "subjects", "workflows", "season", "batch", "uploaded", "ledger"),
        [
            (
                item.id,
                item.name,
                "" if item.subjects is None else f"{item.subjects:,}",
                ", ".join(map(str, item.workflows)),
                item.season,
                item.batch,
                "" if item.batch is None else f"{item.uploaded:,}",
                item.verdict,
            )
            for item in found
        ],
    )
