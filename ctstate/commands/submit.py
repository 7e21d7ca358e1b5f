"""ctstate submit"""

import copy
import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ctstate.cluster import scripts as script
from ctstate.commands.root import Places
from ctstate.commands.shared import known_project, places
from ctstate.commands.upload import upload
from ctstate.errors import UsageError
from ctstate.verbs import submit as jobs
from ctstate.words import counted

_NOT_FOR_JOBS = ("dry_run", "as_json")

JOB_CORES = 3
"""So many cores a worker asks for; it encodes with all that it is given."""


def _options_of_upload() -> list[click.Parameter]:
    """Return upload's own options: whatever it learns, its jobs can be told. `--continue` needs none of them."""
    options = []
    for parameter in upload.params:
        if parameter.name not in _NOT_FOR_JOBS:
            parameter = copy.copy(parameter)
            if parameter.name == "project_id":
                parameter.callback = known_project
            if parameter.name == "n_processes":
                parameter.default = JOB_CORES  # the cores of this node say nothing about those of the jobs
            options.append(parameter)
    return options


@click.command(params=_options_of_upload())
@click.option("--workers", type=int, default=4, show_default=True, help="Upload workers: tasks of the job array.")
@click.option("--at-once", type=int, metavar="N", help="Only so many of them at the same time (the array's %N).")
@click.option("--time", default=script.WALLTIME, show_default=True, help="Wall time of a worker.")
@click.option("--partition", help="Partition, or queue of PBS.")
@click.option("--account", help="Who pays.")
@click.option("--mail-user", metavar="ADDRESS", help="Mail on all events of the jobs.")
@click.option("--mem", metavar="SIZE", help="Memory per worker, such as 4G.")
@click.option("--cpus", type=int, help="Cores per worker; by default as many as --n-processes.")
@click.option("--requeue/--no-requeue", default=True, show_default=True, help="Begin again after a lost node.")
@click.option(
    "--stop-before",
    type=int,
    default=script.STOP_BEFORE_S,
    show_default=True,
    metavar="SECONDS",
    help="Stop cleanly so long before the wall time ends.",
)
@click.option(
    "--max-rounds",
    type=int,
    default=jobs.MAX_ROUNDS,
    show_default=True,
    help="Job arrays that follow each other while captures are pending; 1: only one.",
)
@click.option("--job-name", help="By default ctstate-SEASON.")
@click.option(
    "--sbatch-option",
    "more",
    multiple=True,
    metavar="OPTION",
    help='Any other option, as one word: "--qos=normal". Also possible after a -- at the end.',
)
@click.option("--scheduler", type=click.Choice(script.SCHEDULERS), default="slurm", show_default=True)
@click.option("--print", "only_print", is_flag=True, help="Show the script of the job array and submit nothing.")
@click.option("--legacy-script", is_flag=True, help="Print a drop-in for the old upload_manifest.sh.")
@click.option("--continue", "continue_run", type=int, metavar="RUN", hidden=True)
@click.argument("further", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTION...]")
@places
@click.pass_context
def submit(ctx: click.Context, where: Places, /, **given: Any) -> None:
    """Upload with many workers: submit a Slurm job array, and others after it until nothing is pending.

    Takes the options of `ctstate upload` and hands them on. `ctstate runs` shows the workers, `ctstate stop` stops
    them. --scheduler pbs (Torque) and pbspro (PBS Professional, OpenPBS) write PBS scripts, without a chain.

    \b
    Example:
      ctstate submit --project-id 593 --password-file ~/keys/passwords.ini --workers 8 --time 24:00:00
    """
    if given["legacy_script"]:
        click.echo(jobs.legacy_script(jobs.ledger_for_jobs(where.ledger)), nl=False)
        return
    if given["continue_run"] is not None:
        _continue(where, given["continue_run"])
        return
    if given["project_id"] is None:
        raise UsageError("say which project: --project-id")
    if not given["only_print"]:
        jobs.check_account(given["password_file"])
    with where.open(read_only=given["only_print"]) as ledger:
        order = _order(ctx, where, ledger.season(given["season"]).name, given)
        if given["only_print"]:
            click.echo(jobs.worker_script(order), nl=False)
            return
        done = jobs.submit(ledger, order)
    if done.job is None:
        click.echo(f"Nothing is pending in season {order.season}: no job was submitted.")
        return
    _echo_submitted(done, order.job.workers)
    click.echo(f"Logs: {order.log_folder}. See `ctstate runs`, `ctstate stop --all`.")


def _continue(where: Places, run_id: int) -> None:
    with where.open() as ledger:
        found = jobs.continue_chain(ledger, run_id)
    click.echo(found.reason[0].upper() + found.reason[1:] + ".")
    if found.submitted is not None:
        _echo_submitted(found.submitted, None)


def _echo_submitted(done: jobs.Submitted, workers: int | None) -> None:
    number = counted(workers, "worker") if workers is not None else "the workers"
    click.echo(f"Round {done.round}: job {done.job} runs {number} for {counted(done.pending, 'pending capture')}.")
    if done.link is not None:
        click.echo(f"Job {done.link} goes on from there if captures are left.")


def _order(ctx: click.Context, where: Places, season: str, given: dict[str, Any]) -> jobs.Order:
    if where.insecure_http and not os.environ.get("CTSTATE_INSECURE_HTTP"):
        raise UsageError("set CTSTATE_INSECURE_HTTP=1 in the environment, from where the jobs have it")
    logs = os.path.abspath(given["log_dir"] or _beside(where.ledger))
    name = given["log_filename"] or f"{season}_upload"
    return jobs.Order(
        ledger=jobs.ledger_for_jobs(where.ledger),
        endpoint=where.endpoint,
        upload=(
            *_upload_arguments(ctx, ("season", "log_dir", "log_filename")),
            *("--season", season, "--log-dir", logs, "--log-filename", name),
        ),
        season=season,
        batch=given["batch"],
        folder=os.getcwd(),
        log_folder=logs,
        job=script.JobOptions(
            workers=given["workers"],
            at_once=given["at_once"],
            time=given["time"],
            cpus=given["cpus"] or (1 if given["dont_compress_images"] else given["n_processes"]),
            memory=given["mem"],
            partition=given["partition"],
            account=given["account"],
            mail_user=given["mail_user"],
            requeue=given["requeue"],
            stop_before=given["stop_before"],
            more=(*given["more"], *given["further"]),
            job_name=given["job_name"] or f"ctstate-{season}",
        ),
        scheduler=given["scheduler"],
        max_rounds=given["max_rounds"],
    )


def _beside(ledger: str) -> str:
    if "://" in ledger:
        return "ctstate-logs"
    return str(Path(os.path.abspath(ledger)).parent / "ctstate-logs")


def _upload_arguments(ctx: click.Context, but: tuple[str, ...]) -> list[str]:
    """Return what was given of upload's options as words for a command line; paths become absolute."""
    words: list[str] = []
    for parameter in upload.params:
        name = parameter.name or ""
        source = ctx.get_parameter_source(name)
        if name in (*but, *_NOT_FOR_JOBS) or source in (None, ParameterSource.DEFAULT):
            continue
        value = ctx.params[name]
        if isinstance(parameter, click.Option) and parameter.is_flag:
            if value:
                words.append(parameter.opts[0])
            elif parameter.secondary_opts:
                words.append(parameter.secondary_opts[0])
            continue
        for one in value if parameter.multiple else (value,):
            path = isinstance(parameter.type, click.Path)
            words += [parameter.opts[0], os.path.abspath(os.path.expanduser(one)) if path else str(one)]
    return words
