"""The names that a shell completes: looked up in the ledger's file at once, or not at all.

Whoever presses Tab expects that nothing happens: no ledger is made, brought up to date or waited for.
"""

import sqlite3
from contextlib import closing
from urllib.parse import quote

from ctstate.errors import UsageError
from ctstate.ledger.database import place_of

PATIENCE_S = 0.5

# By season and batch, so that ix_capture_work leads to the states that are there.
_STATES = """
SELECT name FROM state WHERE EXISTS (
    SELECT 1 FROM capture WHERE season_id IN (SELECT id FROM season)
    AND batch_id IN (SELECT id FROM batch) AND capture.state = state.name
) OR EXISTS (
    SELECT 1 FROM capture WHERE season_id IN (SELECT id FROM season)
    AND batch_id IS NULL AND capture.state = state.name
) ORDER BY rank
"""


def seasons(place: str) -> list[str]:
    """Return the seasons of a ledger."""
    return _ask(place, "SELECT name FROM season ORDER BY name")


def batches(place: str, season: str | None = None) -> list[str]:
    """Return the batches of a ledger, or of one of its seasons, in the order they were made."""
    if season is None:
        return _ask(place, "SELECT name FROM batch GROUP BY name ORDER BY min(id)")
    of_it = "SELECT name FROM batch WHERE season_id = (SELECT id FROM season WHERE name = ?) ORDER BY id"
    return _ask(place, of_it, season)


def states(place: str) -> list[str]:
    """Return the states that captures of a ledger are in."""
    return _ask(place, _STATES)


def _ask(place: str, question: str, *values: str) -> list[str]:
    try:
        path = place_of(place).path
        if path is None:  # a server would have to be waited for
            return []
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE_S)) as connection:
            return [str(name) for (name,) in connection.execute(question, values)]
    except (UsageError, sqlite3.Error, ValueError):  # no ledger, another version's, one that is being written
        return []
