"""What somebody asks who looks on while a season goes up (`ctstate watch`, `ctstate serve`).

Short reads, each answered from counts that are kept, or by an index, so that none takes long in a million captures.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, column, func, select, table
from sqlalchemy.engine import Connection

from ctstate.ledger.database import dialect_of
from ctstate.ledger.schema import batch, capture, event, meta, run, run_figure, season, state_count
from ctstate.ledger.states import State
from ctstate.ledger.uploads import newest_move

Reading = Connection
"""A read transaction, as other rooms call it."""

# -- whether there is anything new -----------------------------------------------------------------------------


def version(connection: Connection) -> str:
    """Return what stays the same on a lent connection for as long as nobody writes; see `Dialect.version`."""
    return dialect_of(connection).version(connection)


def impatient(connection: Connection, seconds: float) -> None:
    """Let a connection that is lent, and in no transaction, wait no longer than this; see `Dialect.impatient`."""
    dialect_of(connection).impatient(connection, seconds)


def readers_hold_up_writers(connection: Connection) -> bool:
    """Tell whether nobody can commit for as long as somebody reads; see `Dialect`."""
    return dialect_of(connection).readers_hold_up_writers(connection)


# -- runs ------------------------------------------------------------------------------------------------------


class RunFacts(NamedTuple):
    """A run, without what it did to captures (`Tallies` knows that)."""

    id: int
    verb: str
    outcome: str | None
    started_at: str
    heartbeat_at: str
    stop_requested_at: str | None
    ended_at: str | None
    host: str
    pid: int
    username: str
    slurm_job: str | None
    slurm_task: str | None
    log_file: str | None
    message: str | None
    arguments: str
    version: str


_RUN = tuple(run.c[name] for name in RunFacts._fields)


def newest_runs(connection: Connection, most: int, before: int | None = None) -> list[RunFacts]:
    """Return the runs that have not ended (of the first page), and the newest that have, newest first.

    Args:
        connection: a transaction.
        most: so many of those that ended.
        before: a run's id: those that began before it and have ended; None: the first page.
    """
    of_page: ColumnElement[bool] = run.c.ended_at.is_not(None)
    if before is not None:
        of_page &= run.c.id < before
    ended = connection.execute(select(*_RUN).where(of_page).order_by(run.c.id.desc()).limit(most)).all()
    live = [] if before is not None else connection.execute(select(*_RUN).where(run.c.ended_at.is_(None))).all()
    return sorted((RunFacts(*row) for row in [*live, *ended]), reverse=True)


def run_of(connection: Connection, run_id: int) -> RunFacts | None:
    """Return a run."""
    row = connection.execute(select(*_RUN).where(run.c.id == run_id)).first()
    return None if row is None else RunFacts(*row)


def figures_of(connection: Connection, run_id: int) -> list[tuple[str, float]]:
    """Return what a run did besides moving captures, by name."""
    figures = select(run_figure.c.name, run_figure.c.value).where(run_figure.c.run_id == run_id)
    return [(str(name), float(value)) for name, value in connection.execute(figures.order_by(run_figure.c.name))]


class RunMoves(NamedTuple):
    """How many captures a run brought there, and how many it gave up."""

    uploaded: int = 0
    failed: int = 0


_COUNTED = (State.UPLOADED.value, State.FAILED.value)

_MANY_MOVES = 20_000
"""If so many moves were made since, it is cheaper to count the runs anew by their index."""


class Tallies:
    """What runs did to captures: counted once for each, then rolled forward by the moves that were made since."""

    def __init__(self) -> None:
        self._seen: int | None = None
        self._known: dict[int, dict[str, int]] = {}

    def of(self, connection: Connection, run_ids: Collection[int]) -> dict[int, RunMoves]:
        """Return what these runs did so far, as it is in this transaction."""
        newest = newest_move(connection)
        if self._seen is None or newest < self._seen or newest - self._seen > _MANY_MOVES:
            self._known.clear()
        elif newest > self._seen:
            moves = (
                select(event.c.run_id, event.c.target, func.count())
                .where(event.c.id > self._seen, event.c.id <= newest, event.c.target.in_(_COUNTED))
                .group_by(event.c.run_id, event.c.target)
            )
            for run_id, target, number in connection.execute(moves):
                if run_id in self._known:
                    self._known[run_id][target] += int(number)
        self._seen = newest
        for run_id in run_ids:
            if run_id not in self._known:
                by_state = {
                    state: int(
                        connection.execute(
                            select(func.count())
                            .select_from(event)
                            .where(event.c.run_id == run_id, event.c.target == state)
                        ).scalar_one()
                    )
                    for state in _COUNTED
                }
                self._known[run_id] = by_state
        return {run_id: RunMoves(*(self._known[run_id][state] for state in _COUNTED)) for run_id in run_ids}


# -- seasons, sites and hours ----------------------------------------------------------------------------------


class Hour(NamedTuple):
    """What came up, and what failed, within an hour of all seasons; `hour` is its beginning."""

    hour: str
    uploaded: int
    failed: int


_v_hourly = table("v_hourly", *map(column, ("season", *Hour._fields)))


def hours(connection: Connection, most: int = 14 * 24) -> list[Hour]:
    """Return the newest hours in which something happened, oldest first."""
    found = connection.execute(
        select(_v_hourly.c.hour, func.sum(_v_hourly.c.uploaded), func.sum(_v_hourly.c.failed))
        .group_by(_v_hourly.c.hour)
        .order_by(_v_hourly.c.hour.desc())
        .limit(most)
    )
    return [Hour(hour, int(uploaded), int(failed)) for hour, uploaded, failed in found][::-1]


class SiteFacts(NamedTuple):
    """A row of `v_sites`."""

    season: str
    site: str
    captures: int
    excluded: int
    pending: int
    uploaded: int
    failed: int
    removed: int
    deleted: int
    in_doubt: int


_v_sites = table("v_sites", *map(column, SiteFacts._fields))


def sites(connection: Connection, most: int) -> list[SiteFacts]:
    """Return how far sites are, by season and name."""
    rows = connection.execute(select(_v_sites).order_by(_v_sites.c.season, _v_sites.c.site).limit(most))
    return [SiteFacts(*row) for row in rows]


class Verified(NamedTuple):
    """The newest comparison with Zooniverse."""

    run_id: int
    season: str
    batch: str | None
    ended_at: str
    part: str | None
    captures: int
    findings: int

    @property
    def of(self) -> str:
        """What alone was compared, such as `batch_1, 5%`; empty: the whole season, and every image."""
        return ", ".join(what for what in (self.batch, self.part) if what is not None)


_v_verifications = table("v_verifications", *map(column, Verified._fields))


def last_verification(connection: Connection) -> Verified | None:
    """Return the newest comparison with Zooniverse, if there was one."""
    row = connection.execute(select(_v_verifications).order_by(_v_verifications.c.run_id.desc()).limit(1)).first()
    return None if row is None else Verified(*row)


# -- failures --------------------------------------------------------------------------------------------------


class Failures(NamedTuple):
    """Captures that failed for one reason.

    Attributes:
        kind: see docs/views.md; None: an older ctstate wrote it.
        reason: in words, of one of them.
        captures: how many.
        key: of one of them.
    """

    kind: str | None
    reason: str
    captures: int
    key: int


def failures(connection: Connection, most: int) -> tuple[list[Failures], bool]:
    """Return why captures failed, the most frequent reason first; of this many that failed, by an index.

    Returns:
        the reasons, and whether there are more captures than were looked at.
    """
    places = connection.execute(
        select(state_count.c.season_id, state_count.c.batch_id)
        .where(state_count.c.state == State.FAILED.value, state_count.c.captures > 0)
        .distinct()
    ).all()
    rows: list[Any] = []
    for season_id, batch_id in places:
        rows += connection.execute(
            select(capture.c.id, capture.c.reason_kind, capture.c.reason)
            .where(
                capture.c.season_id == season_id,
                capture.c.batch_id == batch_id,
                capture.c.state == State.FAILED.value,
            )
            .limit(most + 1 - len(rows))
        ).all()
        if len(rows) > most:
            break
    groups: dict[tuple[str | None, str], list[int]] = {}
    for key, kind, reason in rows[:most]:
        groups.setdefault((kind, _alike(reason or "")), []).append(int(key))
    found = [Failures(kind, reason, len(keys), min(keys)) for (kind, reason), keys in groups.items()]
    return sorted(found, key=lambda one: (-one.captures, one.reason)), len(rows) > most


def _alike(reason: str) -> str:
    """Return what reasons that name different files have in common: the words after the file's name."""
    head, colon, rest = reason.partition(": ")
    return f"…: {rest}"[:200] if colon and ("/" in head or "." in head) else reason[:200]


# -- names -----------------------------------------------------------------------------------------------------


class BatchName(NamedTuple):
    """A batch, and the season it is of."""

    season_id: int
    season: str
    batch_id: int
    batch: str


def batches(connection: Connection) -> list[BatchName]:
    """Return all batches, by season, as they were made."""
    of_season = batch.join(season, season.c.id == batch.c.season_id)
    rows = connection.execute(
        select(season.c.id, season.c.name, batch.c.id, batch.c.name)
        .select_from(of_season)
        .order_by(season.c.name, batch.c.id)
    )
    return [BatchName(*row) for row in rows]


def endpoint(connection: Connection) -> str | None:
    """Return the Zooniverse that the ledger is tied to, if it is."""
    return connection.execute(select(meta.c.value).where(meta.c.name == "endpoint")).scalar()
