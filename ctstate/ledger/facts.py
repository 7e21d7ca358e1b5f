"""Facts: what an upload run writes down of the captures that it has claimed, of many of them in one statement.

Every write here is fenced: it names the claim and changes nothing once another run has claimed the capture since.
The fence is part of each statement; where one changes fewer rows than were said, the whole transaction is to be
rolled back.

Statements are long and few: each makes the committing thread wait for the interpreter's lock, and on a server for
the network.
"""

import enum
import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection

from ctstate.capture import pages
from ctstate.errors import BrokenImageError, MissingImageError
from ctstate.ledger.claims import Claim, taken_over
from ctstate.ledger.database import driver, moment
from ctstate.ledger.states import FailureKind, State

ROWS_AT_ONCE = 64
"""In one statement; SQLite 3.26 takes 999 values."""


class _Of(enum.Enum):
    """What a statement speaks of: where a row of it is found, and its fence."""

    CAPTURE = "capture", "id IN ({keys}) AND claim = ? AND state = 'uploading'"
    IMAGE = "image", "id IN ({keys}) AND capture_id = {captures} AND EXISTS ({holds})"
    ITS_IMAGES = "image", "capture_id IN ({keys}) AND EXISTS ({holds})"


_HOLDS = "SELECT 1 FROM capture c WHERE c.id = image.capture_id AND c.claim = ? AND c.state = 'uploading'"


class _Update(NamedTuple):
    """Something that is said of rows.

    Attributes:
        of: captures, or images.
        same: what is set alike in all rows of one statement.
        own: columns in which each row gets a value of its own.
    """

    of: _Of
    same: str = ""
    own: tuple[str, ...] = ()


class _Statement(NamedTuple):
    """What is said of rows: the values that are the same in all of them, and their claims' token."""

    update: _Update
    same: tuple[Any, ...]
    token: int


class _Row(NamedTuple):
    """A capture, or an image of it, and the values that are its own."""

    key: int
    capture: int
    own: tuple[Any, ...] = ()


_Said = tuple[_Statement, _Row]


def _of_capture(mine: Claim, update: _Update, *same: Any, own: tuple[Any, ...] = ()) -> _Said:
    return _Statement(update, same, mine.token), _Row(mine.row.id, mine.row.id, own)


def _of_image(mine: Claim, key: int, update: _Update, *same: Any, own: tuple[Any, ...] = ()) -> _Said:
    return _Statement(update, same, mine.token), _Row(key, mine.row.id, own)


@dataclass(frozen=True)
class Fact:
    """Something that is so, of a claimed capture."""

    def said(self, mine: Claim, at: str) -> Iterator[_Said]:
        """Say it: rows of statements. `at` is this moment."""
        raise NotImplementedError


_NOTHING_SENT = "create_run_id = NULL, create_sent_at = NULL, create_floor = NULL, ambiguous_at = NULL"
_ANNOUNCED = _Update(_Of.CAPTURE, "create_run_id = ?, create_sent_at = ?, create_floor = ?, ambiguous_at = NULL")
_MADE = _Update(_Of.CAPTURE, _NOTHING_SENT, ("subject_id",))
_NOTHING_MADE = _Update(_Of.CAPTURE, _NOTHING_SENT)
_REPLY_LOST = _Update(_Of.CAPTURE, "ambiguous_at = ?")
_SUBJECT_GONE = _Update(_Of.CAPTURE, "subject_id = NULL")
# Whatever is given back with a create announced and no outcome known is looked for before it is sent again.
_MOVED = _Update(
    _Of.CAPTURE,
    "state = ?, reason = ?, reason_kind = ?, moved_at = ?, ambiguous_at ="
    " CASE WHEN create_sent_at IS NOT NULL AND ambiguous_at IS NULL THEN ? ELSE ambiguous_at END",
)
_ENCODED = _Update(_Of.IMAGE, "arrived_at = NULL, failure = NULL, failure_reason = NULL", ("md5", "bytes", "note"))
_NONE_ARRIVED = _Update(_Of.ITS_IMAGES, "arrived_at = NULL")
_ARRIVED = _Update(_Of.IMAGE, "arrived_at = ?")
_BROKEN = _Update(_Of.IMAGE, "problem = 'broken', problem_reason = ?")
_TO_BLAME = _Update(_Of.IMAGE, "failure = ?, failure_reason = ?")
_SEEN_UP_TO = "UPDATE run SET watermark = ? WHERE id = ? AND watermark < ?"


@dataclass(frozen=True)
class Bytes:
    """Of one image, what is about to be sent.

    Attributes:
        image_id: the image.
        md5, bytes: of what is sent.
        note: what a data manager should know of it.
    """

    image_id: int
    md5: str
    bytes: int
    note: str = ""


@dataclass(frozen=True)
class Encoded(Fact):
    """The bytes that are about to be sent; none of them has arrived."""

    images: Sequence[Bytes]

    def said(self, mine: Claim, at: str) -> Iterator[_Said]:
        for made in self.images:
            yield _of_image(mine, made.image_id, _ENCODED, own=(made.md5, made.bytes, made.note or None))


@dataclass(frozen=True)
class Broken(Fact):
    """An image is left out from now on, as it cannot be decoded."""

    image_id: int
    reason: str

    def said(self, mine: Claim, at: str) -> Iterator[_Said]:
        yield _of_image(mine, self.image_id, _BROKEN, self.reason)


@dataclass(frozen=True)
class ToBlame(Fact):
    """Which of its images make a capture fail, and why; None: this one does not."""

    images: Mapping[int, BrokenImageError | None]

    def said(self, mine: Claim, at: str) -> Iterator[_Said]:
        for key, error in self.images.items():
            failure = None if error is None else "missing" if isinstance(error, MissingImageError) else "broken"
            reason = None if error is None else error.reason
            yield _of_image(mine, key, _TO_BLAME, failure, reason)


@dataclass(frozen=True)
class Announced(Fact):
    """A create is about to be sent; its subject would lie above `floor`."""

    run_id: int
    floor: int

    def said(self, mine: Claim, at: str) -> Iterator[_Said]:
        yield _of_capture(mine, _ANNOUNCED, self.run_id, at, self.floor)


@dataclass(frozen=True)
class Made(Fact):
    """A subject was made: just now, or it was found; the ledger knows of all up to it."""

    subject_id: int

    def said(self, mine: Claim, at: str) -> Iterator[_Said]:
        yield _of_capture(mine, _MADE, own=(self.subject_id,))


@dataclass(frozen=True)
class NothingMade(Fact):
    """No subject was made: refused, never sent, or looked for and not there."""

    def said(self, mine: Claim, at: str) -> Iterator[_Said]:
        yield _of_capture(mine, _NOTHING_MADE)


@dataclass(frozen=True)
class ReplyLost(Fact):
    """The reply to a create was lost."""

    def said(self, mine: Claim, at: str) -> Iterator[_Said]:
        yield _of_capture(mine, _REPLY_LOST, at)


@dataclass(frozen=True)
class SubjectGone(Fact):
    """The capture's subject is no longer on Zooniverse, and so none of its images is."""

    def said(self, mine: Claim, at: str) -> Iterator[_Said]:
        yield _of_capture(mine, _SUBJECT_GONE)
        yield _of_capture(mine, _NONE_ARRIVED)


@dataclass(frozen=True)
class Arrived(Fact):
    """The store vouched for these images."""

    image_ids: Sequence[int]

    def said(self, mine: Claim, at: str) -> Iterator[_Said]:
        for key in self.image_ids:
            yield _of_image(mine, key, _ARRIVED, at)


@dataclass(frozen=True)
class Moved(Fact):
    """The capture's claim ends: it is `uploaded`, `failed`, or `batched` again."""

    state: State
    reason: str | None = None
    kind: FailureKind | None = None

    def said(self, mine: Claim, at: str) -> Iterator[_Said]:
        kind = None if self.kind is None else self.kind.value
        yield _of_capture(mine, _MOVED, self.state.value, self.reason, kind, at, at)


def write_down(connection: Connection, notes: Sequence[tuple[Claim, Sequence[Fact]]]) -> None:
    """Write down facts of claimed captures, each capture's in their order.

    Args:
        connection: in a write transaction.
        notes: each capture at most once, with its claim.

    Raises:
        FencedError: another run has claimed one of them since; the transaction is to be rolled back.
    """
    at = moment(connection)
    for place in range(max((len(facts) for _, facts in notes), default=0)):
        statements: defaultdict[_Statement, list[_Row]] = defaultdict(list)
        for mine, facts in notes:
            if place < len(facts):
                for statement, row in facts[place].said(mine, at):
                    statements[statement].append(row)
        for statement, rows in statements.items():
            for part in pages(rows, ROWS_AT_ONCE):
                if not _say(connection, statement, part):
                    raise taken_over(notes[0][0].capture_id if len(notes) == 1 else "a capture")
    newest: dict[int, int] = {}
    for mine, facts in notes:
        for fact in facts:
            if isinstance(fact, Made):
                newest[mine.run_id] = max(fact.subject_id, newest.get(mine.run_id, 0))
    for run_id, subject_id in newest.items():
        driver(connection).execute(_SEEN_UP_TO, (subject_id, run_id, subject_id))


def _say(connection: Connection, statement: _Statement, rows: list[_Row]) -> bool:
    """Say it of rows; return whether the claims of all of them hold."""
    update, same, token = statement
    # Filled up with the last row, which changes nothing: the driver knows the statement when it comes again
    # (psycopg, up to fifty values).
    size = 1 << (len(rows) - 1).bit_length()
    padded = [*rows, *[rows[-1]] * (size - len(rows))]
    values = list(same)
    for index in range(len(update.own)):
        for row in padded:
            values += row.key, row.own[index]
    values += [row.key for row in padded]
    if update.of is _Of.IMAGE:
        for row in padded:
            values += row.key, row.capture
    found = driver(connection).execute(_text(update, size), (*values, token))
    # A capture may have any number of images.
    return update.of is _Of.ITS_IMAGES or found.rowcount == len(rows)


@functools.cache
def _text(update: _Update, size: int) -> str:
    each = "CASE id" + " WHEN ? THEN ?" * size + " END"
    sets = ", ".join([*filter(None, [update.same]), *(f"{column} = {each}" for column in update.own)])
    table, where = update.of.value
    found = where.format(keys=", ".join("?" * size), captures=each, holds=_HOLDS)
    return f"UPDATE {table} SET {sets} WHERE {found}"
