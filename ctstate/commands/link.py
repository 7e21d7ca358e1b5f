"""ctstate link, ctstate unlink"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ctstate.commands.completion import batch_names
from ctstate.commands.root import Places
from ctstate.commands.shared import ID, account_options, connect, echo_json, json_option, places, season_option
from ctstate.verbs import link as library
from ctstate.words import counted

F = TypeVar("F", bound=Callable[..., Any])


def _of_a_batch(function: F) -> F:
    """Add what says which set and which workflow."""
    batch = click.option(
        "--batch",
        metavar="NAME",
        required=True,
        shell_complete=batch_names,
        help="The batch whose subject set it is.",
    )
    workflow = click.option("--workflow-id", type=ID, required=True, help="See `ctstate workflows`.")
    return account_options(workflow(season_option(batch(json_option(function)))))


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
    as_json: bool,
) -> None:
    """Put a batch's subject set into a workflow, which shows it to volunteers if it is active.

    \b
    Example:
      ctstate link --project-id 593 --workflow-id 1234 --batch batch_1
    """
    with where.open() as ledger:
        done = library.link(ledger, connect(where, password_file), project_id, workflow_id, batch, season)
    if as_json:
        echo_json(done)
        return
    what = f"subject set {done.set_id} ({done.set_name}), workflow {workflow_id} ({done.workflow})"
    click.echo(f"{'Linked' if done.changed else 'Linked already'}: {what}.")
    if done.active:
        click.echo("The workflow is active: volunteers see the set.")
    if done.pending:
        click.echo(f"Not uploaded yet: {counted(done.pending, 'capture')} of the batch; what is uploaded joins.")


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
    as_json: bool,
) -> None:
    """Take a batch's subject set out of a workflow; its subjects stay where they are.

    \b
    Example:
      ctstate unlink --project-id 593 --workflow-id 1234 --batch batch_1
    """
    with where.open() as ledger:
        done = library.unlink(ledger, connect(where, password_file), project_id, workflow_id, batch, season)
    if as_json:
        echo_json(done)
        return
    what = f"subject set {done.set_id} ({done.set_name}), workflow {workflow_id} ({done.workflow})"
    click.echo(f"{'Unlinked' if done.changed else 'Was not linked'}: {what}.")
