"""Claims: what an upload run reads from the ledger and writes to it, capture by capture.

Every write here is fenced: it names the claim it was given and changes nothing once another run has claimed
the capture since. The functions take a write transaction, so that one commit can carry many of them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from ctstate.capture import CaptureContent, CaptureImage
from ctstate.errors import BrokenImageError, FencedError, MissingImageError
from ctstate.ledger.database import dialect_of, driver, moment
from ctstate.ledger.schema import run
from ctstate.ledger.states import FailureKind, State


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
    if not ids:
        return []
    marks = ",".join("?" * len(ids))
    ask = driver(connection).execute
    images: dict[int, list[CaptureImage]] = {key: [] for key in ids}
    for key, image, rank, path, md5, arrived_at in ask(_IMAGES.format(marks), ids).fetchall():
        images[key].append(CaptureImage(image, rank, path, md5, arrived_at is not None))
    predictions: dict[int, dict[str, Any]] = {key: {} for key in ids}
    made = ask(_PREDICTIONS.format(marks), ids).fetchall()
    # One text for all: most of the time to read a short one goes into beginning with it.
    whole = ",".join(metadata for _, metadata in made)
    for (key, _), metadata in zip(made, json.loads(f"[{whole}]"), strict=True):
        predictions[key].update(metadata)
    by_id: dict[int, CaptureContent] = {}
    for key, name, season, site, roll, number, attribution, license, extra, subject_id, state in ask(
        _CONTENTS.format(marks), ids
    ).fetchall():
        by_id[key] = CaptureContent(
            id=key,
            capture_id=name,
            season=season,
            site=site,
            roll=roll,
            capture=number,
            attribution=attribution,
            license=license,
            extra=json.loads(extra) if extra else {},
            predictions=predictions[key],
            images=tuple(images[key]),
            subject_id=subject_id,
            state=state,
        )
    return [by_id[key] for key in ids if key in by_id]


_CONTENTS = (
    "SELECT c.id, c.capture_id, c.season, c.site, c.roll, c.capture, s.attribution, s.license, c.metadata,"
    " c.subject_id, c.state FROM capture c JOIN season s ON s.id = c.season_id WHERE c.id IN ({})"
)
_IMAGES = (
    "SELECT capture_id, id, rank, path, md5, arrived_at FROM image WHERE capture_id IN ({}) AND problem IS NULL"
    " ORDER BY capture_id, rank"
)
_PREDICTIONS = "SELECT capture_id, metadata FROM prediction WHERE capture_id IN ({}) ORDER BY capture_id, id"


_ALIVE = select(run.c.id).where(run.c.id == bindparam("run"), run.c.ended_at.is_(None))
# What is said of every capture goes straight to the driver; see `database.driver`.
_FREE = (
    "SELECT id FROM capture WHERE season_id = ? AND batch_id = ? AND state = 'batched' AND excluded IS NULL"
    " ORDER BY id LIMIT ?"
)
_CLAIM = (
    "UPDATE capture SET state = 'uploading', run_id = ?, moved_at = ?, reason = NULL, claim = claim + 1"
    " WHERE id IN ({})"
)
_CLAIMED = "SELECT id, claim, ambiguous_at, create_run_id, create_floor FROM capture WHERE id IN ({})"


def claim(connection: Connection, run_id: int, season_id: int, batch_id: int, limit: int) -> list[Claim]:
    """Claim up to `limit` (at most 500) captures of a batch for this run: batched -> uploading.

    Raises:
        FencedError: others took the run for dead; it claims nothing more.
    """
    if connection.execute(_ALIVE, {"run": run_id}).first() is None:
        raise FencedError("other runs took this one for dead (it was silent for too long); run it again")
    ask = driver(connection).execute
    # One that somebody else has locked is waited for: nothing left means nothing left.
    free = _FREE + dialect_of(connection).for_update
    ids = [key for (key,) in ask(free, (season_id, batch_id, limit))]
    if not ids:
        return []
    marks = ",".join("?" * len(ids))
    ask(_CLAIM.format(marks), (run_id, moment(connection), *ids))
    facts = {key: of for key, *of in ask(_CLAIMED.format(marks), ids)}
    return [Claim(row, facts[row.id][0], batch_id, *facts[row.id][1:]) for row in read_captures(connection, ids)]


# The fenced writes run tens of times in one commit.
_MINE = " WHERE id = :id AND claim = :claim AND state = 'uploading'"
_INTENT = (
    "UPDATE capture SET create_run_id = :run, create_sent_at = :at, create_floor = :floor, ambiguous_at = NULL"
    + _MINE
)
_CREATED = (
    "UPDATE capture SET subject_id = :subject, create_run_id = NULL, create_sent_at = NULL, create_floor = NULL,"
    " ambiguous_at = NULL" + _MINE
)
_SEEN_UP_TO = (
    "UPDATE run SET watermark = :subject WHERE id = (SELECT run_id FROM capture WHERE id = :id)"
    " AND watermark < :subject"
)
_NOT_CREATED = (
    "UPDATE capture SET create_run_id = NULL, create_sent_at = NULL, create_floor = NULL, ambiguous_at = NULL"
    + _MINE
)
_AMBIGUOUS = "UPDATE capture SET ambiguous_at = :at" + _MINE
_SUBJECT_GONE = "UPDATE capture SET subject_id = NULL" + _MINE
# Whatever is given back with a create announced and no outcome known is looked for before it is sent again.
_MOVED = (
    "UPDATE capture SET state = :state, moved_at = :at, reason = :reason, reason_kind = :kind, ambiguous_at ="
    " CASE WHEN create_sent_at IS NOT NULL AND ambiguous_at IS NULL THEN :at ELSE ambiguous_at END" + _MINE
)
_CHECK = "SELECT 1 FROM capture" + _MINE
_ITS_IMAGE = (
    " WHERE id = :image AND capture_id = :id AND EXISTS (SELECT 1 FROM capture c WHERE c.id = image.capture_id"
    " AND c.claim = :claim AND c.state = 'uploading')"
)
_ENCODED = (
    "UPDATE image SET md5 = :md5, bytes = :bytes, note = :note, arrived_at = NULL, failure = NULL,"
    " failure_reason = NULL" + _ITS_IMAGE
)
_ARRIVED = "UPDATE image SET arrived_at = :at" + _ITS_IMAGE
_NOT_ARRIVED = "UPDATE image SET arrived_at = NULL WHERE capture_id = :id"
_BROKEN = "UPDATE image SET problem = 'broken', problem_reason = :reason" + _ITS_IMAGE
_TO_BLAME = "UPDATE image SET failure = :failure, failure_reason = :reason" + _ITS_IMAGE


def _fenced(connection: Connection, mine: Claim, statement: object, **values: Any) -> None:
    found = driver(connection).execute(str(statement), {"id": mine.row.id, "claim": mine.token, **values})
    if found.rowcount != 1:
        raise FencedError(f"{mine.capture_id}: another run has taken it over")


def still_mine(connection: Connection, mine: Claim) -> None:
    """Make sure that the claim holds.

    Raises:
        FencedError: another run has claimed the capture since. So do all functions below.
    """
    if driver(connection).execute(_CHECK, {"id": mine.row.id, "claim": mine.token}).fetchone() is None:
        raise FencedError(f"{mine.capture_id}: another run has taken it over")


def note_encoded(connection: Connection, mine: Claim, facts: Sequence[EncodedFacts]) -> None:
    """Write down the bytes that are about to be sent; none of them has arrived."""
    for fact in facts:
        note = fact.note or None
        _fenced(connection, mine, _ENCODED, image=fact.image_id, md5=fact.md5, bytes=fact.bytes, note=note)


def note_broken(connection: Connection, mine: Claim, image_id: int, reason: str) -> None:
    """Leave an image out from now on, as it cannot be decoded."""
    _fenced(connection, mine, _BROKEN, image=image_id, reason=reason)


def note_to_blame(connection: Connection, mine: Claim, images: Mapping[int, BrokenImageError | None]) -> None:
    """Write down which of its images make a capture fail, and why; None: this one does not."""
    for key, error in images.items():
        failure = None if error is None else "missing" if isinstance(error, MissingImageError) else "broken"
        reason = None if error is None else error.reason
        _fenced(connection, mine, _TO_BLAME, image=key, failure=failure, reason=reason)


def note_create_intent(connection: Connection, mine: Claim, run_id: int, floor: int) -> None:
    """Write down that a create is about to be sent; its subject would lie above `floor`."""
    _fenced(connection, mine, _INTENT, run=run_id, at=moment(connection), floor=floor)


def note_created(connection: Connection, mine: Claim, subject_id: int) -> None:
    """Write down the subject, whether just made or found, and that the ledger knows of all up to it."""
    _fenced(connection, mine, _CREATED, subject=subject_id)
    driver(connection).execute(_SEEN_UP_TO, {"id": mine.row.id, "subject": subject_id})


def note_not_created(connection: Connection, mine: Claim) -> None:
    """Write down that no subject was made: refused, never sent, or looked for and not there."""
    _fenced(connection, mine, _NOT_CREATED)


def note_ambiguous(connection: Connection, mine: Claim) -> None:
    """Write down that the reply to a create was lost."""
    _fenced(connection, mine, _AMBIGUOUS, at=moment(connection))


def note_subject_gone(connection: Connection, mine: Claim) -> None:
    """Write down that the capture's subject is no longer on Zooniverse."""
    _fenced(connection, mine, _SUBJECT_GONE)
    driver(connection).execute(_NOT_ARRIVED, {"id": mine.row.id})


def note_arrived(connection: Connection, mine: Claim, image_ids: Sequence[int]) -> None:
    """Write down that the store vouched for these images."""
    at = moment(connection)
    for key in image_ids:
        _fenced(connection, mine, _ARRIVED, image=key, at=at)


def note_moved(
    connection: Connection, mine: Claim, state: State, reason: str | None = None, kind: FailureKind | None = None
) -> None:
    """Move a claimed capture to `uploaded`, `failed` or back to `batched`, and so end the claim."""
    said = {"state": state.value, "reason": reason, "kind": kind.value if kind is not None else None}
    _fenced(connection, mine, _MOVED, at=moment(connection), **said)
