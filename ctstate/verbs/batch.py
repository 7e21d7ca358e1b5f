"""Captures -> batches (`ctstate batch`). One batch becomes one Zooniverse subject set.

The split is docs/legacy-formats.md, section 6: the default order repeats `random.seed(123); random.shuffle(ids)`
of the capture ids in manifest order, and batch b of N holds positions round((b-1)*n/N) to round(b*n/N).
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from ctstate.errors import UsageError
from ctstate.ledger import Ledger
from ctstate.ledger.clock import now
from ctstate.ledger.schema import batch, capture, run
from ctstate.ledger.states import REBATCHABLE, State

ORDERS = ("random", "sequential", "site", "roll")
LEGACY_SEED = 123
COMPLETE = "complete"
_CHUNK = 10_000

_NOT_BEGUN = (
    capture.c.state.in_([state.value for state in REBATCHABLE])
    # What a run has begun stays in its batch: its subject may exist already.
    & capture.c.subject_id.is_(None)
    & capture.c.create_sent_at.is_(None)
)
_FREE = _NOT_BEGUN & capture.c.excluded.is_(None)


@dataclass
class BatchReport:
    """What `split` did: the sizes by batch name, and how many captures stay in the batch they have."""

    season: str
    sizes: dict[str, int] = field(default_factory=dict)
    kept: int = 0  # on their way or on Zooniverse
    excluded: int = 0
    unchanged: bool = False


def positions(count: int, batches: int) -> list[tuple[int, int]]:
    """Return the half-open ranges of `count` positions that make `batches` batches, as legacy cuts them."""
    return [(round((b - 1) * count / batches), round(b * count / batches)) for b in range(1, batches + 1)]


def whole_groups(sizes: Sequence[int], batches: int | None, most: int | None) -> list[tuple[int, int]]:
    """Return ranges of positions that keep groups of these sizes whole.

    Args:
        sizes: of the groups, in order.
        batches: how many ranges; each border is the border of groups nearest to where legacy would cut.
        most: instead, the largest range; only a group larger than that is cut.
    """
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    if batches is not None:
        borders = [min(ends, key=lambda end: (abs(end - cut), end)) for _, cut in positions(ends[-1], batches)]
        borders = [0, *borders]
        borders[-1] = ends[-1]
        return [(start, end) for start, end in itertools.pairwise(borders) if end > start]
    assert most is not None
    ranges, start = [], 0
    for begin, end in itertools.pairwise(ends):
        if end - start > most and begin > start:
            ranges.append((start, begin))
            start = begin
        while end - start > most:
            ranges.append((start, start + most))
            start += most
    if ends[-1] > start:
        ranges.append((start, ends[-1]))
    return ranges


def split(
    ledger: Ledger,
    season_name: str | None = None,
    *,
    number_of_batches: int | None = None,
    max_batch_size: int | None = None,
    order: str = "random",
    seed: int = LEGACY_SEED,
) -> BatchReport:
    """Put every capture of a season that is not on its way to Zooniverse into a batch, in one transaction.

    Batches that hold captures on their way (or there) keep them and their names; the new ones take the next
    free names `batch_1`, `batch_2`, ...

    Args:
        ledger: the ledger.
        season_name: manifest id; may be left out where the ledger holds one season.
        number_of_batches: how many batches, or
        max_batch_size: how many captures a batch may hold; never both, never neither.
        order: `random`, `sequential` (manifest order), `site` or `roll` (manifest order, whole sites or rolls).
        seed: for `random`; 123 repeats a legacy split.

    Raises:
        UsageError: arguments that make no sense, or no such season.
    """
    if (number_of_batches is None) == (max_batch_size is None):
        raise UsageError("give either --number-of-batches or --max-batch-size")
    for name, value in (("--number-of-batches", number_of_batches), ("--max-batch-size", max_batch_size)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be 1 or more, not {value}")
    if order not in ORDERS:
        raise UsageError(f"{order!r} is not an order; the orders are {', '.join(ORDERS)}")
    season = ledger.season(season_name)
    arguments = {
        "season": season.name,
        "number_of_batches": number_of_batches,
        "max_batch_size": max_batch_size,
        "order": order,
        "seed": seed,
    }
    with ledger.atomic_run("batch", arguments) as (connection, run_id):
        groups: list[int] = []
        if order == "random":
            ids = _in_legacy_order(connection, season.id)
        else:
            ids, groups = _in_order(connection, season.id, order)
        if not ids:
            raise UsageError(f"season {season.name} has no capture that could be put into a batch")
        if number_of_batches is not None and number_of_batches > len(ids):
            raise UsageError(f"--number-of-batches {number_of_batches}: there are only {len(ids)} captures")
        if order == "random":
            random.Random(seed).shuffle(ids)
        if groups:
            ranges = whole_groups(groups, number_of_batches, max_batch_size)
        else:
            count = number_of_batches or math.ceil(len(ids) / (max_batch_size or 1))
            ranges = positions(len(ids), count)
        report = BatchReport(season=season.name)
        _assign(connection, run_id, season.id, ids, ranges, report)
        if report.unchanged:
            connection.execute(delete(run).where(run.c.id == run_id))
    return report


def put_rest_into_complete(connection: Connection, season_id: int, run_id: int) -> int:
    """Put a season that was never split into one batch named `complete`; return how many captures it took.

    Does nothing where the season has other batches.
    """
    others = connection.execute(
        select(batch.c.id).where(batch.c.season_id == season_id, batch.c.name != COMPLETE)
    ).first()
    if others is not None:
        return 0
    free = (capture.c.season_id == season_id) & _FREE & (capture.c.state != State.BATCHED.value)
    if connection.execute(select(capture.c.id).where(free).limit(1)).first() is None:
        return 0
    key = _batch(connection, season_id, COMPLETE)
    return connection.execute(
        update(capture)
        .where(free)
        .values(batch_id=key, state=State.BATCHED.value, run_id=run_id, moved_at=now(), reason=None)
    ).rowcount


def _in_order(connection: Connection, season_id: int, order: str) -> tuple[list[int], list[int]]:
    """Return the free captures in manifest order, and the sizes of their sites or rolls where these matter."""
    columns: dict[str, list[Any]] = {
        "site": [capture.c.season, capture.c.site],
        "roll": [capture.c.season, capture.c.site, capture.c.roll],
    }
    group_by = columns.get(order, [])
    ids: list[int] = []
    sizes: list[int] = []
    last: Any = None
    for row in connection.execute(
        select(capture.c.id, *group_by)
        .where(capture.c.season_id == season_id, _FREE)
        .order_by(capture.c.season, capture.c.site, capture.c.roll, capture.c.capture_number, capture.c.capture_id)
    ):
        ids.append(row[0])
        if group_by:
            if row[1:] != last:
                sizes.append(0)
                last = row[1:]
            sizes[-1] += 1
    return ids, sizes


def _in_legacy_order(connection: Connection, season_id: int) -> list[int]:
    """Return the free captures as a legacy manifest lists them: by the text `season#site#roll#%05d`.

    That is manifest order but for captures above 99,999 and for names in which a space, `!` or `"` follows what
    is another name. A shuffle repeats only if it begins with the same list.
    """
    rows = [
        (f"{row.season}#{row.site}#{row.roll}#{row.capture_number:05d}", row.capture_id, row.id)
        for row in connection.execute(
            select(
                capture.c.season, capture.c.site, capture.c.roll, capture.c.capture_number,
                capture.c.capture_id, capture.c.id,
            )
            .where(capture.c.season_id == season_id, _FREE)
            .order_by(capture.c.season, capture.c.site, capture.c.roll, capture.c.capture_number)
        )
    ]  # fmt: skip
    return [key for _, _, key in sorted(rows)]


def _batch(connection: Connection, season_id: int, name: str) -> int:
    key = connection.execute(
        select(batch.c.id).where(batch.c.season_id == season_id, batch.c.name == name)
    ).scalar()
    if key is None:
        made = connection.execute(insert(batch).values(season_id=season_id, name=name, created_at=now()))
        assert made.inserted_primary_key is not None
        key = made.inserted_primary_key[0]
    return int(key)


def _assign(
    connection: Connection,
    run_id: int,
    season_id: int,
    ids: list[int],
    ranges: list[tuple[int, int]],
    report: BatchReport,
) -> None:
    kept = connection.execute(
        select(batch.c.name).where(
            batch.c.season_id == season_id,
            (batch.c.subject_set_id.is_not(None))
            | batch.c.id.in_(
                select(capture.c.batch_id).where(
                    capture.c.season_id == season_id, capture.c.batch_id.is_not(None), ~_NOT_BEGUN
                )
            ),
        )
    ).scalars()
    taken = set(kept)
    before: dict[int, tuple[int, int | None]] = {
        row.id: (row.batch_id, row.position)
        for row in connection.execute(
            select(capture.c.id, capture.c.batch_id, capture.c.position).where(
                capture.c.season_id == season_id, capture.c.batch_id.is_not(None)
            )
        )
    }
    # Names are free where no capture on its way holds them; old batches that lose all captures disappear.
    put = (
        update(capture)
        .where(capture.c.id == bindparam("key"))
        .values(
            batch_id=bindparam("into"),
            position=bindparam("place"),
            state=State.BATCHED.value,
            run_id=run_id,
            moved_at=now(),
            reason=None,
        )
    )
    number = 0
    changed = False
    for start, end in ranges:
        number += 1
        while f"batch_{number}" in taken:
            number += 1
        name = f"batch_{number}"
        key = _batch(connection, season_id, name)
        report.sizes[name] = end - start
        for first in range(start, end, _CHUNK):
            part = [
                {"key": capture_key, "into": key, "place": place}
                for place, capture_key in enumerate(ids[first : min(first + _CHUNK, end)], start=first - start + 1)
                if before.get(capture_key) != (key, place)
            ]
            if part:
                connection.execute(put, part)
                changed = True
    connection.execute(
        delete(batch).where(
            batch.c.season_id == season_id,
            batch.c.subject_set_id.is_(None),
            batch.c.id.not_in(select(capture.c.batch_id).where(capture.c.batch_id.is_not(None))),
        )
    )
    here = capture.c.season_id == season_id
    report.kept = connection.execute(select(func.count()).where(here, ~_NOT_BEGUN)).scalar_one()
    report.excluded = connection.execute(
        select(func.count()).where(here, _NOT_BEGUN, capture.c.excluded.is_not(None))
    ).scalar_one()
    report.unchanged = not changed
