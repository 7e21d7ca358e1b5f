"""Options that several verbs take, and how tables are printed."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
import msgspec

from ctstate.commands.completion import batch_names, season_names
from ctstate.commands.root import Places
from ctstate.errors import LedgerMissingError, UsageError
from ctstate.ledger import Ledger
from ctstate.words import counted
from ctstate.zooniverse import read_credentials

if TYPE_CHECKING:
    from rich.console import Console

    from ctstate.zooniverse import Zooniverse

F = TypeVar("F", bound=Callable[..., Any])

places = click.make_pass_decorator(Places)


if TYPE_CHECKING:
    WholeNumber = click.ParamType[int]
else:  # older versions of click know types of options, but not of what
    WholeNumber = click.ParamType


class _Id(WholeNumber):
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
    project = click.option(
        "--project-id",
        type=ID,
        callback=_needed_project,
        help="The Zooniverse project; may be left out once the ledger has a subject set there.",
    )
    return project(password(function))


def known_project(ctx: click.Context, param: click.Parameter, given: int | None) -> int | None:
    """Return the project that was given, or the one that the ledger knows; None where it knows none."""
    where = ctx.find_object(Places)
    if given is not None or where is None or ctx.resilient_parsing:
        return given
    try:
        # Whatever is to be said of it is said by the verb, which opens it for itself.
        with Ledger.open(where.ledger, read_only=True) as ledger:
            return ledger.project()
    except LedgerMissingError:
        return None


def _why_no_project(where: Places | None) -> str:
    if where is not None:
        try:
            Ledger.open(where.ledger, read_only=True).close()
        except LedgerMissingError as error:  # the wrong folder, more often than not
            return str(error)
    return "the ledger has no subject set yet that tells"


def _needed_project(ctx: click.Context, param: click.Parameter, given: int | None) -> int | None:
    found = known_project(ctx, param, given)
    if found is None and not ctx.resilient_parsing:
        raise UsageError(f"say which project: --project-id ({_why_no_project(ctx.find_object(Places))})")
    return found


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


@contextlib.contextmanager
def counter(noun: str) -> Iterator[Callable[[int], None]]:
    """Give a function that shows on a terminal how many were read so far; the line is gone at the end."""
    show = sys.stderr.isatty()

    def progress(number: int) -> None:
        if show:
            click.echo(f"\r{counted(number, noun)} read", nl=False, err=True)

    try:
        yield progress
    finally:
        if show:
            click.echo("\r\033[K", nl=False, err=True)


def echo_json(value: Any) -> None:
    """Print a value as JSON; a report as an object of its fields."""
    click.echo(_as_json(_plain(value)))


def echo_json_list(values: Iterable[Any]) -> None:
    """Print a list as JSON, of any length in bounded memory."""
    before, after = "[", "[]"
    with _printed() as out:
        for value in values:
            out(f"{before}\n{_as_json(value)}".replace("\n", "\n  "))  # a text holds no line break in JSON
            before, after = ",", "\n]"
        out(f"{after}\n")


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: what has fields is an object of them."""
    if dataclasses.is_dataclass(value) or isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value) if isinstance(value, msgspec.Struct) else dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return _plain(value._asdict()) if hasattr(value, "_asdict") else [_plain(inner) for inner in value]
    return value


def echo_table(header: Sequence[str], rows: Iterable[Sequence[Any]], widest: int | None = None) -> None:
    """Print rows in aligned columns, numbers to the right; of any length in bounded memory.

    On a terminal, columns keep to its width and long texts go on in the next line; elsewhere a row is one line.

    Args:
        header, rows: the table.
        widest: where a line would be longer, each row is printed as lines of its own, a value a line; None: never.
    """
    terminal = _terminal()
    cell_width: Callable[[str], int] = len
    if terminal is not None:
        from rich.cells import cell_len

        cell_width = cell_len  # some characters are two columns wide, others none
    widths = list(map(cell_width, header))
    numeric = [True] * len(header)
    count = 0
    # How wide a column is shows in its last row: what is long waits in a file.
    with tempfile.SpooledTemporaryFile(max_size=_SPOOLED) as waiting:
        for row in rows:
            count += 1
            cells = ["" if value is None else str(value) for value in row]
            widths = list(map(max, widths, map(cell_width, cells)))
            numeric = [
                right and (not cell or _is_number(cell)) for right, cell in zip(numeric, cells, strict=False)
            ]
            waiting.write(json.dumps(cells).encode() + b"\n")
        if waiting.tell() == 0:
            numeric = [False] * len(header)
        waiting.seek(0)
        line_width = sum(widths) + 2 * (len(widths) - 1)
        one_below_the_other = widest is not None and line_width > widest
        if (
            terminal is not None
            and not one_below_the_other
            and line_width > terminal.width
            and count <= _MOST_DRAWN
        ):
            _draw_table(terminal, header, map(json.loads, waiting), numeric)
            return

        def line(cells: Sequence[str]) -> str:
            parts = []
            for cell, width, right in zip(cells, widths, numeric, strict=False):
                room = " " * (width - cell_width(cell))
                parts.append(room + cell if right else cell + room)
            return "  ".join(parts).rstrip() + "\n"

        with _printed() as out:
            if one_below_the_other:
                label = max(map(len, header))
                for number, text in enumerate(waiting, start=1):
                    out(f"-- {number} --\n")
                    for key, cell in zip(header, json.loads(text), strict=False):
                        out(f"{key:{label}}  {cell}".rstrip() + "\n")
                return
            out(line(header))
            out("  ".join("-" * width for width in widths) + "\n")
            for text in waiting:
                out(line(json.loads(text)))


def _terminal() -> "Console | None":
    """Return the terminal that a person reads on; None where a program or a file takes what is printed."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "").lower() in ("dumb", "unknown"):
        return None
    # Loaded only where there is a terminal.
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def _draw_table(
    console: "Console", header: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool]
) -> None:
    """Print a table that is wider than the terminal: columns share the width, texts are folded, none is lost."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title, right in zip(header, numeric, strict=False):
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for cells in rows:
        table.add_row(*cells)
    console.print(table)


_MOST_DRAWN = 1000
"""More rows are printed as they are: nobody reads them, and a table that is drawn is whole in memory."""

_SPOOLED = 1 << 20
_PRINTED = 1 << 16


@contextlib.contextmanager
def _printed() -> Iterator[Callable[[str], Any]]:
    """Give a function that prints text, many pieces at once: each print goes out by itself."""
    waiting = io.StringIO()

    def out(text: str) -> None:
        waiting.write(text)
        if waiting.tell() > _PRINTED:
            click.echo(waiting.getvalue(), nl=False)
            waiting.seek(0)
            waiting.truncate()

    yield out
    click.echo(waiting.getvalue(), nl=False)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "", 1).replace("%", "").lstrip("-").isdigit()


def echo_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as CSV."""
    with _printed() as out:
        writer = csv.writer(_Writable(out), lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


class _Writable(NamedTuple):
    """What the csv module writes to."""

    write: Callable[[str], Any]
