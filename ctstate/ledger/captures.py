"""Which captures: a selection by state, season, batch, site, roll, capture id or subject id."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, true

from ctstate.errors import UsageError
from ctstate.ledger.schema import batch, capture, season
from ctstate.ledger.states import State

_MOST_PARAMETERS = 500  # SQLite before 3.32 takes 999 in a statement


@dataclass(frozen=True)
class Selection:
    """Captures that match every field given; an empty field does not restrict.

    Attributes:
        states: states, as `State` or their names.
        season: manifest id (the name of the season in the ledger).
        batch: name of the batch, such as `batch_1`.
        sites, rolls: as in the captures CSV.
        capture_ids: such as `SER_S1#B04#1#17`; at most a few hundred, see `chunks`.
        subject_ids: Zooniverse's numbers.
    """

    states: Sequence[str] = ()
    season: str | None = None
    batch: str | None = None
    sites: Sequence[str] = ()
    rolls: Sequence[str] = ()
    capture_ids: Sequence[str] = ()
    subject_ids: Sequence[int] = ()

    def __post_init__(self) -> None:
        known = {state.value for state in State}
        for name in self.states:
            if str(name) not in known:
                raise UsageError(f"{name!r} is not a state; the states are {', '.join(s.value for s in State)}")
        for ids in (self.capture_ids, self.subject_ids, self.sites, self.rolls):
            if len(ids) > _MOST_PARAMETERS:
                raise UsageError(f"a selection takes at most {_MOST_PARAMETERS} ids or names at a time")

    def clause(self) -> ColumnElement[bool]:
        """Return the condition on `capture` (no join needed)."""
        parts: list[ColumnElement[bool]] = [true()]
        if self.states:
            parts.append(capture.c.state.in_([str(name) for name in self.states]))
        if self.season is not None:
            parts.append(capture.c.season_id.in_(select(season.c.id).where(season.c.name == self.season)))
        if self.batch is not None:
            parts.append(capture.c.batch_id.in_(select(batch.c.id).where(batch.c.name == self.batch)))
        for column, values in (
            (capture.c.site, self.sites),
            (capture.c.roll, self.rolls),
            (capture.c.capture_id, self.capture_ids),
            (capture.c.subject_id, self.subject_ids),
        ):
            if values:
                parts.append(_among(column, values))
        return and_(*parts)


def _among(column: Any, values: Sequence[Any]) -> ColumnElement[bool]:
    return or_(column == values[0]) if len(values) == 1 else column.in_(list(values))
