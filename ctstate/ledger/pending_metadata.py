"""Subjects that may carry other metadata than the ledger has: which they are, and which were brought up to date.

`capture.metadata_pending` says since when (`transitions.note_metadata_pending`); `replaced_prediction` keeps
predictions that a subject may carry although the ledger has replaced them.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, delete, select, update
from sqlalchemy.engine import Connection

from ctstate.capture import CaptureContent
from ctstate.ledger.captures import Begin, Selection, in_pages
from ctstate.ledger.claims import read_captures
from ctstate.ledger.schema import batch, capture, replaced_prediction
from ctstate.ledger.states import State

ON_ZOONIVERSE = (State.UPLOADED.value, State.REMOVED.value)
"""States of captures whose subject is there and finished."""


class SubjectToUpdate(NamedTuple):
    """A subject, and what it is to carry, read in one transaction."""

    row: CaptureContent
    subject_id: int
    pending: str | None  # since when; None: nobody marked it
    replaced: tuple[str, ...]  # keys of predictions that the ledger has replaced
    last_replaced: int  # up to which row of `replaced_prediction`

    @property
    def waits(self) -> bool:
        """Whether anything is to be written down once it is up to date."""
        return self.pending is not None or bool(self.last_replaced)


def subjects_to_update(
    begin: Begin, project_id: int, season: str | None, batch_name: str | None, *, everything: bool, size: int
) -> Iterator[list[SubjectToUpdate]]:
    """Yield the subjects of a project that may carry other metadata than the ledger has, a page at a time.

    Args:
        begin: see `captures.in_pages`.
        project_id: the Zooniverse project.
        season, batch_name: only these.
        everything: all subjects, not only those marked.
        size: so many a page.
    """
    query = select(capture.c.id, capture.c.subject_id, capture.c.metadata_pending).where(
        Selection(states=ON_ZOONIVERSE, season=season, batch=batch_name).clause(),
        capture.c.subject_id.is_not(None),
        capture.c.batch_id.in_(select(batch.c.id).where(batch.c.project_id == project_id)),
    )
    if not everything:
        query = query.where(capture.c.metadata_pending.is_not(None))
    return in_pages(begin, query, _read, size=size)


def _read(connection: Connection, found: Sequence[Row[Any]]) -> list[SubjectToUpdate]:
    keys = [row.id for row in found]
    rows = {row.id: row for row in read_captures(connection, keys)}
    replaced: dict[int, set[str]] = {}
    last: dict[int, int] = {}
    for old in connection.execute(
        select(replaced_prediction.c.id, replaced_prediction.c.capture_id, replaced_prediction.c.metadata)
        .where(replaced_prediction.c.capture_id.in_(keys))
        .order_by(replaced_prediction.c.id)
    ):
        replaced.setdefault(old.capture_id, set()).update(json.loads(old.metadata))
        last[old.capture_id] = old.id
    return [
        SubjectToUpdate(
            row=rows[row.id],
            subject_id=row.subject_id,
            pending=row.metadata_pending,
            replaced=tuple(sorted(replaced.get(row.id, ()))),
            last_replaced=last.get(row.id, 0),
        )
        for row in found
    ]


_UP_TO_DATE = (
    update(capture)
    .where(
        capture.c.id == bindparam("key"),
        capture.c.metadata_pending == bindparam("pending"),
        capture.c.subject_id == bindparam("subject"),
    )
    .values(metadata_pending=None)
)
_TAKEN_OFF = delete(replaced_prediction).where(
    replaced_prediction.c.capture_id == bindparam("key"), replaced_prediction.c.id <= bindparam("last")
)


def note_up_to_date(connection: Connection, done: Sequence[SubjectToUpdate]) -> None:
    """Take the marks off subjects that were seen to carry what the ledger had, where nothing changed since."""
    marked = [
        {"key": each.row.id, "pending": each.pending, "subject": each.subject_id}
        for each in done
        if each.pending is not None
    ]
    if marked:
        connection.execute(_UP_TO_DATE, marked)
    replaced = [{"key": each.row.id, "last": each.last_replaced} for each in done if each.last_replaced]
    if replaced:
        connection.execute(_TAKEN_OFF, replaced)
