"""At most so many images of a capture go up, spread evenly over its sequence (`ctstate sample`).

It is decided here, once, before a capture is claimed, so that all workers agree; the images left out have the
problem `sampled`. How many it may be is a fact of the season (`season.most_images`), which holds for captures to
come as well.
"""

from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, exists, func, select, true, update
from sqlalchemy.engine import Connection

from ctstate.ledger.exclusions import CHANGEABLE
from ctstate.ledger.schema import capture, image, season
from ctstate.words import counted

SAMPLED = "sampled"


class Sampled(NamedTuple):
    """What a sample leaves out.

    Attributes:
        captures, images: images left out, of so many captures.
        too_late: captures with more images whose subject exists, or may: they stay as they are.
    """

    captures: int
    images: int
    too_late: int


def set_most_images(connection: Connection, season_id: int, most: int | None) -> bool:
    """Write down how many images of a capture may go up (None: all); return whether it was another number."""
    changed = connection.execute(
        update(season)
        .where(season.c.id == season_id, season.c.most_images.is_distinct_from(most))
        .values(most_images=most)
    )
    return changed.rowcount == 1


def most_images(connection: Connection, season_id: int) -> int | None:
    """Return how many images of a capture of a season may go up; None: all."""
    most: int | None = connection.execute(select(season.c.most_images).where(season.c.id == season_id)).scalar_one()
    return most


def resample(connection: Connection, season_id: int) -> None:
    """Choose anew which images of a season's captures go up; arguments as for `sample`."""
    connection.execute(
        update(image)
        .where(image.c.problem == SAMPLED, _changeable(season_id, true()))
        .values(problem=None, problem_reason=None)
    )
    # What a person holds back covers it; see `exclusions`.
    connection.execute(
        update(image)
        .where(image.c.covered_problem == SAMPLED, _changeable(season_id, true()))
        .values(covered_problem=None, covered_reason=None)
    )
    sample(connection, season_id, true())


def sample_all(connection: Connection) -> None:
    """Choose in every season that is sampled, where more images can go up than before."""
    sampled = connection.execute(select(season.c.id).where(season.c.most_images.is_not(None))).scalars()
    for season_id in list(sampled):
        sample(connection, season_id, true())


def sample(connection: Connection, season_id: int, which: ColumnElement[bool]) -> None:
    """Choose which images of captures go up that none was chosen for yet.

    Of a sequence of `n` usable images and `most` that may go up, those in the middle of `most` equal parts do.
    Captures of which a subject exists, or may, keep the images they have.

    Args:
        connection: a write transaction.
        season_id: of the season.
        which: condition on `capture`.
    """
    most = most_images(connection, season_id)
    if most is None:
        return
    of_capture = image.c.capture_id
    place = func.row_number().over(partition_by=of_capture, order_by=image.c.rank) - 1
    usable = (
        select(image.c.id, place.label("place"), func.count().over(partition_by=of_capture).label("images"))
        .where(image.c.problem.is_(None), _changeable(season_id, which))
        .subquery()
    )
    at, of = usable.c.place, usable.c.images
    part = (at * most + of // 2) // of
    next_part = ((at + 1) * most + of // 2) // of
    left_out = select(usable.c.id).where(of > most, part == next_part)
    connection.execute(
        update(image)
        .where(image.c.id.in_(left_out))
        .values(problem=SAMPLED, problem_reason=f"a sample of {counted(most, 'image')} goes up")
    )


def _changeable(season_id: int, which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Images of captures whose images may still be chosen."""
    of_season = capture.c.season_id == season_id
    return exists().where(capture.c.id == image.c.capture_id, of_season, CHANGEABLE, which).correlate(image)


def count_sampled(connection: Connection, season_id: int) -> Sampled:
    """Return what the season's sample leaves out."""
    of_season = image.join(capture, capture.c.id == image.c.capture_id)
    images, captures = connection.execute(
        select(func.count(), func.count(image.c.capture_id.distinct()))
        .select_from(of_season)
        .where(capture.c.season_id == season_id, image.c.problem == SAMPLED)
    ).one()
    most = most_images(connection, season_id)
    if most is None:
        return Sampled(captures, images, 0)
    late = (
        select(image.c.capture_id)
        .select_from(of_season)
        .where(and_(capture.c.season_id == season_id, image.c.problem.is_(None), ~CHANGEABLE))
        .group_by(image.c.capture_id)
        .having(func.count() > most)
        .subquery()
    )
    return Sampled(captures, images, connection.execute(select(func.count()).select_from(late)).scalar_one())
