"""`ctstate submit`: upload workers as a job array, and the chain of arrays that goes on until nothing is pending.

A chain needs no process that waits. After each array comes a small job (`--dependency=afterany:ARRAY`) that looks
into the ledger and submits the next array if there is something to do. What it needs to know stands in the ledger's
table `submission`, under the number of the run `submit` that submitted the array; the job itself carries only that.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from ctstate.capture import COMPLETE
from ctstate.cluster import scripts as script
from ctstate.cluster import tools
from ctstate.cluster.scripts import JobOptions, Program
from ctstate.errors import CtstateError, UsageError
from ctstate.ledger import Ledger, submissions, uploads
from ctstate.ledger.database import place_of
from ctstate.ledger.submissions import Submission
from ctstate.words import counted
from ctstate.zooniverse import read_credentials

MAX_ROUNDS = 30
IDLE_ROUNDS = 2
"""A chain ends after so many rounds in a row that brought nothing; each but the first begins an hour later, as
Zooniverse may be down."""
IDLE_WAIT = "now+1hour"

LEGACY_SCRIPT = Path(__file__).parents[1] / "cluster" / "upload_manifest.sh"


@dataclass(frozen=True)
class Order:
    """What a chain is to do, the same in all its rounds.

    Attributes:
        ledger: absolute path (or URL without a password).
        endpoint: of Zooniverse.
        upload: arguments of `ctstate upload`, all paths absolute.
        season: manifest id.
        batch: name of one batch; None: all of the season.
        folder: where jobs work.
        log_folder: where logs go.
        job: what the scheduler is told.
        scheduler: see `scripts.SCHEDULERS`.
        max_rounds: arrays in the chain; 1: no chain.
    """

    ledger: str
    endpoint: str
    upload: tuple[str, ...]
    season: str
    batch: str | None
    folder: str
    log_folder: str
    job: JobOptions = field(default_factory=JobOptions)
    scheduler: str = "slurm"
    max_rounds: int = MAX_ROUNDS

    def __post_init__(self) -> None:
        if self.max_rounds < 1:
            raise UsageError("--max-rounds must be 1 or more (1: no chain)")
        for text in (self.ledger, self.endpoint, self.folder, self.log_folder, *self.upload):
            if "\n" in text or "\0" in text:
                raise UsageError(f"{text!r}: a job cannot be given an argument of several lines")

    @classmethod
    def of(cls, submission: Submission) -> Self:
        """Return the order that an array of a chain was submitted for."""
        return cls(
            ledger=submission.ledger,
            endpoint=submission.endpoint,
            upload=submission.upload_arguments,
            season=submission.season,
            batch=submission.batch,
            folder=submission.folder,
            log_folder=submission.log_folder,
            job=JobOptions(
                workers=submission.workers,
                at_once=submission.at_once,
                time=submission.walltime,
                cpus=submission.cpus,
                memory=submission.memory,
                partition=submission.partition,
                account=submission.account,
                mail_user=submission.mail_user,
                requeue=submission.requeue,
                stop_before=submission.stop_before,
                more=submission.more_options,
                job_name=submission.job_name,
            ),
            scheduler=submission.scheduler,
            max_rounds=submission.max_rounds,
        )

    def submission(self, pending: int, place: "Place") -> Submission:
        """Return what the ledger is to keep of an array: the order, and where in its chain the array is."""
        return Submission(
            chain_id=place.chain_id,
            follows_id=place.follows_id,
            round=place.round,
            idle_rounds=place.idle_rounds,
            pending=pending,
            season=self.season,
            batch=self.batch,
            ledger=self.ledger,
            endpoint=self.endpoint,
            upload_arguments=self.upload,
            folder=self.folder,
            log_folder=self.log_folder,
            scheduler=self.scheduler,
            max_rounds=self.max_rounds,
            job_name=self.job.job_name,
            workers=self.job.workers,
            at_once=self.job.at_once,
            walltime=self.job.time,
            cpus=self.job.cpus,
            memory=self.job.memory,
            partition=self.job.partition,
            account=self.job.account,
            mail_user=self.job.mail_user,
            requeue=self.job.requeue,
            stop_before=self.job.stop_before,
            more_options=self.job.more,
        )


@dataclass(frozen=True)
class Place:
    """Where in its chain an array is; see `Submission`."""

    round: int = 1
    idle_rounds: int = 0
    chain_id: int | None = None
    follows_id: int | None = None


@dataclass
class Submitted:
    """What was submitted. `job` is None where nothing was pending; `link` where nothing follows."""

    pending: int
    round: int = 1
    job: str | None = None
    link: str | None = None


def ledger_for_jobs(url_or_path: str) -> str:
    """Return the ledger as a job on another node can name it.

    Raises:
        UsageError: see `place_of`.
    """
    return place_of(url_or_path).for_jobs


def check_account(password_file: str | None) -> None:
    """Make sure, before any job waits for hours, that a job will find the account.

    Raises:
        InputError, UsageError: see `read_credentials`; or the password is in the environment only, which jobs do
            not get (the scheduler would keep it, and show it to its administrators).
    """
    if password_file is None and os.environ.get("PANOPTES_PASSWORD"):
        if not Path("~/.panoptes/config.yml").expanduser().is_file():
            raise UsageError(
                "a job is not given PANOPTES_PASSWORD, as the scheduler would keep it: "
                "put the account into a file (chmod 600) and name it with --password-file"
            )
        return
    read_credentials(password_file)


def count_pending(ledger: Ledger, season: str, batch: str | None) -> int:
    """Return how many captures an upload of a season or batch has still to bring to Zooniverse.

    Raises:
        UsageError: no such season or batch.
    """
    row = ledger.season(season)
    # Where there are batches, captures in none of them stay where they are (see `upload`).
    batches = ledger.batches(row.id)
    if batch is not None and (batches or batch != COMPLETE):
        batches = ledger.batches(row.id, batch)
    with ledger.read() as connection:
        left = uploads.count_left(connection, row.id, [one.id for one in batches] or None)
    return left.pending + left.unbatched


def worker_script(order: Order, begin: str | None = None) -> str:
    """Return the script of an order's job array."""
    program = _program(order, ("upload", *order.upload))
    folder, logs = Path(order.folder), Path(order.log_folder)
    if order.scheduler == "slurm":
        return script.slurm_workers(order.job, program, folder, logs, begin)
    return script.pbs_workers(order.job, program, folder, logs, pro=order.scheduler == "pbspro")


def _program(order: Order, arguments: Sequence[str]) -> Program:
    ahead = ("--ledger", order.ledger, "--endpoint", order.endpoint)
    return Program((*ahead, *arguments), import_path=script.import_path())


def submit(ledger: Ledger, order: Order) -> Submitted:
    """Submit the first array of a chain; nothing where nothing is pending.

    Raises:
        SchedulerError: the scheduler is not here or refused.
        UsageError: no such season or batch.
    """
    pending = count_pending(ledger, order.season, order.batch)
    if pending == 0:
        return Submitted(0)
    return _submit(ledger, order, pending, Place())


def _submit(ledger: Ledger, order: Order, pending: int, place: Place, begin: str | None = None) -> Submitted:
    Path(order.log_folder).mkdir(parents=True, exist_ok=True)
    about = order.submission(pending, place)
    arguments = {"season": order.season, "batch": order.batch, "workers": order.job.workers, "round": place.round}
    live = ledger.live_run(
        "submit", arguments, also=lambda connection, run_id: submissions.add(connection, run_id, about)
    )
    done = Submitted(pending, place.round)
    outcome, message = "failed", ""
    try:
        text = worker_script(order, begin)
        if order.scheduler != "slurm":
            done.job = tools.call(["qsub"], text=text).strip()
        else:
            done.job = _sbatch(text)
            if order.max_rounds > 1:
                done.link = _follow(order, live.id, done.job)
        outcome = "done"
    except CtstateError as error:
        message = str(error)
        raise
    finally:
        # What was submitted is written down also where the rest failed: `ctstate stop --all` must find it.
        with ledger.write() as connection:
            submissions.note_jobs(connection, live.id, done.job, done.link)
        live.end(outcome, message)
    return done


def _follow(order: Order, run_id: int, job: str) -> str:
    program = _program(order, ("submit", "--continue", str(run_id)))
    return _sbatch(script.slurm_link(order.job, program, Path(order.folder), Path(order.log_folder), job))


def _sbatch(text: str) -> str:
    # JOBID, or JOBID;CLUSTER (sbatch(1), --parsable).
    printed = tools.call(["sbatch", "--parsable", *script.directives(text)], text=text).strip()
    job = printed.splitlines()[-1].partition(";")[0] if printed else ""
    if not job.isdigit():
        raise tools.SchedulerError(f"sbatch gave no job number but {printed!r}")
    return job


# -- the chain --------------------------------------------------------------------------------------------------


@dataclass
class Continuation:
    """What the job between two arrays did, and why."""

    reason: str
    submitted: Submitted | None = None


def continue_chain(ledger: Ledger, run_id: int) -> Continuation:
    """Submit the next array of a chain, if there is something to do and it can be done.

    Args:
        ledger: the ledger.
        run_id: the run that submitted the array before.

    Raises:
        UsageError: that run submitted nothing.
        CtstateError: captures are pending, but the chain must end.
        SchedulerError: as `submit`.
    """
    with ledger.read() as connection:
        before = submissions.find(connection, run_id)
    if before is None:
        raise UsageError(f"run {run_id} is no `ctstate submit`")
    order = Order.of(before)
    chain_id = before.chain_id or run_id
    with ledger.read() as connection:
        if submissions.is_continued(connection, run_id):
            return Continuation("the next array was submitted already")  # this job was requeued
    pending = count_pending(ledger, order.season, order.batch)
    if pending == 0:
        return Continuation("nothing is pending any more")
    with ledger.read() as connection:
        if submissions.is_ended(connection, chain_id):
            return Continuation(
                f"`ctstate stop --all` ended the chain, {counted(pending, 'capture', 'are')} pending"
            )
    if before.round >= order.max_rounds:
        raise CtstateError(
            f"{counted(pending, 'capture', 'are')} still pending after {counted(before.round, 'round')}; run "
            "`ctstate submit` again"
        )
    idle = 0 if pending < before.pending else before.idle_rounds + 1
    if idle >= IDLE_ROUNDS:
        raise CtstateError(
            f"the last {counted(idle, 'round')} brought none of {counted(pending, 'pending capture')} to "
            f"Zooniverse; see the logs in {order.log_folder}, then run `ctstate submit` again"
        )
    more = tuple(option for option in order.job.more if option.partition("=")[0] not in script.ONCE)
    order = replace(order, job=replace(order.job, more=more))
    place = Place(before.round + 1, idle, chain_id, follows_id=run_id)
    done = _submit(ledger, order, pending, place, IDLE_WAIT if idle else None)
    return Continuation(f"{counted(pending, 'capture', 'are')} pending", done)


# -- the script of old ------------------------------------------------------------------------------------------


def legacy_script(ledger: str, *, python: str | None = None) -> str:
    """Return the drop-in for the old `upload_manifest.sh`, with this Python and this ledger filled in."""
    text = LEGACY_SCRIPT.read_text(encoding="utf-8")
    path = script.import_path()
    for name, value in (
        ("PYTHON", python or sys.executable),
        ("CTSTATE_LEDGER", ledger),
        ("CTSTATE_HOME", path or ""),
    ):
        before = text
        text = "".join(
            f"DEFAULT_{name}={shlex.quote(value)}\n" if line.startswith(f"DEFAULT_{name}=") else line
            for line in text.splitlines(keepends=True)
        )
        assert text != before or value == "", name
    return text
