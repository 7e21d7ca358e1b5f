"""How fast uploads were, with how many workers: what the ledger saw of it."""

from collections import defaultdict
from typing import NamedTuple

from sqlalchemy.engine import Connection

from ctstate.ledger import runs
from ctstate.ledger.clock import age
from ctstate.ledger.runs import RunRow

_ENOUGH = 20
"""An upload of fewer captures says nothing about how fast uploads are."""

_NEWEST = 200
"""Runs that are looked at: a faster network or a busier disk makes older ones untrue."""


class Speed(NamedTuple):
    """How fast an array, or an upload of its own, was.

    Attributes:
        workers: as many of it as were at work at the same time, on an average.
        rate: captures a second, of all together.
    """

    workers: float
    rate: float


def seen(connection: Connection) -> list[Speed]:
    """Return how fast the last uploads were that came far enough, oldest first; arrays as one."""
    groups: dict[str, list[RunRow]] = defaultdict(list)
    for row in runs.newest(connection, _NEWEST):
        if row.verb == "upload":
            groups[f"job {row.slurm_job}" if row.slurm_job is not None else f"run {row.id}"].append(row)
    return [speed for rows in groups.values() if (speed := _of(rows)) is not None]


def _of(rows: list[RunRow]) -> Speed | None:
    uploaded = sum(row.uploaded for row in rows)
    # Seconds ago.
    spans = [(age(row.started_at), age(row.ended_at or row.heartbeat_at)) for row in rows]
    lasted = max(began for began, _ in spans) - min(ended for _, ended in spans)
    worked = sum(began - ended for began, ended in spans)
    if uploaded < _ENOUGH or lasted <= 0 or worked <= 0:
        return None
    return Speed(max(1.0, worked / lasted), uploaded / lasted)
