"""ctstate stop"""

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import ID, echo_json, json_option, places
from ctstate.errors import UsageError
from ctstate.verbs.stop import stop_runs


@click.command()
@click.argument("run_ids", nargs=-1, type=ID, metavar="[RUN]...")
@click.option("--all", "everything", is_flag=True, help="All uploads, and the chains that `submit` began.")
@json_option
@places
def stop(where: Places, run_ids: tuple[int, ...], everything: bool, as_json: bool) -> None:
    """Ask uploads to stop cleanly, wherever they run; they hear it within ten seconds.

    RUN is a number from `ctstate runs`. --all also ends the chains of job arrays and cancels what of them waits in
    the queue; after a single run has stopped, a chain goes on.

    \b
    Examples:
      ctstate stop 12
      ctstate stop --all
    """
    if everything == bool(run_ids):
        raise UsageError("say which runs to stop (see `ctstate runs`), or --all")
    with where.open() as ledger:
        report = stop_runs(ledger, None if everything else run_ids)
    if as_json:
        echo_json(report)
        return
    if report.asked:
        click.echo(f"Asked to stop: {', '.join(map(str, report.asked))}.")
    else:
        click.echo("No upload is running.")
    if report.ended:
        click.echo(f"Had ended already: {', '.join(map(str, report.ended))}.")
    if report.cancelled:
        click.echo(f"Taken out of the queue: what had not begun of job {', '.join(report.cancelled)}.")
    if report.problem:
        click.echo(f"Warning: jobs that wait in the queue are still there: {report.problem}", err=True)
