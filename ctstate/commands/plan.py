"""ctstate plan"""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import connect, echo_json, json_option, places
from ctstate.errors import LedgerMissingError, UsageError
from ctstate.formats.season_file import SeasonFile
from ctstate.verbs.plan import Cost, Step, cost, steps
from ctstate.words import counted

UPLOADS = ("upload", "submit")


def the_season_file(where: Places) -> SeasonFile:
    """Return the season's file that the options name, or that was found.

    Raises:
        UsageError: there is none.
    """
    if where.season_file is None:
        raise UsageError("there is no season's file here: `ctstate init` writes one, --season-file names another")
    return where.season_file


def steps_now(where: Places, submit: bool) -> list[Step]:
    """Return the steps that have something to do now."""
    said = the_season_file(where)
    try:
        with where.open(read_only=True) as ledger:
            return steps(ledger, said, submit=submit)
    except LedgerMissingError:
        return steps(None, said, submit=submit)


def words(step: Step) -> str:
    """Return a step as a person would type it."""
    return shlex.join(["ctstate", step.verb, *step.arguments])


@click.command()
@click.option("--submit", is_flag=True, help="Upload by jobs of a cluster.")
@json_option
@places
def plan(where: Places, submit: bool, as_json: bool) -> None:
    """Say what a season's file still wants done, step by step, and what the upload will cost.

    Changes nothing.

    \b
    Example:
      ctstate plan
    """
    said = the_season_file(where)
    found = steps_now(where, submit)
    expected = None
    if any(step.verb in UPLOADS for step in found) and found[0].verb != "manifest":
        with where.open(read_only=True) as ledger:
            expected = cost(ledger, connect(where, said.password_file), said)
    if as_json:
        echo_json(_as_json(said, found, expected))
        return
    click.echo(f"Season {said.season}, as {Path(said.path).name} says:")
    for number, step in enumerate(found, start=1):
        click.echo(f"  {number}. {words(step)}")
        click.echo(f"     {step.what}{': a person is needed: ' + step.person if step.person else ''}")
    if expected is not None:
        _echo_cost(expected)
    elif found[0].verb == "manifest":
        click.echo("What it will cost can be said once the captures are read.")


def _as_json(said: SeasonFile, found: list[Step], expected: Cost | None) -> dict[str, Any]:
    return {
        "season": said.season,
        "season_file": said.path,
        "steps": [dataclasses.asdict(step) for step in found],
        "cost": None if expected is None else {**dataclasses.asdict(expected), "hours": expected.hours},
    }


def _echo_cost(expected: Cost) -> None:
    allowance = "no limit" if expected.allowance is None else counted(expected.allowance, "more subject")
    time = "not known yet" if expected.hours is None else f"about {expected.hours:,.1f} h at {expected.rate:,.2f}/s"
    size = f"about {expected.bytes / 1e6:,.0f} MB" if expected.sampled else "size not known"
    click.echo(
        f"To upload: {counted(expected.captures, 'capture')}, {counted(expected.images, 'image')}, {size} (by "
        f"{counted(expected.sampled, 'image')} tried); at least {counted(expected.requests, 'request')}; "
        f"the account may upload: {allowance}; time: {time}."
    )
    for problem in expected.broken[:5]:
        click.echo(f"  {problem}", err=True)
    if expected.warning:
        click.echo(f"Warning: {expected.warning}.", err=True)
