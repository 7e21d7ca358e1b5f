"""Why captures and images must not be uploaded, and what may take such a reason away again.

`capture.excluded` holds one reason. Two of them are ctstate's own and follow from other facts, so that only those
facts take them away: `NO_USABLE_IMAGE` (the images) and `CLAIMED_BY_OLD_SCRIPTS` (rows of `legacy_subject` that
nobody has compared with Zooniverse yet). Any other reason is a person's; it covers the two, and when it is taken
away they come out from under it. An image that a person holds back has the problem `withheld`, which covers any
other problem in the same way.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, ColumnExpressionArgument, case, exists, func, null, or_, select, update
from sqlalchemy.engine import Connection

from ctstate.ledger.schema import capture, image, legacy_subject
from ctstate.ledger.states import State

NO_USABLE_IMAGE = "no usable image"
CLAIMED_BY_OLD_SCRIPTS = "uploaded by the old scripts, not yet checked: run `ctstate adopt`"
OWN_REASONS = (NO_USABLE_IMAGE, CLAIMED_BY_OLD_SCRIPTS)

WITHHELD = "withheld"

_USABLE = exists().where(image.c.capture_id == capture.c.id, image.c.problem.is_(None)).correlate(capture)
_CLAIMED = (
    exists()
    .where(legacy_subject.c.capture_id == capture.c.id, legacy_subject.c.checked_at.is_(None))
    .correlate(capture)
)

_ON_ITS_WAY = (capture.c.state == State.UPLOADING.value) | capture.c.create_sent_at.is_not(None)

CHANGEABLE = (capture.c.state == State.DELETED.value) | (~_ON_ITS_WAY & capture.c.subject_id.is_(None))
"""Captures of which no subject can exist, so that the images it is to have may still be chosen."""


# -- captures --------------------------------------------------------------------------------------------------


def exclude_imageless(connection: Connection, which: ColumnExpressionArgument[bool]) -> None:
    """Exclude the captures that have no usable image, and bring back those that have one now.

    Args:
        connection: a write transaction.
        which: condition on `capture`.
    """
    connection.execute(
        update(capture).where(which, capture.c.excluded.is_(None), ~_USABLE).values(excluded=NO_USABLE_IMAGE)
    )
    connection.execute(
        update(capture).where(which, capture.c.excluded == NO_USABLE_IMAGE, _USABLE).values(excluded=None)
    )


def exclude_claimed(connection: Connection) -> int:
    """Exclude every capture that old scripts say they uploaded, until Zooniverse was looked at; return how many.

    A capture whose subject the ledger knows itself needs no such fence.
    """
    return connection.execute(
        update(capture)
        .where(
            _CLAIMED,
            capture.c.subject_id.is_(None),
            or_(capture.c.excluded.is_(None), capture.c.excluded == NO_USABLE_IMAGE),
        )
        .values(excluded=CLAIMED_BY_OLD_SCRIPTS)
    ).rowcount


def exclude(connection: Connection, which: ColumnExpressionArgument[bool], reason: str) -> int:
    """Give captures a person's reason, unless they have one; return how many.

    Args:
        connection: a write transaction.
        which: condition on `capture`.
        reason: the person's.
    """
    return connection.execute(
        update(capture)
        .where(which, or_(capture.c.excluded.is_(None), capture.c.excluded.in_(OWN_REASONS)))
        .values(excluded=reason)
    ).rowcount


def include(connection: Connection, which: ColumnExpressionArgument[bool]) -> int:
    """Take a person's reason from captures; return how many had one.

    Args:
        connection: a write transaction.
        which: condition on `capture`.
    """
    return connection.execute(
        update(capture)
        .where(which, capture.c.excluded.is_not(None), capture.c.excluded.not_in(OWN_REASONS))
        .values(
            excluded=case(
                (_CLAIMED & capture.c.subject_id.is_(None), CLAIMED_BY_OLD_SCRIPTS),
                (~_USABLE, NO_USABLE_IMAGE),
                else_=null(),
            )
        )
    ).rowcount


def release_claimed(connection: Connection, keys: Sequence[int]) -> int:
    """Let go of captures (at most 500) whose claims were all compared with Zooniverse; return how many."""
    return connection.execute(
        update(capture)
        .where(capture.c.id.in_(keys), capture.c.excluded == CLAIMED_BY_OLD_SCRIPTS, ~_CLAIMED)
        .values(excluded=case((~_USABLE, NO_USABLE_IMAGE), else_=null()))
    ).rowcount


# -- single images ---------------------------------------------------------------------------------------------


_OF_CHANGEABLE = exists().where(capture.c.id == image.c.capture_id, CHANGEABLE).correlate(image)


def withhold_images(connection: Connection, which: ColumnExpressionArgument[bool], reason: str) -> int:
    """Hold back images; return how many.

    Only those of captures that cannot have a subject yet: what is on Zooniverse is not changed by a mark here.

    Args:
        connection: a write transaction.
        which: condition on `image`.
        reason: the person's.
    """
    changed = connection.execute(
        update(image)
        .where(which, image.c.problem.is_distinct_from(WITHHELD), _OF_CHANGEABLE)
        .values(
            covered_problem=image.c.problem,
            covered_reason=image.c.problem_reason,
            problem=WITHHELD,
            problem_reason=reason,
        )
    ).rowcount
    exclude_imageless(connection, _holding(which))
    return changed


def release_images(connection: Connection, which: ColumnExpressionArgument[bool]) -> int:
    """Undo `withhold_images`; return how many images were held back."""
    changed = connection.execute(
        update(image)
        .where(which, image.c.problem == WITHHELD, _OF_CHANGEABLE)
        .values(
            problem=image.c.covered_problem,
            problem_reason=image.c.covered_reason,
            covered_problem=None,
            covered_reason=None,
        )
    ).rowcount
    exclude_imageless(connection, _holding(which))
    return changed


def _holding(which: ColumnExpressionArgument[bool]) -> ColumnElement[bool]:
    """Captures that hold images."""
    return capture.c.id.in_(select(image.c.capture_id).where(which))


# -- what a mark no longer keeps off Zooniverse ----------------------------------------------------------------


class TooLate(NamedTuple):
    """Captures or images that are there, or on their way: how many, and the names of a few."""

    total: int
    some: list[str]


def captures_there(connection: Connection, which: ColumnExpressionArgument[bool], most: int) -> TooLate:
    """Say which captures have a subject on Zooniverse.

    Args:
        connection: a transaction.
        which: condition on `capture`.
        most: so many of them by name.
    """
    there = capture.c.subject_id.is_not(None) & (capture.c.state != State.DELETED.value) & ~_ON_ITS_WAY
    return _captures(connection, which, there, most)


def excluded_there(connection: Connection, season_id: int, most: int) -> TooLate:
    """Say which captures of a season have a subject on Zooniverse though excluded; `most` of them by name."""
    return captures_there(connection, (capture.c.season_id == season_id) & capture.c.excluded.is_not(None), most)


def captures_on_their_way(connection: Connection, which: ColumnExpressionArgument[bool], most: int) -> TooLate:
    """Say which captures are being uploaded, or may have a subject; arguments as for `captures_there`."""
    return _captures(connection, which, _ON_ITS_WAY, most)


def _captures(
    connection: Connection, which: ColumnExpressionArgument[bool], late: ColumnElement[bool], most: int
) -> TooLate:
    total = connection.execute(select(func.count()).select_from(capture).where(which, late)).scalar_one()
    some = connection.execute(select(capture.c.capture_id).where(which, late).order_by(capture.c.id).limit(most))
    return TooLate(total, list(some.scalars()))


def images_too_late(connection: Connection, which: ColumnExpressionArgument[bool], most: int) -> TooLate:
    """Say which images are of a capture that has, or may have, a subject.

    Args:
        connection: a transaction.
        which: condition on `image`.
        most: so many of them by path.
    """
    of = image.join(capture, capture.c.id == image.c.capture_id)
    total = connection.execute(select(func.count()).select_from(of).where(which, ~CHANGEABLE)).scalar_one()
    some = connection.execute(
        select(image.c.path).select_from(of).where(which, ~CHANGEABLE).order_by(image.c.id).limit(most)
    )
    return TooLate(total, list(some.scalars()))
