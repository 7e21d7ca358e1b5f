"""What has been done of a season's steps, and when: for who asks what is still to do."""

import json
import random
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from ctstate.ledger import runs
from ctstate.ledger.clock import age
from ctstate.ledger.schema import capture, image, prediction_file, run
from ctstate.ledger.states import PENDING

_ENOUGH = 20
"""An upload of fewer captures says nothing about how fast uploads are."""


def last_run(connection: Connection, verb: str, **arguments: Any) -> str | None:
    """Return when the last run of a verb with these among its arguments began; None: there was none."""
    wanted = select(run.c.arguments, run.c.started_at).where(run.c.verb == verb).order_by(run.c.id.desc())
    for row in connection.execute(wanted):
        given = json.loads(row.arguments)
        if all(given.get(name) == value for name, value in arguments.items()):
            return str(row.started_at)
    return None


def predicted(connection: Connection, path: str) -> str | None:
    """Return when a file of predictions was last read; None: never."""
    return connection.execute(
        select(func.max(prediction_file.c.made_at)).where(prediction_file.c.path == path)
    ).scalar()


def last_rate(connection: Connection) -> float | None:
    """Return how many captures a second the last upload that came far enough has uploaded."""
    for row in reversed(runs.newest(connection, 20)):
        if row.verb == "upload" and row.uploaded >= _ENOUGH:
            seconds = age(row.started_at) - (age(row.ended_at) if row.ended_at is not None else 0.0)
            return row.uploaded / seconds if seconds > 0 else None
    return None


def sample(connection: Connection, season_id: int, most: int, chance: random.Random) -> list[str]:
    """Return the paths of some images that are to be uploaded, by chance."""
    low, high = connection.execute(select(func.min(image.c.id), func.max(image.c.id))).one()
    found: dict[int, str] = {}
    for _ in range(2 * most if low is not None else 0):
        row = connection.execute(
            select(image.c.id, image.c.path)
            .join(capture, capture.c.id == image.c.capture_id)
            .where(
                image.c.id >= chance.randint(low, high),
                image.c.problem.is_(None),
                capture.c.season_id == season_id,
                capture.c.excluded.is_(None),
                capture.c.state.in_([state.value for state in PENDING]),
            )
            .order_by(image.c.id)
            .limit(1)
        ).first()
        if row is not None and len(found) < most:
            found[row.id] = row.path
    return list(found.values())
