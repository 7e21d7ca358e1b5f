"""Images that a file lists (`staging.incoming`) -> season, captures and images of the ledger.

The file may contradict itself, or the ledger; both are found before anything is written, and named by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    ColumnExpressionArgument,
    Insert,
    Integer,
    Row,
    Select,
    Text,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.engine import Connection

from ctstate.errors import InputError
from ctstate.ledger import boxes, intake_times
from ctstate.ledger.counts import counted_once
from ctstate.ledger.database import moment
from ctstate.ledger.exclusions import WITHHELD, exclude_imageless
from ctstate.ledger.sampling import SAMPLED, sample
from ctstate.ledger.schema import capture, image, season
from ctstate.ledger.seasons import characters
from ctstate.ledger.staging import MOST_EXAMPLES, count, fresh, incoming, temporary
from ctstate.ledger.states import State
from ctstate.words import counted

_LIMITS = {name: characters(capture.c[name]) for name in ("capture_id", "season", "site", "roll", "capture")}
"""How many characters the ledger's columns hold."""


# -- what the file says, by itself -----------------------------------------------------------------------------


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
    if any(connection.execute(question).first() for question in _ANYTHING_AMISS):
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
        number = dict(connection.execute(by_problem).tuples().all())
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
_FACTS = ("season", "site", "roll", "capture_number", "metadata")
_facts_differ = or_(*(incoming.c[name].is_distinct_from(_other.c[name]) for name in _FACTS))
_same_capture = incoming.c.capture_id == _other.c.capture_id
_ANYTHING_AMISS = (
    select(incoming.c.capture_id)
    .group_by(incoming.c.capture_id, incoming.c.rank)
    .having(func.count() > 1)
    .limit(1),
    select(incoming.c.capture_id)
    .join(_other, and_(_same_capture, incoming.c.rank < _other.c.rank))
    .where(or_(_facts_differ, incoming.c.path == _other.c.path))
    .limit(1),
)
"""Find whether two rows have one rank of a capture, or its images differ in what is said of it, or are the same.
What it is, is asked only then."""


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


# -- captures, images ----------------------------------------------------------------------------------


@dataclass
class Merged:
    """What `merge` did with the file's captures."""

    new: int = 0
    unchanged: int = 0
    updated: int = 0
    kept: int = 0  # differ, but are past the state in which they may be changed
    without_image: int = 0  # none that is usable
    images_timed: int = 0  # of captures that the ledger had; see `intake_times.Told`
    images_untimed: int = 0


def merge(connection: Connection, name: str, season_id: int, run_id: int, update_them: bool) -> Merged:
    """Bring `incoming` into the ledger.

    Args:
        connection: a write transaction, with `incoming` checked.
        name: of the file, for messages.
        season_id: of the season that the captures are of.
        run_id: of the run that does it.
        update_them: let the file change captures that are not on their way to Zooniverse yet.

    Raises:
        InputError: the file contradicts the ledger.
    """
    with counted_once(connection, count(connection, incoming), season_id):
        return _merge(connection, name, season_id, run_id, update_them)


def _merge(connection: Connection, name: str, season_id: int, run_id: int, update_them: bool) -> Merged:
    _refuse_other_seasons(connection, name, season_id)
    merged = Merged()
    known = int(
        connection.execute(
            select(func.count(capture.c.id.distinct())).join_from(incoming, capture, _SAME_CAPTURE)
        ).scalar_one()
    )
    fresh(connection, _different)
    if known:
        connection.execute(_FIND_DIFFERENT)
    differing = count(connection, _different)
    if differing and not update_them:
        _refuse_differing(connection, name, differing)
    if differing:
        changeable = select(capture.c.id).where(_UPDATABLE)
        connection.execute(delete(_different).where(_different.c.key.not_in(changeable)))
        merged.updated = count(connection, _different)
        merged.kept = differing - merged.updated
        _update_captures(connection)
    if known:
        merged.images_timed, merged.images_untimed = intake_times.merge(connection, name, update_them)
    merged.unchanged = known - differing
    highest = int(connection.execute(select(func.coalesce(func.max(capture.c.id), 0))).scalar_one())
    merged.new = _add_captures(connection, season_id, run_id, some_are_known=known > 0)
    _add_images(connection, capture.c.id > highest)
    touched = or_(capture.c.id > highest, capture.c.id.in_(select(_different.c.key)))
    sample(connection, season_id, touched)
    problems = connection.execute(select(incoming.c.row).where(incoming.c.problem.is_not(None)).limit(1)).first()
    if problems or differing:  # else each of them has an image
        exclude_imageless(connection, touched)
    if problems:
        usable = func.sum(case((incoming.c.problem.is_(None), 1), else_=0))
        without = select(incoming.c.capture_id).group_by(incoming.c.capture_id).having(usable == 0).subquery()
        merged.without_image = int(connection.execute(select(func.count()).select_from(without)).scalar_one())
    return merged


_SAME_CAPTURE = incoming.c.capture_id == capture.c.capture_id

_UPDATABLE = and_(
    capture.c.state.in_([State.MANIFESTED.value, State.PREDICTED.value, State.BATCHED.value, State.FAILED.value]),
    capture.c.subject_id.is_(None),
    capture.c.create_sent_at.is_(None),
)

_different = temporary("different", Column("key", Integer), Column("row", Integer), Column("what", Text))
"""Captures that the ledger has and the file says otherwise of, with the first row that does."""

_withheld = temporary("withheld", Column("capture", Integer), Column("path", Text), Column("reason", Text))


def _find_different() -> Insert:
    first_row = func.min(incoming.c.row)
    per_capture = select(incoming.c.capture_id, first_row.label("row")).group_by(incoming.c.capture_id).subquery()
    same_image = and_(image.c.capture_id == capture.c.id, image.c.rank == incoming.c.rank)
    its_problem, new_problem = func.coalesce(image.c.problem, ""), func.coalesce(incoming.c.problem, "")

    def found(what: str) -> Select[int, int, str]:
        return select(capture.c.id.label("key"), incoming.c.row, literal_column(f"'{what}'").label("what"))

    facts = or_(*(capture.c[name] != incoming.c[name] for name in ("season", "site", "roll", "capture_number")))
    rows = union_all(
        found("its season, site, roll or capture number").join_from(incoming, capture, _SAME_CAPTURE).where(facts),
        found("its metadata columns")
        .join_from(incoming, capture, _SAME_CAPTURE)
        .where(func.coalesce(capture.c.metadata, "") != func.coalesce(incoming.c.metadata, "")),
        found("its images")
        .select_from(incoming.join(capture, _SAME_CAPTURE).outerjoin(image, same_image))
        .where(
            or_(
                image.c.id.is_(None),
                image.c.path != incoming.c.path,
                and_(
                    its_problem.not_in(["broken", WITHHELD, SAMPLED]),
                    its_problem != new_problem,
                    # Files may go once they are on Zooniverse: that is nothing the file says.
                    or_(new_problem.not_in(["missing", "empty"]), _UPDATABLE),
                ),
            )
        ),
        # Images that the file does not list any more.
        select(capture.c.id, per_capture.c.row, literal_column("'its images'"))
        .select_from(
            per_capture.join(capture, capture.c.capture_id == per_capture.c.capture_id)
            .join(image, image.c.capture_id == capture.c.id)
            .outerjoin(
                incoming,
                and_(incoming.c.capture_id == per_capture.c.capture_id, incoming.c.rank == image.c.rank),
            )
        )
        .where(incoming.c.row.is_(None)),
    ).subquery()
    return insert(_different).from_select(
        ["key", "row", "what"],
        select(rows.c.key, func.min(rows.c.row), func.min(rows.c.what)).group_by(rows.c.key),
    )


_FIND_DIFFERENT = _find_different()


def _refuse_other_seasons(connection: Connection, name: str, season_id: int) -> None:
    stray = connection.execute(
        select(incoming.c.row, incoming.c.capture_id, season.c.name)
        .select_from(incoming.join(capture, _SAME_CAPTURE).join(season, season.c.id == capture.c.season_id))
        .where(capture.c.season_id != season_id)
        .order_by(incoming.c.row)
        .limit(1)
    ).first()
    if stray is not None:
        raise InputError(
            f"{name}, row {stray.row}: {stray.capture_id} belongs to season {stray.name} in the ledger; "
            "nothing was changed"
        )


def _refuse_differing(connection: Connection, name: str, differing: int) -> None:
    rows = connection.execute(
        select(_different.c.row, _different.c.what, capture.c.capture_id)
        .join_from(_different, capture, capture.c.id == _different.c.key)
        .order_by(_different.c.row)
        .limit(MOST_EXAMPLES)
    ).all()
    shown = ", ".join(f"row {row.row} ({row.capture_id}: {row.what})" for row in rows)
    more = f" and {differing - len(rows)} more" if differing > len(rows) else ""
    raise InputError(
        f"{name} contradicts the ledger in {counted(differing, 'capture')}: {shown}{more}; nothing was changed; "
        "--update takes over what the CSV says"
    )


def _update_captures(connection: Connection) -> None:
    """Make the captures in `different` what the file says; what a person holds back stays so, by its path."""
    differing = select(_different.c.key)
    said = {
        column: select(func.min(incoming.c[column])).where(_SAME_CAPTURE).scalar_subquery()
        for column in ("season", "site", "roll", "capture", "capture_number", "metadata", "rule", "taken_at")
    }
    connection.execute(update(capture).where(capture.c.id.in_(differing)).values(said))
    fresh(connection, _withheld)
    connection.execute(
        insert(_withheld).from_select(
            ["capture", "path", "reason"],
            select(image.c.capture_id, image.c.path, image.c.problem_reason).where(
                image.c.problem == WITHHELD, image.c.capture_id.in_(differing)
            ),
        )
    )
    boxes.set_aside(connection, differing)
    connection.execute(delete(image).where(image.c.capture_id.in_(differing)))
    _add_images(connection, capture.c.id.in_(differing))
    boxes.put_back(connection)
    if count(connection, _withheld):
        same = and_(_withheld.c.capture == image.c.capture_id, _withheld.c.path == image.c.path)
        reason = select(_withheld.c.reason).where(same)
        connection.execute(
            update(image)
            .where(image.c.capture_id.in_(select(_withheld.c.capture)), reason.exists())
            .values(
                covered_problem=image.c.problem,
                covered_reason=image.c.problem_reason,
                problem=WITHHELD,
                problem_reason=reason.scalar_subquery(),
            )
        )


_ORDER = ("season", "site", "roll", "capture_number")


def _add_captures(connection: Connection, season_id: int, run_id: int, *, some_are_known: bool) -> int:
    """Add the captures that the ledger does not have, in their order; return how many."""
    it = incoming.c
    # All rows of a capture say alike of it (it was checked), but for the spelling of its number.
    said = {name: func.min(it[name]) for name in (*_ORDER, "capture", "rule", "metadata", "taken_at")}
    values = {
        "season_id": season_id,
        "state": State.MANIFESTED.value,
        "run_id": run_id,
        "moved_at": moment(connection),
    }
    new = (
        select(it.capture_id, *said.values(), *map(literal, values.values()))
        .group_by(it.capture_id)
        .order_by(*(said[name] for name in _ORDER), it.capture_id)
    )
    if some_are_known:
        new = new.where(~exists().where(_SAME_CAPTURE))  # as NOT IN, PostgreSQL would compare each with all
    return connection.execute(insert(capture).from_select(["capture_id", *said, *values], new)).rowcount


_OF_IMAGE = ("rank", "path", "problem", "problem_reason", "taken_at", "taken_text")


def _add_images(connection: Connection, which: ColumnExpressionArgument[bool]) -> None:
    """Add the file's images of some captures, in their order."""
    connection.execute(
        insert(image).from_select(
            ["capture_id", *_OF_IMAGE],
            select(capture.c.id, *(incoming.c[name] for name in _OF_IMAGE))
            .join_from(capture, incoming, _SAME_CAPTURE)
            .where(which)
            .order_by(capture.c.id, incoming.c.rank),
        )
    )
