"""`ctstate submit`: upload workers as a job array, and the chain of arrays that goes on until nothing is pending.

A chain needs no process that waits. After each array comes a small job (`--dependency=afterany:ARRAY`) that looks
into the ledger and submits the next array if there is something to do. What it needs to know stands in the ledger's
`run` table, in the arguments of the run `submit` that submitted the array; the job itself carries only that number.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update

from ctstate.cluster import scripts as script
from ctstate.cluster import tools
from ctstate.cluster.scripts import JobOptions, Program
from ctstate.errors import CtstateError, UsageError
from ctstate.ledger import Ledger
from ctstate.ledger.schema import capture, run
from ctstate.ledger.sqlite import parse_url
from ctstate.ledger.states import PENDING
from ctstate.zooniverse.credentials import read_credentials

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
        scheduler: see `script.SCHEDULERS`.
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
    def from_json(cls, values: dict[str, Any]) -> "Order":
        """Return the order that `asdict` made these values of."""
        job = {**values["job"], "more": tuple(values["job"]["more"])}
        return cls(**{**values, "upload": tuple(values["upload"]), "job": JobOptions(**job)})


@dataclass
class Submission:
    """What was submitted. `job` is None where nothing was pending; `link` where nothing follows."""

    pending: int
    round: int = 1
    job: str | None = None
    link: str | None = None


def ledger_for_jobs(url_or_path: str) -> str:
    """Return the ledger as a job on another node can name it.

    Raises:
        UsageError: a URL with a password, which would be seen in the job's script and process list.
    """
    url = parse_url(url_or_path)
    if url.get_backend_name() == "sqlite":
        return os.path.abspath(url.database or "")
    if url.password is not None:
        raise UsageError(
            "a job would show the password of the ledger's URL to others: put it into ~/.pgpass instead"
        )
    return url.render_as_string()


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
    batches = ledger.batches(row.id)
    clause = (
        (capture.c.season_id == row.id)
        & capture.c.state.in_([state.value for state in PENDING])
        & capture.c.excluded.is_(None)
    )
    if batches:
        # Where there are batches, captures in none of them stay where they are (see `upload`).
        wanted = ledger.batches(row.id, batch) if batch is not None else batches
        clause &= capture.c.batch_id.in_([one.id for one in wanted])
    elif batch not in (None, "complete"):
        ledger.batches(row.id, batch)
    with ledger.read() as connection:
        return int(connection.execute(select(func.count()).select_from(capture).where(clause)).scalar_one())


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


def submit(ledger: Ledger, order: Order) -> Submission:
    """Submit the first array of a chain; nothing where nothing is pending.

    Raises:
        SchedulerError: the scheduler is not here or refused.
        UsageError: no such season or batch.
    """
    pending = count_pending(ledger, order.season, order.batch)
    if pending == 0:
        return Submission(0)
    return _submit(ledger, order, pending, {"round": 1, "idle": 0})


def _submit(
    ledger: Ledger, order: Order, pending: int, state: dict[str, Any], begin: str | None = None
) -> Submission:
    Path(order.log_folder).mkdir(parents=True, exist_ok=True)
    arguments = {**state, "order": asdict(order), "pending": pending}
    live = ledger.live_run("submit", arguments)
    done = Submission(pending, state["round"])
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
            known = json.loads(connection.execute(select(run.c.arguments).where(run.c.id == live.id)).scalar_one())
            known["jobs"] = [job for job in (done.job, done.link) if job is not None]
            connection.execute(
                update(run).where(run.c.id == live.id).values(arguments=json.dumps(known, sort_keys=True))
            )
        live.end(outcome, message)
    return done


def _follow(order: Order, run_id: int, job: str) -> str:
    program = _program(order, ("submit", "--continue", str(run_id)))
    return _sbatch(script.slurm_link(order.job, program, Path(order.folder), Path(order.log_folder), job))


def _sbatch(text: str) -> str:
    # JOBID, or JOBID;CLUSTER (sbatch(1), --parsable).
    printed = tools.call(["sbatch", "--parsable"], text=text).strip()
    job = printed.splitlines()[-1].partition(";")[0] if printed else ""
    if not job.isdigit():
        raise tools.SchedulerError(f"sbatch gave no job number but {printed!r}")
    return job


# -- the chain --------------------------------------------------------------------------------------------------


@dataclass
class Continuation:
    """What the job between two arrays did, and why."""

    reason: str
    submission: Submission | None = None


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
    state = _submitted(ledger, run_id)
    order = Order.from_json(state["order"])
    chain = int(state.get("chain", run_id))
    if _continued(ledger, run_id):
        return Continuation("the next array was submitted already")  # this job was requeued
    pending = count_pending(ledger, order.season, order.batch)
    if pending == 0:
        return Continuation("nothing is pending any more")
    if _stopped_since(ledger, chain):
        return Continuation(f"`ctstate stop --all` ended the chain, {pending:,} captures are pending")
    if state["round"] >= order.max_rounds:
        raise CtstateError(
            f"{pending:,} captures are still pending after {state['round']} rounds; run `ctstate submit` again"
        )
    idle = 0 if pending < state["pending"] else state["idle"] + 1
    if idle >= IDLE_ROUNDS:
        raise CtstateError(
            f"the last {idle} rounds brought none of {pending:,} pending captures to Zooniverse; "
            f"see the logs in {order.log_folder}, then run `ctstate submit` again"
        )
    begins = tuple(option for option in order.job.more if option.partition("=")[0] not in script.ONCE)
    order = replace(order, job=replace(order.job, more=begins))
    next_state = {"round": state["round"] + 1, "idle": idle, "chain": chain, "after": run_id}
    done = _submit(ledger, order, pending, next_state, IDLE_WAIT if idle else None)
    return Continuation(f"{pending:,} captures are pending", done)


def _submitted(ledger: Ledger, run_id: int) -> dict[str, Any]:
    with ledger.read() as connection:
        text = connection.execute(
            select(run.c.arguments).where(run.c.id == run_id, run.c.verb == "submit")
        ).scalar()
    state: dict[str, Any] = json.loads(text) if text is not None else {}
    if "order" not in state:
        raise UsageError(f"run {run_id} is no `ctstate submit`")
    return state


def _later(ledger: Ledger, verb: str, run_id: int) -> list[dict[str, Any]]:
    with ledger.read() as connection:
        rows = connection.execute(select(run.c.arguments).where(run.c.verb == verb, run.c.id > run_id)).scalars()
        return [json.loads(text) for text in rows]


def _continued(ledger: Ledger, run_id: int) -> bool:
    return any(state.get("after") == run_id and state.get("jobs") for state in _later(ledger, "submit", run_id))


def _stopped_since(ledger: Ledger, chain: int) -> bool:
    return any(state.get("all") for state in _later(ledger, "stop", chain))


def jobs_submitted(ledger: Ledger) -> list[str]:
    """Return the numbers of the Slurm arrays that `submit` submitted, without the jobs that continue chains."""
    with ledger.read() as connection:
        rows = connection.execute(
            select(run.c.arguments).where(run.c.verb == "submit").order_by(run.c.id)
        ).scalars()
        found = [json.loads(text) for text in rows]
    return [state["jobs"][0] for state in found if state.get("jobs") and state["order"]["scheduler"] == "slurm"]


# -- the script of old ------------------------------------------------------------------------------------------


def legacy_script(ledger: str, *, python: str | None = None) -> str:
    """Return the drop-in for the old `upload_manifest.sh`, with this Python and this ledger filled in."""
    import shlex
    import sys

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
