"""Runs that have uploaded, as the ledger knows of them: no server is asked."""

from sqlalchemy import text

from ctstate.ledger import Ledger, claims, clock, runs
from ctstate.ledger.facts import Made, Moved, write_down
from ctstate.ledger.states import State


def uploaded_by(ledger: Ledger, run_id: int, number: int, seconds: float) -> None:
    """Let a run have brought so many captures up in so many seconds, and end."""
    with ledger.write() as connection:
        began = {"r": run_id, "at": clock.shifted(clock.now(), -seconds)}
        connection.execute(text("UPDATE run SET started_at = :at WHERE id = :r"), began)
        claimed = claims.claim(connection, run_id, 1, 1, number)
        write_down(connection, [(one, [Made(1000 + one.row.id), Moved(State.UPLOADED)]) for one in claimed])
        runs.end(connection, run_id, "done")
