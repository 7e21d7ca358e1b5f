"""Where and how long cameras stood: a CSV, one row a deployment (`ctstate manifest --deployments`).

Columns: `site`, and as far as known `roll`, `start`, `end`, `latitude`, `longitude` (degrees, WGS84), `camera`; the
names that Camtrap DP has for them are understood as well. Without a roll it is of all rolls of its site.
"""

import os
from collections.abc import Mapping

from ctstate.capture import Deployment
from ctstate.errors import InputError
from ctstate.formats.captures_csv import BLANK
from ctstate.formats.opening import numbered, text
from ctstate.formats.reader import short
from ctstate.formats.times import as_written

_NAMES = {
    "site": ("site", "locationName", "locationID"),
    "roll": ("roll", "deploymentID"),
    "start": ("start", "deploymentStart"),
    "end": ("end", "deploymentEnd"),
    "latitude": ("latitude",),
    "longitude": ("longitude",),
    "camera": ("camera", "cameraID", "cameraModel"),
}


def read_deployments(file: str | os.PathLike[str]) -> list[Deployment]:
    """Read the table.

    Raises:
        InputError: it is no such table, or a row of it cannot be.
    """
    found: dict[tuple[str, str], Deployment] = {}
    number = 1
    with text(file, place=lambda: f", row {number + 1}") as stream:
        rows = numbered(stream)
        _, header = next(rows)
        if not header.keys() & set(_NAMES["site"]):
            shown = ", ".join(map(short, list(header)[:8]))
            raise InputError(f"{file}, row 1: no column site; the columns are: {shown}")
        for number, row in rows:
            try:
                one = _deployment(row)
                if (one.site, one.roll) in found:
                    raise ValueError(f"site {short(one.site)}, roll {short(one.roll)} occurs twice")
            except ValueError as error:
                raise InputError(f"{file}, row {number}: {error}; nothing was changed") from None
            found[one.site, one.roll] = one
    return list(found.values())


def _deployment(row: Mapping[str, str]) -> Deployment:
    def cell(key: str) -> str:
        said = (row.get(name, "").strip() for name in _NAMES[key])
        return next((value for value in said if value not in BLANK), "")

    if not cell("site"):
        raise ValueError("no site")
    start, end = _time(cell("start")), _time(cell("end"))
    if start is not None and end is not None and end < start:
        raise ValueError(f"it ends ({end}) before it starts ({start})")
    return Deployment(
        cell("site"),
        cell("roll"),
        start,
        end,
        degrees(cell("latitude"), 90),
        degrees(cell("longitude"), 180),
        cell("camera") or None,
    )


def _time(said: str) -> str | None:
    if not said:
        return None
    at = as_written(said) or as_written(f"{said} 00:00")
    if at is None:
        raise ValueError(f"{short(said)} is no time such as 2026-06-03 05:12:44")
    return at


def degrees(said: str, most: int) -> float | None:
    """Return a latitude (`most` 90) or longitude (180); None for an empty text.

    Raises:
        ValueError: it is none.
    """
    if not said:
        return None
    try:
        value = float(said)
    except ValueError:
        value = float("nan")
    if not -most <= value <= most:
        raise ValueError(f"{short(said)} is not a number of degrees between -{most} and {most}")
    return value
