"""Counts that are kept instead of counted: how many captures are where and in which state (`state_count`).

Triggers keep them, a row moved at a time; who moves a whole season lets them rest and counts once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, and_, case, delete, func, insert, literal, select, true
from sqlalchemy.engine import Connection

from ctstate.ledger.database import upsert
from ctstate.ledger.schema import batch, capture, meta, season, state_count

_REST = "counts_rest"
"""While `meta` has this row the triggers do nothing. It never outlives its transaction."""


MANY = 10_000
"""Of so many captures it is cheaper to count all than to count each as it moves."""

AT_ONCE = 100_000
"""So many captures are counted by one statement: it sorts them, and more would not stay in its memory."""


@contextmanager
def counted_once(connection: Connection, captures: int, season_id: int | None = None) -> Iterator[None]:
    """Let the counts rest while many captures move, and count once afterwards; with few, leave it to the triggers.

    Args:
        connection: a write transaction that goes on around this.
        captures: about how many will move.
        season_id: the season that all of them are of; None: of any.
    """
    if captures < MANY:
        yield
        return
    connection.execute(insert(meta).values(name=_REST, value=str(captures)))
    yield
    of_season = true() if season_id is None else state_count.c.season_id == season_id
    connection.execute(delete(state_count).where(of_season))
    # In words that keep a database off the index by season: by that, each part would read the whole season.
    _count_in_parts(connection, true() if season_id is None else capture.c.season_id + 0 == season_id)
    connection.execute(delete(meta).where(meta.c.name == _REST))


def _count_in_parts(connection: Connection, which: ColumnElement[bool]) -> None:
    """Add captures to `state_count`, a part at a time, as they lie."""
    last = 0
    while True:
        first = connection.execute(select(func.min(capture.c.id)).where(capture.c.id > last)).scalar()
        if first is None:
            return
        last = int(first) + AT_ONCE - 1
        counted = _recount(and_(which, capture.c.id.between(first, last)))
        add = upsert(connection, state_count).from_select([column.name for column in state_count.c], counted)
        more = {"captures": state_count.c.captures + add.excluded.captures}
        connection.execute(add.on_conflict_do_update(index_elements=list(state_count.primary_key), set_=more))


def _recount(which: ColumnElement[bool]) -> Select[tuple[int, int, str, str, int, int, int]]:
    """Count captures as the triggers would have."""
    there = capture.c.subject_id.is_not(None)
    cell = (
        capture.c.season_id,
        func.coalesce(capture.c.batch_id, literal(0)),
        capture.c.site,
        capture.c.state,
        case((capture.c.excluded.is_(None), literal(0)), (there, literal(2)), else_=literal(1)),
        case((capture.c.ambiguous_at.is_(None), literal(0)), else_=literal(1)),
    )
    labelled = [value.label(column.name) for value, column in zip(cell, state_count.c, strict=False)]
    inner = select(*labelled).where(which).subquery()
    return select(*inner.c, func.count()).group_by(*inner.c)


def drift(connection: Connection) -> int:
    """Return how many rows of `state_count` differ from what is counted now: 0, unless something is wrong."""
    kept = {tuple(row) for row in connection.execute(select(state_count).where(state_count.c.captures != 0))}
    return len(kept ^ {tuple(row) for row in connection.execute(_recount(true()))})


class StateCount(NamedTuple):
    """How many captures of a batch are in a state.

    Attributes:
        season: manifest id.
        batch: None: in no batch yet.
        subject_set_id, project_id: once there is one.
        state: the state.
        captures: in that state, excluded ones apart.
        excluded: captures that are not to be uploaded.
        in_doubt: captures whose create got no answer, to be looked for.
    """

    season: str
    batch: str | None
    subject_set_id: int | None
    project_id: int | None
    state: str
    captures: int
    excluded: int
    in_doubt: int


def count_states(connection: Connection, season_name: str | None, batch_name: str | None) -> list[StateCount]:
    """Count the captures of every season, batch and state, or of those named; by season, then as batches were made.

    An excluded capture that is on Zooniverse all the same counts by its state.
    """
    n = state_count.c

    def total(which: ColumnElement[bool]) -> ColumnElement[int]:
        return func.sum(case((which, n.captures), else_=0))

    at = (season.c.name, batch.c.name, batch.c.subject_set_id, batch.c.project_id, n.batch_id, n.state)
    which: list[ColumnElement[bool]] = [true()]
    if season_name is not None:
        which.append(season.c.name == season_name)
    if batch_name is not None:
        which.append(batch.c.name == batch_name)
    found = connection.execute(
        select(*at, total(n.kept_off != 1), total(n.kept_off == 1), total(n.in_doubt == 1))
        .select_from(state_count)
        .join(season, season.c.id == n.season_id)
        .outerjoin(batch, batch.c.id == n.batch_id)
        .where(and_(*which))
        .group_by(*at)
        .having(func.sum(n.captures) > 0)
        .order_by(season.c.name, n.batch_id, n.state)
    )
    return [
        StateCount(name, of, set_id, project, state, int(captures), int(excluded), int(in_doubt))
        for name, of, set_id, project, _, state, captures, excluded, in_doubt in found
    ]
