"""ctstate status"""

import click

from ctstate.commands.answers import StatusRow
from ctstate.commands.root import Places
from ctstate.commands.shared import batch_option, echo_json, echo_table, json_option, places, season_option
from ctstate.verbs.status import STATES
from ctstate.verbs.status import status as carry_out


@click.command()
@season_option
@batch_option
@json_option
@places
def status(where: Places, season: str | None, batch: str | None, as_json: bool) -> None:
    """Show how far each season and batch is.

    \b
    Example:
      ctstate status --season WLD_S6
    """
    with where.open(read_only=True) as ledger:
        rows = carry_out(ledger, season, batch)
    if as_json:
        echo_json(
            [
                StatusRow(
                    season=row.season,
                    batch=row.batch,
                    subject_set_id=row.subject_set_id,
                    project_url=row.project_url,
                    **row.counts,
                    excluded=row.excluded,
                    in_doubt=row.in_doubt,
                    total=row.total,
                )
                for row in rows
            ]
        )
        return
    if not rows:
        click.echo("The ledger holds no captures yet: begin with `ctstate manifest`.")
        return
    shown = [state for state in STATES if any(row.counts[state] for row in rows)]
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
    for url in sorted({row.project_url for row in rows if row.project_url is not None}):
        click.echo(f"On Zooniverse: {url}")
