"""What files of the old scripts claim to have uploaded, until each claim was compared with Zooniverse."""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from ctstate.ledger.captures import Begin, in_pages
from ctstate.ledger.database import moment
from ctstate.ledger.schema import capture, legacy_subject, season


class LegacyClaim(NamedTuple):
    """A file's claim that a capture was uploaded, and what the ledger knows of the capture itself."""

    id: int
    subject_id: int | None  # None: the file says "uploaded" and no number
    key: int  # the capture's primary key
    capture_id: str
    state: str
    known_subject_id: int | None


def unchecked(begin: Begin, season_name: str) -> Iterator[list[LegacyClaim]]:
    """Yield the claims of a season that were not compared with Zooniverse yet, a page at a time."""
    query = (
        select(
            legacy_subject.c.id,
            legacy_subject.c.subject_id,
            capture.c.id,
            capture.c.capture_id,
            capture.c.state,
            capture.c.subject_id,
        )
        .join(capture, capture.c.id == legacy_subject.c.capture_id)
        .join(season, season.c.id == capture.c.season_id)
        .where(season.c.name == season_name, legacy_subject.c.checked_at.is_(None))
    )
    return in_pages(begin, query, lambda _, rows: [LegacyClaim._make(row) for row in rows], key=legacy_subject.c.id)


def note_checked(connection: Connection, claim_id: int, outcome: str) -> None:
    """Write down what Zooniverse showed of a claim."""
    connection.execute(
        update(legacy_subject)
        .where(legacy_subject.c.id == claim_id)
        .values(checked_at=moment(connection), outcome=outcome)
    )


def subject_set_named(connection: Connection, batch_id: int) -> int | None:
    """Return a subject set that files name for captures of a batch, or None where none does."""
    return connection.execute(
        select(legacy_subject.c.subject_set_id)
        .join(capture, capture.c.id == legacy_subject.c.capture_id)
        .where(capture.c.batch_id == batch_id, legacy_subject.c.subject_set_id.is_not(None))
        .limit(1)
    ).scalar()
