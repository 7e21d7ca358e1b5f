"""ctstate runs"""

from dataclasses import asdict

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import echo_json, echo_table, json_option, places
from ctstate.ledger.clock import age
from ctstate.verbs.runs import LIVE, QUEUED, Queued, RunStatus, list_queued, list_runs
from ctstate.words import counted


@click.command()
@click.option("--all", "all_runs", is_flag=True, help="Also those that ended long ago.")
@json_option
@places
def runs(where: Places, all_runs: bool, as_json: bool) -> None:
    """Who works on the ledger: each run with its state, rate, host, job and log file; and which jobs wait.

    A run is live, ended (done, failed or stopped), or lost: its process or job is gone, and what it had claimed is
    recovered by the next worker. Of the jobs of `submit` that wait in the queue it says how many and, in the
    scheduler's words, why; --json has them as rows whose state is `queued`.

    \b
    Examples:
      ctstate runs
      ctstate runs --all --json
    """
    with where.open(read_only=True) as ledger:
        found = list_runs(ledger, most=None if all_runs else 20)
        queued = list_queued(ledger)
    if as_json:
        echo_json([*map(asdict, found), *({"state": QUEUED, **asdict(jobs)} for jobs in queued)])
        return
    echo_table(
        ("run", "verb", "state", "uploaded", "failed", "per_s", "age", "host", "pid", "job", "queue", "log"),
        [
            (
                run.id,
                run.verb,
                _state(run),
                run.uploaded,
                run.failed,
                _rate(run.rate) if run.rate is not None else None,
                _ago(run.started_at),
                run.host,
                run.pid,
                run.job,
                run.slurm_state,
                run.log_file,
            )
            for run in found
        ],
    )
    live = [run for run in found if run.state == LIVE and run.verb == "upload"]
    if live:
        rate = sum(run.rate or 0.0 for run in live)
        click.echo(counted(len(live), "live worker") + (f", {_rate(rate)}/s in all." if rate else "."))
    for jobs in queued:
        click.echo(_waiting(jobs))


def _waiting(jobs: Queued) -> str:
    what = "the job that looks whether more is to do" if jobs.follows else counted(jobs.tasks, "worker")
    why = f" ({jobs.reason})" if jobs.reason else ""
    return f"In the queue: {what} of job {jobs.job}{why}{': ' + jobs.advice if jobs.advice else ''}."


def _state(run: RunStatus) -> str:
    if run.stopping:
        return f"{run.state}, stopping"
    return run.state if run.outcome in (None, run.state) else f"{run.state}: {run.outcome}"


def _rate(rate: float) -> str:
    """Show a rate; a slow one with its first two digits, as nothing that moves is 0.00."""
    return f"{rate:.2f}" if rate >= 0.1 or not rate else f"{rate:.2g}"


def _ago(moment: str | None) -> str:
    seconds = int(age(moment)) if moment is not None else 0
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
