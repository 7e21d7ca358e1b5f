"""Options that several verbs take, and how tables are printed."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ctstate.commands.completion import batch_names, season_names
from ctstate.commands.root import Places
from ctstate.zooniverse import read_credentials

if TYPE_CHECKING:
    from ctstate.zooniverse import Zooniverse

F = TypeVar("F", bound=Callable[..., Any])

places = click.make_pass_decorator(Places)


class _Id(click.ParamType):
    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = click.INT.convert(value, param, ctx)
        if not 0 < number < 2**63:
            self.fail(f"{str(value)[:40]} is no number of a project, subject, set, workflow or run", param, ctx)
        return int(number)


ID = _Id()
"""A number of Zooniverse's, or of the ledger's: what a database can hold."""


def season_option(function: F) -> F:
    """Add --season."""
    return click.option(
        "--season",
        metavar="ID",
        shell_complete=season_names,
        help="Manifest id; needed where the ledger holds several.",
    )(function)


def batch_option(function: F) -> F:
    """Add --batch."""
    return click.option("--batch", metavar="NAME", shell_complete=batch_names, help="One batch, such as batch_1.")(
        function
    )


def account_options(function: F) -> F:
    """Add --project-id and --password-file."""
    password = click.option(
        "--password-file",
        type=click.Path(dir_okay=False),
        help="INI file with username and password in its section [zooniverse]; "
        "else PANOPTES_USERNAME and PANOPTES_PASSWORD, or ~/.panoptes/config.yml.",
    )
    project = click.option("--project-id", type=ID, required=True, help="The Zooniverse project.")
    return project(password(function))


def json_option(function: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def connect(where: Places, password_file: str | None, **more: Any) -> "Zooniverse":
    """Return a connection to Zooniverse with the user's account (nothing is sent yet).

    Raises:
        UsageError: the endpoint is no address of a web server, or the password would go there unencrypted.
        InputError: see `read_credentials`.
    """
    # Loaded only where it is needed: the client brings much with it.
    from ctstate.zooniverse import Zooniverse

    return Zooniverse(where.endpoint, read_credentials(password_file), insecure_http=where.insecure_http, **more)


def echo_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def echo_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows in aligned columns, numbers to the right."""
    shown = [["" if value is None else str(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(header, *shown, strict=False)]
    numeric = [
        bool(shown) and all(_is_number(row[index]) for row in shown if row[index]) for index in range(len(header))
    ]

    def line(cells: Sequence[str]) -> str:
        parts = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=False)
        )
        return "  ".join(parts).rstrip()

    click.echo(line(list(header)))
    click.echo("  ".join("-" * width for width in widths))
    for row in shown:
        click.echo(line(row))


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "", 1).replace("%", "").lstrip("-").isdigit()


def echo_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(row)
        if out.tell() > 65536:
            click.echo(out.getvalue(), nl=False)
            out.seek(0)
            out.truncate()
    click.echo(out.getvalue(), nl=False)
