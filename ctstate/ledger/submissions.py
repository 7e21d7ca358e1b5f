"""Job arrays that `submit` submitted: what each is to do, and how it stands with the chain that it is of."""

import json
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from ctstate.ledger.schema import season, submission

_WORDS = ("upload_arguments", "more_options")


@dataclass(frozen=True)
class Submission:
    """A job array of upload workers, with all that the next array of its chain is made of.

    Attributes:
        chain_id: the run that submitted the chain's first array; None: this is the first.
        follows_id: the run that submitted the array before; None: this is the first.
        round: 1 for the first.
        idle_rounds: so many rounds before it, in a row, brought nothing.
        pending: captures, when it was submitted.
        season: manifest id.
        batch: name of one batch; None: all of the season.
        ledger: absolute path (or URL without a password), as the jobs name it.
        endpoint: of Zooniverse.
        upload_arguments: of `ctstate upload`, all paths absolute.
        folder, log_folder: where jobs work, and where logs go.
        scheduler: slurm, pbs or pbspro.
        max_rounds: arrays in the chain; 1: no chain.
        job_name, workers, at_once, walltime, cpus, memory, partition, account, mail_user, requeue, stop_before,
            more_options: what the scheduler is told.
    """

    chain_id: int | None
    follows_id: int | None
    round: int
    idle_rounds: int
    pending: int
    season: str
    batch: str | None
    ledger: str
    endpoint: str
    upload_arguments: tuple[str, ...]
    folder: str
    log_folder: str
    scheduler: str
    max_rounds: int
    job_name: str
    workers: int
    at_once: int | None
    walltime: str
    cpus: int | None
    memory: str | None
    partition: str | None
    account: str | None
    mail_user: str | None
    requeue: bool
    stop_before: int
    more_options: tuple[str, ...]


def add(connection: Connection, run_id: int, about: Submission) -> None:
    """Write down what a run `submit` is about to submit, in the transaction that begins the run.

    Raises:
        IllegalMoveError: no such season.
    """
    values = asdict(about)
    name = values.pop("season")
    values["chain_id"] = about.chain_id or run_id
    for words in _WORDS:
        values[words] = json.dumps(values[words], ensure_ascii=False)
    season_id = select(season.c.id).where(season.c.name == name).scalar_subquery()
    connection.execute(insert(submission).values(run_id=run_id, season_id=season_id, **values))


def find(connection: Connection, run_id: int) -> Submission | None:
    """Return what a run submitted, or was about to; None where it is no `submit`."""
    joined = submission.join(season, season.c.id == submission.c.season_id)
    row = connection.execute(
        select(submission, season.c.name.label("season")).select_from(joined).where(submission.c.run_id == run_id)
    ).first()
    if row is None:
        return None
    values = {field.name: getattr(row, field.name) for field in fields(Submission)}
    for words in _WORDS:
        values[words] = tuple(json.loads(values[words]))
    return Submission(**values)


def note_jobs(connection: Connection, run_id: int, array_job: str | None, link_job: str | None) -> None:
    """Write down which jobs the scheduler took: the array, and the job that follows it (None: refused, or none)."""
    connection.execute(
        update(submission).where(submission.c.run_id == run_id).values(array_job=array_job, link_job=link_job)
    )


def is_continued(connection: Connection, run_id: int) -> bool:
    """Tell whether the array that follows a run's was submitted already."""
    followed = select(submission.c.run_id).where(
        submission.c.follows_id == run_id, submission.c.array_job.is_not(None)
    )
    return connection.execute(followed.limit(1)).first() is not None


def end_chains(connection: Connection, run_id: int) -> None:
    """End all chains there are: no array follows those that were submitted. `run_id` is the run that ends them."""
    connection.execute(update(submission).where(submission.c.ended_by.is_(None)).values(ended_by=run_id))


def is_ended(connection: Connection, chain_id: int) -> bool:
    """Tell whether a chain was ended; the run that submitted its first array names it."""
    ended = select(submission.c.run_id).where(submission.c.chain_id == chain_id, submission.c.ended_by.is_not(None))
    return connection.execute(ended.limit(1)).first() is not None


class Jobs(NamedTuple):
    """The jobs of a submission, in the words in which the scheduler took them."""

    scheduler: str
    array: str
    link: str | None


def jobs(connection: Connection, chain_id: int | None = None) -> list[Jobs]:
    """Return the jobs that schedulers took, of one chain or of all, oldest first."""
    wanted = select(submission.c.scheduler, submission.c.array_job, submission.c.link_job).where(
        submission.c.array_job.is_not(None)
    )
    if chain_id is not None:
        wanted = wanted.where(submission.c.chain_id == chain_id)
    return [Jobs(*row) for row in connection.execute(wanted.order_by(submission.c.run_id))]
