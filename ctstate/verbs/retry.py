"""Another try for captures that failed or were taken back (`ctstate retry`)."""

from collections.abc import Sequence

from ctstate.errors import UsageError
from ctstate.ledger import Ledger, Selection, State, transitions
from ctstate.ledger.states import RETRYABLE


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
    season_id = ledger.season(season).id if season is not None else None
    if batch is not None and all(row.name != batch for row in ledger.batches(season_id)):
        raise UsageError(f"no batch {batch!r} in the ledger; `ctstate status` shows which there are")
    if ledger.count(selection) == 0:
        return 0
    arguments = {
        "states": list(states), "season": season, "batch": batch, "sites": list(sites),
        "capture_ids": list(capture_ids), "reason": reason,
    }  # fmt: skip
    with ledger.atomic_run("retry", arguments) as (connection, run_id):
        return transitions.retry_all(connection, run_id, selection, reason)
