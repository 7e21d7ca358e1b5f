"""What a report asks of the ledger and has its answer at once: counts that are kept, runs, looks, copies.

Each question is for a short transaction of its own. What every row must be looked at for is in `scans`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from ctstate.ledger.captures import Begin
from ctstate.ledger.schema import (
    backup,
    batch,
    classification_poll,
    deployment,
    event,
    hour_count,
    image,
    run,
    run_figure,
    state_count,
    verification,
)
from ctstate.ledger.states import State


class SiteCount(NamedTuple):
    """How many captures of a site are in a state.

    Attributes:
        site, state: of which.
        kept_off: they must not go up, and have no subject.
        in_doubt: their create got no answer.
        captures: how many.
    """

    site: str
    state: str
    kept_off: bool
    in_doubt: bool
    captures: int


def count_sites(connection: Connection, season_id: int) -> list[SiteCount]:
    """Return the captures of a season by site and state."""
    n = state_count.c
    by = (n.site, n.state, n.kept_off, n.in_doubt)
    found = connection.execute(
        select(*by, func.sum(n.captures))
        .where(n.season_id == season_id)
        .group_by(*by)
        .having(func.sum(n.captures) > 0)
        .order_by(*by)
    )
    return [
        SiteCount(site, state, kept_off == 1, in_doubt == 1, int(captures))
        for site, state, kept_off, in_doubt, captures in found
    ]


class Hour(NamedTuple):
    """What came up, and what failed, in an hour (UTC, such as 2026-11-23T19)."""

    hour: str
    uploaded: int
    failed: int


def hours(connection: Connection, season_id: int) -> list[Hour]:
    """Return the hours in which captures of a season came up or failed, oldest first."""
    found: dict[str, dict[str, int]] = {}
    rows = connection.execute(
        select(hour_count.c.hour, hour_count.c.state, hour_count.c.captures)
        .where(hour_count.c.season_id == season_id)
        .where(hour_count.c.hour.like("____-__-__T__"))  # a person's own UPDATE may have left anything there
        .order_by(hour_count.c.hour)
    )
    for hour, state, captures in rows:
        found.setdefault(hour, {})[state] = int(captures)
    up, failed = State.UPLOADED.value, State.FAILED.value
    return [Hour(hour, seen.get(up, 0), seen.get(failed, 0)) for hour, seen in found.items()]


class Looked(NamedTuple):
    """A comparison with Zooniverse (`verify`, `reconcile`); `found`: how many findings of each kind."""

    verb: str
    batch: str | None
    ended_at: str
    part: str | None
    captures: int
    images_asked: int
    findings: int
    found: Mapping[str, int]

    @property
    def whole(self) -> bool:
        """Whether the whole season was compared, and every image."""
        return self.verb == "verify" and self.batch is None and self.part is None


def last_looks(connection: Connection, season_id: int, most: int) -> list[Looked]:
    """Return the last comparisons of a season with Zooniverse, the latest first; and the last that was whole."""
    v = verification.c
    asked = (
        select(v.run_id, run.c.verb, v.batch, v.ended_at, v.part, v.captures, v.images_asked, v.findings, v.found)
        .join(run, run.c.id == v.run_id)
        .where(v.season_id == season_id)
        .order_by(v.run_id.desc())
    )
    whole = asked.where(v.batch.is_(None), v.part.is_(None), run.c.verb == "verify").limit(1)
    found = {row.run_id: row for row in (*connection.execute(asked.limit(most)), *connection.execute(whole))}
    return [
        Looked(row.verb, row.batch, row.ended_at, row.part, row.captures, row.images_asked, row.findings,
               json.loads(row.found))
        for row in found.values()
    ]  # fmt: skip


class Poll(NamedTuple):
    """How far volunteers were with a batch in a workflow when `progress` looked."""

    polled_at: str
    batch_id: int
    batch: str
    workflow_id: int
    workflow: str
    subjects: int
    classified: int
    classifications: int
    retired: int


def polls(connection: Connection, season_id: int) -> list[Poll]:
    """Return what `progress` saw of a season, oldest first."""
    p = classification_poll.c
    found = connection.execute(
        select(
            p.polled_at, p.batch_id, batch.c.name, p.workflow_id, p.workflow, p.subjects, p.classified,
            p.classifications, p.retired,
        )
        .join(batch, batch.c.id == p.batch_id)
        .where(batch.c.season_id == season_id)
        .order_by(p.run_id, p.batch_id, p.workflow_id)
    )  # fmt: skip
    return [Poll(*row) for row in found]


# -- runs ------------------------------------------------------------------------------------------------------


_MOVES = 50_000


def count_moves(begin: Begin, run_id: int, state: State) -> int:
    """Return how many captures a run brought into a state, counted some thousand a transaction."""
    e = event.c
    total, last = 0, 0
    while True:
        some = (
            select(e.id)
            .where(e.run_id == run_id, e.target == state.value, e.id > last)
            .order_by(e.id)
            .limit(_MOVES)
            .subquery()
        )
        with begin() as connection:
            number, newest = connection.execute(select(func.count(), func.max(some.c.id)).select_from(some)).one()
        total += int(number)
        if number < _MOVES:
            return total
        last = int(newest)


def run_figures(connection: Connection) -> dict[str, float]:
    """Return what all runs of the ledger did besides moving captures, added up; see `run_figure`."""
    found = connection.execute(select(run_figure.c.name, func.sum(run_figure.c.value)).group_by(run_figure.c.name))
    return {name: float(value) for name, value in found}


# -- captures that failed --------------------------------------------------------------------------------------


class ToSee(NamedTuple):
    """An image of a capture; `failure`: why the capture failed by it, if it did."""

    path: str
    failure: str | None


def image_to_see(connection: Connection, key: int) -> ToSee | None:
    """Return the image by which a capture failed, or else its first; None: it has none.

    Args:
        connection: a transaction.
        key: of the capture.
    """
    i = image.c
    row = connection.execute(
        select(i.path, i.failure_reason)
        .where(i.capture_id == key)
        .order_by(i.failure.is_(None), i.problem.is_not(None), i.rank)
        .limit(1)
    ).first()
    return None if row is None else ToSee(*row)


# -- cameras, and the ledger itself ----------------------------------------------------------------------------


class Stay(NamedTuple):
    """From which day to which a camera stood at a site, as the table of deployments says."""

    site: str
    begins: str | None
    ends: str | None


def stays(connection: Connection, season_id: int) -> list[Stay]:
    """Return where cameras stood, over all rolls of a site."""
    d = deployment.c
    found = connection.execute(
        select(d.site, func.min(d.starts_at), func.max(d.ends_at))
        .where(d.season_id == season_id)
        .group_by(d.site)
        .order_by(d.site)
    )
    return [Stay(site, begins and begins[:10], ends and ends[:10]) for site, begins, ends in found]


class Copy(NamedTuple):
    """A copy of the ledger, which was looked at whole when it was made."""

    made_at: str
    path: str
    bytes: int
    captures: int
    note: str | None


def copies(connection: Connection, most: int) -> list[Copy]:
    """Return the last copies of the ledger, the latest first."""
    columns: Sequence[Any] = [backup.c[name] for name in Copy._fields]
    return [Copy(*row) for row in connection.execute(select(*columns).order_by(backup.c.run_id.desc()).limit(most))]
