"""Captures by camera and day: where a camera was silent, when it went dead, whose clock is wrong.

A camera is what stands at a site. All days are as the cameras wrote them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise

from ctstate.ledger.overview import Stay
from ctstate.web.charts import GAP
from ctstate.words import counted

SILENT_DAYS = 7
"""A camera that took nothing for so long is worth a look."""

APART_DAYS = 400
"""A picture that was taken so long before or after the middle of the season was not: the clock is wrong."""

MOST_DAYS = 420
"""A season that is longer is shown by weeks."""


@dataclass
class Camera:
    """What a camera took.

    Attributes:
        site: where it stands.
        captures: all of it.
        cells: captures by day (or week) of the season, `GAP` where it was silent.
        first, last: its first and its last day, wrong clocks left out.
        timeless: captures without a time.
        notes: what is conspicuous, in words.
        trouble: how conspicuous that is; 0: not at all.
    """

    site: str
    captures: int = 0
    cells: list[int] = field(default_factory=list)
    first: str = ""
    last: str = ""
    timeless: int = 0
    notes: list[str] = field(default_factory=list)
    trouble: int = 0


@dataclass(frozen=True)
class Cameras:
    """All cameras of a season.

    Attributes:
        rows: the most conspicuous first, then by site.
        first, last: day of the season; '' where no time is known.
        weeks: cells are weeks.
        levels: from how many captures on a cell has the next shade.
    """

    rows: Sequence[Camera]
    first: str
    last: str
    weeks: bool
    levels: Sequence[int]

    @property
    def conspicuous(self) -> int:
        """How many cameras something is to be said of."""
        return sum(row.trouble > 0 for row in self.rows)


def cameras(days: Mapping[tuple[str, str], int], stays: Iterable[Stay], today: str) -> Cameras:
    """Tell what the cameras of a season did.

    Args:
        days: captures by site and day; see `scans.CapturesSeen`.
        stays: when they stood where.
        today: this day, such as 2026-11-23; what was taken later was not.
    """
    by_site: dict[str, dict[date, int]] = defaultdict(dict)
    timeless: dict[str, int] = defaultdict(int)
    for (site, text), captures in days.items():
        day = _day(text)
        if day is None:
            timeless[site] += captures
        else:
            by_site[site][day] = captures
    middle = _middle([(day, number) for seen in by_site.values() for day, number in seen.items()])
    now = _day(today) or date.max
    stood = {stay.site: stay for stay in stays}
    good: dict[str, dict[date, int]] = {}
    wrong: dict[str, dict[date, int]] = {}
    for site, seen in by_site.items():
        off = {day for day in seen if day > now or (middle is not None and abs((day - middle).days) > APART_DAYS)}
        good[site] = {day: number for day, number in seen.items() if day not in off}
        wrong[site] = {day: number for day, number in seen.items() if day in off}
    every = [day for seen in good.values() for day in seen]
    first, last = (min(every), max(every)) if every else (None, None)
    weeks = first is not None and last is not None and (last - first).days >= MOST_DAYS
    rows = []
    for site in sorted({*by_site, *timeless}):
        row = Camera(site, timeless=timeless.get(site, 0))
        row.captures = sum(by_site[site].values()) + row.timeless if site in by_site else row.timeless
        _tell_of_clocks(row, wrong.get(site, {}))
        if first is not None and last is not None:
            _tell(row, good.get(site, {}), first, last, 7 if weeks else 1, stood.get(site))
        rows.append(row)
    rows.sort(key=lambda row: (-row.trouble, row.site))
    levels = _levels([count for row in rows for count in row.cells if count > 0])
    return Cameras(rows, str(first or ""), str(last or ""), weeks, levels)


def _tell(row: Camera, seen: Mapping[date, int], first: date, last: date, step: int, stay: Stay | None) -> None:
    row.cells = [0] * ((last - first).days // step + 1)
    for day, number in seen.items():
        row.cells[(day - first).days // step] += number
    if not seen:
        return
    begins, ends = min(seen), max(seen)
    row.first, row.last = str(begins), str(ends)
    gaps = [(a, b) for a, b in pairwise(sorted(seen)) if (b - a).days > SILENT_DAYS]
    until = (_day(stay.ends) if stay is not None and stay.ends is not None else None) or last
    if (min(until, last) - ends).days > SILENT_DAYS:
        row.notes.append(
            f"silent since {ends + timedelta(1)}, for {counted((min(until, last) - ends).days, 'day')}"
        )
        row.trouble += (min(until, last) - ends).days
        gaps.append((ends, min(until, last) + timedelta(1)))
    for a, b in gaps:
        for cell in range(((a - first).days + 1) // step, (b - first).days // step):
            if not row.cells[cell]:
                row.cells[cell] = GAP
    inner = [(a, b) for a, b in gaps if a != ends]
    if inner:
        a, b = max(inner, key=lambda gap: gap[1] - gap[0])
        more = f", and {counted(len(inner) - 1, 'other gap')}" if len(inner) > 1 else ""
        row.notes.append(f"nothing from {a + timedelta(1)} to {b - timedelta(1)}{more}")
        row.trouble += (b - a).days
    _tell_of_stay(row, seen, stay)


def _tell_of_stay(row: Camera, seen: Mapping[date, int], stay: Stay | None) -> None:
    if stay is None:
        return
    begins, ends = _day(stay.begins or ""), _day(stay.ends or "")
    outside = sum(
        number
        for day, number in seen.items()
        if (begins is not None and day < begins) or (ends is not None and day > ends)
    )
    if outside:
        row.notes.append(f"{counted(outside, 'capture')} outside the time for which it stood there: its clock?")
        row.trouble += 1000


def _tell_of_clocks(row: Camera, wrong: Mapping[date, int]) -> None:
    if wrong:
        days = f"{min(wrong)}" if len(wrong) == 1 else f"{min(wrong)} to {max(wrong)}"
        row.notes.append(f"{counted(sum(wrong.values()), 'capture')} dated {days}: its clock is wrong")
        row.trouble += 2000


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:  # no day: '' where the time is not known
        return None


def _middle(weighted: list[tuple[date, int]]) -> date | None:
    """Return the day before which half of all captures were taken."""
    left = sum(number for _, number in weighted) / 2
    for day, number in sorted(weighted):
        left -= number
        if left <= 0:
            return day
    return None


def _levels(counts: list[int]) -> list[int]:
    """Return from how many on a cell is darker: a quarter of all cells each, as far as they differ."""
    if not counts:
        return []
    counts.sort()
    return sorted({1, *(counts[len(counts) * part // 4] for part in (1, 2, 3))})
