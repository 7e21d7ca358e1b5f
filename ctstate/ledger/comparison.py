"""What a comparison with Zooniverse asks of the ledger, and strangers that a person accepted."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from ctstate.capture import pages
from ctstate.ledger.database import moment, upsert
from ctstate.ledger.schema import accepted_subject, capture, legacy_subject, run


class InNoBatch(NamedTuple):
    """How many captures of a season are in no batch."""

    to_upload: int
    excluded: int


def count_in_no_batch(connection: Connection, season_id: int) -> InNoBatch:
    """Return how many captures of a season are in no batch."""
    every, excluded = connection.execute(
        select(func.count(), func.count(capture.c.excluded)).where(
            capture.c.season_id == season_id, capture.c.batch_id.is_(None)
        )
    ).one()
    return InNoBatch(int(every - excluded), int(excluded))


def first_upload_began(connection: Connection, project_id: int) -> str | None:
    """Return when the first upload to a project began, or None where there was none."""
    return connection.execute(
        select(func.min(run.c.started_at)).where(run.c.verb == "upload", run.c.project_id == project_id)
    ).scalar()


def named_by_files(connection: Connection, subject_ids: Iterable[int]) -> set[int]:
    """Return those of these subjects that a file of the old scripts names."""
    named: set[int] = set()
    for page in pages(subject_ids):
        found = select(legacy_subject.c.subject_id).where(legacy_subject.c.subject_id.in_(page))
        named.update(connection.execute(found).scalars())
    return named


def is_accepted(connection: Connection, subject_id: int) -> bool:
    """Tell whether a person said that this subject, which is no capture's, is fine in its set."""
    known = select(accepted_subject.c.subject_id).where(accepted_subject.c.subject_id == subject_id)
    return connection.execute(known).first() is not None


def accept(connection: Connection, run_id: int, subject_id: int) -> bool:
    """Write down that a subject, which is no capture's, is fine in its set; return False where that was known."""
    accepted = upsert(connection, accepted_subject).values(
        subject_id=subject_id, run_id=run_id, accepted_at=moment(connection)
    )
    return connection.execute(accepted.on_conflict_do_nothing()).rowcount == 1
