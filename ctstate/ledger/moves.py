"""Moves of many captures in one statement, for the bulk verbs. Each takes a write transaction."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.engine import Connection

from ctstate.ledger.clock import now
from ctstate.ledger.states import State


def note_predicted(connection: Connection, run_id: int, which: str) -> int:
    """Move captures from manifested to predicted; those in other states keep theirs. Return how many moved.

    Args:
        connection: a write transaction.
        run_id: of the run that moves them.
        which: condition on `capture`.
    """
    return connection.execute(
        text(
            "UPDATE capture SET state = :target, run_id = :run, moved_at = :at, reason = NULL"
            f" WHERE state = :source AND ({which})"
        ),
        {"source": State.MANIFESTED.value, "target": State.PREDICTED.value, "run": run_id, "at": now()},
    ).rowcount


def note_batched(connection: Connection, run_id: int, batch_id: int, which: str) -> int:
    """Put captures into a batch, where nothing of them is on Zooniverse or on its way. Return how many.

    Args:
        connection, run_id: as for `note_predicted`.
        batch_id: the batch.
        which: condition on `capture`.
    """
    return connection.execute(
        text(
            "UPDATE capture SET state = :target, batch_id = :batch, run_id = :run, moved_at = :at, reason = NULL"
            " WHERE state IN ('manifested', 'predicted', 'batched') AND subject_id IS NULL"
            f" AND create_sent_at IS NULL AND batch_id IS NOT :batch AND ({which})"
        ),
        {"target": State.BATCHED.value, "batch": batch_id, "run": run_id, "at": now()},
    ).rowcount


def note_metadata_pending(connection: Connection, which: str) -> int:
    """Mark captures whose subject may carry other metadata than the ledger has now; return how many.

    Also those of which a subject is being made at this moment: the run has read the old metadata. Whoever brings
    the subject up to date sets `metadata_pending` back to NULL.

    Args:
        connection: a write transaction.
        which: condition on `capture`.
    """
    return connection.execute(
        text(
            f"UPDATE capture SET metadata_pending = :at WHERE ({which}) AND state <> 'deleted'"
            " AND (subject_id IS NOT NULL OR create_sent_at IS NOT NULL OR state = 'uploading')"
        ),
        {"at": now()},
    ).rowcount
