"""Claims: what an upload run reads from the ledger and writes to it, capture by capture.

Every write here is fenced: it names the claim it was given and changes nothing once another run has claimed
the capture since. The functions take a write transaction, so that one commit can carry many of them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, select, text, update
from sqlalchemy.engine import Connection

from ctstate.capture import CaptureContent, CaptureImage
from ctstate.errors import FencedError
from ctstate.ledger.database import moment
from ctstate.ledger.schema import capture, image, prediction, run, season
from ctstate.ledger.states import State


@dataclass(frozen=True)
class Claim:
    """A capture that this run alone may bring to Zooniverse, and what earlier runs knew of it."""

    row: CaptureContent
    token: int
    batch_id: int
    ambiguous_at: str | None
    create_run_id: int | None
    create_floor: int | None

    @property
    def capture_id(self) -> str:
        """The identity that every tool shares."""
        return self.row.capture_id


@dataclass(frozen=True)
class EncodedFacts:
    """What is written down of an image's bytes before they are sent."""

    image_id: int
    md5: str
    bytes: int
    note: str = field(default="")


def read_captures(connection: Connection, ids: Sequence[int]) -> list[CaptureContent]:
    """Return the captures with these primary keys (at most 500), in the order of the keys.

    Images that must not go up are left out.
    """
    rows = connection.execute(
        select(
            capture.c.id,
            capture.c.capture_id,
            capture.c.season,
            capture.c.site,
            capture.c.roll,
            capture.c.capture,
            capture.c.metadata,
            capture.c.subject_id,
            capture.c.state,
            season.c.attribution,
            season.c.license,
        )
        .join(season, season.c.id == capture.c.season_id)
        .where(capture.c.id.in_(ids))
    ).all()
    images: dict[int, list[CaptureImage]] = {key: [] for key in ids}
    for item in connection.execute(
        select(image.c.capture_id, image.c.id, image.c.rank, image.c.path, image.c.md5, image.c.arrived_at)
        .where(image.c.capture_id.in_(ids), image.c.problem.is_(None))
        .order_by(image.c.capture_id, image.c.rank)
    ):
        images[item.capture_id].append(
            CaptureImage(item.id, item.rank, item.path, item.md5, item.arrived_at is not None)
        )
    predictions: dict[int, dict[str, Any]] = {}
    for made in connection.execute(
        select(prediction.c.capture_id, prediction.c.metadata)
        .where(prediction.c.capture_id.in_(ids))
        .order_by(prediction.c.capture_id, prediction.c.id)
    ):
        predictions.setdefault(made.capture_id, {}).update(json.loads(made.metadata))
    by_id = {
        row.id: CaptureContent(
            id=row.id,
            capture_id=row.capture_id,
            season=row.season,
            site=row.site,
            roll=row.roll,
            capture=row.capture,
            attribution=row.attribution,
            license=row.license,
            extra=json.loads(row.metadata) if row.metadata else {},
            predictions=predictions.get(row.id, {}),
            images=tuple(images[row.id]),
            subject_id=row.subject_id,
            state=row.state,
        )
        for row in rows
    }
    return [by_id[key] for key in ids if key in by_id]


_ALIVE = select(run.c.id).where(run.c.id == bindparam("run"), run.c.ended_at.is_(None))
_FREE = (
    select(capture.c.id)
    .where(
        capture.c.season_id == bindparam("season"),
        capture.c.batch_id == bindparam("batch"),
        capture.c.state == State.BATCHED.value,
        capture.c.excluded.is_(None),
    )
    .order_by(capture.c.id)
    .limit(bindparam("most"))
    .with_for_update()  # one that somebody else has locked is waited for: nothing left means nothing left
)
_THESE = capture.c.id.in_(bindparam("ids", expanding=True))
_CLAIM = (
    update(capture)
    .where(_THESE)
    .values(
        state=State.UPLOADING.value,
        run_id=bindparam("run"),
        moved_at=bindparam("at"),
        reason=None,
        claim=capture.c.claim + 1,
    )
)
_CLAIMED = select(
    capture.c.id, capture.c.claim, capture.c.ambiguous_at, capture.c.create_run_id, capture.c.create_floor
).where(_THESE)


def claim(connection: Connection, run_id: int, season_id: int, batch_id: int, limit: int) -> list[Claim]:
    """Claim up to `limit` (at most 500) captures of a batch for this run: batched -> uploading.

    Raises:
        FencedError: others took the run for dead; it claims nothing more.
    """
    if connection.execute(_ALIVE, {"run": run_id}).first() is None:
        raise FencedError("other runs took this one for dead (it was silent for too long); run it again")
    work = {"season": season_id, "batch": batch_id, "most": limit}
    ids = list(connection.execute(_FREE, work).scalars())
    if not ids:
        return []
    connection.execute(_CLAIM, {"ids": ids, "run": run_id, "at": moment(connection)})
    facts = {row.id: row for row in connection.execute(_CLAIMED, {"ids": ids})}
    return [
        Claim(
            row=row,
            token=facts[row.id].claim,
            batch_id=batch_id,
            ambiguous_at=facts[row.id].ambiguous_at,
            create_run_id=facts[row.id].create_run_id,
            create_floor=facts[row.id].create_floor,
        )
        for row in read_captures(connection, ids)
    ]


# The fenced writes run tens of times in one commit: prepared once, as text that both databases read.
_MINE = " WHERE id = :id AND claim = :claim AND state = 'uploading'"
_INTENT = text(
    "UPDATE capture SET create_run_id = :run, create_sent_at = :at, create_floor = :floor, ambiguous_at = NULL"
    + _MINE
)
_CREATED = text(
    "UPDATE capture SET subject_id = :subject, create_run_id = NULL, create_sent_at = NULL, create_floor = NULL,"
    " ambiguous_at = NULL" + _MINE
)
_SEEN_UP_TO = text(
    "UPDATE run SET watermark = :subject WHERE id = (SELECT run_id FROM capture WHERE id = :id)"
    " AND watermark < :subject"
)
_NOT_CREATED = text(
    "UPDATE capture SET create_run_id = NULL, create_sent_at = NULL, create_floor = NULL, ambiguous_at = NULL"
    + _MINE
)
_AMBIGUOUS = text("UPDATE capture SET ambiguous_at = :at" + _MINE)
_SUBJECT_GONE = text("UPDATE capture SET subject_id = NULL" + _MINE)
# Whatever is given back with a create announced and no outcome known is looked for before it is sent again.
_MOVED = text(
    "UPDATE capture SET state = :state, moved_at = :at, reason = :reason, ambiguous_at ="
    " CASE WHEN create_sent_at IS NOT NULL AND ambiguous_at IS NULL THEN :at ELSE ambiguous_at END" + _MINE
)
_CHECK = text("SELECT 1 FROM capture" + _MINE)
_ITS_IMAGE = (
    " WHERE id = :image AND capture_id = :id AND EXISTS (SELECT 1 FROM capture c WHERE c.id = image.capture_id"
    " AND c.claim = :claim AND c.state = 'uploading')"
)
_ENCODED = text("UPDATE image SET md5 = :md5, bytes = :bytes, note = :note, arrived_at = NULL" + _ITS_IMAGE)
_ARRIVED = text("UPDATE image SET arrived_at = :at" + _ITS_IMAGE)
_NOT_ARRIVED = text("UPDATE image SET arrived_at = NULL WHERE capture_id = :id")
_BROKEN = text("UPDATE image SET problem = 'broken', problem_reason = :reason" + _ITS_IMAGE)


def _fenced(connection: Connection, mine: Claim, statement: Any, **values: Any) -> None:
    changed = connection.execute(statement, {"id": mine.row.id, "claim": mine.token, **values}).rowcount
    if changed != 1:
        raise FencedError(f"{mine.capture_id}: another run has taken it over")


def still_mine(connection: Connection, mine: Claim) -> None:
    """Make sure that the claim holds.

    Raises:
        FencedError: another run has claimed the capture since. So do all functions below.
    """
    if connection.execute(_CHECK, {"id": mine.row.id, "claim": mine.token}).first() is None:
        raise FencedError(f"{mine.capture_id}: another run has taken it over")


def note_encoded(connection: Connection, mine: Claim, facts: Sequence[EncodedFacts]) -> None:
    """Write down the bytes that are about to be sent; none of them has arrived."""
    for fact in facts:
        note = fact.note or None
        _fenced(connection, mine, _ENCODED, image=fact.image_id, md5=fact.md5, bytes=fact.bytes, note=note)


def note_broken(connection: Connection, mine: Claim, image_id: int, reason: str) -> None:
    """Leave an image out from now on, as it cannot be decoded."""
    _fenced(connection, mine, _BROKEN, image=image_id, reason=reason)


def note_create_intent(connection: Connection, mine: Claim, run_id: int, floor: int) -> None:
    """Write down that a create is about to be sent; its subject would lie above `floor`."""
    _fenced(connection, mine, _INTENT, run=run_id, at=moment(connection), floor=floor)


def note_created(connection: Connection, mine: Claim, subject_id: int) -> None:
    """Write down the subject, whether just made or found, and that the ledger knows of all up to it."""
    _fenced(connection, mine, _CREATED, subject=subject_id)
    connection.execute(_SEEN_UP_TO, {"id": mine.row.id, "subject": subject_id})


def note_not_created(connection: Connection, mine: Claim) -> None:
    """Write down that no subject was made: refused, never sent, or looked for and not there."""
    _fenced(connection, mine, _NOT_CREATED)


def note_ambiguous(connection: Connection, mine: Claim) -> None:
    """Write down that the reply to a create was lost."""
    _fenced(connection, mine, _AMBIGUOUS, at=moment(connection))


def note_subject_gone(connection: Connection, mine: Claim) -> None:
    """Write down that the capture's subject is no longer on Zooniverse."""
    _fenced(connection, mine, _SUBJECT_GONE)
    connection.execute(_NOT_ARRIVED, {"id": mine.row.id})


def note_arrived(connection: Connection, mine: Claim, image_ids: Sequence[int]) -> None:
    """Write down that the store vouched for these images."""
    at = moment(connection)
    for key in image_ids:
        _fenced(connection, mine, _ARRIVED, image=key, at=at)


def note_moved(connection: Connection, mine: Claim, state: State, reason: str | None = None) -> None:
    """Move a claimed capture to `uploaded`, `failed` or back to `batched`, and so end the claim."""
    _fenced(connection, mine, _MOVED, state=state.value, at=moment(connection), reason=reason)
