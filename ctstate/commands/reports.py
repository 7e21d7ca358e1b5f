"""ctstate status, history, sql"""

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import (
    batch_option,
    echo_csv,
    echo_json,
    echo_table,
    json_option,
    places,
    season_option,
)
from ctstate.errors import UsageError
from ctstate.verbs import status as reports


@click.command()
@season_option
@batch_option
@json_option
@places
def status(where: Places, season: str | None, batch: str | None, as_json: bool) -> None:
    """Show how far each season and batch is."""
    with where.open(read_only=True) as ledger:
        rows = reports.progress(ledger, season, batch)
    if as_json:
        echo_json(
            [
                {
                    "season": row.season,
                    "batch": row.batch,
                    "subject_set_id": row.subject_set_id,
                    **row.counts,
                    "excluded": row.excluded,
                    "in_doubt": row.in_doubt,
                    "total": row.total,
                }
                for row in rows
            ]
        )
        return
    if not rows:
        click.echo("The ledger holds no captures yet: begin with `ctstate manifest`.")
        return
    shown = [state for state in reports.STATES if any(row.counts[state] for row in rows)]
    extra = [name for name in ("excluded", "in_doubt") if any(getattr(row, name) for row in rows)]
    table = [
        (
            row.season,
            row.batch or "(no batch)",
            row.subject_set_id or "",
            *(f"{row.counts[state]:,}" for state in shown),
            *(f"{getattr(row, name):,}" for name in extra),
            f"{row.total:,}",
        )
        for row in rows
    ]
    if len(rows) > 1:
        table.append(
            (
                "total",
                "",
                "",
                *(f"{sum(row.counts[state] for row in rows):,}" for state in shown),
                *(f"{sum(getattr(row, name) for row in rows):,}" for name in extra),
                f"{sum(row.total for row in rows):,}",
            )
        )
    echo_table(("season", "batch", "subject set", *shown, *(n.replace("_", " ") for n in extra), "total"), table)


@click.command()
@click.argument("capture_id", metavar="CAPTURE")
@json_option
@places
def history(where: Places, capture_id: str, as_json: bool) -> None:
    """Show all that the ledger knows of a capture: where it stands, its images, every move and why."""
    with where.open(read_only=True) as ledger:
        facts, images, events = reports.history(ledger, capture_id)
    if as_json:
        echo_json({"capture": facts, "images": images, "events": events})
        return
    for key, value in facts.items():
        if value is not None:
            click.echo(f"{key:17} {value}")
    click.echo()
    echo_table(
        ("rank", "image", "problem", "bytes sent", "arrived", "note"),
        [
            (
                row["rank"],
                row["path"],
                row["problem_reason"] or row["problem"],
                row["bytes"],
                row["arrived_at"],
                row["note"],
            )
            for row in images
        ],
    )
    click.echo()
    echo_table(
        ("when", "from", "to", "run", "verb", "subject", "why"),
        [
            (
                row["at"][:19].replace("T", " "),
                row["source"] or "",
                row["target"],
                row["run_id"],
                row["verb"],
                row["subject_id"],
                row["reason"],
            )
            for row in events
        ],
    )


@click.command()
@click.argument("question", metavar="SELECT")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@places
def sql(where: Places, question: str, as_csv: bool, as_json: bool) -> None:
    """Ask the ledger in SQL, read-only.

    The views v_captures, v_images, v_progress, v_failures, v_runs and v_events are a stable interface.
    """
    if as_csv and as_json:
        raise UsageError("give either --csv or --json")
    with where.open(read_only=True) as ledger, reports.ask(ledger, question) as answer:
        if as_json:
            echo_json([dict(zip(answer.columns, row, strict=False)) for row in answer.rows])
        elif as_csv:
            echo_csv(answer.columns, answer.rows)
        else:
            echo_table(answer.columns, answer.rows)
