"""What volunteers did, as `progress` last saw it: a row for each uploaded subject and workflow."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import and_, case, func, select
from sqlalchemy.engine import Connection

from ctstate.capture import Batch
from ctstate.ledger.captures import Begin, in_pages
from ctstate.ledger.database import upsert
from ctstate.ledger.schema import batch, capture, classification_status, run, season
from ctstate.ledger.states import State


class UploadedSubject(NamedTuple):
    """An uploaded capture (its key) and its subject."""

    capture_key: int
    subject_id: int


@dataclass(frozen=True)
class Classification:
    """What a workflow says of a subject; `retired_at` and `retirement_reason` as Zooniverse has them."""

    of: UploadedSubject
    classifications: int
    retired_at: str | None
    retirement_reason: str | None


class Total(NamedTuple):
    """How far a workflow is with a batch.

    Attributes:
        season, batch, batch_id, workflow_id: what with what.
        subjects: uploaded subjects that were looked at.
        classified: of these, classified at least once.
        classifications: of all of them together.
        retired: of these, retired.
    """

    season: str
    batch: str
    batch_id: int
    workflow_id: int
    subjects: int
    classified: int
    classifications: int
    retired: int


class Round(NamedTuple):
    """A run of `progress` that has ended."""

    arguments: Mapping[str, Any]
    done: bool


def ended_rounds(connection: Connection, most: int = 100) -> list[Round]:
    """Return the last runs of `progress` that have ended, the latest first."""
    found = connection.execute(
        select(run.c.arguments, run.c.outcome)
        .where(run.c.verb == "progress", run.c.ended_at.is_not(None))
        .order_by(run.c.id.desc())
        .limit(most)
    )
    return [Round(json.loads(arguments), outcome == "done") for arguments, outcome in found]


def not_seen_since(
    begin: Begin, of: Batch, workflow_id: int, since: str, size: int
) -> Iterator[list[UploadedSubject]]:
    """Yield the uploaded captures of a batch that `progress` did not look at since then, `size` at a time.

    Args:
        begin: begins a page's transaction; see `captures.in_pages`.
        of: the batch.
        workflow_id: in which workflow.
        since: a time of the ledger.
        size: captures a page.
    """
    seen = classification_status
    query = (
        select(capture.c.id, capture.c.subject_id)
        .outerjoin(
            seen,
            and_(
                seen.c.capture_id == capture.c.id,
                seen.c.workflow_id == workflow_id,
                seen.c.subject_id == capture.c.subject_id,
                seen.c.seen_at >= since,
            ),
        )
        .where(
            capture.c.season_id == of.season_id,
            capture.c.batch_id == of.id,
            capture.c.state == State.UPLOADED.value,
            seen.c.seen_at.is_(None),
        )
    )
    return in_pages(begin, query, lambda _, rows: [UploadedSubject._make(row) for row in rows], size=size)


def see(connection: Connection, workflow_id: int, found: Iterable[Classification], at: str) -> None:
    """Write down what a workflow says of these subjects, in the place of what was seen before.

    Args:
        connection: a write transaction.
        workflow_id: the workflow.
        found: what it says (at least one).
        at: when Zooniverse was asked, a time of the ledger.
    """
    new = upsert(connection, classification_status)
    key = ("capture_id", "workflow_id")
    others = {column.name: new.excluded[column.name] for column in new.table.c if column.name not in key}
    connection.execute(
        new.on_conflict_do_update(index_elements=key, set_=others),
        [
            {
                "capture_id": item.of.capture_key,
                "workflow_id": workflow_id,
                "subject_id": item.of.subject_id,
                "classifications_count": item.classifications,
                "retired_at": item.retired_at,
                "retirement_reason": item.retirement_reason,
                "seen_at": at,
            }
            for item in found
        ],
    )


def totals(connection: Connection) -> list[Total]:
    """Return what was seen of the subjects that captures have now, by season, batch and workflow."""
    seen = classification_status
    names = (season.c.name, batch.c.name, batch.c.id, seen.c.workflow_id)
    query = (
        select(
            *names,
            func.count(),
            func.count(case((seen.c.classifications_count > 0, 1))),
            func.sum(seen.c.classifications_count),
            func.count(seen.c.retired_at),
        )
        .select_from(seen)
        .join(
            capture,
            and_(
                capture.c.id == seen.c.capture_id,
                capture.c.subject_id == seen.c.subject_id,
                capture.c.state == State.UPLOADED.value,
            ),
        )
        .join(batch, batch.c.id == capture.c.batch_id)
        .join(season, season.c.id == batch.c.season_id)
        .group_by(*names)
        .order_by(season.c.name, batch.c.id, seen.c.workflow_id)
    )
    return [Total(*row) for row in connection.execute(query)]
