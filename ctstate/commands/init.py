"""ctstate init"""

import sys
from typing import Any

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import ID, echo_json, places
from ctstate.formats.season_file import schema
from ctstate.verbs.init import NEEDED
from ctstate.verbs.init import init as carry_out

_QUESTIONS: dict[str, tuple[str, Any]] = {
    "season": ("The season's name, such as WLD_S6", str),
    "captures": ("The captures CSV, or datapackage.json", str),
    "images_root": ("The folder below which the images are", str),
    "attribution": ("Attribution, for every subject", str),
    "license": ("License, for every subject", str),
    "project_id": ("The project's number on Zooniverse", ID),
}


@click.command()
@click.option("--season", metavar="ID", help="Manifest id, such as WLD_S6; the file is named after it.")
@click.option("--captures", type=click.Path(), help="The captures CSV, or the datapackage.json of a Camtrap DP.")
@click.option("--images-root", type=click.Path(), help="Folder below which the images are.")
@click.option("--attribution", help="For every subject's metadata.")
@click.option("--license", help="For every subject's metadata.")
@click.option("--project-id", type=ID, help="The Zooniverse project.")
@click.option("--workflow-id", type=ID, help="The workflow that is to show it; see `ctstate workflows`.")
@click.option("--password-file", type=click.Path(), help="INI file with the account.")
@click.option(
    "--max-batch-size", "max_size", type=click.IntRange(1), help="Split into batches of so many captures."
)
@click.option("--schema", "as_schema", is_flag=True, help="Print the JSON Schema of such files, for editors.")
@places
def init(where: Places, /, as_schema: bool, **said: Any) -> None:
    """Write a season's file, SEASON.toml, with comments: what the verbs are then not to be told again.

    Asks for what no option says, on a terminal.

    \b
    Example:
      ctstate init --season WLD_S6
    """
    if as_schema:
        echo_json(schema())
        return
    if sys.stdin.isatty():
        for key in NEEDED:
            question, kind = _QUESTIONS[key]
            if said[key] is None:
                said[key] = click.prompt(question, type=kind, err=True)
    path = carry_out(".", said)
    click.echo(
        f"{path} is written: look through it; `ctstate plan` says what is to be done, `ctstate run` does it."
    )
