"""When pictures were taken, and where cameras stood: into a season that the ledger has already.

A time is no part of a subject, so it may change whatever the state of its capture: `manifest --update` brings the
times of a season that is under way, or uploaded, up to date, and touches nothing else.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Column, Integer, Text, and_, delete, func, insert, or_, select, update
from sqlalchemy.engine import Connection

from ctstate.capture import Deployment
from ctstate.errors import InputError
from ctstate.ledger.schema import capture, deployment, image
from ctstate.ledger.staging import count, fresh, incoming, temporary
from ctstate.words import counted


class Told(NamedTuple):
    """Images of captures that the ledger had before.

    Attributes:
        told: have got the file's time.
        untold: have none in the ledger and one in the file, which `--update` would take over.
    """

    told: int
    untold: int


_timed = temporary(
    "timed",
    Column("image", Integer, primary_key=True, autoincrement=False),
    Column("capture", Integer),
    Column("taken_at", Text),
    Column("taken_text", Text),
    Column("had", Text),
    Column("row", Integer),
)
"""Images of which the file tells another time than the ledger."""


def merge(connection: Connection, name: str, update_them: bool) -> Told:
    """Hold the times of `staging.incoming` against the ledger's.

    Args:
        connection: a write transaction.
        name: of the file, for messages.
        update_them: take the file's over.

    Raises:
        InputError: the ledger has other times, and `update_them` is False.
    """
    it = incoming.c
    same = and_(image.c.capture_id == capture.c.id, image.c.rank == it.rank, image.c.path == it.path)
    differs = or_(
        image.c.taken_at.is_distinct_from(it.taken_at) & it.taken_at.is_not(None),
        image.c.taken_at.is_(None)
        & it.taken_text.is_not(None)
        & image.c.taken_text.is_distinct_from(it.taken_text),
    )
    found = (
        select(image.c.id, image.c.capture_id, it.taken_at, it.taken_text, image.c.taken_at, it.row)
        .select_from(incoming.join(capture, capture.c.capture_id == it.capture_id).join(image, same))
        .where(differs)
    )
    fresh(connection, _timed)
    connection.execute(insert(_timed).from_select([column.name for column in _timed.c], found))
    with_time = _timed.c.taken_at.is_not(None)
    if not update_them:
        contradicting = count(connection, _timed, with_time, _timed.c.had.is_not(None))
        if contradicting:
            first = connection.execute(
                select(_timed.c.row, _timed.c.taken_at, _timed.c.had)
                .where(with_time, _timed.c.had.is_not(None))
                .order_by(_timed.c.row)
            ).first()
            assert first is not None
            raise InputError(
                f"{name}, row {first.row}: taken at {first.taken_at}, in the ledger at {first.had} "
                f"({counted(contradicting, 'image', 'differ')} like that); nothing was changed; --update takes "
                "over what the file says"
            )
        return Told(0, count(connection, _timed, with_time))
    its = _timed.c.image == image.c.id
    connection.execute(
        update(image)
        .where(image.c.id.in_(select(_timed.c.image)))
        .values(
            taken_at=select(_timed.c.taken_at).where(its).scalar_subquery(),
            taken_text=select(_timed.c.taken_text).where(its).scalar_subquery(),
        )
    )
    earliest = select(func.min(image.c.taken_at)).where(image.c.capture_id == capture.c.id).scalar_subquery()
    connection.execute(update(capture).where(capture.c.id.in_(select(_timed.c.capture))).values(taken_at=earliest))
    return Told(count(connection, _timed, with_time), 0)


def put_deployments(connection: Connection, season_id: int, wanted: Sequence[Deployment], update_them: bool) -> int:
    """Write down where a season's cameras stood; return how many deployments are new or changed.

    Args:
        connection: a write transaction.
        season_id: of the season.
        wanted: what a file says; deployments that it does not name stay.
        update_them: take the file's over where the ledger says otherwise.

    Raises:
        InputError: the ledger says otherwise, and `update_them` is False.
    """
    columns = [deployment.c[field] for field in Deployment._fields]
    known = {
        (row.site, row.roll): Deployment(*row)
        for row in connection.execute(select(*columns).where(deployment.c.season_id == season_id))
    }
    changed = [one for one in wanted if known.get((one.site, one.roll)) != one]
    other = next((one for one in changed if (one.site, one.roll) in known), None)
    if other is not None and not update_them:
        raise InputError(
            f"the deployment of site {other.site}, roll {other.roll} is another one in the ledger; nothing was "
            "changed; --update takes over what the file says"
        )
    for one in changed:
        connection.execute(
            delete(deployment).where(
                deployment.c.season_id == season_id, deployment.c.site == one.site, deployment.c.roll == one.roll
            )
        )
        connection.execute(insert(deployment).values(season_id=season_id, **one._asdict()))
    return len(changed)
