"""What files of the old scripts say -> the ledger: claims of subjects, batches, predictions.

It stands in the temporary table `legacy_entry`, a row per capture; the images that a manifest lists beside it in
`staging.incoming`.
"""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Index,
    Integer,
    Text,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.engine import Connection

from ctstate.capture import COMPLETE, LegacyEntry, Season
from ctstate.errors import InputError
from ctstate.ledger import batches
from ctstate.ledger.counts import counted_once
from ctstate.ledger.database import moment
from ctstate.ledger.exclusions import exclude_claimed
from ctstate.ledger.schema import capture, image, legacy_subject, prediction, season
from ctstate.ledger.staging import MOST_EXAMPLES, count, fill, fresh, incoming, index, temporary
from ctstate.ledger.states import State
from ctstate.ledger.transitions import note_batched

_entry = temporary(
    "legacy_entry",
    Column("row", Integer),
    Column("capture_id", Text),
    Column("uploaded", Boolean),
    Column("subject_id", Integer),
    Column("subject_set_id", Integer),
    Column("subject_set_name", Text),
    Column("upload_time", Text),
    Column("machine_learning", Boolean),
    Column("predictions", Text),
    Column("attribution", Text),
    Column("license", Text),
)
"""What the file says, as `LegacyEntry` has it."""

Index("legacy_entry_capture", _entry.c.capture_id)

_place = temporary("place", Column("id", Integer, primary_key=True), Column("place", Integer))

_SAME_CAPTURE = _entry.c.capture_id == capture.c.capture_id
_SAID = _entry.join(capture, _SAME_CAPTURE)


def begin_entries(connection: Connection) -> None:
    """Make the table of entries, empty."""
    fresh(connection, _entry)
    index(connection, _entry)


def add_entries(connection: Connection, entries: Sequence[LegacyEntry]) -> None:
    """Add entries to the table."""
    fill(connection, _entry, entries)


def count_entries(connection: Connection) -> int:
    """Return how many entries there are."""
    return count(connection, _entry)


# -- a manifest ------------------------------------------------------------------------------------------------


class SeasonTexts(NamedTuple):
    """What every subject of a season carries."""

    attribution: str
    license: str


def season_texts(connection: Connection, name: str, known: Season | None) -> SeasonTexts:
    """Return the season's attribution and license, of which every capture must carry the same.

    Args:
        connection: a transaction.
        name: of the file, for messages.
        known: the season, where the ledger has it.

    Raises:
        InputError: a capture carries another one.
    """
    first = func.min(_entry.c.row).label("row")
    groups = select(_entry.c.attribution, _entry.c.license, first).group_by(_entry.c.attribution, _entry.c.license)
    found = groups.subquery()
    rows = connection.execute(
        select(found, _entry.c.capture_id)
        .join_from(found, _entry, _entry.c.row == found.c.row)
        .order_by(found.c.row)
        .limit(2)
    ).all()
    expected = SeasonTexts(rows[0].attribution, rows[0].license)
    if known is not None:
        expected = SeasonTexts(known.attribution, known.license)
    for row in rows:
        for what in SeasonTexts._fields:
            if getattr(row, what) != getattr(expected, what):
                raise InputError(
                    f"{name}, entry {row.row}: capture {row.capture_id} has the {what} {getattr(row, what)!r}, "
                    f"the season {getattr(expected, what)!r}; nothing was changed"
                )
    return expected


class KnownCaptures(NamedTuple):
    """Captures of the file that the ledger holds with other images: how many, and a few of their ids."""

    differing: int
    some: list[str]


def leave_known_captures(connection: Connection, name: str, season_id: int) -> KnownCaptures:
    """Compare the captures that the ledger holds, and take their images out of `incoming`: they stay as they are.

    Args:
        connection: a write transaction.
        name: of the file, for messages.
        season_id: of the season that the captures must be of.

    Raises:
        InputError: one of them is of another season.
    """
    stray = connection.execute(
        select(capture.c.capture_id, season.c.name)
        .select_from(_SAID.join(season, season.c.id == capture.c.season_id))
        .where(capture.c.season_id != season_id)
        .limit(1)
    ).first()
    if stray is not None:
        raise InputError(
            f"{name}: capture {stray.capture_id} belongs to season {stray.name} in the ledger; nothing was changed"
        )
    usable = and_(image.c.capture_id == capture.c.id, image.c.problem.is_(None))
    not_in_ledger = ~exists().where(usable, image.c.path == incoming.c.path)
    not_in_file = ~exists().where(incoming.c.capture_id == capture.c.capture_id, incoming.c.path == image.c.path)
    different = union(
        select(capture.c.capture_id)
        .join_from(incoming, capture, capture.c.capture_id == incoming.c.capture_id)
        .where(not_in_ledger),
        select(capture.c.capture_id).select_from(_SAID.join(image, usable)).where(not_in_file),
    ).subquery()
    number = connection.execute(select(func.count()).select_from(different)).scalar_one()
    some = select(different.c.capture_id).order_by(different.c.capture_id).limit(MOST_EXAMPLES)
    found = KnownCaptures(number, list(connection.execute(some).scalars()) if number else [])
    connection.execute(delete(incoming).where(incoming.c.capture_id.in_(select(capture.c.capture_id))))
    return found


class MissingImages(NamedTuple):
    """Images in `incoming` that cannot be uploaded: how many, and path and reason of a few."""

    number: int
    some: list[tuple[str, str]]


def missing_images(connection: Connection) -> MissingImages:
    """Say which images in `incoming` cannot be uploaded."""
    problem = incoming.c.problem.is_not(None)
    some = connection.execute(
        select(incoming.c.path, incoming.c.problem_reason).where(problem).limit(MOST_EXAMPLES)
    )
    return MissingImages(count(connection, incoming, problem), [(path, reason) for path, reason in some])


def speaks_of_predictions(connection: Connection) -> bool:
    """Tell whether the file has predictions, or says of a capture that there are none."""
    says = or_(_entry.c.machine_learning.is_not(None), _entry.c.predictions.is_not(None))
    return connection.execute(select(_entry.c.row).where(says).limit(1)).first() is not None


class NewPredictions(NamedTuple):
    """What the file predicts of a capture that has no prediction."""

    capture: int  # its primary key
    metadata: str  # JSON: the keys and values for the subject


def new_predictions(connection: Connection) -> Iterator[NewPredictions]:
    """Yield the predictions of captures that have none, and no subject either."""
    found = connection.execute(
        select(capture.c.id, func.max(_entry.c.predictions))
        .select_from(_SAID)
        .where(
            _entry.c.predictions.is_not(None),
            capture.c.subject_id.is_(None),
            ~exists().where(prediction.c.capture_id == capture.c.id),
        )
        .group_by(capture.c.id)
        .order_by(capture.c.id)
    )
    return (NewPredictions._make(row) for row in found)


def put_into_batch(connection: Connection, season_id: int, batch: str, run_id: int) -> int:
    """Put the file's captures into its batch, in its order; `complete` takes only those that have none.

    Args:
        connection: a write transaction.
        season_id, batch: of which the captures are.
        run_id: of the run that does it.

    Returns:
        how many captures were put there.
    """
    key = batches.make(connection, season_id, batch)
    free = capture.c.batch_id.is_(None) if batch == COMPLETE else capture.c.batch_id.is_distinct_from(key)
    fresh(connection, _place)
    connection.execute(
        insert(_place).from_select(
            ["id", "place"],
            select(capture.c.id, func.min(_entry.c.row)).select_from(_SAID).where(free).group_by(capture.c.id),
        )
    )
    with counted_once(connection, count(connection, _place), season_id):
        moved = note_batched(connection, run_id, key, capture.c.id.in_(select(_place.c.id)))
    place = select(_place.c.place).where(_place.c.id == capture.c.id).scalar_subquery()
    connection.execute(
        update(capture)
        .where(capture.c.batch_id == key, capture.c.id.in_(select(_place.c.id)))
        .values(position=place)
    )
    # `complete` loses its captures to the batches it was split into, as in `ctstate batch`.
    batches.drop_empty(connection, season_id)
    return moved


# -- claims of subjects ----------------------------------------------------------------------------------------


class UnknownCaptures(NamedTuple):
    """Entries that name no capture of the ledger: how many, and row and id of the first."""

    number: int
    first: list[tuple[int, str]]


def unknown_captures(connection: Connection) -> UnknownCaptures:
    """Say which entries name no capture of the ledger."""
    unknown = _entry.c.capture_id.not_in(select(capture.c.capture_id))
    first = connection.execute(
        select(_entry.c.row, _entry.c.capture_id).where(unknown).order_by(_entry.c.row).limit(MOST_EXAMPLES)
    )
    return UnknownCaptures(count(connection, _entry, unknown), [(row, capture_id) for row, capture_id in first])


class Conflict(NamedTuple):
    """A capture whose subject is another one in the ledger than in the file."""

    capture_id: str
    here: int
    there: int


class Claims(NamedTuple):
    """What became of the captures that the file says are uploaded.

    Attributes:
        claimed: that wait from now on to be checked.
        confirmed: of which the ledger has this very subject.
        conflicting: of which the ledger has another subject; `conflicts` are a few.
        uploading: that a run is uploading at this moment.
    """

    claimed: int
    confirmed: int
    conflicting: int
    uploading: int
    conflicts: list[Conflict]


def note_claims(connection: Connection, name: str, run_id: int) -> Claims:
    """Write down what the file says is uploaded, and keep those captures from being uploaded again.

    Args:
        connection: a write transaction.
        name: of the file.
        run_id: of the run that does it.
    """
    same, other = capture.c.subject_id == _entry.c.subject_id, capture.c.subject_id != _entry.c.subject_id
    uploaded = _entry.c.uploaded.is_(True)

    def how_many(which: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(_SAID).where(uploaded, which)
        return connection.execute(query).scalar_one()

    confirmed, conflicting = how_many(same), how_many(other)
    uploading = how_many(capture.c.state == State.UPLOADING.value)
    conflicts = connection.execute(
        select(capture.c.capture_id, capture.c.subject_id, _entry.c.subject_id)
        .select_from(_SAID)
        .where(uploaded, other)
        .limit(MOST_EXAMPLES)
    )
    some = [Conflict(*row) for row in conflicts]
    known = exists().where(
        legacy_subject.c.capture_id == capture.c.id,
        legacy_subject.c.subject_id.is_not_distinct_from(_entry.c.subject_id),
    )
    claimed = connection.execute(
        insert(legacy_subject).from_select(
            [
                "capture_id", "subject_id", "subject_set_id", "subject_set_name", "upload_time", "source_file",
                "run_id", "imported_at",
            ],
            select(
                capture.c.id,
                _entry.c.subject_id,
                func.max(_entry.c.subject_set_id),
                func.max(_entry.c.subject_set_name),
                func.max(_entry.c.upload_time),
                literal(os.path.abspath(name)),
                literal(run_id),
                literal(moment(connection)),
            )
            .select_from(_SAID)
            .where(uploaded, or_(capture.c.subject_id.is_(None), other), ~known)
            .group_by(capture.c.id, _entry.c.subject_id)
            .order_by(func.min(_entry.c.row)),
        )
    ).rowcount  # fmt: skip
    exclude_claimed(connection)
    return Claims(claimed, confirmed, conflicting, uploading, some)
