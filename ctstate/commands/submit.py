"""ctstate submit"""

import copy
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ctstate.cluster import scripts as script
from ctstate.commands.root import Places
from ctstate.commands.shared import known_project, places
from ctstate.commands.upload import upload
from ctstate.errors import UsageError
from ctstate.machine import machine
from ctstate.verbs import submit as jobs
from ctstate.words import counted

_NOT_FOR_JOBS = ("dry_run", "as_json")

JOB_CORES = 3
"""So many cores a worker asks for; it encodes with all that it is given."""


AUTO = "auto"


if TYPE_CHECKING:
    _NumberOrWord = click.ParamType[int | str]
else:
    _NumberOrWord = click.ParamType


class _Workers(_NumberOrWord):
    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        return AUTO if value == AUTO else int(click.INT.convert(value, param, ctx))


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
@click.option(
    "--workers",
    type=_Workers(),
    default=jobs.USUAL,
    show_default=True,
    help="Upload workers: tasks of the job array; auto: as many as are worth it, by the rate of earlier uploads.",
)
@click.option("--at-once", type=int, metavar="N", help="Only so many of them at the same time (the array's %N).")
@click.option(
    "--time",
    show_default=f"{script.WALLTIME}, or as long as the partition allows",
    help="Wall time of a worker.",
)
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
@click.option(
    "--wait", is_flag=True, help="Stay until all is on Zooniverse (or nobody is left who brings it there)."
)
@click.option(
    "--last-job",
    is_flag=True,
    help="Submit a job, too, that ends when all is over, and fails unless all is on Zooniverse; print its number "
    "alone, for --dependency=afterok:NUMBER of other jobs.",
)
@click.option("--legacy-script", is_flag=True, help="Print a drop-in for the old upload_manifest.sh.")
@click.option("--continue", "continue_run", type=int, metavar="RUN", hidden=True)
@click.option("--last-is", metavar="JOB", hidden=True)
@click.option("--judge", is_flag=True, hidden=True)
@click.argument("further", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTION...]")
@places
@click.pass_context
def submit(ctx: click.Context, where: Places, /, **given: Any) -> None:
    """Upload with many workers: submit a job array, and others after it until nothing is pending.

    Takes the options of `ctstate upload` and hands them on. `ctstate runs` shows the workers, `ctstate stop` stops
    them. --scheduler pbs (Torque) and pbspro (PBS Professional, OpenPBS) write PBS scripts, without a chain.

    \b
    Examples:
      ctstate submit --project-id 593 --password-file ~/keys/passwords.ini --workers 8 --time 24:00:00
      ctstate submit --wait && ctstate verify
      sbatch --dependency=afterok:$(ctstate submit --last-job) next_step.sh
    """
    if given["legacy_script"]:
        click.echo(jobs.legacy_script(jobs.ledger_for_jobs(where.ledger)), nl=False)
        return
    if given["continue_run"] is not None:
        _continue(where, given["continue_run"], given["last_is"])
        return
    if given["judge"]:
        with where.open(read_only=True) as ledger:
            _end_with(jobs.judge(ledger, ledger.season(given["season"]).name, given["batch"]), click.echo)
        return
    if given["project_id"] is None:
        raise UsageError("say which project: --project-id")
    if not given["only_print"]:
        jobs.check_account(given["password_file"])
    # A script or a number stands alone on the output.
    say = functools.partial(click.echo, err=given["only_print"] or given["last_job"])
    with where.open(read_only=given["only_print"]) as ledger:
        season = ledger.season(given["season"]).name
        if given["workers"] == AUTO:
            chosen = jobs.choose_workers(ledger, season, given["batch"])
            given["workers"] = chosen.workers
            say(f"{chosen.why}.")
        order = _order(ctx, where, season, given)
        if given["only_print"]:
            click.echo(jobs.worker_script(order), nl=False)
            return
        done = jobs.submit(ledger, order, with_last=given["last_job"])
        if done.job is None:
            say(f"Nothing is pending in season {order.season}: no worker was submitted.")
        else:
            _say_submitted(say, done, order.job.workers)
            say(f"Logs: {order.log_folder}. See `ctstate runs`, `ctstate stop --all`.")
        if done.last is not None:
            say("This job ends when all is over, and fails unless all is on Zooniverse:")
            click.echo(done.last)
        if given["wait"]:
            _end_with(jobs.wait_until_over(ledger, order, done.chain_id, _Waiting(say)), say)


def _continue(where: Places, run_id: int, last: str | None) -> None:
    with where.open() as ledger:
        found = jobs.continue_chain(ledger, run_id, last)
    click.echo(found.reason[0].upper() + found.reason[1:] + ".")
    if found.submitted is not None:
        _say_submitted(click.echo, found.submitted, None)


def _say_submitted(say: Callable[[str], None], done: jobs.Submitted, workers: int | None) -> None:
    number = counted(workers, "worker") if workers is not None else "the workers"
    say(f"Round {done.round}: job {done.job} runs {number} for {counted(done.pending, 'pending capture')}.")
    if done.link is not None:
        say(f"Job {done.link} goes on from there if captures are left.")
    if done.problem:
        click.echo(f"Warning: {done.problem}", err=True)


def _end_with(verdict: jobs.Verdict, say: Callable[[str], None]) -> None:
    say(f"{verdict.line[0].upper()}{verdict.line[1:]}.")
    if verdict.code:
        raise SystemExit(verdict.code)


class _Waiting:
    """Says now and then how much is pending."""

    EVERY_S = 600.0

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said = machine().monotonic()

    def __call__(self, pending: int) -> None:
        if machine().monotonic() - self._said >= self.EVERY_S:
            self._said = machine().monotonic()
            self._say(f"{counted(pending, 'capture', 'are')} pending.")


def _order(ctx: click.Context, where: Places, season: str, given: dict[str, Any]) -> jobs.Order:
    more = (*given["more"], *given["further"])
    place = jobs.where_to(given["scheduler"], given["partition"], more)
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
            time=place.wall_time(given["time"]),
            cpus=given["cpus"] or (1 if given["dont_compress_images"] else given["n_processes"]),
            memory=given["mem"],
            partition=given["partition"],
            account=given["account"],
            mail_user=given["mail_user"],
            requeue=given["requeue"],
            stop_before=given["stop_before"],
            more=more,
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
