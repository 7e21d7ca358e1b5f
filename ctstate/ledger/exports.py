"""What an export takes from the ledger: captures in the order of their file, with all that is said of them there.

The order is that of a batch's split, else the old scripts'. Which captures there are is read once; then each page
is a transaction of its own (`begin` is `ledger.read`), so that no reader holds the ledger for long.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Select, and_, case, exists, or_, select
from sqlalchemy.engine import Connection

from ctstate.capture import CaptureContent, pages
from ctstate.ledger.captures import Begin
from ctstate.ledger.claims import read_captures
from ctstate.ledger.exclusions import CLAIMED_BY_OLD_SCRIPTS
from ctstate.ledger.orders import LEGACY_ORDER
from ctstate.ledger.schema import batch, capture, legacy_subject, prediction, prediction_file
from ctstate.ledger.staging import AS_A_STREAM
from ctstate.ledger.states import State
from ctstate.ledger.views import CaptureFacts, v_captures

R = TypeVar("R")


class KnownSubject(NamedTuple):
    """What is known of a capture's subject, from the ledger or from old scripts' files.

    Attributes:
        subject_id, subject_set_id, subject_set_name: None: the file does not say.
        uploaded_at: when, by the ledger; None: it does not know.
        upload_time: when, as the old scripts' file has it.
    """

    subject_id: int | None
    subject_set_id: int | None
    subject_set_name: str | None
    uploaded_at: str | None
    upload_time: str | None


class ExportedCapture(NamedTuple):
    """A capture with all that a manifest says of it.

    Attributes:
        capture: the capture.
        machine_learning: whether it has predictions; None: none were ever asked for.
        subject: None: it has none, or nobody asked.
    """

    capture: CaptureContent
    machine_learning: bool | None
    subject: KnownSubject | None


_LISTED = or_(
    capture.c.excluded.is_(None),
    capture.c.state == State.UPLOADED.value,
    capture.c.excluded == CLAIMED_BY_OLD_SCRIPTS,
)
"""Excluded captures are in no legacy file, but for those that are on Zooniverse, or are said to be."""

_SAID = and_(
    legacy_subject.c.capture_id == capture.c.id,
    legacy_subject.c.checked_at.is_(None),
    capture.c.subject_id.is_(None),
)
"""What old scripts' files say of a capture's subject counts until it is known."""


def of_manifest(
    begin: Begin, season_id: int, batch_name: str | None, *, with_subjects: bool = False
) -> Iterator[ExportedCapture]:
    """Yield the captures that a legacy file of a season, or of one of its batches, lists."""
    with begin() as connection:
        keys = list(connection.execute(_in_order(capture.c.id, season_id, batch_name, _LISTED)).scalars())
    for part in pages(keys):
        with begin() as connection:
            rows = read_captures(connection, part)
            without = _machine_learning(connection, [row.id for row in rows if not row.predictions])
            subjects = _subjects(connection, part) if with_subjects else {}
        for row in rows:
            yield ExportedCapture(row, bool(row.predictions) or without[row.id], subjects.get(row.id))


def of_tracker(begin: Begin, season_id: int, batch_name: str | None) -> Iterator[tuple[str, int | None]]:
    """Yield the captures that a manifest lists with a subject, and its id where it is known.

    In one transaction: to sort them takes longer than to write them down.
    """
    last = select(legacy_subject.c.subject_id).where(_SAID).order_by(legacy_subject.c.id.desc()).limit(1)
    uploaded = capture.c.state == State.UPLOADED.value
    # Looked up once, not for every capture: mostly there is nothing.
    said = capture.c.id.in_(select(legacy_subject.c.capture_id).where(legacy_subject.c.checked_at.is_(None)))
    which = or_(uploaded, said & capture.c.subject_id.is_(None))
    query = _in_order(capture.c.capture_id, season_id, batch_name, _LISTED, which).add_columns(
        case((uploaded, capture.c.subject_id), else_=last.scalar_subquery())
    )
    with begin() as connection:
        for part in connection.execute(query).partitions():
            yield from map(tuple, part)


def of_table(begin: Begin, season_id: int | None, batch_name: str | None) -> Iterator[CaptureFacts]:
    """Yield the rows of `v_captures`: of a season or one of its batches, or of all."""
    with begin() as connection:
        keys = list(connection.execute(_in_order(capture.c.id, season_id, batch_name)).scalars())
    for part in pages(keys):
        with begin() as connection:
            found = connection.execute(
                select(capture.c.id, *v_captures.c)
                .join(v_captures, v_captures.c.capture_id == capture.c.capture_id)
                .where(capture.c.id.in_(part))
            )
            facts = {key: CaptureFacts(*row) for key, *row in found}
        yield from (facts[key] for key in part if key in facts)


def _in_order(
    what: ColumnElement[R], season_id: int | None, batch_name: str | None, *which: ColumnElement[bool]
) -> Select[R]:
    query = select(what).where(*which).execution_options(**AS_A_STREAM)
    if season_id is not None:
        query = query.where(capture.c.season_id == season_id)
    if batch_name is not None:
        query = query.join(batch, batch.c.id == capture.c.batch_id).where(batch.c.name == batch_name)
        query = query.order_by(capture.c.position.is_(None), capture.c.position)
    return query.order_by(*LEGACY_ORDER)


def _machine_learning(connection: Connection, keys: Sequence[int]) -> dict[int, bool | None]:
    if not keys:
        return {}
    has = exists().where(prediction.c.capture_id == capture.c.id)
    asked = exists().where(
        and_(
            or_(prediction_file.c.season_id.is_(None), prediction_file.c.season_id == capture.c.season_id),
            or_(prediction_file.c.batch.is_(None), prediction_file.c.batch == batch.c.name),
        )
    )
    found = connection.execute(
        select(capture.c.id, has, asked)
        .outerjoin(batch, batch.c.id == capture.c.batch_id)
        .where(capture.c.id.in_(keys))
    )
    return {key: True if has_some else (False if were_asked else None) for key, has_some, were_asked in found}


def _subjects(connection: Connection, keys: Sequence[int]) -> dict[int, KnownSubject]:
    there = connection.execute(
        select(
            capture.c.id,
            capture.c.subject_id,
            batch.c.subject_set_id,
            batch.c.subject_set_name,
            capture.c.moved_at,
        )
        .outerjoin(batch, batch.c.id == capture.c.batch_id)
        .where(capture.c.state == State.UPLOADED.value, capture.c.id.in_(keys))
    )
    subjects = {
        key: KnownSubject(subject_id, set_id, set_name, moved_at, None)
        for key, subject_id, set_id, set_name, moved_at in there
    }
    said = connection.execute(
        select(
            legacy_subject.c.capture_id,
            legacy_subject.c.subject_id,
            legacy_subject.c.subject_set_id,
            legacy_subject.c.subject_set_name,
            legacy_subject.c.upload_time,
        )
        .join(capture, _SAID)
        .where(capture.c.id.in_(keys))
        .order_by(legacy_subject.c.id)
    )
    for key, subject_id, set_id, set_name, upload_time in said:
        subjects[key] = KnownSubject(subject_id, set_id, set_name, None, upload_time)
    return subjects
