"""ctstate run"""

import click

from ctstate.commands import RUN_ME_AGAIN
from ctstate.commands.plan import UPLOADS, steps_now, the_season_file, words
from ctstate.commands.root import Places, cli
from ctstate.commands.shared import connect, places
from ctstate.verbs.plan import Step, check_workflow
from ctstate.verbs.run import run as do_all


@click.command()
@click.option(
    "--submit", is_flag=True, help="Upload by jobs of a cluster; what comes after is done when called again."
)
@places
@click.pass_context
def run(ctx: click.Context, where: Places, /, submit: bool) -> None:
    """Do what a season's file wants done: manifest, predict, exclude, batch, upload, verify, link.

    Each step only where something is to do; killed and run again, it goes on. It stops at the first step that needs
    a person, and says which. Exit codes as of `ctstate upload`.

    \b
    Example:
      ctstate run
    """
    outcome = do_all(lambda: steps_now(where, submit), lambda step: _carry_out(ctx, where, step))
    stopped = outcome.stopped_at
    if stopped is None:
        click.echo("Run the same command again when the jobs are done." if outcome.submitted else "All is done.")
        return
    if stopped.person:
        click.echo(f"\n{stopped.what}: a person is needed: {stopped.person}", err=True)
    else:
        again = "run the same command again to go on" if outcome.code == RUN_ME_AGAIN else "then run the same again"
        click.echo(f"Stopped at `{words(stopped)}` (exit code {outcome.code}): {again}.", err=True)
    raise SystemExit(outcome.code)


def _carry_out(ctx: click.Context, where: Places, step: Step) -> int:
    """Call a verb as the command line would; return its exit code."""
    if step.verb in UPLOADS:
        said = the_season_file(where)
        with where.open(read_only=True) as ledger:
            check_workflow(ledger, connect(where, said.password_file), said)
    click.echo(f"\n$ {words(step)}")
    root = ctx.find_root()
    command = cli.get_command(root, step.verb)
    assert command is not None
    try:
        with command.make_context(step.verb, list(step.arguments), parent=root) as inner:
            command.invoke(inner)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0
