"""ctstate copy"""

import click

from ctstate.cluster.schedulers import CLUSTER
from ctstate.commands.bar import Bar, duration
from ctstate.commands.completion import files
from ctstate.commands.root import say_that_it_was_older
from ctstate.commands.shared import echo_json, json_option
from ctstate.ledger.database import place_of
from ctstate.verbs.copy import Progress
from ctstate.verbs.copy import copy as carry_out
from ctstate.words import counted


@click.command()
@click.argument("source", metavar="FROM", shell_complete=files)
@click.argument("target", metavar="TO", shell_complete=files)
@json_option
def copy(source: str, target: str, as_json: bool) -> None:
    """Move a ledger to another database: from a file to PostgreSQL, back, or to another file or server.

    FROM and TO are paths or URLs, as --ledger takes them; TO is new or empty. Every row, with every id, is copied
    and compared. From then on FROM can only be read: two ledgers of one season would upload it twice. No run may be
    at work. If it is killed, call it again. The way back is the same with FROM and TO exchanged.

    \b
    Examples:
      ctstate copy WLD_S6.db postgresql+psycopg://season_s1@db.example.org/season_s1
      ctstate copy postgresql+psycopg://season_s1@db.example.org/season_s1 WLD_S6.db
    """
    with Bar(_in_words) as bar:
        moved = carry_out(source, target, jobs=CLUSTER, on_progress=bar)
    say_that_it_was_older(moved.backup)
    if as_json:
        echo_json(moved)
        return
    old, new = place_of(source), place_of(target)
    click.echo(
        f"{new.name}: {counted(moved.captures, 'capture')} ({counted(moved.rows, 'row')}), each as it was. "
        f"{old.name} can only be read from now on."
    )
    click.echo(f"Use the new one: export CTSTATE_LEDGER={new.for_jobs} (or --ledger, or the season's file).")


def _in_words(progress: Progress) -> str:
    half = progress.total // 2
    done = progress.done - half if progress.compares else progress.done
    left = progress.seconds_left
    parts = [
        f"{done:,} of {counted(half, 'row')} {'compared' if progress.compares else 'copied'}",
        f"{duration(left)} left" if left else "",
    ]
    return ", ".join(filter(None, parts))
