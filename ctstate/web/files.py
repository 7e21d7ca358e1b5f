"""The files that the live page is made with: its look, its script, and what others published (static/README.md)."""

from importlib import resources
from typing import NamedTuple


class StaticFile(NamedTuple):
    """A file, and of which type."""

    data: bytes
    mime: str


_FILES = {
    "look.css": ("templates/look.css", "text/css"),
    "live.css": ("static/live.css", "text/css"),
    "live.js": ("static/live.js", "text/javascript"),
    "icon.svg": ("static/icon.svg", "image/svg+xml"),
    "htmx.js": ("static/htmx/htmx.min.js", "text/javascript"),
    "uplot.js": ("static/uplot/uPlot.iife.min.js", "text/javascript"),
    "uplot.css": ("static/uplot/uPlot.min.css", "text/css"),
}
"""By the name in an address: the place below this folder. Nothing else is read."""


def static_file(name: str) -> StaticFile | None:
    """Return one of the files; None: there is none of this name."""
    if name not in _FILES:
        return None
    place, mime = _FILES[name]
    return StaticFile((resources.files("ctstate.web") / place).read_bytes(), f"{mime}; charset=utf-8")
