"""Images that a file lists (`staging.incoming`) -> season, captures and images of the ledger.

The file may contradict the ledger: that is found before anything is written, and named by row. Whether it
contradicts itself was looked at before (`intake_checks`).
"""

from dataclasses import dataclass

from sqlalchemy import (
    Column,
    ColumnExpressionArgument,
    Insert,
    Integer,
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
from ctstate.ledger.staging import MOST_EXAMPLES, count, fresh, incoming, temporary
from ctstate.ledger.states import State
from ctstate.words import counted


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
    # All rows of a capture say alike of it (it was checked), but for the spelling of its number. So they can be
    # grouped as they are to be in order, which takes one sort for both.
    order = (*(it[name] for name in _ORDER), it.capture_id)
    said = {name: func.min(it[name]) for name in ("capture", "rule", "metadata", "taken_at")}
    values = {
        "season_id": season_id,
        "state": State.MANIFESTED.value,
        "run_id": run_id,
        "moved_at": moment(connection),
    }
    new = select(*order, *said.values(), *map(literal, values.values())).group_by(*order).order_by(*order)
    if some_are_known:
        new = new.where(~exists().where(_SAME_CAPTURE))  # as NOT IN, PostgreSQL would compare each with all
    return connection.execute(insert(capture).from_select([*_ORDER, "capture_id", *said, *values], new)).rowcount


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
