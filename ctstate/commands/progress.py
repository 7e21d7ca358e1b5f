"""ctstate progress"""

import click

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
from ctstate.verbs import progress as library


@click.command()
@account_options
@click.option("--workflow-id", type=ID, help="This workflow only; else all that show the batches.")
@season_option
@batch_option
@json_option
@places
def progress(
    where: Places,
    project_id: int,
    password_file: str | None,
    workflow_id: int | None,
    season: str | None,
    batch: str | None,
    as_json: bool,
) -> None:
    """Read from Zooniverse what volunteers have done with the uploaded subjects.

    It goes into the ledger, subject by subject: see the view v_classifications. Run it again to resume.

    \b
    Example:
      ctstate progress --project-id 593 --batch batch_1
    """
    with where.open() as ledger:
        done = library.read_progress(
            ledger,
            connect(where, password_file),
            project_id,
            workflow_id=workflow_id,
            season=season,
            batch=batch,
        )
    if as_json:
        echo_json([vars(row) for row in done])
        return
    if not done:
        click.echo("No workflow shows an uploaded batch: see `ctstate workflows` and `ctstate link`.")
        return
    echo_table(
        ("season", "batch", "workflow", "name", "subjects", "classified", "classifications", "retired", "done"),
        [
            (
                row.season,
                row.batch,
                row.workflow_id,
                row.workflow,
                f"{row.subjects:,}",
                f"{row.classified:,}",
                f"{row.classifications:,}",
                f"{row.retired:,}",
                f"{row.retired / row.subjects:.0%}",
            )
            for row in done
        ],
    )
    for key, name, share in sorted({(row.workflow_id, row.workflow, row.completeness) for row in done}):
        click.echo(f"Workflow {key} ({name}) as a whole, by Zooniverse's own count: {share:.0%} complete.")
