"""The group of all verbs, and what they share."""

import gc
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ctstate import __version__
from ctstate.commands.completion import files
from ctstate.zooniverse.addresses import DEFAULT_ENDPOINT

if TYPE_CHECKING:
    from pathlib import Path

    from ctstate.formats.season_file import SeasonFile
    from ctstate.ledger import Ledger

T = TypeVar("T")

# Verbs are loaded when they are called: `ctstate status` need not import an image library. For the same reason this
# module, and those that it imports, load the ledger, the formats and Zooniverse's client within functions:
# `ctstate --version` needs none of them (tests/cli/test_start.py holds that).
VERBS = {
    "adopt": "ctstate.commands.adopt",
    "backup": "ctstate.commands.backup",
    "batch": "ctstate.commands.batch",
    "copy": "ctstate.commands.copy",
    "delete": "ctstate.commands.delete",
    "demo": "ctstate.commands.demo",
    "doctor": "ctstate.commands.doctor",
    "exclude": "ctstate.commands.exclude",
    "export": "ctstate.commands.export",
    "history": "ctstate.commands.history",
    "import": "ctstate.commands.import_",
    "include": "ctstate.commands.exclude",
    "init": "ctstate.commands.init",
    "link": "ctstate.commands.link",
    "manifest": "ctstate.commands.manifest",
    "plan": "ctstate.commands.plan",
    "predict": "ctstate.commands.predict",
    "progress": "ctstate.commands.progress",
    "reconcile": "ctstate.commands.reconcile",
    "remove": "ctstate.commands.remove",
    "report": "ctstate.commands.report",
    "retry": "ctstate.commands.retry",
    "run": "ctstate.commands.run",
    "runs": "ctstate.commands.runs",
    "sample": "ctstate.commands.sample",
    "sandbox": "ctstate.commands.sandbox",
    "serve": "ctstate.commands.serve",
    "sets": "ctstate.commands.workflows",
    "sql": "ctstate.commands.sql",
    "status": "ctstate.commands.status",
    "stop": "ctstate.commands.stop",
    "submit": "ctstate.commands.submit",
    "unlink": "ctstate.commands.link",
    "update-metadata": "ctstate.commands.update_metadata",
    "upload": "ctstate.commands.upload",
    "verify": "ctstate.commands.verify",
    "watch": "ctstate.commands.watch",
    "workflows": "ctstate.commands.workflows",
}


_WITHOUT_SEASON_FILE = ("init", "demo", "sandbox")
"""Verbs that have nothing to do with the season in whose folder they may be called."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Do it all": ("init", "plan", "run"),
    "Prepare a season": ("manifest", "import", "predict", "exclude", "include", "sample", "batch"),
    "Upload": ("doctor", "upload", "retry", "verify", "link"),
    "Look": (
        "status",
        "watch",
        "serve",
        "report",
        "history",
        "runs",
        "sql",
        "progress",
        "sets",
        "workflows",
        "export",
    ),
    "Correct": ("reconcile", "update-metadata", "unlink", "adopt", "remove", "delete", "backup"),
    "On a cluster": ("submit", "stop", "copy"),
    "Rehearse": ("demo", "sandbox"),
}
"""The verbs as the help shows them: by what somebody is about, in the order in which it is done."""


@dataclass(frozen=True)
class Places:
    """Where the ledger and Zooniverse are, and what the season's file says: from the options before the verb."""

    ledger: str
    endpoint: str
    insecure_http: bool = False
    season_file: "SeasonFile | None" = None

    def open(self, *, read_only: bool = False) -> "Ledger":
        """Open the ledger; say so where an older one was brought up to date, and where one has moved."""
        from ctstate.cluster.schedulers import CLUSTER
        from ctstate.ledger import Ledger

        ledger = Ledger.open(self.ledger, read_only=read_only, jobs=CLUSTER)
        say_that_it_was_older(ledger.backup)
        if read_only and (why := ledger.why_closed()) is not None:
            click.echo(f"Note: ledger {ledger.name}: {why.words}.", err=True)
        return ledger

    def open_to_look(self) -> "Ledger":
        """Open the ledger for a verb that only writes down that it looked: one that cannot be written will do."""
        from ctstate.errors import LedgerError

        try:
            return self.open()
        except LedgerError:
            return self.open(read_only=True)

    def open_or_make(self, work: "Callable[[Ledger], T]") -> T:
        """Do some work with the ledger; where there is none, make it if the work ends well."""
        from ctstate.cluster.schedulers import CLUSTER
        from ctstate.ledger.fresh import open_or_make

        def with_it(ledger: "Ledger") -> T:
            say_that_it_was_older(ledger.backup)
            return work(ledger)

        return open_or_make(self.ledger, with_it, CLUSTER)


def say_that_it_was_older(backup: "Path | None") -> None:
    """Say that a ledger was brought up to date, if it was."""
    if backup is not None:
        click.echo(
            f"The ledger was of an older version and is now up to date; a copy of it as it was: {backup}", err=True
        )


def _load(name: str) -> ModuleType:
    """Import a module. What it makes stays: to look through it for garbage took a tenth of the start of a call."""
    if name in sys.modules or not gc.isenabled():
        return importlib.import_module(name)
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()  # else all of it would be looked through at once now
        gc.enable()


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, VERBS))
        for title, verbs in GROUPS.items():
            with formatter.section(title):
                room = formatter.width - widest - 6
                formatter.write_dl([(f"{verb:{widest}}", self._short_help(ctx, verb, room)) for verb in verbs])

    def _short_help(self, ctx: click.Context, verb: str, room: int) -> str:
        command = self.get_command(ctx, verb)
        return "" if command is None else command.get_short_help_str(room)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: Any = getattr(_load(VERBS[cmd_name]), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, words = super().resolve_command(ctx, args)
        if name is None or command is None or ctx.resilient_parsing:  # a shell completes what is spelled as now
            return name, command, words
        from ctstate.commands.old_spellings import spell_anew

        words, told = spell_anew(name, command, words)
        if told:
            click.echo(told, err=True)
        return name, command, words


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ctstate")
@click.option(
    "--ledger",
    envvar="CTSTATE_LEDGER",
    default="ctstate.db",
    show_default=True,
    metavar="PATH_OR_URL",
    shell_complete=files,
    help="The ledger (also CTSTATE_LEDGER).",
)
@click.option(
    "--endpoint",
    envvar="PANOPTES_ENDPOINT",
    default=DEFAULT_ENDPOINT,
    show_default=True,
    metavar="URL",
    help="Zooniverse, or a sandbox (also PANOPTES_ENDPOINT).",
)
@click.option(
    "--insecure-http",
    envvar="CTSTATE_INSECURE_HTTP",
    is_flag=True,
    help="Let the password go to another machine unencrypted (also CTSTATE_INSECURE_HTTP=1).",
)
@click.option(
    "--season-file",
    envvar="CTSTATE_SEASON_FILE",
    type=click.Path(),
    metavar="TOML",
    help="What the verbs are not to be told again (also CTSTATE_SEASON_FILE); else the one .toml file in this "
    "folder that names a season. See `ctstate init`.",
)
@click.pass_context
def cli(ctx: click.Context, ledger: str, endpoint: str, insecure_http: bool, season_file: str | None) -> None:
    """Camera-trap seasons onto Zooniverse, each capture exactly once.

    \b
    Exit codes: 0 done; 1 failed, or something is off; 2 wrong call;
    75 stopped cleanly before all was done: run the same command again.
    """
    from ctstate.formats.season_file import find_season_file, read_season_file

    said = None
    found = season_file or (find_season_file() if ctx.invoked_subcommand not in _WITHOUT_SEASON_FILE else None)
    if found:
        from ctstate.commands.season_file import defaults

        said = read_season_file(found)
        ctx.default_map = defaults(said)
        if said.ledger is not None and ctx.get_parameter_source("ledger") is ParameterSource.DEFAULT:
            ledger = said.ledger
        if said.endpoint is not None and ctx.get_parameter_source("endpoint") is ParameterSource.DEFAULT:
            endpoint = said.endpoint
    ctx.obj = Places(ledger, endpoint.strip().rstrip("/"), insecure_http, said)
