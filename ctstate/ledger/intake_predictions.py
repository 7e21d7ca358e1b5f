"""Predictions -> the ledger: one row per capture and source.

Memory is bounded whatever the file's size. Where several entries can be of one capture, they go into the temporary
table `entry`, and SQL finds their captures in the order of the captures; else each names its own. What the caller
makes of a capture's entries goes into the temporary table `made`, which is merged.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    ColumnExpressionArgument,
    Float,
    Index,
    Integer,
    LargeBinary,
    Text,
    and_,
    exists,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.engine import Connection

from ctstate.capture import Scores
from ctstate.ledger import boxes
from ctstate.ledger.counts import counted_once
from ctstate.ledger.database import driver, moment, upsert
from ctstate.ledger.schema import capture, image, prediction, prediction_file
from ctstate.ledger.staging import count, fill, fresh, index, temporary
from ctstate.ledger.transitions import note_metadata_pending, note_predicted

COLUMNS = ("metadata", *(f"machine_{name}" for name in Scores._fields))
"""What `prediction` has of a capture and source: the subject's metadata (JSON), and the scores."""

_entry = temporary(
    "entry",
    Column("number", Integer, primary_key=True),
    Column("key", Text),
    Column("payload", LargeBinary),
    Column("boxes", Text),
)
Index("entry_key", _entry.c.key)

_made = temporary(
    "made",
    # In this order, so that what is made of one file after the other is added at the end.
    Column("source", Text, primary_key=True),
    Column("capture", Integer, primary_key=True, autoincrement=False),
    *(Column(name, Text if name in ("metadata", "machine_species") else Float) for name in COLUMNS),
)

_changed = temporary(
    "changed",
    Column("capture", Integer, primary_key=True, autoincrement=False),
    Column("source", Text, primary_key=True),
    Column("metadata", Boolean),
)
"""What differs from before; `metadata`: also in what the subject carries."""


@dataclass(frozen=True)
class Scope:
    """Which captures a file is meant for.

    Attributes:
        season_id: key of a season; None: all.
        batch_id: key of a batch; None: all.
        batch: its name.
    """

    season_id: int | None
    batch_id: int | None = None
    batch: str | None = None

    def holds(self, named: "NamedCapture") -> bool:
        """Tell whether a capture is within."""
        return (self.season_id is None or named.season_id == self.season_id) and (
            self.batch_id is None or named.batch_id == self.batch_id
        )

    def clause(self) -> ColumnElement[bool]:
        """Return the condition on `capture`."""
        parts: list[ColumnElement[bool]] = [true()]
        if self.season_id is not None:
            parts.append(capture.c.season_id == self.season_id)
        if self.batch_id is not None:
            parts.append(capture.c.batch_id == self.batch_id)
        return and_(*parts)


class NamedCapture(NamedTuple):
    """A capture that a file names."""

    key: int
    season_id: int
    batch_id: int | None


# -- a file's entries, and their captures ----------------------------------------------------------------------


def captures_named(connection: Connection, names: Sequence[str]) -> dict[str, NamedCapture]:
    """Return those of these captures that the ledger knows (at most 500), by their names."""
    if not names:
        return {}
    found = driver(connection).execute(
        "SELECT capture_id, id, season_id, batch_id FROM capture"
        f" WHERE capture_id IN ({','.join('?' * len(names))})",
        names,
    )
    return {name: NamedCapture(key, season, batch) for name, key, season, batch in found}


def highest_key(connection: Connection) -> int:
    """Return the largest primary key of a capture."""
    return int(connection.execute(select(func.coalesce(func.max(capture.c.id), 0))).scalar_one())


class FileEntry(NamedTuple):
    """An entry of a file."""

    number: int  # counted from 1
    key: str  # what it is about: an image path or a capture id, as the ledger has it
    payload: Any  # what it says: numbers, texts, lists and dictionaries of them; None: nothing
    boxes: str | None = None  # of the image


class CaptureEntries(NamedTuple):
    """The entries of one capture."""

    capture: int  # its primary key
    within: bool  # whether it is within the scope
    numbers: list[int]
    payloads: list[Any]  # of those that say something of an image that counts; none outside the scope
    boxes: dict[int, str]  # by primary key of the image, as far as it counts


def begin(connection: Connection) -> None:
    """Make the tables of what is made of the files, empty."""
    fresh(connection, _made)
    boxes.begin(connection)


def begin_file(connection: Connection) -> None:
    """Make the table of a file's entries, empty."""
    fresh(connection, _entry)


def add_entries(connection: Connection, entries: Sequence[FileEntry]) -> None:
    """Add entries of the file."""
    rows = [(number, key, None if said is None else _packed(said), text) for number, key, said, text in entries]
    fill(connection, _entry, rows)


# What waits here for a moment is nobody else's: the quickest way to write it down will do.
_packed = msgspec.json.Encoder().encode
_unpacked = msgspec.json.Decoder().decode


def end_file(connection: Connection) -> None:
    """Say that all entries of the file were added."""
    index(connection, _entry)


_COLUMNS_OF_MATCH = """
    c.id AS capture,
    (CAST(:season AS BIGINT) IS NULL OR c.season_id = :season)
    AND (CAST(:batch AS BIGINT) IS NULL OR c.batch_id = :batch) AS within,
    e.number AS number, e.payload AS payload, e.boxes AS boxes"""

# CROSS JOIN, which Core cannot say, keeps SQLite to this order of loops: the ledger's rows once, and a look into
# `entry` for each. Images that were excluded or withheld do not count.
_BY_PATH = f"""
    SELECT {_COLUMNS_OF_MATCH}, i.id AS image, coalesce(i.problem, '') NOT IN ('excluded', 'withheld') AS counts
    FROM capture c CROSS JOIN image i CROSS JOIN entry e WHERE i.capture_id = c.id AND e.key = i.path
    ORDER BY c.id, i.rank, e.number
    """
_BY_CAPTURE = f"""
    SELECT {_COLUMNS_OF_MATCH}, NULL AS image, 1 AS counts
    FROM capture c CROSS JOIN entry e WHERE e.key = c.capture_id ORDER BY c.id, e.number
    """


def by_capture(connection: Connection, scope: Scope, *, keyed_by_path: bool) -> Iterator[CaptureEntries]:
    """Yield the captures that the file's entries are about, with these.

    Args:
        connection: a transaction.
        scope: which captures the file is meant for.
        keyed_by_path: entries are about images; else about captures.
    """
    rows = driver(connection).execute(
        _BY_PATH if keyed_by_path else _BY_CAPTURE, {"season": scope.season_id, "batch": scope.batch_id}
    )
    for key, group in groupby(rows, key=itemgetter(0)):
        numbers: list[int] = []
        payloads: list[Any] = []
        seen: dict[int, str] = {}
        within = False
        for _, within, number, payload, text, of_image, counts in group:
            numbers.append(number)
            if within and counts and payload is not None:
                payloads.append(_unpacked(payload))
                if text is not None:
                    seen[of_image] = text
        yield CaptureEntries(key, bool(within), numbers, payloads, seen)


def key_of_entry(connection: Connection, number: int) -> str:
    """Return what an entry of the file is about."""
    return str(connection.execute(select(_entry.c.key).where(_entry.c.number == number)).scalar_one())


def an_image_path(connection: Connection) -> str | None:
    """Return an image path as the ledger has them, to show what they look like."""
    return connection.execute(select(image.c.path).order_by(image.c.id).limit(1)).scalar()


class MadePrediction(NamedTuple):
    """What a source says of a capture."""

    capture: int  # its primary key
    metadata: str  # JSON: the keys and values for the subject
    scores: Scores


def add_made(connection: Connection, source: str, made: Iterable[MadePrediction]) -> None:
    """Add what is made of a file; of what is made of a capture, the last counts."""
    rows = [(source, key, metadata, *scores) for key, metadata, scores in made]
    fill(connection, _made, rows, replace=True)


# -- into the ledger -------------------------------------------------------------------------------------------


class FileOfPredictions(NamedTuple):
    """A file that was read, with what it says of how it was made."""

    source: str
    format: str
    path: str  # absolute
    threshold: float | None
    settings: str  # JSON


class Merged(NamedTuple):
    """What `merge` did.

    Attributes:
        changed: captures that differ from before.
        pending: of these, those on Zooniverse or on their way.
        without: captures within the scope that have no prediction of any source.
        anything: whether the ledger is not as it was.
    """

    changed: int
    pending: int
    without: int
    anything: bool


class TakenOver(NamedTuple):
    """Captures whose predictions were taken over; `noted`: that the file was written down."""

    captures: int
    noted: bool


def merge(connection: Connection, run_id: int, files: Sequence[FileOfPredictions], scope: Scope) -> Merged:
    """Bring what was made of the files into the ledger; captures that were manifested become predicted.

    Args:
        connection: a write transaction.
        run_id: of the run that does it.
        files: those that `made` comes from.
        scope: which captures they are meant for.
    """
    boxes.end(connection)
    _find_changed(connection, [file.source for file in files])
    changed = connection.execute(select(func.count(_changed.c.capture.distinct()))).scalar_one()
    differs = exists().where(_changed.c.capture == _made.c.capture, _changed.c.source == _made.c.source)
    new_files = [file for file in files if not _is_last(connection, file, scope)]
    for file in files:
        if file in new_files or count(connection, _changed, _changed.c.source == file.source):
            put_made(connection, run_id, file.source, note_file(connection, run_id, scope, file), differs)
            boxes.put(connection, file.source, select(_changed.c.capture).where(_changed.c.source == file.source))
    pending = note_metadata_pending(
        connection, capture.c.id.in_(select(_changed.c.capture).where(_changed.c.metadata))
    )
    moved = _note_predicted(connection, run_id, scope)
    has_none = ~exists().where(prediction.c.capture_id == capture.c.id)
    without = count(connection, capture, scope.clause(), has_none)
    return Merged(changed, pending, without, bool(changed or moved or new_files))


def _find_changed(connection: Connection, sources: Sequence[str]) -> None:
    before = and_(prediction.c.capture_id == _made.c.capture, prediction.c.source == _made.c.source)
    differ = {name: prediction.c[name].is_distinct_from(_made.c[name]) for name in COLUMNS}  # also where none was
    fresh(connection, _changed)
    connection.execute(
        insert(_changed).from_select(
            ["capture", "source", "metadata"],
            select(_made.c.capture, _made.c.source, differ["metadata"])
            .join_from(_made, prediction, before, isouter=True)
            .where(or_(*differ.values())),
        )
    )
    for source in sources:
        differing = count(connection, _changed, _changed.c.source == source)
        if differing < count(connection, _made, _made.c.source == source):
            _find_changed_boxes(connection, source)


def _find_changed_boxes(connection: Connection, source: str) -> None:
    """Add the captures of which only the boxes differ."""
    for keys in boxes.differing(source, select(_made.c.capture).where(_made.c.source == source)):
        found = upsert(connection, _changed).from_select(
            ["capture", "source", "metadata"], keys.add_columns(literal(source), false()).distinct()
        )
        connection.execute(found.on_conflict_do_nothing())


def put_made(
    connection: Connection, run_id: int, source: str, file_id: int, *which: ColumnExpressionArgument[bool]
) -> int:
    """Write what was made of a source's file, in place of what the source said before; return of how many captures.

    Args:
        connection: a write transaction.
        run_id: of the run that does it.
        source: the source.
        file_id: its file, from `note_file`.
        which: conditions on what was made.
    """
    found = (
        select(
            _made.c.capture,
            _made.c.source,
            literal(run_id),
            literal(moment(connection)),
            literal(file_id),
            *(_made.c[name] for name in COLUMNS),
        )
        .where(_made.c.source == source, *which)
        .order_by(_made.c.capture)
    )
    of_run = ("run_id", "made_at", "file_id")
    put = upsert(connection, prediction).from_select(["capture_id", "source", *of_run, *COLUMNS], found)
    return connection.execute(
        put.on_conflict_do_update(
            index_elements=["capture_id", "source"],
            set_={name: put.excluded[name] for name in (*of_run, *COLUMNS)},
        )
    ).rowcount


def take_over(connection: Connection, run_id: int, file: FileOfPredictions, scope: Scope) -> TakenOver:
    """Write what was made of a file, all of it of captures that had no prediction, and write the file down.

    Does nothing where nothing was made and such a file was written down before.

    Args:
        connection: a write transaction.
        run_id: of the run that does it.
        file: what `made` comes from.
        scope: which captures it is meant for.
    """
    if not count(connection, _made) and _last_file(connection, file.source, scope) is not None:
        return TakenOver(0, False)
    taken = put_made(connection, run_id, file.source, note_file(connection, run_id, scope, file))
    _note_predicted(connection, run_id, scope)
    return TakenOver(taken, True)


def _note_predicted(connection: Connection, run_id: int, scope: Scope) -> int:
    with counted_once(connection, count(connection, _made), scope.season_id):
        return note_predicted(connection, run_id, capture.c.id.in_(select(_made.c.capture)))


# -- files -----------------------------------------------------------------------------------------------------


def note_file(connection: Connection, run_id: int, scope: Scope, file: FileOfPredictions) -> int:
    """Write down that a file was read, and for which captures; return the row's key."""
    made = connection.execute(
        insert(prediction_file).values(
            **file._asdict(),
            season_id=scope.season_id,
            batch=scope.batch,
            run_id=run_id,
            made_at=moment(connection),
        )
    )
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0])


def _is_last(connection: Connection, file: FileOfPredictions, scope: Scope) -> bool:
    """Tell whether the source's last file, for these captures, was this one and said the same of itself."""
    last = _last_file(connection, file.source, scope)
    return last is not None and last._replace(format=file.format) == file


def _last_file(connection: Connection, source: str, scope: Scope) -> FileOfPredictions | None:
    row = connection.execute(
        select(*(prediction_file.c[name] for name in FileOfPredictions._fields))
        .where(
            prediction_file.c.source == source,
            prediction_file.c.season_id.is_not_distinct_from(scope.season_id),
            prediction_file.c.batch.is_not_distinct_from(scope.batch),
        )
        .order_by(prediction_file.c.id.desc())
        .limit(1)
    ).first()
    return None if row is None else FileOfPredictions(*row)
