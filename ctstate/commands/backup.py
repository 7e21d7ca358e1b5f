"""ctstate backup"""

import click

from ctstate.commands.completion import files
from ctstate.commands.root import Places
from ctstate.commands.shared import echo_json, json_option, places
from ctstate.verbs.backup import backup as carry_out
from ctstate.words import counted


@click.command()
@click.option("--note", help="What the copy is for; kept in the ledger.")
@click.option("--to", metavar="FILE", shell_complete=files, help="Where to; by default beside the ledger.")
@json_option
@places
def backup(where: Places, note: str | None, to: str | None, as_json: bool) -> None:
    """Copy the ledger to a file, also while uploads run, and look whether the copy is whole.

    `delete` and a newer ctstate make such a copy of themselves. What to do with one: docs/disaster.md.

    \b
    Example:
      ctstate backup --note "before the second batch"
    """
    with where.open_to_look() as ledger:
        made = carry_out(ledger, to, note=note)
    if as_json:
        echo_json(made)
    else:
        click.echo(f"{made.path}: {counted(made.captures, 'capture')}, {made.bytes / 1e6:,.1f} MB, whole.")
