"""Batches: making them, and which captures of a season may be put into one."""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import delete, exists, func, insert, or_, select
from sqlalchemy.engine import Connection

from ctstate.capture import COMPLETE
from ctstate.ledger.database import moment
from ctstate.ledger.orders import LEGACY_ORDER, MANIFEST_ORDER
from ctstate.ledger.schema import batch, capture
from ctstate.ledger.staging import AS_A_STREAM
from ctstate.ledger.states import State
from ctstate.ledger.transitions import NOT_BEGUN, note_batched

_FREE = NOT_BEGUN & capture.c.excluded.is_(None)


# -- which captures --------------------------------------------------------------------------------------------


class FreeCapture(NamedTuple):
    """A capture that may be put into a batch, and where it was taken."""

    id: int
    season: str
    site: str
    roll: str


class LeftAlone(NamedTuple):
    """Captures of a season that a split does not touch: on their way or on Zooniverse, and excluded ones."""

    kept: int
    excluded: int


def free_in_manifest_order(connection: Connection, season_id: int) -> Iterator[FreeCapture]:
    """Yield the captures of a season that may be put into a batch, in manifest order."""
    for row in connection.execute(
        select(*(capture.c[name] for name in FreeCapture._fields))
        .where(capture.c.season_id == season_id, _FREE)
        .order_by(*MANIFEST_ORDER)
    ):
        yield FreeCapture(*row)


def free_in_legacy_order(connection: Connection, season_id: int) -> list[int]:
    """Return the captures of a season that may be put into a batch, as a legacy manifest lists them.

    A shuffle repeats only if it begins with the same list.
    """
    found = select(capture.c.id).where(capture.c.season_id == season_id, _FREE).order_by(*LEGACY_ORDER)
    return list(connection.execute(found, execution_options=AS_A_STREAM).scalars())


def left_alone(connection: Connection, season_id: int, free: int) -> LeftAlone:
    """Return how many captures of a season a split does not touch, where so many are free: by the index alone."""
    of_season = select(func.count()).select_from(capture).where(capture.c.season_id == season_id)
    captures = connection.execute(of_season).scalar_one()
    excluded = connection.execute(of_season.where(NOT_BEGUN, capture.c.excluded.is_not(None))).scalar_one()
    return LeftAlone(captures - free - excluded, excluded)


# -- batches ---------------------------------------------------------------------------------------------------


def names_in_use(connection: Connection, season_id: int) -> set[str]:
    """Return the names of a season's batches that have a subject set, or captures on their way or on Zooniverse."""
    begun = select(capture.c.batch_id).where(
        capture.c.season_id == season_id, capture.c.batch_id.is_not(None), ~NOT_BEGUN
    )
    found = connection.execute(
        select(batch.c.name).where(
            batch.c.season_id == season_id, or_(batch.c.subject_set_id.is_not(None), batch.c.id.in_(begun))
        )
    )
    return set(found.scalars())


def make(connection: Connection, season_id: int, name: str) -> int:
    """Make a batch, unless the season has it already; return its primary key."""
    key = connection.execute(
        select(batch.c.id).where(batch.c.season_id == season_id, batch.c.name == name)
    ).scalar()
    if key is None:
        made = connection.execute(
            insert(batch).values(season_id=season_id, name=name, created_at=moment(connection))
        )
        assert made.inserted_primary_key is not None
        key = made.inserted_primary_key[0]
    return int(key)


def drop_empty(connection: Connection, season_id: int) -> None:
    """Delete the batches of a season that hold no capture, have no subject set, and for which no run makes one."""
    connection.execute(
        delete(batch).where(
            batch.c.season_id == season_id,
            batch.c.subject_set_id.is_(None),
            batch.c.lease_run_id.is_(None),
            ~exists().where(capture.c.season_id == season_id, capture.c.batch_id == batch.c.id),
        )
    )


def put_rest_into_complete(connection: Connection, season_id: int, run_id: int) -> int:
    """Put a season that was never split into one batch named `complete`; return how many captures it took.

    Does nothing where the season has other batches.
    """
    others = select(batch.c.id).where(batch.c.season_id == season_id, batch.c.name != COMPLETE)
    if connection.execute(others).first() is not None:
        return 0
    rest = (capture.c.season_id == season_id) & _FREE & (capture.c.state != State.BATCHED.value)
    if connection.execute(select(capture.c.id).where(rest).limit(1)).first() is None:
        return 0
    return note_batched(connection, run_id, make(connection, season_id, COMPLETE), rest)
