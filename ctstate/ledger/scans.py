"""What a report must look at every row for: days, reasons, images, predictions.

A table is read some thousand rows at a time by its primary key, each part in a transaction of its own, so that no
read holds back a checkpoint for long. Parts are added up as they come: together they are no picture of one moment.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from sqlalchemy import ColumnElement, FromClause, Table, and_, case, func, select
from sqlalchemy.engine import Connection

from ctstate.ledger.captures import Begin
from ctstate.ledger.schema import capture, image, prediction, season
from ctstate.ledger.states import State
from ctstate.machine import machine

T = TypeVar("T")

ROWS = 5_000
"""So many rows has a part at first."""

SHORT_S, LONG_S = 0.02, 0.05
"""A part that took less than the first is followed by a larger one; one that took more than the second, by a
smaller."""

FEWEST, MOST = 250, 10_000

EVERY = 2**62
"""No key is larger."""

UNKNOWN = "unknown"
"""The kind of failures of which the ledger says none."""

EXAMPLES = 4
"""So many failed captures of a kind are named."""

SAMPLES = 50
"""Of so many images a part the size is compared with their files'."""


def in_parts(
    begin: Begin, key: ColumnElement[int], look: Callable[[Connection, ColumnElement[bool]], T]
) -> list[T]:
    """Look at all rows of a table, a part at a time; return what was seen of each.

    Args:
        begin: begins a part's transaction.
        key: the primary key.
        look: is given the transaction and the condition that holds for the part's rows.
    """
    found: list[T] = []
    last, rows = 0, ROWS
    while True:
        began = machine().monotonic()
        with begin() as connection:
            first = connection.execute(select(func.min(key)).where(key > last)).scalar()
            if first is None:
                return found
            last = int(first) + rows - 1
            found.append(look(connection, key.between(int(first), last)))
        took = machine().monotonic() - began
        if took > LONG_S:
            rows = max(FEWEST, rows // 2)
        elif took < SHORT_S:
            rows = min(MOST, rows * 2)


def _of(season_id: int) -> ColumnElement[bool]:
    """Return the condition that a capture is of a season, in words that keep a database off the index by season.

    A part is read by its primary key: by that index each part would read the whole season.
    """
    return capture.c.season_id + 0 == season_id


class Whose(NamedTuple):
    """How to tell which rows of another table are of a season's captures.

    Attributes:
        season_id: the season.
        first, last: keys of its captures, where no other season has one in between; None: each capture is asked.
    """

    season_id: int
    first: int | None
    last: int | None

    def rows(self, table: Table) -> tuple[FromClause, ColumnElement[bool]]:
        """Return what to select from, and the condition."""
        if self.first is None:
            return table.join(capture, capture.c.id == table.c.capture_id), _of(self.season_id)
        return table, (table.c.capture_id + 0).between(self.first, self.last)


def whose(begin: Begin, season_id: int) -> Whose:
    """Find out how to tell what is of a season; see `in_parts`."""
    with begin() as connection:
        if connection.execute(select(func.count()).select_from(season)).scalar_one() == 1:
            return Whose(season_id, 0, EVERY)
    key = capture.c.id
    mine: list[tuple[int, int]] = []
    others: list[tuple[int, int]] = []

    def look(connection: Connection, part: ColumnElement[bool]) -> None:
        of = case((_of(season_id), 1), else_=0).label("mine")
        for is_mine, first, last in connection.execute(
            select(of, func.min(key), func.max(key)).where(part).group_by(of)
        ):
            (mine if is_mine else others).append((int(first), int(last)))

    in_parts(begin, key, look)
    first, last = min((a for a, _ in mine), default=0), max((b for _, b in mine), default=0)
    apart = all(b < first or a > last for a, b in others)
    return Whose(season_id, *((first, last) if apart else (None, None)))


# -- captures --------------------------------------------------------------------------------------------------


class Example(NamedTuple):
    """A capture that failed, and why."""

    key: int
    capture_id: str
    site: str
    reason: str | None


class CapturesSeen(NamedTuple):
    """What all captures of a season tell together.

    Attributes:
        days: captures by site and day of the camera's clock; the day is '' where none is known.
        excluded: captures without a subject by why they must not go up.
        failures: failed captures by kind (`UNKNOWN`: the ledger does not say).
        examples: the first of each kind.
    """

    days: Counter[tuple[str, str]]
    excluded: Counter[str]
    failures: Counter[str]
    examples: dict[str, list[Example]]


def look_at_captures(begin: Begin, season_id: int) -> CapturesSeen:
    """Look at every capture of a season; see `in_parts`."""
    c = capture.c
    day = func.coalesce(func.substr(c.taken_at, 1, 10), "").label("day")
    kept_off = case((and_(c.excluded.is_not(None), c.subject_id.is_(None)), c.excluded)).label("why")
    kind = case((c.state == State.FAILED.value, func.coalesce(c.reason_kind, UNKNOWN))).label("kind")
    total = CapturesSeen(Counter(), Counter(), Counter(), {})

    def look(connection: Connection, part: ColumnElement[bool]) -> None:
        rows = connection.execute(
            select(c.site, day, kept_off, kind, func.count())
            .where(part, _of(season_id))
            .group_by(c.site, day, kept_off, kind)
        )
        kinds = set()
        for site, on, why, failed, captures in rows:
            total.days[(site, on)] += captures
            if why is not None:
                total.excluded[why] += captures
            if failed is not None:
                total.failures[failed] += captures
                kinds.add(failed)
        for failed in sorted(kinds):
            known = total.examples.setdefault(failed, [])
            if len(known) < EXAMPLES:
                known += _examples(connection, part, season_id, failed, EXAMPLES - len(known))

    in_parts(begin, c.id, look)
    return total


def _examples(
    connection: Connection, part: ColumnElement[bool], season_id: int, kind: str, most: int
) -> list[Example]:
    c = capture.c
    found = connection.execute(
        select(c.id, c.capture_id, c.site, c.reason)
        .where(part, _of(season_id), c.state == State.FAILED.value)
        .where(func.coalesce(c.reason_kind, UNKNOWN) == kind)
        .order_by(c.id)
        .limit(most)
    )
    return [Example(*row) for row in found]


# -- images ----------------------------------------------------------------------------------------------------


class ImagesSeen(NamedTuple):
    """What all images of a season tell together.

    Attributes:
        images: all that the ledger knows.
        arrived, bytes: that went up, and how large they were then.
        problems: images that do not go up, by what is wrong with them.
        sample: path and bytes of some that went up.
    """

    images: int
    arrived: int
    bytes: int
    problems: Counter[str]
    sample: list[tuple[str, int]]


def look_at_images(begin: Begin, of: Whose) -> ImagesSeen:
    """Look at every image of a season; see `in_parts`."""
    i = image.c
    images, arrived, size = 0, 0, 0
    problems: Counter[str] = Counter()
    sample: list[tuple[str, int]] = []
    up = i.arrived_at.is_not(None)
    tables, of_season = of.rows(image)

    def look(connection: Connection, part: ColumnElement[bool]) -> None:
        nonlocal images, arrived, size
        # A group for each problem would sort: the most have none.
        count, there, data, wrong = connection.execute(
            select(
                func.count(),
                func.count(i.arrived_at),
                func.sum(case((up, i.bytes), else_=0)),
                func.count(i.problem),
            )
            .select_from(tables)
            .where(part, of_season)
        ).one()
        images, arrived, size = images + count, arrived + there, size + int(data or 0)
        if wrong:
            found = connection.execute(
                select(i.problem, func.count().label("images"))
                .select_from(tables)
                .where(part, of_season, i.problem.is_not(None))
                .group_by(i.problem)
            )
            problems.update({row.problem: row.images for row in found})
        if there:
            some = select(i.path, i.bytes).select_from(tables).where(part, of_season, up, i.bytes > 0)
            sample.extend((row.path, row.bytes) for row in connection.execute(some.order_by(i.id).limit(SAMPLES)))

    in_parts(begin, i.id, look)
    return ImagesSeen(images, arrived, size, problems, sample)


# -- predictions -----------------------------------------------------------------------------------------------


class Guess(NamedTuple):
    """What a machine sees, and how sure it is: 4 (90% and more), 3 (70%), 2 (50%), 1, 0 (not said)."""

    source: str
    label: str
    sure: int


SURE = ((0.9, 4), (0.7, 3), (0.5, 2))


def look_at_predictions(begin: Begin, of: Whose) -> Counter[Guess]:
    """Look at every prediction of a season; see `in_parts`.

    It is the species where a prediction names one; else what it is surest of: animal, person, vehicle, blank.
    """
    p = prediction.c
    kinds = {name: func.coalesce(p[f"machine_{name}"], -1.0) for name in ("animal", "person", "vehicle", "blank")}
    label = case((p.machine_species.is_not(None), p.machine_species), *_surest(kinds), else_="")
    confidence = case(
        (p.machine_species.is_not(None), p.machine_species_confidence),
        *((which, p[f"machine_{name}"]) for which, name in _surest(kinds)),
    )
    sure = case(*((confidence >= least, step) for least, step in SURE), (confidence >= 0, 1), else_=0)
    tables, of_season = of.rows(prediction)
    total: Counter[Guess] = Counter()

    def look(connection: Connection, part: ColumnElement[bool]) -> None:
        inner = (
            select(p.source, label.label("label"), sure.label("sure"))
            .select_from(tables)
            .where(part, of_season)
            .subquery()
        )
        found = connection.execute(
            select(inner.c.source, inner.c.label, inner.c.sure, func.count()).group_by(
                inner.c.source, inner.c.label, inner.c.sure
            )
        )
        for source, what, step, number in found:
            total[Guess(source, what, step)] += number

    in_parts(begin, p.id, look)
    return total


def _surest(kinds: Mapping[str, ColumnElement[float]]) -> list[tuple[ColumnElement[bool], str]]:
    return [
        (and_(value >= 0, *(value >= other for other in kinds.values() if other is not value)), name)
        for name, value in kinds.items()
    ]
