"""Which captures, and reading them: a selection by state, season, batch, site, roll, capture id or subject id, and
pages by primary key, so that memory is bounded and no reader holds the ledger for long.

Whoever reads page by page says how a transaction begins: `ledger.read` begins one for each page,
`within(connection)` stays in one.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, ColumnExpressionArgument, Row, Select, and_, select, true
from sqlalchemy.engine import Connection

from ctstate.capture import PAGE, Capture, Snapshot, pages
from ctstate.errors import UsageError
from ctstate.ledger.schema import batch, capture, season
from ctstate.ledger.states import State

R = TypeVar("R")

Begin = Callable[[], AbstractContextManager[Connection]]
"""How a transaction begins."""

SNAPSHOT = tuple(capture.c[name] for name in Snapshot._fields)
"""The columns of a `Snapshot`, for a select."""

_RECORD = tuple(capture.c[name] for name in Capture._fields)


@dataclass(frozen=True)
class Selection:
    """Captures that match every field given; an empty field does not restrict.

    Attributes:
        states: states, as `State` or their names.
        season: manifest id (the name of the season in the ledger).
        batch: name of the batch, such as `batch_1`.
        sites, rolls: as in the captures CSV.
        capture_ids: such as `SER_S1#B04#1#17`; at most 500 at a time, as of sites, rolls and subject ids.
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
            if len(ids) > PAGE:
                raise UsageError(f"a selection takes at most {PAGE} ids or names at a time")

    @property
    def restricts(self) -> bool:
        """Whether any field is given: without one, all captures are selected."""
        return any(vars(self).values())

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
                parts.append(column.in_(list(values)))
        return and_(*parts)


# -- page by page ----------------------------------------------------------------------------------------------


def within(connection: Connection) -> Begin:
    """Return the way to begin that stays in one transaction."""
    return lambda: nullcontext(connection)


def in_pages(
    begin: Begin,
    query: Select[Any],
    make: Callable[[Connection, Sequence[Row[Any]]], list[R]],
    *,
    key: ColumnElement[int] = capture.c.id,
    size: int = PAGE,
) -> Iterator[list[R]]:
    """Yield what a query finds, a page at a time, in the order of a primary key. The one pager.

    Args:
        begin: begins a page's transaction, which has ended when the page is yielded.
        query: its first column is the key.
        make: turns the rows of a page (at least one) into what is yielded; may read more in the same transaction.
        key: the primary key.
        size: so many rows a page.
    """
    query = query.order_by(key).limit(size)
    last = 0
    while True:
        with begin() as connection:
            rows = connection.execute(query.where(key > last)).all()
            page = make(connection, rows) if rows else []
        if rows:
            yield page
            last = rows[-1][0]
        if len(rows) < size:
            return


def snapshots(begin: Begin, *which: ColumnExpressionArgument[bool]) -> Iterator[list[Snapshot]]:
    """Yield the captures for which all conditions hold, as they are when their page is read, by id."""
    return in_pages(begin, select(*SNAPSHOT).where(*which), lambda _, rows: [Snapshot._make(row) for row in rows])


def snapshots_of_batch(begin: Begin, season_id: int, batch_id: int) -> Iterator[list[Snapshot]]:
    """Yield the captures of a batch; see `snapshots`."""
    return snapshots(begin, capture.c.season_id == season_id, capture.c.batch_id == batch_id)


def records(begin: Begin, selection: Selection) -> Iterator[list[Capture]]:
    """Yield the captures of a selection, by id, with what a program wants to know of them."""
    query = select(*_RECORD).where(selection.clause())
    return in_pages(begin, query, lambda _, rows: [Capture._make(row) for row in rows])


def snapshots_among(
    begin: Begin, keys: Iterable[int], *which: ColumnExpressionArgument[bool], size: int = PAGE
) -> Iterator[list[Snapshot]]:
    """Yield those of the captures with these primary keys for which all conditions hold, a page at a time.

    Args:
        begin: see `in_pages`.
        keys: in ascending order, so that all pages together are.
        which: conditions on `capture`.
        size: keys a page; fewer than 500 where the conditions have many parameters of their own.
    """
    for part in pages(keys, size):
        query = select(*SNAPSHOT).where(capture.c.id.in_(part), *which).order_by(capture.c.id)
        with begin() as connection:
            page = [Snapshot(*row) for row in connection.execute(query)]
        yield page


# -- by what they are called -----------------------------------------------------------------------------------


def keys_by_capture_id(connection: Connection, capture_ids: Collection[str]) -> dict[str, int]:
    """Return the primary keys of those of these captures that the ledger knows (at most 500)."""
    if not capture_ids:
        return {}
    found = connection.execute(
        select(capture.c.capture_id, capture.c.id).where(capture.c.capture_id.in_(list(capture_ids)))
    )
    return {name: int(key) for name, key in found}


def keys_by_subject_id(connection: Connection, subject_ids: Collection[int]) -> dict[int, int]:
    """Return the primary keys of the captures that have one of these subjects (at most 500), by subject id."""
    if not subject_ids:
        return {}
    found = connection.execute(
        select(capture.c.subject_id, capture.c.id).where(capture.c.subject_id.in_(list(subject_ids)))
    )
    return {int(subject_id): int(key) for subject_id, key in found}


def subject_of(connection: Connection, key: int) -> int | None:
    """Return the subject that a capture has at this moment, by its primary key."""
    return connection.execute(select(capture.c.subject_id).where(capture.c.id == key)).scalar()


def name_of_subject(connection: Connection, subject_id: int) -> str | None:
    """Return the id of the capture that has this subject, or None."""
    return connection.execute(select(capture.c.capture_id).where(capture.c.subject_id == subject_id)).scalar()
