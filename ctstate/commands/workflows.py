"""ctstate workflows, ctstate sets"""

import contextlib

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import (
    account_options,
    connect,
    echo_json,
    echo_table,
    json_option,
    places,
)
from ctstate.errors import LedgerMissingError
from ctstate.ledger import Ledger
from ctstate.verbs import workflows as library


@click.command()
@account_options
@json_option
@places
def workflows(where: Places, project_id: int, password_file: str | None, as_json: bool) -> None:
    """List a project's workflows and their subject sets.

    \b
    Example:
      ctstate workflows --project-id 593
    """
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


@click.command()
@account_options
@json_option
@places
def sets(where: Places, project_id: int, password_file: str | None, as_json: bool) -> None:
    """List a project's subject sets, counted now, with what the ledger knows of each.

    \b
    Example:
      ctstate sets --project-id 593
    """
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
