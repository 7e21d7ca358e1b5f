"""A folder of images, with no list of them (`ctstate manifest FOLDER`): captures come of paths and times.

* **Where**: a pattern such as `{site}/{roll}/**` says which parts of a path are site and roll. `*` is anything
  within a folder's or file's name, `**` any number of folders. What is no image by its name's ending is passed
  over.
* **When**: from a file of MegaDetector's that has `datetime`s, else EXIF's DateTimeOriginal (as the camera wrote
  it; EXIF 2.3, section 4.6.5), else from the file's name by a pattern such as `IMG_%Y%m%d_%H%M%S*`. A camera
  whose clock was wrong is put right by a table: site, roll, from, offset.
* **Captures**: images of one site and roll, in time's order (then by path), are one capture while each follows
  the one before within so many seconds, and at most so many. So a capture is what one presence before the camera
  makes: gaps count between neighbours, not from the first image on. It says nothing of the independence of
  detections, for which studies take 30 or 60 minutes.
"""

import csv
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from itertools import groupby
from typing import IO, Any, NamedTuple

from ctstate.capture import IncomingImage, pages
from ctstate.errors import InputError, UsageError
from ctstate.formats.opening import numbered, text
from ctstate.formats.reader import CaptureReader, Listed, short
from ctstate.formats.times import as_written, exif_times, in_processes
from ctstate.words import counted

ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif")

GAP_SECONDS = 120.0

AT_ONCE = 500
"""So many files are opened for their time by one call of a process."""

_MOST_EXAMPLES = 5

COLUMNS = ("season", "site", "roll", "capture", "image", "path", "datetime")
"""Of the captures CSV that a folder becomes."""


class Pattern:
    """Which parts of a path are what.

    Args:
        pattern: such as `{site}/{roll}/**`; a file's name follows, unless it ends with a name's pattern.

    Raises:
        UsageError: it names no site, or something else.
    """

    def __init__(self, pattern: str) -> None:
        self.text = pattern
        words = re.findall(r"\{([^{}]*)\}", pattern)
        unknown = [word for word in words if word not in ("site", "roll")]
        if unknown or words.count("site") != 1 or words.count("roll") > 1:
            raise UsageError(
                f"--pattern {pattern!r}: say once where {{site}} is and where {{roll}} is, as {{site}}/{{roll}}/**"
            )
        parts = []
        for part in pattern.strip("/").split("/"):
            if part == "**":
                parts.append("(?:[^/]+/)*")
                continue
            pieces = re.split(r"(\{site\}|\{roll\}|\*)", part)
            parts.append("".join(_PIECES.get(piece) or re.escape(piece) for piece in pieces) + "/")
        whole = "".join(parts)
        last = pattern.strip("/").rpartition("/")[2]
        # What ends with ** or a folder is followed by any file's name.
        self._match = re.compile(
            f"{whole}[^/]+" if last == "**" or not last.lower().endswith(ENDINGS) else whole[:-1]
        )

    def of(self, path: str) -> tuple[str, str] | None:
        """Return site and roll (`1` where the pattern names none) of a path; None where it does not fit."""
        found = self._match.fullmatch(path)
        return None if found is None else (found["site"], found.groupdict().get("roll") or "1")


_PIECES = {"{site}": "(?P<site>[^/]+)", "{roll}": "(?P<roll>[^/]+)", "*": "[^/]*"}


class NameTime:
    """A pattern by which a file's name tells the time, such as `IMG_%Y%m%d_%H%M%S*`.

    Raises:
        UsageError: it does not say year, month, day, hour and minute.
    """

    def __init__(self, pattern: str) -> None:
        pieces = re.split(r"(%[YmdHMS]|\*)", pattern)
        said = [piece for piece in pieces if piece in _DIGITS]
        if len(said) != len(set(said)) or set(said) | {"%S"} != set(_DIGITS):
            raise UsageError(
                f"--name-time {pattern!r}: say once each %Y %m %d %H %M, and perhaps %S, such as IMG_%Y%m%d_%H%M%S*"
            )
        self._codes = said
        self._match = re.compile(
            "".join(f"({_DIGITS[p]})" if p in _DIGITS else ".*" if p == "*" else re.escape(p) for p in pieces),
            re.ASCII,
        )

    def of(self, name: str) -> datetime | None:
        """Return the time that a file's name tells."""
        found = self._match.fullmatch(name)
        if found is None:
            return None
        try:
            return datetime.strptime(" ".join(found.groups()), " ".join(self._codes))
        except ValueError:
            return None


_DIGITS = {"%Y": r"\d{4}", "%m": r"\d\d", "%d": r"\d\d", "%H": r"\d\d", "%M": r"\d\d", "%S": r"\d\d"}


class Shift(NamedTuple):
    """A correction of a camera's clock; `roll` '' is every roll, `since` None from the beginning."""

    site: str
    roll: str
    since: datetime | None
    offset: timedelta


def read_shifts(file: str | os.PathLike[str]) -> list[Shift]:
    """Read a table of shifts: CSV with the columns site, roll, from, offset.

    An offset is seconds (`-3600`), or days, hours, minutes and seconds (`+1d 02:30:00`): what is added to the
    camera's time. `from` is by the camera's own, wrong clock.

    Raises:
        InputError: it is no such table.
    """
    found = []
    number = 1
    with text(file, place=lambda: f", row {number + 1}") as stream:
        rows = numbered(stream)
        _, header = next(rows)
        lacking = [name for name in ("site", "offset") if name not in header]
        if lacking:
            raise InputError(
                f"{file}, row 1: no column {', '.join(lacking)}; the columns are site, roll, from, offset"
            )
        for number, row in rows:
            since, offset = row.get("from", "").strip(), _offset(row.get("offset", ""))
            moment = as_written(since) or as_written(f"{since} 00:00")
            if offset is None or (since and moment is None) or not row.get("site", "").strip():
                raise InputError(
                    f"{file}, row {number}: site {short(row.get('site', ''))}, from {short(since)}, offset "
                    f"{short(row.get('offset', ''))}: an offset is such as -3600 or +1d 02:30:00, a time such as "
                    "2017-06-06 12:00:00"
                )
            at = None if moment is None else datetime.fromisoformat(moment)
            found.append(Shift(row["site"].strip(), row.get("roll", "").strip(), at, offset))
    return found


_OFFSET = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<days>\d{1,5})d)?\s*(?:(?P<h>\d{1,4}):(?P<m>\d\d)(?::(?P<s>\d\d))?)?", re.ASCII
)


def _offset(said: str) -> timedelta | None:
    said = said.strip()
    if re.fullmatch(r"[+-]?\d{1,10}", said, re.ASCII):
        return timedelta(seconds=int(said))
    found = _OFFSET.fullmatch(said)
    if found is None or not (found["days"] or found["h"]):
        return None
    part = {key: int(found[key] or 0) for key in ("days", "h", "m", "s")}
    size = timedelta(days=part["days"], hours=part["h"], minutes=part["m"], seconds=part["s"])
    return -size if found["sign"] == "-" else size


_UNKNOWN = "SELECT path FROM file WHERE at IS NULL AND path > ? ORDER BY path LIMIT ?"

_TABLE = "CREATE TABLE file (path TEXT PRIMARY KEY, site TEXT, roll TEXT, at TEXT) WITHOUT ROWID"


class ImageFolder(CaptureReader):
    """The captures of a folder of images.

    Args:
        root: the folder, real path.
        season: name of the season that it becomes.
        pattern: which parts of a path are what.
        gap_seconds, most_images: which images are one capture; no `most_images`: as many as follow.
        name_time: how a file's name tells the time where EXIF does not.
        shifts: of cameras' clocks.
        times: path and time of images, as MegaDetector has them: those files need not be opened.
        processes: that open files.

    Attributes:
        passed_over: files that are no images by their name's ending, or that the pattern does not fit.
        rules: how many captures the rule made.
    """

    unit = "image"

    def __init__(
        self,
        root: str,
        season: str,
        pattern: Pattern,
        *,
        gap_seconds: float = GAP_SECONDS,
        most_images: int | None = None,
        name_time: NameTime | None = None,
        shifts: Sequence[Shift] = (),
        times: Iterable[tuple[str, str]] = (),
        processes: int = 1,
    ) -> None:
        super().__init__(root, root)
        self.passed_over = 0
        self.rules: Counter[str] = Counter()
        self._rule = f"gap {gap_seconds:g} s" + (
            f", at most {counted(most_images, 'image')}" if most_images else ""
        )
        self._season = season
        self._pattern = pattern
        self._gap = timedelta(seconds=gap_seconds)
        self._most = most_images
        self._name_time = name_time
        self._shifts = shifts
        self._times = times
        self._processes = processes

    def _images(self) -> Iterator[Listed]:
        with closing(sqlite3.connect("")) as tables:  # a temporary database on disk, which goes when it is closed
            self._find(tables)
            if self._first_error is not None:
                return
            yield from ((image, f"{self._root}/{image.path}") for image in self._grouped(tables))

    def write_csv(self, stream: IO[str]) -> int:
        """Write the captures as a cleaned captures CSV, for a person to look through; return how many images.

        Raises:
            InputError: see `CaptureReader.chunks`.
        """
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        count = 0
        with closing(sqlite3.connect("")) as tables:
            self._find(tables)
            if self._first_error is not None:
                row, message = self._first_error
                raise InputError(f"{self.name}, {self.unit} {row}: {message}")
            for image in self._grouped(tables):
                count += 1
                at = (image.taken_at or "").replace("T", " ")
                writer.writerow((image.season, image.site, image.roll, image.capture, image.rank, image.path, at))
        return count

    # -- what there is -------------------------------------------------------------------------------------------

    def _find(self, tables: sqlite3.Connection) -> None:
        """Fill the table with files and times.

        Raises:
            InputError: there are none, or some tell no time.
        """
        tables.execute(_TABLE)
        known = set()
        for path in _files(str(self._root)):
            parts = self._pattern.of(path) if path.lower().endswith(ENDINGS) else None
            if parts is None:
                self.passed_over += 1
                continue
            self.rows += 1
            if any("#" in part for part in parts):
                self._error(
                    self.rows, f"{short(path)}: a site or roll must not hold a '#', which parts them in capture ids"
                )
                continue
            known.add(parts)
            tables.execute("INSERT INTO file VALUES (?, ?, ?, NULL)", (path, *parts))
        if not known and self._first_error is None:
            raise InputError(
                f"{self.name}: no image there fits the pattern {self._pattern.text!r} (of "
                f"{self.passed_over:,} files); say with --pattern which folders are {{site}} and {{roll}}"
            )
        for path, said in self._times:
            moment = as_written(said)
            if moment is not None:
                tables.execute("UPDATE file SET at = ? WHERE path = ?", (moment, path))
        self._open_files(tables)
        if self._name_time is not None:
            tables.create_function("told", 1, self._told)
            tables.execute("UPDATE file SET at = told(path) WHERE at IS NULL")
        without = [
            path for (path,) in tables.execute("SELECT path FROM file WHERE at IS NULL LIMIT ?", (_MOST_EXAMPLES,))
        ]
        if without:
            count = tables.execute("SELECT count(*) FROM file WHERE at IS NULL").fetchone()[0]
            raise InputError(
                f"{self.name}: no time is known of {counted(count, 'image')} "
                f"({', '.join(without)}): EXIF has none; say with --name-time how names tell it, or with "
                "--times-from where it stands"
            )

    def _told(self, path: str) -> str | None:
        assert self._name_time is not None
        moment = self._name_time.of(path.rpartition("/")[2])
        return None if moment is None else moment.isoformat()

    def _open_files(self, tables: sqlite3.Connection) -> None:
        """Ask EXIF for the times that are not known; some thousand files at a time, as memory is bounded."""
        with in_processes(self._processes) as each:
            last = ""
            while True:
                rows = tables.execute(_UNKNOWN, (last, AT_ONCE * max(1, self._processes) * 4))
                paths = [path for (path,) in rows]
                if not paths:
                    return
                last = paths[-1]
                parts = list(pages(paths, AT_ONCE))
                for part, times in zip(parts, each(exif_times, map(self._places, parts)), strict=True):
                    tables.executemany("UPDATE file SET at = ? WHERE path = ?", zip(times, part, strict=True))

    def _places(self, paths: Sequence[str]) -> list[str]:
        return [f"{self._root}/{path}" for path in paths]

    # -- captures ------------------------------------------------------------------------------------------------

    def _grouped(self, tables: sqlite3.Connection) -> Iterator[IncomingImage]:
        """Yield the images in captures, their times put right."""
        rows = tables.execute("SELECT site, roll, at, path FROM file ORDER BY site, roll, at, path")
        number = 0
        for (site, roll), group in groupby(rows, key=lambda row: (row[0], row[1])):
            taken = [(self._put_right(site, roll, datetime.fromisoformat(at)), path) for _, _, at, path in group]
            taken.sort()  # a shift from some time on may change their order
            capture, rank, last = 0, 0, datetime.min
            for at, path in taken:
                number += 1
                if capture == 0 or at - last > self._gap or rank == self._most:
                    capture, rank = capture + 1, 0
                    self.rules[self._rule] += 1
                rank, last = rank + 1, at
                season = self._season
                image = IncomingImage(
                    number, f"{season}#{site}#{roll}#{capture}", season, site, roll, str(capture), capture, rank,
                    path, None, None, None, self._rule, at.isoformat(), None,
                )  # fmt: skip
                yield image

    def _put_right(self, site: str, roll: str, at: datetime) -> datetime:
        """Add what a camera's clock lacked; of several shifts that fit, the last in the table counts."""
        for shift in reversed(self._shifts):
            fits = shift.site == site and shift.roll in ("", roll) and (shift.since is None or at >= shift.since)
            if fits:
                return at + shift.offset
        return at


def _files(root: str) -> Iterator[str]:
    """Yield the files below a folder, sorted, as paths below it; links to folders are not followed."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(f"{root}/{below}") as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"{root}/{below}: cannot be read ({error.strerror})") from None
        folders = []
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{below}{entry.name}/")
            elif not entry.name.startswith("."):
                yield f"{below}{entry.name}"
        waiting += reversed(folders)


def times_of(said: Iterable[tuple[str, Any]], rule: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Yield path and time of the entries of MegaDetector's list `images` that have a `datetime`."""
    for key, row in said:
        if key == "images" and isinstance(row, dict):
            path, at = row.get("file"), row.get("datetime")
            if isinstance(path, str) and isinstance(at, str):
                yield rule(path), at
