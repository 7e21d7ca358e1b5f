"""What a file that lists captures says, by itself: whether it contradicts itself, and what it holds.

Asked of `staging.incoming` before any lock is taken. Most files hold nothing wrong, so the first questions are the
cheap ones that tell whether there may be anything; only then is asked what, and in which rows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, and_, case, delete, func, or_, select
from sqlalchemy.engine import Connection

from ctstate.errors import InputError
from ctstate.ledger.schema import capture
from ctstate.ledger.seasons import characters
from ctstate.ledger.staging import MOST_EXAMPLES, incoming

_LIMITS = {name: characters(capture.c[name]) for name in ("capture_id", "season", "site", "roll", "capture")}
"""How many characters the ledger's columns hold."""


class Problem(NamedTuple):
    """An image that cannot be uploaded, and why."""

    row: int
    path: str
    reason: str


class Contents(NamedTuple):
    """What a file holds, its duplicate rows apart."""

    seasons: list[str]
    duplicates: int
    usable: int
    excluded: int
    missing: int
    empty: int
    timeless: int  # images of which the file tells no time
    no_times: int  # of these, images where something else stands in its place
    examples: list[Problem]  # of missing and empty images


def check_incoming(connection: Connection, name: str) -> Contents:
    """Refuse a file that contradicts itself, and drop its duplicate rows.

    Args:
        connection: a transaction, with `incoming` filled.
        name: of the file, for messages.

    Raises:
        InputError: two rows contradict each other, or a name is too long.
    """
    seen = connection.execute(_AT_A_GLANCE).one()
    if seen.too_long is not None:
        most = ", ".join(f"{column} {number}" for column, number in _LIMITS.items())
        raise InputError(f"{name}, row {seen.too_long}: a name is too long (characters at most: {most})")
    duplicates = 0
    if any(connection.execute(question).first() for question in _MAY_BE_AMISS):
        _check_facts_agree(connection, name)
        _check_images_agree(connection, name)
        first = select(func.min(incoming.c.row)).group_by(incoming.c.capture_id, incoming.c.rank)
        duplicates = connection.execute(delete(incoming).where(incoming.c.row.not_in(first))).rowcount
        seen = connection.execute(_AT_A_GLANCE).one()
    seasons = [seen.first_season]
    if seen.first_season != seen.last_season:
        seasons = [*connection.execute(select(incoming.c.season).distinct().order_by(incoming.c.season)).scalars()]
    number: dict[str, int] = {}
    shown: Sequence[Row[int, str, str]] = ()
    if seen.problems:
        is_problem = incoming.c.problem.is_not(None)
        by_problem = select(incoming.c.problem, func.count()).where(is_problem).group_by(incoming.c.problem)
        number = {problem: images for problem, images in connection.execute(by_problem)}  # noqa: C416
        shown = connection.execute(
            select(incoming.c.row, incoming.c.path, incoming.c.problem_reason)
            .where(incoming.c.problem.in_(["missing", "empty"]))
            .order_by(incoming.c.row)
            .limit(MOST_EXAMPLES)
        ).all()
    return Contents(
        seasons,
        duplicates,
        usable=seen.images - seen.problems,
        excluded=number.get("excluded", 0),
        missing=number.get("missing", 0),
        empty=number.get("empty", 0),
        timeless=seen.images - seen.timed,
        no_times=seen.texts,
        examples=[Problem(*row) for row in shown],
    )


_AT_A_GLANCE = select(
    func.count().label("images"),
    func.count(incoming.c.problem).label("problems"),
    func.count(incoming.c.taken_at).label("timed"),
    func.count(incoming.c.taken_text).label("texts"),
    func.min(incoming.c.season).label("first_season"),
    func.max(incoming.c.season).label("last_season"),
    func.min(
        case((or_(*(func.length(incoming.c[column]) > most for column, most in _LIMITS.items())), incoming.c.row))
    ).label("too_long"),
)
"""All that one pass over the rows can tell; most files hold nothing that is worth another."""


def _differs(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a column has two values within a group."""
    return func.min(column) != func.max(column)


_other = incoming.alias("other")
_MANY = 100

_FACTS = ("season", "site", "roll", "capture_number", "metadata")
_facts_differ = or_(*(incoming.c[name].is_distinct_from(_other.c[name]) for name in _FACTS))
_same_capture = incoming.c.capture_id == _other.c.capture_id
_MAY_BE_AMISS = (
    select(incoming.c.capture_id)
    .group_by(incoming.c.capture_id, incoming.c.rank)
    .having(func.count() > 1)
    .limit(1),
    select(incoming.c.capture_id).group_by(incoming.c.capture_id).having(func.count() > _MANY).limit(1),
    select(incoming.c.capture_id)
    .join(_other, and_(_same_capture, incoming.c.rank < _other.c.rank))
    .where(or_(_facts_differ, incoming.c.path == _other.c.path))
    .limit(1),
)
"""Find whether two rows have one rank of a capture; whether a capture has so many images that to hold each against
each takes long; else whether two differ in what is said of it, or are the same. What it is, is asked only then."""


def _check_facts_agree(connection: Connection, name: str) -> None:
    # Each row with the first of its capture: that takes half of comparing the least of each column with the most.
    it, other = incoming.c, _other.c
    first = (
        select(it.capture_id, func.min(it.row).label("row"))
        .group_by(it.capture_id)
        .having(func.count() > 1)
        .subquery()
    )
    clash = connection.execute(
        select(it.row.label("one"), other.row.label("other"), it.capture_id)
        .select_from(first)
        .join(incoming, and_(it.capture_id == first.c.capture_id, it.row == first.c.row))
        .join(_other, and_(other.capture_id == first.c.capture_id, other.row != first.c.row))
        .where(_facts_differ)
        .order_by(other.row)
        .limit(1)
    ).first()
    if clash is not None:
        raise InputError(
            f"{name}, rows {clash.one} and {clash.other}: capture {clash.capture_id} differs between its images "
            "in season, site, roll, capture or a metadata column; nothing was changed"
        )


def _check_images_agree(connection: Connection, name: str) -> None:
    it = incoming.c
    rows = func.min(it.row).label("one"), func.max(it.row).label("other")
    two = connection.execute(
        select(*rows, it.capture_id, it.rank)
        .group_by(it.capture_id, it.rank)
        .having(func.count() > 1, or_(_differs(it.path), _differs(func.coalesce(it.problem_reason, ""))))
        .order_by("one")
        .limit(1)
    ).first()
    if two is not None:
        raise InputError(
            f"{name}, rows {two.one} and {two.other}: capture {two.capture_id} has two different images "
            f"of rank {two.rank}; nothing was changed"
        )
    twice = connection.execute(
        select(*rows, it.capture_id)
        .group_by(it.capture_id, it.path)
        .having(_differs(it.rank))
        .order_by("one")
        .limit(1)
    ).first()
    if twice is not None:
        raise InputError(
            f"{name}, rows {twice.one} and {twice.other}: capture {twice.capture_id} has the same image twice; "
            "nothing was changed"
        )
