"""How far each season and batch is (`ctstate status`)."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from ctstate.errors import UsageError
from ctstate.ledger import Ledger, State
from ctstate.ledger.counts import StateCount, count_states
from ctstate.verbs.pages import Pages

STATES = tuple(str(state) for state in State)


@dataclass(frozen=True)
class BatchStatus:
    """How many captures of a season's batch are in each state.

    Attributes:
        season: manifest id.
        batch: None: in no batch yet.
        counts: by state, excluded captures left out.
        excluded: captures that are not to be uploaded.
        in_doubt: captures whose create got no answer, to be looked for.
        subject_set_id: once there is one.
        project_url: where a browser shows the project that it is in; None: the ledger does not know.
    """

    season: str
    batch: str | None
    counts: dict[str, int]
    excluded: int
    in_doubt: int
    subject_set_id: int | None
    project_url: str | None

    @property
    def total(self) -> int:
        """All captures, the excluded included."""
        return sum(self.counts.values()) + self.excluded


def status(ledger: Ledger, season: str | None = None, batch: str | None = None) -> list[BatchStatus]:
    """Return how far every season and batch is, or those named.

    Raises:
        UsageError: no such season or batch.
    """
    if season is not None:
        ledger.season(season)
    pages = Pages(ledger)
    with ledger.read() as connection:
        rows = count_states(connection, season, batch)
    if batch is not None and not rows:
        raise UsageError(f"no batch {batch!r} in the ledger")
    return by_batch(rows, pages)


def by_batch(rows: Iterable[StateCount], pages: Pages) -> list[BatchStatus]:
    """Return how far batches are, of counts that come batch by batch."""
    groups = [list(part) for _, part in itertools.groupby(rows, lambda row: (row.season, row.batch))]
    return [
        BatchStatus(
            season=part[0].season,
            batch=part[0].batch,
            counts={state: sum(row.captures for row in part if row.state == state) for state in STATES},
            excluded=sum(row.excluded for row in part),
            in_doubt=sum(row.in_doubt for row in part),
            subject_set_id=part[0].subject_set_id,
            project_url=pages.of_project(part[0].project_id),
        )
        for part in groups
    ]
