"""Captures -> batches (`ctstate batch`). One batch becomes one Zooniverse subject set.

The split is docs/legacy-formats.md, section 6: the default order repeats `random.seed(123); random.shuffle(ids)`
of the capture ids in manifest order, and batch b of N holds positions round((b-1)*n/N) to round(b*n/N).
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from ctstate.errors import UsageError
from ctstate.ledger import Ledger, Transaction, batches, runs
from ctstate.ledger.batches import FreeCapture
from ctstate.ledger.transitions import note_placed
from ctstate.words import counted

ORDERS = ("random", "sequential", "site", "roll")
LEGACY_SEED = 123


@dataclass
class BatchReport:
    """What `batch` did.

    Attributes:
        season: manifest id.
        sizes: captures by the name of the batch.
        kept: captures that stay in the batch they have, on their way or on Zooniverse.
        excluded: captures that are not to be uploaded: left alone.
        unchanged: the ledger is as it was.
    """

    season: str
    sizes: dict[str, int] = field(default_factory=dict)
    kept: int = 0
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


def batch(
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
            ids = batches.free_in_legacy_order(connection, season.id)
        else:
            ids, groups = _in_order(connection, season.id, order)
        if not ids:
            raise UsageError(f"season {season.name} has no capture that could be put into a batch")
        if number_of_batches is not None and number_of_batches > len(ids):
            raise UsageError(
                f"--number-of-batches {number_of_batches}: the season has only {counted(len(ids), 'capture')}"
            )
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
            runs.forget(connection, run_id)
    return report


def _in_order(connection: Transaction, season_id: int, order: str) -> tuple[list[int], list[int]]:
    """Return the free captures in manifest order, and the sizes of their sites or rolls where these matter."""
    ids: list[int] = []
    sizes: list[int] = []

    def group(row: FreeCapture) -> tuple[str, ...]:
        return (row.season, row.site, row.roll) if order == "roll" else (row.season, row.site)

    for _, rows in itertools.groupby(batches.free_in_manifest_order(connection, season_id), group):
        before = len(ids)
        ids += [row.id for row in rows]
        sizes.append(len(ids) - before)
    return ids, sizes if order in ("site", "roll") else []


def _assign(
    connection: Transaction,
    run_id: int,
    season_id: int,
    ids: list[int],
    ranges: list[tuple[int, int]],
    report: BatchReport,
) -> None:
    """Put the captures into batches; old ones that lose all their captures disappear."""
    taken = batches.names_in_use(connection, season_id)
    free_names = (f"batch_{number}" for number in itertools.count(1))
    keys: list[int] = []
    for start, end in ranges:
        name = next(name for name in free_names if name not in taken)
        keys.append(batches.make(connection, season_id, name))
        report.sizes[name] = end - start
    places = (
        (capture, key, position)
        for key, (start, end) in zip(keys, ranges, strict=True)
        for position, capture in enumerate(ids[start:end], start=1)
    )
    report.unchanged = not note_placed(connection, run_id, places)
    batches.drop_empty(connection, season_id)
    report.kept, report.excluded = batches.left_alone(connection, season_id, len(ids))
