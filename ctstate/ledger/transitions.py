"""Every write of a capture's state outside a claim: what the bulk verbs do to many captures, and corrections that
follow what Zooniverse shows or what a person wants.

Each takes a write transaction. A correction names the capture as it was seen and changes nothing if it has moved
since, so that it never fights an upload that goes on meanwhile.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    ColumnExpressionArgument,
    Integer,
    and_,
    case,
    delete,
    exists,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from ctstate.capture import Snapshot, pages
from ctstate.ledger.captures import SNAPSHOT, Selection, snapshots, within
from ctstate.ledger.counts import counted_once
from ctstate.ledger.database import moment
from ctstate.ledger.exclusions import CLAIMED_BY_OLD_SCRIPTS, NO_USABLE_IMAGE
from ctstate.ledger.schema import capture, image
from ctstate.ledger.staging import count, fill, fresh, temporary
from ctstate.ledger.states import REBATCHABLE, State

_SETTLED = {"create_run_id": None, "create_sent_at": None, "create_floor": None, "ambiguous_at": None}
"""No create is announced any more, and none is in doubt."""

NOT_BEGUN: ColumnElement[bool] = and_(
    or_(*(capture.c.state == state.value for state in REBATCHABLE)),  # a prepared statement takes no IN
    capture.c.subject_id.is_(None),
    capture.c.create_sent_at.is_(None),
)
"""Captures that may be put into a batch, or another one. What a run has begun stays in its batch: its subject may
exist already."""

_place = temporary(
    "place",
    Column("key", Integer, primary_key=True, autoincrement=False),
    Column("batch", Integer),
    Column("position", Integer),
)
"""Where captures are to be, by their primary key."""

_STAGED = 100_000
"""So many places are put in order before they are staged: one by one, in a shuffled order, each would be written to
another page of the table, and once that is larger than what the database keeps in memory, read anew for it."""


# -- many captures at once -------------------------------------------------------------------------------------


def note_predicted(connection: Connection, run_id: int, which: ColumnExpressionArgument[bool]) -> int:
    """Move captures from manifested to predicted; those in other states keep theirs. Return how many moved.

    Args:
        connection: a write transaction.
        run_id: of the run that moves them.
        which: condition on `capture`.
    """
    return connection.execute(
        update(capture)
        .where(capture.c.state == State.MANIFESTED.value, which)
        .values(state=State.PREDICTED.value, run_id=run_id, moved_at=moment(connection), reason=None)
    ).rowcount


def note_batched(connection: Connection, run_id: int, batch_id: int, which: ColumnExpressionArgument[bool]) -> int:
    """Put captures into a batch, where nothing of them is on Zooniverse or on its way. Return how many.

    Args:
        connection, run_id: as for `note_predicted`.
        batch_id: the batch.
        which: condition on `capture`.
    """
    return connection.execute(
        update(capture)
        .where(
            NOT_BEGUN,
            capture.c.batch_id.is_distinct_from(batch_id) | (capture.c.state != State.BATCHED.value),
            which,
        )
        .values(
            state=State.BATCHED.value, batch_id=batch_id, run_id=run_id, moved_at=moment(connection), reason=None
        )
    ).rowcount


def note_placed(connection: Connection, run_id: int, places: Iterable[tuple[int, int, int]]) -> int:
    """Put captures into batches, each at its position; those of which something is on its way stay where they are.

    Args:
        connection, run_id: as for `note_batched`.
        places: primary keys of the capture and of its batch, and its position there.

    Returns:
        how many captures were not there already.
    """
    # Staged, and then one UPDATE that goes through captures as they lie: one statement a capture, in a shuffled
    # order, takes three times as long and is not linear.
    fresh(connection, _place)
    for page in pages(places, _STAGED):
        fill(connection, _place, sorted(page))
    there = exists().where(
        capture.c.id == _place.c.key,
        capture.c.state == State.BATCHED.value,
        capture.c.batch_id == _place.c.batch,
        capture.c.position == _place.c.position,
    )
    connection.execute(delete(_place).where(there))
    its = _place.c.key == capture.c.id
    with counted_once(connection, count(connection, _place)):
        return connection.execute(
            update(capture)
            .where(NOT_BEGUN, capture.c.id.in_(select(_place.c.key)))
            .values(
                state=State.BATCHED.value,
                batch_id=select(_place.c.batch).where(its).scalar_subquery(),
                position=select(_place.c.position).where(its).scalar_subquery(),
                run_id=run_id,
                moved_at=moment(connection),
                reason=None,
            )
        ).rowcount


def note_metadata_pending(connection: Connection, which: ColumnExpressionArgument[bool]) -> int:
    """Mark captures whose subject may carry other metadata than the ledger has now; return how many.

    Also those of which a subject is being made at this moment: the run has read the old metadata. Whoever brings
    the subject up to date sets `metadata_pending` back to NULL.

    Args:
        connection: a write transaction.
        which: condition on `capture`.
    """
    has_one = (
        capture.c.subject_id.is_not(None)
        | capture.c.create_sent_at.is_not(None)
        | (capture.c.state == State.UPLOADING.value)
    )
    return connection.execute(
        update(capture)
        .where(which, capture.c.state != State.DELETED.value, has_one)
        .values(metadata_pending=moment(connection))
    ).rowcount


def retry_all(connection: Connection, run_id: int, selection: Selection, reason: str) -> int:
    """Send the captures of a selection back to batched (`retry`), but for those that are excluded; return how many.

    Args:
        connection, run_id: as for `note_predicted`.
        selection: of failed, removed or deleted captures.
        reason: for the history.
    """
    found = snapshots(within(connection), selection.clause(), capture.c.excluded.is_(None))
    return sum(retry(connection, run_id, seen, reason) for page in found for seen in page)


# -- one capture, as it was seen -------------------------------------------------------------------------------


def _as_seen(seen: Snapshot) -> ColumnElement[bool]:
    return (
        (capture.c.id == seen.id)
        & (capture.c.state == seen.state)
        & (capture.c.claim == seen.claim)
        & capture.c.subject_id.is_not_distinct_from(seen.subject_id)
    )


def unmoved(connection: Connection, seen: Sequence[Snapshot]) -> set[int]:
    """Return the primary keys of those captures (at most 500) that are as they were seen."""
    found = connection.execute(select(*SNAPSHOT).where(capture.c.id.in_([each.id for each in seen])))
    now_as = {row.id: (row.state, row.claim, row.subject_id) for row in found}
    return {each.id for each in seen if now_as.get(each.id) == (each.state, each.claim, each.subject_id)}


def _do(connection: Connection, seen: Snapshot, **change: Any) -> bool:
    return connection.execute(update(capture).where(_as_seen(seen)).values(change)).rowcount == 1


def _moved(connection: Connection, run_id: int, state: State, reason: str) -> dict[str, Any]:
    return {"state": state.value, "run_id": run_id, "moved_at": moment(connection), "reason": reason}


def adopt(connection: Connection, run_id: int, seen: Snapshot, subject_id: int, batch_id: int, reason: str) -> bool:
    """Move a capture to uploaded with a subject found whole in its set; return False where it moved meanwhile.

    Args:
        connection: a write transaction.
        run_id: of the run that found it.
        seen: the capture as it was seen.
        subject_id, batch_id: the subject, and the batch in whose set it is.
        reason: for the history.
    """
    # A person's reason stays: it was uploaded all the same, and `remove` is for taking it out.
    ours = capture.c.excluded.in_([NO_USABLE_IMAGE, CLAIMED_BY_OLD_SCRIPTS])
    done = _do(
        connection,
        seen,
        **_moved(connection, run_id, State.UPLOADED, reason),
        subject_id=subject_id,
        batch_id=batch_id,
        **_SETTLED,
        excluded=case((ours, None), else_=capture.c.excluded),
    )
    if done:
        connection.execute(
            update(image)
            .where(image.c.capture_id == seen.id, image.c.problem.is_(None), image.c.arrived_at.is_(None))
            .values(arrived_at=moment(connection))
        )
    return done


def make_room(connection: Connection, run_id: int, seen: Snapshot, subject_id: int, reason: str) -> Snapshot | None:
    """Forget the subject that a capture had, where it is to have another; return the capture as it then is.

    Returns:
        None where it moved meanwhile.
    """
    if seen.subject_id not in (None, subject_id) or seen.state == State.DELETED.value:
        done = True
        if seen.state == State.UPLOADED.value:
            done = move(connection, run_id, seen, State.REMOVED, reason)
            seen = snapshot(connection, seen.id)
        if done and seen.state in (State.REMOVED.value, State.DELETED.value):  # it takes the way of a retry
            done = retry(connection, run_id, seen, reason)
            seen = snapshot(connection, seen.id)
        if not done or (seen.subject_id is not None and not forget_subject(connection, seen)):
            return None
        seen = snapshot(connection, seen.id)
    return seen


def snapshot(connection: Connection, key: int) -> Snapshot:
    """Return a capture as it is at this moment, by its primary key."""
    return Snapshot(*connection.execute(select(*SNAPSHOT).where(capture.c.id == key)).one())


def note_subject(connection: Connection, seen: Snapshot, subject_id: int) -> bool:
    """Write down the subject of a capture that an upload has still to finish."""
    return _do(connection, seen, subject_id=subject_id, **_SETTLED)


def know_subject(connection: Connection, key: int, subject_id: int) -> bool:
    """Write down the subject of a capture that has none, unless one may be on its way or another capture has it."""
    other = capture.alias("other")
    return (
        connection.execute(
            update(capture)
            .where(
                capture.c.id == key,
                capture.c.subject_id.is_(None),
                capture.c.state != State.UPLOADING.value,
                capture.c.create_sent_at.is_(None),
                ~exists().where(other.c.subject_id == subject_id),
            )
            .values(subject_id=subject_id)
        ).rowcount
        == 1
    )


def redo(
    connection: Connection, run_id: int, seen: Snapshot, subject_id: int | None, batch_id: int, reason: str
) -> bool:
    """Send a capture back to batched, its images to be put again; the next upload finishes it."""
    move_back = _moved(connection, run_id, State.BATCHED, reason)
    done = _do(connection, seen, **move_back, subject_id=subject_id, batch_id=batch_id, **_SETTLED)
    if done:
        forget_images(connection, seen.id)
    return done


def forget_images(connection: Connection, key: int) -> None:
    """Write down that none of a capture's images is known to be on Zooniverse."""
    connection.execute(update(image).where(image.c.capture_id == key).values(arrived_at=None))


def move(connection: Connection, run_id: int, seen: Snapshot, state: State, reason: str) -> bool:
    """Move a capture to removed or deleted; its subject id stays, for the record."""
    return _do(connection, seen, **_moved(connection, run_id, state, reason))


def forget_subject(connection: Connection, seen: Snapshot) -> bool:
    """Write down that a capture has no subject (any more); only for one that is not uploaded."""
    done = _do(connection, seen, subject_id=None, **_SETTLED)
    if done:
        forget_images(connection, seen.id)
    return done


def retry(connection: Connection, run_id: int, seen: Snapshot, reason: str) -> bool:
    """Send a failed, removed or deleted capture back to batched.

    A removed one keeps its subject, which the next upload links again without sending it anew; the subject of
    a deleted one is gone for good.
    """
    move_back = _moved(connection, run_id, State.BATCHED, reason)
    if seen.state == State.DELETED.value:
        done = _do(connection, seen, **move_back, subject_id=None, **_SETTLED)
        if done:
            forget_images(connection, seen.id)
        return done
    return _do(connection, seen, **move_back)
