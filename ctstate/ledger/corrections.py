"""Corrections: moves that follow what Zooniverse shows, or what a person wants, outside a claim.

Each names the state in which the capture was seen and changes nothing if it has moved since, so that a
correction never fights an upload that goes on meanwhile.
"""

from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from ctstate.ledger.clock import now
from ctstate.ledger.exclusions import CLAIMED_BY_OLD_SCRIPTS, NO_USABLE_IMAGE
from ctstate.ledger.states import State

_SEEN = " WHERE id = :id AND state = :seen AND claim = :claim AND subject_id IS :subject_seen"
_SETTLED = "create_run_id = NULL, create_sent_at = NULL, create_floor = NULL, ambiguous_at = NULL"
_MOVE = "state = :state, run_id = :run, moved_at = :at, reason = :reason"


def _do(connection: Connection, change: str, seen: Any, **values: Any) -> bool:
    parameters = {
        "id": seen.id, "seen": seen.state, "claim": seen.claim, "subject_seen": seen.subject_id, "at": now(),
        **values,
    }  # fmt: skip
    return connection.execute(text(f"UPDATE capture SET {change}{_SEEN}"), parameters).rowcount == 1


def adopt(connection: Connection, run_id: int, seen: Any, subject_id: int, batch_id: int, reason: str) -> bool:
    """Move a capture to uploaded with a subject found whole in its set; return False where it moved meanwhile.

    Args:
        connection: a write transaction.
        run_id: of the run that found it.
        seen: the capture as it was seen, with `id`, `state`, `claim` and `subject_id`.
        subject_id, batch_id: the subject, and the batch in whose set it is.
        reason: for the history.
    """
    done = _do(
        connection,
        # A person's reason stays: it was uploaded all the same, and `remove` is for taking it out.
        f"{_MOVE}, subject_id = :subject, batch_id = :batch, {_SETTLED},"
        " excluded = CASE WHEN excluded IN (:no_image, :claimed) THEN NULL ELSE excluded END",
        seen,
        state=State.UPLOADED.value,
        run=run_id,
        reason=reason,
        subject=subject_id,
        batch=batch_id,
        no_image=NO_USABLE_IMAGE,
        claimed=CLAIMED_BY_OLD_SCRIPTS,
    )
    if done:
        connection.execute(
            text(
                "UPDATE image SET arrived_at = :at"
                " WHERE capture_id = :id AND problem IS NULL AND arrived_at IS NULL"
            ),
            {"id": seen.id, "at": now()},
        )
    return done


def make_room(connection: Connection, run_id: int, seen: Any, subject_id: int, reason: str) -> Any:
    """Forget the subject that a capture had, where it is to have another; return the capture as it then is.

    Returns:
        None where it moved meanwhile.
    """
    if seen.subject_id not in (None, subject_id) or seen.state == State.DELETED.value:
        done = True
        if seen.state == State.UPLOADED.value:
            done = move(connection, run_id, seen, State.REMOVED, reason)
            seen = _now(connection, seen)
        if done and seen.state in (State.REMOVED.value, State.DELETED.value):  # it takes the way of a retry
            done = retry(connection, run_id, seen, reason)
            seen = _now(connection, seen)
        if not done or (seen.subject_id is not None and not forget_subject(connection, seen)):
            return None
        seen = _now(connection, seen)
    return seen


def _now(connection: Connection, seen: Any) -> Any:
    return connection.execute(
        text("SELECT id, state, claim, subject_id FROM capture WHERE id = :id"), {"id": seen.id}
    ).one()


def note_subject(connection: Connection, seen: Any, subject_id: int) -> bool:
    """Write down the subject of a capture that an upload has still to finish."""
    return _do(connection, f"subject_id = :subject, {_SETTLED}", seen, subject=subject_id)


def redo(
    connection: Connection, run_id: int, seen: Any, subject_id: int | None, batch_id: int, reason: str
) -> bool:
    """Send a capture back to batched, its images to be put again; the next upload finishes it."""
    done = _do(
        connection,
        f"{_MOVE}, subject_id = :subject, batch_id = :batch, {_SETTLED}",
        seen,
        state=State.BATCHED.value,
        run=run_id,
        reason=reason,
        subject=subject_id,
        batch=batch_id,
    )
    if done:
        forget_images(connection, seen.id)
    return done


def forget_images(connection: Connection, key: int) -> None:
    """Write down that none of a capture's images is known to be on Zooniverse."""
    connection.execute(text("UPDATE image SET arrived_at = NULL WHERE capture_id = :id"), {"id": key})


def move(connection: Connection, run_id: int, seen: Any, state: State, reason: str) -> bool:
    """Move a capture to removed or deleted; its subject id stays, for the record."""
    return _do(connection, _MOVE, seen, state=state.value, run=run_id, reason=reason)


def forget_subject(connection: Connection, seen: Any) -> bool:
    """Write down that a capture has no subject (any more); only for one that is not uploaded."""
    done = _do(connection, f"subject_id = NULL, {_SETTLED}", seen)
    if done:
        forget_images(connection, seen.id)
    return done


def retry(connection: Connection, run_id: int, seen: Any, reason: str) -> bool:
    """Send a failed, removed or deleted capture back to batched.

    A removed one keeps its subject, which the next upload links again without sending it anew; the subject of
    a deleted one is gone for good.
    """
    if seen.state == State.DELETED.value:
        done = _do(
            connection, f"{_MOVE}, subject_id = NULL, {_SETTLED}", seen, state="batched", run=run_id, reason=reason
        )
        if done:
            forget_images(connection, seen.id)
        return done
    return _do(connection, _MOVE, seen, state=State.BATCHED.value, run=run_id, reason=reason)
