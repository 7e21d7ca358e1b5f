"""Pages made of templates (Jinja2), autoescaped."""

import functools
import itertools
from datetime import datetime
from typing import Any

import jinja2
from markupsafe import Markup, escape

from ctstate.words import counted


@functools.cache
def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("ctstate.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "code": code,
        "counted": counted,
        "duration": duration,
        "number": number,
        "percent": percent,
        "size": size,
        "when": when,
    }
    return templates


def render(template: str, **facts: Any) -> str:
    """Return a page.

    Args:
        template: in `ctstate/web/templates`.
        facts: what it speaks of; all text is escaped, but for `Markup`.
    """
    return _templates().get_template(template).render(**facts)


def number(value: float | None) -> str:
    """Return a number with its thousands apart; nothing for None."""
    return "" if value is None else f"{value:,.0f}"


def percent(part: float, whole: float) -> str:
    """Return a share in per cent: never 100% for less than all, nor 0% for more than nothing."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1%"
    if 99.9 < share < 100:
        return ">99.9%"
    return f"{share:.0f}%" if share in (0, 100) or 10 <= share < 99 else f"{share:.1f}%"


def size(value: float | None) -> str:
    """Return bytes in kB, MB, GB, TB (powers of 1000)."""
    if value is None:
        return ""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def code(words: str) -> Markup:
    """Return words in which what stands between backticks, such as a command, is set as code."""
    parts = words.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def when(moment: str | None) -> str:
    """Return a time of the ledger for people: `23 Nov 2026, 19:02 UTC`; nothing for None."""
    if moment is None:
        return ""
    at = datetime.fromisoformat(moment)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def duration(seconds: float | None) -> str:
    """Return how long something lasts, in its two largest units at most: `3 h 20 min`; nothing for None."""
    if seconds is None:
        return ""
    seconds = max(0, round(seconds))
    units = (("day", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (name, whole), (smaller, part) in itertools.pairwise(units):
        if seconds >= whole:
            rest = seconds % whole // part
            first = counted(seconds // whole, name) if name == "day" else f"{seconds // whole} {name}"
            return f"{first} {rest} {smaller}" if rest else first
    return f"{seconds} s"


__all__ = ["Markup", "code", "duration", "number", "percent", "render", "size", "when"]
