"""Subject sets as the ledger knows them: which batch has which, and how far that batch is."""

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from ctstate.capture import Batch
from ctstate.ledger.schema import batch, capture, season
from ctstate.ledger.states import State


class BatchSet(NamedTuple):
    """The subject set of a batch."""

    set_id: int
    set_name: str
    season: str
    batch: str
    uploaded: int  # captures of the batch that the ledger says are uploaded


def of_project(connection: Connection, project_id: int) -> list[BatchSet]:
    """Return the subject sets that batches have in a project."""
    uploaded = (
        select(func.count())
        .where(
            capture.c.season_id == batch.c.season_id,
            capture.c.batch_id == batch.c.id,
            capture.c.state == State.UPLOADED.value,
        )
        .scalar_subquery()
    )
    found = connection.execute(
        select(
            batch.c.subject_set_id,
            func.coalesce(batch.c.subject_set_name, ""),
            season.c.name,
            batch.c.name,
            uploaded,
        )
        .join(season, season.c.id == batch.c.season_id)
        .where(batch.c.project_id == project_id, batch.c.subject_set_id.is_not(None))
    )
    return [BatchSet(*row) for row in found]


def of_batch(connection: Connection, batch_id: int) -> int | None:
    """Return the subject set that a batch has at this moment."""
    return connection.execute(select(batch.c.subject_set_id).where(batch.c.id == batch_id)).scalar()


def still_to_come(connection: Connection, of: Batch) -> int:
    """Return how many captures of a batch are not uploaded yet, and are to be."""
    return connection.execute(
        select(func.count()).where(
            capture.c.season_id == of.season_id,
            capture.c.batch_id == of.id,
            capture.c.state.in_((State.BATCHED.value, State.UPLOADING.value)),
            capture.c.excluded.is_(None),
        )
    ).scalar_one()
