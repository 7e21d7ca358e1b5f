"""Claims: what an upload run reads from the ledger and writes to it, capture by capture.

Every write here is fenced: it names the claim it was given and changes nothing once another run has claimed
the capture since. The functions take a write transaction, so that one commit can carry many of them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from ctstate.capture import CaptureContent, CaptureImage
from ctstate.errors import BrokenImageError, FencedError, MissingImageError
from ctstate.ledger.database import dialect_of, driver, moment
from ctstate.ledger.schema import run
from ctstate.ledger.states import FailureKind, State


class Claim(NamedTuple):
    """A capture that this run alone may bring to Zooniverse, and what earlier runs knew of it."""

    row: CaptureContent
    token: int
    run_id: int
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
    return [mine.row for mine in _read(connection, ids)]


def _read(connection: Connection, ids: Sequence[int]) -> list[Claim]:
    """Return the captures as `read_captures` does, with what is known of their claims and creates."""
    if not ids:
        return []
    marks = ",".join("?" * len(ids))
    ask = driver(connection).execute
    images: dict[int, list[CaptureImage]] = {key: [] for key in ids}
    for key, image, rank, path, md5, arrived_at in ask(_IMAGES.format(marks), ids):
        images[key].append(CaptureImage(image, rank, path, md5, arrived_at is not None))
    predictions: dict[int, dict[str, Any]] = {key: {} for key in ids}
    made = ask(_PREDICTIONS.format(marks), ids).fetchall()
    # One text for all: most of the time to read a short one goes into beginning with it.
    whole = ",".join(metadata for _, metadata in made)
    for (key, _), metadata in zip(made, json.loads(f"[{whole}]"), strict=True):
        predictions[key].update(metadata)
    found: dict[int, Claim] = {}
    for row in ask(_CONTENTS.format(marks), ids):
        key, name, season, site, roll, number, attribution, license, extra, subject_id, state, *claimed = row
        # By place, not by name: names take twice as long.
        content = CaptureContent(
            key,
            name,
            season,
            site,
            roll,
            number,
            attribution,
            license,
            json.loads(extra) if extra else {},
            predictions[key],
            tuple(images[key]),
            subject_id,
            state,
        )
        found[key] = Claim(content, *claimed)
    return [found[key] for key in ids if key in found]


_CONTENTS = (
    "SELECT c.id, c.capture_id, c.season, c.site, c.roll, c.capture, s.attribution, s.license, c.metadata,"
    " c.subject_id, c.state, c.claim, c.run_id, c.batch_id, c.ambiguous_at, c.create_run_id, c.create_floor"
    " FROM capture c JOIN season s ON s.id = c.season_id WHERE c.id IN ({})"
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
    return _read(connection, ids)


# The fenced writes run tens of times in one commit. Each ends with the capture's key and the claim. Values go by
# place: the driver takes longer to find them by name.
_MINE = " WHERE id = ? AND claim = ? AND state = 'uploading'"
_INTENT = "UPDATE capture SET create_run_id = ?, create_sent_at = ?, create_floor = ?, ambiguous_at = NULL" + _MINE
_CREATED = (
    "UPDATE capture SET subject_id = ?, create_run_id = NULL, create_sent_at = NULL, create_floor = NULL,"
    " ambiguous_at = NULL" + _MINE
)
_SEEN_UP_TO = "UPDATE run SET watermark = ? WHERE id = ? AND watermark < ?"
_NOT_CREATED = (
    "UPDATE capture SET create_run_id = NULL, create_sent_at = NULL, create_floor = NULL, ambiguous_at = NULL"
    + _MINE
)
_AMBIGUOUS = "UPDATE capture SET ambiguous_at = ?" + _MINE
_SUBJECT_GONE = "UPDATE capture SET subject_id = NULL" + _MINE
# Whatever is given back with a create announced and no outcome known is looked for before it is sent again.
_MOVED = (
    "UPDATE capture SET state = ?, reason = ?, reason_kind = ?, moved_at = ?, ambiguous_at ="
    " CASE WHEN create_sent_at IS NOT NULL AND ambiguous_at IS NULL THEN ? ELSE ambiguous_at END" + _MINE
)
_CHECK = "SELECT 1 FROM capture" + _MINE
_ITS_IMAGE = (
    " WHERE id = ? AND capture_id = ? AND EXISTS (SELECT 1 FROM capture c WHERE c.id = image.capture_id"
    " AND c.claim = ? AND c.state = 'uploading')"
)
_ENCODED = (
    "UPDATE image SET md5 = ?, bytes = ?, note = ?, arrived_at = NULL, failure = NULL, failure_reason = NULL"
    + _ITS_IMAGE
)
_ARRIVED = "UPDATE image SET arrived_at = ?" + _ITS_IMAGE
_NOT_ARRIVED = "UPDATE image SET arrived_at = NULL WHERE capture_id = ?"
_BROKEN = "UPDATE image SET problem = 'broken', problem_reason = ?" + _ITS_IMAGE
_TO_BLAME = "UPDATE image SET failure = ?, failure_reason = ?" + _ITS_IMAGE


def _fenced(connection: Connection, mine: Claim, statement: str, *values: Any) -> None:
    found = driver(connection).execute(statement, (*values, mine.row.id, mine.token))
    if found.rowcount != 1:
        raise FencedError(f"{mine.capture_id}: another run has taken it over")


def still_mine(connection: Connection, mine: Claim) -> None:
    """Make sure that the claim holds.

    Raises:
        FencedError: another run has claimed the capture since. So do all functions below.
    """
    if driver(connection).execute(_CHECK, (mine.row.id, mine.token)).fetchone() is None:
        raise FencedError(f"{mine.capture_id}: another run has taken it over")


def note_encoded(connection: Connection, mine: Claim, facts: Sequence[EncodedFacts]) -> None:
    """Write down the bytes that are about to be sent; none of them has arrived."""
    for fact in facts:
        _fenced(connection, mine, _ENCODED, fact.md5, fact.bytes, fact.note or None, fact.image_id)


def note_broken(connection: Connection, mine: Claim, image_id: int, reason: str) -> None:
    """Leave an image out from now on, as it cannot be decoded."""
    _fenced(connection, mine, _BROKEN, reason, image_id)


def note_to_blame(connection: Connection, mine: Claim, images: Mapping[int, BrokenImageError | None]) -> None:
    """Write down which of its images make a capture fail, and why; None: this one does not."""
    for key, error in images.items():
        failure = None if error is None else "missing" if isinstance(error, MissingImageError) else "broken"
        reason = None if error is None else error.reason
        _fenced(connection, mine, _TO_BLAME, failure, reason, key)


def note_create_intent(connection: Connection, mine: Claim, run_id: int, floor: int) -> None:
    """Write down that a create is about to be sent; its subject would lie above `floor`."""
    _fenced(connection, mine, _INTENT, run_id, moment(connection), floor)


def note_created(connection: Connection, mine: Claim, subject_id: int) -> None:
    """Write down the subject, whether just made or found, and that the ledger knows of all up to it."""
    _fenced(connection, mine, _CREATED, subject_id)
    driver(connection).execute(_SEEN_UP_TO, (subject_id, mine.run_id, subject_id))


def note_not_created(connection: Connection, mine: Claim) -> None:
    """Write down that no subject was made: refused, never sent, or looked for and not there."""
    _fenced(connection, mine, _NOT_CREATED)


def note_ambiguous(connection: Connection, mine: Claim) -> None:
    """Write down that the reply to a create was lost."""
    _fenced(connection, mine, _AMBIGUOUS, moment(connection))


def note_subject_gone(connection: Connection, mine: Claim) -> None:
    """Write down that the capture's subject is no longer on Zooniverse."""
    _fenced(connection, mine, _SUBJECT_GONE)
    driver(connection).execute(_NOT_ARRIVED, (mine.row.id,))


def note_arrived(connection: Connection, mine: Claim, image_ids: Sequence[int]) -> None:
    """Write down that the store vouched for these images."""
    at = moment(connection)
    for key in image_ids:
        _fenced(connection, mine, _ARRIVED, at, key)


def note_moved(
    connection: Connection, mine: Claim, state: State, reason: str | None = None, kind: FailureKind | None = None
) -> None:
    """Move a claimed capture to `uploaded`, `failed` or back to `batched`, and so end the claim."""
    at, of_kind = moment(connection), None if kind is None else kind.value
    _fenced(connection, mine, _MOVED, state.value, reason, of_kind, at, at)
