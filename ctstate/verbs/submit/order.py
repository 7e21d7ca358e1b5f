"""What a chain of job arrays is to do, and what the ledger keeps of it."""

from dataclasses import dataclass, field
from typing import Self

from ctstate.cluster.scripts import JobOptions
from ctstate.errors import UsageError
from ctstate.ledger.submissions import Submission

MAX_ROUNDS = 30


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
