"""Another try for captures that failed or were taken back (`ctstate retry`)."""

from collections.abc import Sequence

from sqlalchemy import select, true

from ctstate.capture import Snapshot
from ctstate.errors import UsageError
from ctstate.ledger import Ledger, Selection, transitions
from ctstate.ledger.schema import batch as batch_table
from ctstate.ledger.schema import capture
from ctstate.ledger.schema import season as season_table
from ctstate.ledger.states import RETRYABLE, State

_PAGE = 500


def retry(
    ledger: Ledger,
    *,
    states: Sequence[str] = (State.FAILED.value,),
    season: str | None = None,
    batch: str | None = None,
    sites: Sequence[str] = (),
    capture_ids: Sequence[str] = (),
    reason: str = "retry",
) -> int:
    """Send captures back to batched, in one transaction; return how many.

    A removed one keeps its subject: the next upload links it again and sends nothing anew. Excluded ones stay
    where they are, as no upload would take them up.

    Args:
        ledger: the ledger.
        states: of failed, removed, deleted.
        season, batch, sites, capture_ids: only these; see `Selection`.
        reason: for the history.

    Raises:
        UsageError: another state, or a capture id that is not in the ledger or not in one of these states.
    """
    wrong = [name for name in states if name not in {state.value for state in RETRYABLE}]
    if wrong:
        raise UsageError(f"captures that are {wrong[0]} need no retry; it is for {', '.join(RETRYABLE)}")
    selection = Selection(states=states, season=season, batch=batch, sites=sites, capture_ids=capture_ids)
    for capture_id in capture_ids:
        rows = list(ledger.captures(Selection(capture_ids=[capture_id])))
        if not rows:
            raise UsageError(f"no capture {capture_id!r} in the ledger")
        if rows[0].state not in states:
            raise UsageError(
                f"capture {capture_id} is {rows[0].state}, not {' or '.join(states)}: nothing was changed"
            )
        if rows[0].excluded is not None:
            raise UsageError(f"capture {capture_id} is excluded ({rows[0].excluded}): see `ctstate include`")
    if season is not None:
        ledger.season(season)
    if batch is not None:
        _check_batch(ledger, season, batch)
    if ledger.count(selection) == 0:
        return 0
    count = last = 0
    arguments = {
        "states": list(states), "season": season, "batch": batch, "sites": list(sites),
        "capture_ids": list(capture_ids), "reason": reason,
    }  # fmt: skip
    with ledger.atomic_run("retry", arguments) as (connection, run_id):
        while True:
            found = connection.execute(
                select(*transitions.SNAPSHOT)
                .where(capture.c.id > last, selection.clause(), capture.c.excluded.is_(None))
                .order_by(capture.c.id)
                .limit(_PAGE)
            )
            page = [Snapshot(*row) for row in found]
            count += sum(transitions.retry(connection, run_id, row, reason) for row in page)
            if len(page) < _PAGE:
                return count
            last = page[-1].id


def _check_batch(ledger: Ledger, season: str | None, name: str) -> None:
    """Refuse the name of a batch that no (or not this) season has."""
    with ledger.read() as connection:
        found = connection.execute(
            select(batch_table.c.id)
            .join(season_table, season_table.c.id == batch_table.c.season_id)
            .where(batch_table.c.name == name, (season_table.c.name == season) if season is not None else true())
            .limit(1)
        ).first()
    if found is None:
        raise UsageError(f"no batch {name!r} in the ledger; `ctstate status` shows which there are")
