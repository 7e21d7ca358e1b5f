"""Captures for somebody who leafs through them: a page at a time, by key, with filters, each in about 0.1 s.

What narrows a search down most is looked up by an index: state, season and batch by `ix_capture_work`, a site by
`ix_capture_order`, an id or a subject by its own. What no index knows (words in a reason, a part of an id) is
looked for among the captures that are left, and no longer than `LOOK_S`: then the page says up to where it looked.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true, union_all
from sqlalchemy.engine import Connection

from ctstate.capture import PAGE
from ctstate.ledger.schema import batch, capture, image, season, state_count
from ctstate.machine import machine
from ctstate.words import whole_number

ROWS = 50
"""A page."""

LOOK_S = 0.12
"""So long one look takes, about."""

_WINDOW, _SHORT_WINDOW = 10_000, 2_000
"""So many captures in a row are looked through by one statement; the fewer, in some 3 ms, where nobody can commit
meanwhile."""

_MOST_CELLS = 60
"""With more places than these in which they may be, going through all captures is as good."""

EXCLUDED = "excluded"
"""What is said in the place of a state for captures that must not be uploaded, whatever their state."""

NO_BATCH = "-"
"""What is said in the place of a batch for captures that are in none."""


class Wanted(NamedTuple):
    """Which captures; an empty text does not restrict.

    Attributes:
        season, batch, site: names; of a batch also `NO_BATCH`.
        state: a state, or `EXCLUDED`.
        reason: a kind of failure, or words of a reason.
        text: a capture's id or a part of it, or the number of a subject.
    """

    season: str = ""
    batch: str = ""
    site: str = ""
    state: str = ""
    reason: str = ""
    text: str = ""


class Row(NamedTuple):
    """A capture of a page."""

    key: int
    capture_id: str
    season_id: int
    site: str
    state: str
    batch_id: int | None
    excluded: str | None
    reason_kind: str | None
    reason: str | None
    subject_id: int | None
    moved_at: str
    ambiguous_at: str | None


class Found(NamedTuple):
    """A page.

    Attributes:
        rows: by key.
        next: the key to go on after; None: there are no more.
        stopped: it looked long enough, and the page is not full; `next` goes on.
        looked: through so many captures, where no index led to what was wanted.
    """

    rows: list[Row]
    next: int | None
    stopped: bool
    looked: int


_COLUMNS = (
    capture.c.id, capture.c.capture_id, capture.c.season_id, capture.c.site, capture.c.state, capture.c.batch_id,
    capture.c.excluded, capture.c.reason_kind, capture.c.reason, capture.c.subject_id, capture.c.moved_at,
    capture.c.ambiguous_at,
)  # fmt: skip


class Cell(NamedTuple):
    """Captures that an index finds together, by their key."""

    season_id: int
    batch_id: int
    state: str
    excluded: bool
    captures: int


def find(connection: Connection, wanted: Wanted, after: int = 0, *, shortly: bool = False) -> Found:
    """Return a page of captures.

    Args:
        connection: a transaction.
        wanted: which.
        after: those with a higher key.
        shortly: look through as little as can be told of at a time; see `onward`.
    """
    until = machine().monotonic() + (0.0 if shortly else LOOK_S)
    exact = _exactly(connection, wanted) if wanted.text else []
    if exact:
        return Found([row for row in exact if row.key > after], None, False, 0)
    cells = _cells(connection, wanted)
    words = _words(wanted)
    narrowed = wanted.state or wanted.batch or wanted.season
    if wanted.site and _at_site(connection, wanted.site) <= _WINDOW:
        parts = _of_site(connection, wanted, cells, words, after)
    elif narrowed and len(cells) <= _MOST_CELLS:
        of_site = capture.c.site == wanted.site if wanted.site else true()
        size = PAGE if wanted.text or wanted.reason or wanted.site else ROWS + 1
        parts = _of_cells(connection, cells, and_(of_site, words), after, size)
    else:
        parts = _of_all(connection, wanted, cells, words, after, _SHORT_WINDOW if shortly else _WINDOW)
    rows: list[Row] = []
    looked = 0
    for some, upto, number in parts:
        rows += some
        looked += number
        if len(rows) > ROWS:
            return Found(rows[:ROWS], rows[ROWS - 1].key, False, looked)
        if upto is None:
            break
        if machine().monotonic() > until:
            return Found(rows, upto, len(rows) < ROWS, looked)
    return Found(rows, None, False, looked)


def onward(before: Found, further: Found) -> Found:
    """Return one page of a look and of the one that went on after it."""
    rows, looked = [*before.rows, *further.rows], before.looked + further.looked
    if len(rows) > ROWS:
        return Found(rows[:ROWS], rows[ROWS - 1].key, False, looked)
    stopped = further.next is not None and len(rows) < ROWS
    return Found(rows, further.next, stopped, looked)


Part = tuple[list[Row], int | None, int]
"""Rows, the key up to which all were looked at (None: to the end), and how many that were."""


def _exactly(connection: Connection, wanted: Wanted) -> list[Row]:
    """What the text names as it stands."""
    text = wanted.text.strip()
    which: ColumnElement[bool] = capture.c.capture_id == text
    number = whole_number(text)
    if number is not None:
        which = capture.c.subject_id == number
    return [Row._make(row) for row in connection.execute(select(*_COLUMNS).where(which))]


def _cells(connection: Connection, wanted: Wanted) -> list[Cell]:
    """Where captures that are wanted can be, by the counts that are kept."""
    n = state_count.c
    which: list[ColumnElement[bool]] = [true()]
    if wanted.season:
        which.append(n.season_id.in_(select(season.c.id).where(season.c.name == wanted.season)))
    if wanted.batch == NO_BATCH:
        which.append(n.batch_id == 0)
    elif wanted.batch:
        which.append(n.batch_id.in_(select(batch.c.id).where(batch.c.name == wanted.batch)))
    if wanted.site:
        which.append(n.site == wanted.site)
    if wanted.state == EXCLUDED:
        which.append(n.kept_off != 0)
    elif wanted.state:
        which.append(and_(n.state == wanted.state, n.kept_off == 0))
    at = (n.season_id, n.batch_id, n.state, n.kept_off)
    found = connection.execute(
        select(*at, func.sum(n.captures)).where(*which).group_by(*at).having(func.sum(n.captures) > 0)
    )
    cells: dict[tuple[int, int, str, bool], int] = {}
    for season_id, batch_id, state, kept_off, number in found:
        place = (season_id, batch_id, state, bool(kept_off))
        cells[place] = cells.get(place, 0) + int(number)
    return [Cell(*place, captures=number) for place, number in cells.items()]


def _at_site(connection: Connection, site: str) -> int:
    """How many captures a site has, by the counts that are kept."""
    n = state_count.c
    return int(
        connection.execute(select(func.coalesce(func.sum(n.captures), 0)).where(n.site == site)).scalar_one()
    )


def _words(wanted: Wanted) -> ColumnElement[bool]:
    """What no index knows."""
    which: list[ColumnElement[bool]] = [true()]
    if wanted.text:
        which.append(capture.c.capture_id.contains(wanted.text.strip(), autoescape=True))
    if wanted.reason:
        reason = wanted.reason.strip()
        which.append(
            or_(
                capture.c.reason_kind == reason,
                capture.c.reason.contains(reason, autoescape=True),
                capture.c.excluded.contains(reason, autoescape=True),
            )
        )
    return and_(*which)


def _of(cell: Cell) -> ColumnElement[bool]:
    of_batch = capture.c.batch_id == cell.batch_id if cell.batch_id else capture.c.batch_id.is_(None)
    kept_off = capture.c.excluded.is_not(None) if cell.excluded else capture.c.excluded.is_(None)
    return and_(capture.c.season_id == cell.season_id, of_batch, capture.c.state == cell.state, kept_off)


def _of_cells(
    connection: Connection, cells: Sequence[Cell], words: ColumnElement[bool], after: int, size: int
) -> Iterator[Part]:
    """Merge what an index finds in each cell, by key, so many at a time."""
    if not cells:
        return
    while True:
        parts = [
            # By an expression, so that no planner prefers to go through all captures in the order of their key.
            select(select(capture.c.id).where(_of(cell), capture.c.id > after)
                   .order_by(capture.c.id + 0 if cell.excluded else capture.c.id).limit(size).subquery().c.id)
            for cell in cells
        ]  # fmt: skip
        merged = union_all(*parts).subquery()
        keys = connection.execute(select(merged.c.id).order_by(merged.c.id).limit(size)).scalars().all()
        if not keys:
            yield [], None, 0
            return
        found = connection.execute(select(*_COLUMNS).where(capture.c.id.in_(keys), words).order_by(capture.c.id))
        after = keys[-1]
        yield [Row._make(row) for row in found], after if len(keys) == size else None, len(keys)
        if len(keys) < size:
            return


def _of_site(
    connection: Connection, wanted: Wanted, cells: Sequence[Cell], words: ColumnElement[bool], after: int
) -> Iterator[Part]:
    """What an index finds of a site that has few captures."""
    rows: list[Row] = []
    for season_id in sorted({cell.season_id for cell in cells}):
        name: str | None = None
        while (name := _next_name(connection, season_id, name)) is not None:
            query: Select[Any] = (
                select(*_COLUMNS)
                .where(
                    capture.c.season_id == season_id,
                    capture.c.season == name,
                    capture.c.site == wanted.site,
                    capture.c.id + 0 > after,
                    or_(*(_of(cell) for cell in cells if cell.season_id == season_id)),
                    words,
                )
                .order_by(capture.c.id + 0)
                .limit(ROWS + 1)
            )
            rows += [Row._make(row) for row in connection.execute(query)]
    yield sorted(rows), None, 0


def _next_name(connection: Connection, season_id: int, after: str | None) -> str | None:
    """What the CSV calls the season (mostly one name): the next one, by an index."""
    names = select(func.min(capture.c.season)).where(capture.c.season_id == season_id)
    found = connection.execute(names if after is None else names.where(capture.c.season > after)).scalar()
    return None if found is None else str(found)


def _of_all(
    connection: Connection,
    wanted: Wanted,
    cells: Sequence[Cell],
    words: ColumnElement[bool],
    after: int,
    window: int,
) -> Iterator[Part]:
    """Go through all captures in the order of their key, window by window."""
    which = [words]
    if wanted.site:
        which.append(capture.c.site == wanted.site)
    if wanted.state == EXCLUDED:
        which.append(capture.c.excluded.is_not(None))
    elif wanted.state:
        which.append(and_(capture.c.state == wanted.state, capture.c.excluded.is_(None)))
    if wanted.season:
        which.append(capture.c.season_id.in_({cell.season_id for cell in cells}))
    if wanted.batch == NO_BATCH:
        which.append(capture.c.batch_id.is_(None))
    elif wanted.batch:
        which.append(capture.c.batch_id.in_({cell.batch_id for cell in cells}))
    if not cells:
        return
    highest = connection.execute(select(func.max(capture.c.id))).scalar() or 0
    while after < highest:
        upto = after + window
        found = connection.execute(
            select(*_COLUMNS)
            .where(capture.c.id > after, capture.c.id <= upto, *which)
            .order_by(capture.c.id)
            .limit(ROWS + 1)
        )
        yield [Row._make(row) for row in found], upto if upto < highest else None, window
        after = upto


# -- one capture -----------------------------------------------------------------------------------------------


def name_of(connection: Connection, key: int) -> str | None:
    """Return the id of the capture with this key, if there is one."""
    return connection.execute(select(capture.c.capture_id).where(capture.c.id == key)).scalar()


class Place(NamedTuple):
    """Where an image's file is: its path, below a folder unless that is None."""

    path: str
    below: str | None


def place_of_image(connection: Connection, key: int, rank: int) -> Place | None:
    """Return where the file of a capture's image is, as the ledger has it; None: it lists no such image."""
    row = connection.execute(
        select(image.c.path, season.c.images_root)
        .select_from(image.join(capture, capture.c.id == image.c.capture_id))
        .join(season, season.c.id == capture.c.season_id)
        .where(image.c.capture_id == key, image.c.rank == rank)
    ).first()
    return None if row is None else Place(*row)
