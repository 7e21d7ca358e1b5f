"""ctstate report"""

import click

from ctstate.commands.completion import files
from ctstate.commands.root import Places
from ctstate.commands.shared import echo_json, json_option, places, season_option
from ctstate.verbs.report import report as carry_out


@click.command()
@click.option(
    "-o",
    "--output",
    "file",
    required=True,
    metavar="FILE",
    shell_complete=files,
    help="Where the page goes; a file that is there is replaced.",
)
@season_option
@json_option
@places
def report(where: Places, file: str, season: str | None, as_json: bool) -> None:
    """Write a page about a season: how far it is, what is wrong, when it will be done.

    One HTML file for any browser, with all that it shows in it: send it around, print it, keep it.

    \b
    Example:
      ctstate report -o season.html
    """
    with where.open(read_only=True) as ledger:
        made = carry_out(ledger, file, season)
    if as_json:
        echo_json(made)
        return
    click.echo(f"{made.sentence}\n{made.file}: {made.bytes / 1e6:,.2f} MB")
