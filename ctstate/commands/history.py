"""ctstate history"""

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import echo_json, echo_table, json_option, places
from ctstate.verbs.history import history as look_up


@click.command()
@click.argument("capture_id", metavar="CAPTURE")
@json_option
@places
def history(where: Places, capture_id: str, as_json: bool) -> None:
    """Show all that the ledger knows of a capture: where it stands, its images, every move and why.

    \b
    Example:
      ctstate history 'WLD_S6#B04#1#17'
    """
    with where.open(read_only=True) as ledger:
        found = look_up(ledger, capture_id)
    if as_json:
        echo_json(
            {
                "capture": found.facts._asdict(),
                "images": [image._asdict() for image in found.images],
                "events": [event._asdict() for event in found.events],
            }
        )
        return
    known = {key: value for key, value in found.facts._asdict().items() if value is not None}
    width = max(map(len, known))
    for key, value in known.items():
        click.echo(f"{key:{width}}  {value}")
    click.echo()
    echo_table(
        ("rank", "image", "problem", "bytes sent", "arrived", "note"),
        [
            (row.rank, row.path, row.problem_reason or row.problem, row.bytes, row.arrived_at, row.note)
            for row in found.images
        ],
    )
    click.echo()
    echo_table(
        ("when", "from", "to", "run", "verb", "subject", "why"),
        [
            (
                row.at[:19].replace("T", " "),
                row.source or "",
                row.target,
                row.run_id,
                row.verb,
                row.subject_id,
                row.reason,
            )
            for row in found.events
        ],
    )
