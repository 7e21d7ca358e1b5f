"""Pictures as inline SVG: bars, columns over time, curves with a forecast, strips of days.

Each is a pure function of what it shows and returns `Markup`. Geometry is SVG that stretches with the page, text is
HTML around it and keeps its size; colours are classes of `look.css` and `charts.css`, which a page must have. Every
picture has `role="img"` and a sentence that says what it shows; the numbers stand in a table beside it.

    bar([Part("uploaded", 90, "uploaded"), Part("failed", 10, "failed")], of="B04")
    columns([Column("23 Nov, 19:00", (Part("uploaded", 800, "uploaded"),))], of="captures an hour")
    curve([Line("retired", "uploaded", [(0, 0), (5, 40)])], most=100, ticks=("1 Nov", "6 Nov"), of="subjects")
    strip([0, 3, 12, 0, 4], levels=(1, 5, 10), of="B04")
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup

HEIGHT = 100
"""Of columns and curves, in units of their picture."""

FEWEST_COLUMNS = 24
"""A season of one hour is not to be one column as wide as the page."""


class Part(NamedTuple):
    """So many of one kind.

    Attributes:
        label: what they are, for people.
        value: how many.
        kind: a class of `look.css`, such as `uploaded`.
    """

    label: str
    value: float
    kind: str


class Column(NamedTuple):
    """A column: when, and what is stacked in it, from the ground up."""

    label: str
    parts: Sequence[Part]


class Line(NamedTuple):
    """A curve.

    Attributes:
        label: what it shows.
        kind: a class of `look.css`.
        points: x and y, by x.
        ahead: it is no fact but what may come: drawn in dashes.
    """

    label: str
    kind: str
    points: Sequence[tuple[float, float]]
    ahead: bool = False


def bar(parts: Sequence[Part], *, of: str, most: float | None = None) -> Markup:
    """Return a bar of parts side by side.

    Args:
        parts: those of 0 are left out.
        of: whose bar it is.
        most: what a bar of full width stands for; None: all parts together.
    """
    total = sum(part.value for part in parts)
    whole = most or total or 1
    drawn, x = [], 0.0
    for part in parts:
        if part.value > 0:
            # What is there can be seen, however little it is.
            width = max(1000 * part.value / whole, 3.0)
            drawn.append(
                Markup('<rect class="{}" x="{}" width="{}" height="10"><title>{}</title></rect>').format(
                    part.kind, _short(x), _short(width), f"{part.label}: {_number(part.value)}"
                )
            )
            x += width
    return Markup(
        '<svg class="bar" viewBox="0 0 {} 10" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(_short(max(1000.0, x)), f"{of}: {in_words(parts)}", Markup("").join(drawn))


def legend(parts: Iterable[Part], *, numbers: bool = False) -> Markup:
    """Return which colour is what; `numbers`: and how many there are."""
    items = [
        Markup('<li><svg class="key" viewBox="0 0 1 1" aria-hidden="true"><rect class="{}" width="1" height="1"/>'
               "</svg>{}{}</li>").format(
            part.kind, part.label, Markup(" <b>{}</b>").format(_number(part.value)) if numbers else ""
        )
        for part in parts
    ]  # fmt: skip
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def columns(shown: Sequence[Column], *, of: str) -> Markup:
    """Return stacked columns, side by side in their order.

    Args:
        shown: one for each stretch of time, those in which nothing happened included.
        of: what is counted, such as `captures an hour`.
    """
    top = ceiling(max((sum(part.value for part in column.parts) for column in shown), default=0))
    paths: dict[str, list[str]] = {}
    for number, column in enumerate(shown):
        y = 0.0
        for part in column.parts:
            if part.value > 0:
                height = max(HEIGHT * part.value / top, 0.6)
                paths.setdefault(part.kind, []).append(
                    f"M{number}.1 {_short(HEIGHT - y)}v-{_short(height)}h.8v{_short(height)}z"
                )
                y += height
    drawn = Markup("").join(
        Markup('<path class="{}" d="{}"/>').format(kind, "".join(steps)) for kind, steps in paths.items()
    )
    totals: dict[str, Part] = {}
    for column in shown:
        for part in column.parts:
            known = totals.get(part.kind)
            totals[part.kind] = part._replace(value=part.value + (known.value if known is not None else 0))
    span = f", {shown[0].label}" if shown else ""
    span += f" to {shown[-1].label}" if len(shown) > 1 else ""
    picture = Markup(
        '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}{}</svg>'
    ).format(
        max(len(shown), FEWEST_COLUMNS), HEIGHT, f"{of}{span}: {in_words(list(totals.values()))}", _GRID, drawn
    )
    wide = max(len(shown), FEWEST_COLUMNS)
    middle = shown[len(shown) // 2].label if len(shown) > 8 else ""
    last = shown[-1].label if len(shown) > 1 else ""
    ticks = (shown[0].label if shown else "", middle, last) if len(shown) == wide else (span[2:], "", "")
    return _plot(picture, top, ticks)


def curve(lines: Sequence[Line], *, most: float, ticks: Sequence[str], of: str) -> Markup:
    """Return curves over one axis of time.

    Args:
        lines: with the x of their points on a scale that all share.
        most: the largest y there can be.
        ticks: what the ends of the x axis are called, and what lies between them.
        of: what is counted.
    """
    xs = [x for line in lines for x, _ in line.points] or [0.0]
    first, width = min(xs), (max(xs) - min(xs)) or 1
    top = ceiling(most)
    drawn = []
    for line in lines:
        points = [(1000 * (x - first) / width, HEIGHT - HEIGHT * min(y, top) / top) for x, y in line.points]
        path = "L".join(f"{_short(x)} {_short(y)}" for x, y in points)
        drawn.append(
            Markup('<path class="line {}{}" d="M{}"><title>{}</title></path>').format(
                line.kind, " ahead" if line.ahead else "", path, line.label
            )
        )
    said = "; ".join(f"{line.label}: {_number(line.points[-1][1])}" for line in lines if line.points)
    picture = Markup(
        '<svg viewBox="0 -1 1000 {}" preserveAspectRatio="none" role="img" aria-label="{}">{}{}</svg>'
    ).format(HEIGHT + 2, f"{of}, {ticks[0]} to {ticks[-1]}: {said}", _WIDE_GRID, Markup("").join(drawn))
    return _plot(picture, top, ticks)


GAP = -1
"""A day on which something is missing, in `strip`."""


def strip(days: Sequence[int], *, levels: Sequence[int], of: str) -> Markup:
    """Return a strip of days, darker where there is more: one path for each shade, so that it stays small.

    Args:
        days: how many, day by day; 0: nothing; `GAP`: something is missing.
        levels: from so many on a day has the next shade (up to four).
        of: what the strip shows, in words.
    """
    paths: dict[str, list[str]] = {}
    begin = 0
    shades = [_shade(count, levels) for count in days]
    for end in range(1, len(shades) + 1):
        if end == len(shades) or shades[end] != shades[begin]:
            if shades[begin]:
                paths.setdefault(shades[begin], []).append(f"M{begin} 0h{end - begin}")
            begin = end
    drawn = Markup("").join(
        Markup('<path class="{}" d="{}"/>').format(shade, "".join(steps)) for shade, steps in sorted(paths.items())
    )
    return Markup(
        '<svg class="strip" viewBox="0 -.5 {} 1" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(max(len(days), 1), of, drawn)


def _shade(count: int, levels: Sequence[int]) -> str:
    if count == GAP:
        return "gap"
    return f"heat{min(4, sum(count >= least for least in levels))}" if count else ""


def strip_legend(levels: Sequence[int], *, gaps: bool) -> Markup:
    """Return which shade of a strip is how many."""
    ends = [f"{least:,}–{after - 1:,}" if after - 1 > least else f"{least:,}" for least, after in
            pairwise(levels)]  # fmt: skip
    names = [*ends, f"{levels[-1]:,} and more"] if levels else []
    parts = [Part(name, 0, f"heat{number + 1}") for number, name in enumerate(names)]
    return legend([*parts, *([Part("nothing for a week or more", 0, "gap")] if gaps else [])])


def in_words(parts: Sequence[Part]) -> str:
    """Return the parts as a sentence would have them: `90 uploaded, 10 failed`."""
    return ", ".join(f"{_number(part.value)} {part.label}" for part in parts if part.value > 0) or "nothing"


def ceiling(value: float) -> float:
    """Return a round number that is not below a value, for the top of an axis: each quarter of it is whole."""
    if value <= 4:
        return 4
    tenth: int = 10 ** math.floor(math.log10(value))
    tops = (tenth * times // 10 for times in (10, 12, 16, 20, 24, 30, 40, 50, 60, 80, 100, 120))
    return next(top for top in tops if top >= value and top % 4 == 0)


# What is a quarter of the height apart.
_LINES = "M0 {0}h{3}M0 {1}h{3}M0 {2}h{3}"
_GRID = Markup('<path class="grid" d="{}"/>').format(_LINES.format(25, 50, 75, 10000))
_WIDE_GRID = Markup('<path class="grid" d="{}"/>').format(_LINES.format(25, 50, 75, 1000))


def _plot(picture: Markup, top: float, ticks: Sequence[str]) -> Markup:
    levels = Markup("").join(Markup("<span>{}</span>").format(_number(top * part / 4)) for part in (4, 3, 2, 1, 0))
    below = Markup("").join(Markup("<span>{}</span>").format(tick) for tick in ticks)
    return Markup(
        '<div class="plot"><div class="y" aria-hidden="true">{}</div>{}'
        '<div class="x" aria-hidden="true">{}</div></div>'
    ).format(levels, picture, below)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:,.1f}"


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


__all__ = [
    "GAP", "Column", "Line", "Part", "bar", "ceiling", "columns", "curve", "in_words", "legend", "strip",
    "strip_legend",
]  # fmt: skip
