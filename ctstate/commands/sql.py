"""ctstate sql"""

import shutil
import sys

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import echo_csv, echo_json_list, echo_table, json_option, places
from ctstate.errors import UsageError
from ctstate.verbs.sql import ask


@click.command()
@click.argument("question", metavar="SELECT")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@places
def sql(where: Places, question: str, as_csv: bool, as_json: bool) -> None:
    """Ask the ledger in SQL, read-only.

    The views v_captures, v_images, v_progress, v_failures, v_runs, v_events, v_days and more are a stable interface
    (docs/views.md). Where a row is wider than the terminal, its values are printed one below the other.

    \b
    Examples:
      ctstate sql "SELECT site, count(*) AS captures FROM v_captures GROUP BY site"
      ctstate sql --csv "SELECT * FROM v_failures"
    """
    if as_csv and as_json:
        raise UsageError("give either --csv or --json")
    with where.open(read_only=True) as ledger, ask(ledger, question) as answer:
        if as_json:
            echo_json_list(dict(zip(answer.columns, row, strict=False)) for row in answer.rows)
        elif as_csv:
            echo_csv(answer.columns, answer.rows)
        else:
            # A person reads it at a terminal; a program, or a file, gets lines of one kind.
            columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
            echo_table(answer.columns, answer.rows, columns)
