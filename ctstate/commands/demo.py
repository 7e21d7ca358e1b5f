"""ctstate demo"""

import sys
from pathlib import Path

import click

from ctstate.verbs.demo import run_demo


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"), show_default=True)
@click.option("--captures", type=click.IntRange(6, 5000), default=48, show_default=True)
@click.option("--keep-open", is_flag=True, help="Leave the sandbox running afterwards, to look at it.")
def demo(folder: Path, captures: int, keep_open: bool) -> None:
    """Rehearse everything on this machine: a season, a sandbox with faults, a kill, a resume, a proof.

    \b
    Example:
      ctstate demo --captures 100 --keep-open
    """

    def wait(url: str) -> None:
        click.echo(f"Look at it: {url}  (Enter ends the sandbox)")
        sys.stdin.readline()

    run_demo(folder.absolute(), click.echo, captures=captures, keep_open=wait if keep_open else None)
