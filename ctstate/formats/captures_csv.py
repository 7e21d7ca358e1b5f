"""A cleaned captures CSV: one row per image (docs/legacy-formats.md, section 1)."""

import csv
import functools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from operator import itemgetter
from typing import IO, Any

from ctstate.capture import IncomingImage
from ctstate.errors import InputError
from ctstate.formats.opening import text
from ctstate.formats.reader import CaptureReader, Listed, short
from ctstate.formats.times import as_written
from ctstate.words import whole_number

REQUIRED = ("season", "site", "roll", "capture")
RANK_COLUMNS = ("image", "image_rank_in_capture")
PATH_COLUMNS = ("path", "image_path_rel")
TIME_COLUMNS = ("datetime", "timestamp", "timez")
"""Where the time stands that a picture was taken at: the first of them that the CSV has."""
FLAGS: Mapping[str, frozenset[int]] = {
    "invalid": frozenset({1, 2}),
    "image_is_invalid": frozenset({1}),
    "image_no_upload": frozenset({1}),
    "image_was_deleted": frozenset({1}),
}
BLANK = frozenset({"", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "None"})
"""What Excel, R and pandas write for "no value" (in columns that may be blank)."""

LONGEST_FIELD = 1 << 24
"""A field of more characters is refused: it is the rest of a file in which a quote is never closed."""


class CapturesCsv(CaptureReader):
    """A captures CSV.

    Args:
        name, root: as for `CaptureReader`.
        metadata_columns: further columns for the subject, under their own names.
        encoding: of the CSV.
        time_column: where the time stands that a picture was taken at; by default the first of TIME_COLUMNS.
        exif: as for `CaptureReader`.
    """

    def __init__(
        self,
        name: str,
        root: str | None,
        metadata_columns: tuple[str, ...] = (),
        encoding: str = "utf-8-sig",
        time_column: str | None = None,
        exif: int = 0,
    ) -> None:
        super().__init__(name, root, exif)
        self._extra = metadata_columns
        self._encoding = encoding
        self._time_column = time_column

    def _images(self) -> Iterator[Listed]:
        before = csv.field_size_limit(LONGEST_FIELD)
        try:
            with text(self.name, self._encoding, hint=_HINT) as file:
                yield from self._listed(file)
        finally:
            csv.field_size_limit(before)

    def _listed(self, file: IO[str]) -> Iterator[Listed]:
        rows = csv.reader(chain(self._lines(file), _END))
        header = next(rows)
        if header == _END:
            raise InputError(f"{self.name}: the file is empty")
        names = [name.strip().lstrip("\ufeff") for name in header]
        self._check_header(names)
        width = len(names)

        def column(key: str) -> int:
            return names.index(key) if key in names else width  # there stands a blank, see below

        flags = [(key, codes, names.index(key)) for key, codes in FLAGS.items() if key in names]
        extras = [names.index(key) for key in self._extra]
        time = self._time_column or next((key for key in TIME_COLUMNS if key in names), "")
        get = itemgetter(*map(column, (*REQUIRED, "capture_id", *RANK_COLUMNS, *PATH_COLUMNS, time)))
        for number, cells in enumerate(rows, start=2):  # as a spreadsheet counts
            if len(cells) != width:
                if cells == _END:
                    return
                self._make_as_long(number, cells, width)
            self.rows += 1
            cells.append("")
            listed = self._parse(number, cells, get, flags, extras)
            if listed is not None:
                yield listed
        raise self._unreadable("a quote is not closed before the file ends")

    def _make_as_long(self, number: int, cells: list[str], width: int) -> None:
        if len(cells) > width:
            raise InputError(
                f"{self.name}, row {number}: has {len(cells)} fields where the rows above have {width}; "
                "a value that holds a comma needs quotes around it; nothing was changed"
            )
        cells += [""] * (width - len(cells))

    def _lines(self, file: IO[str]) -> Iterator[str]:
        for number, line in enumerate(file, start=1):
            if "\0" in line:
                raise InputError(f"{self.name}, row {number}: holds a NUL character; nothing was changed")
            yield line

    def _unreadable(self, why: str) -> InputError:
        return InputError(f"{self.name}: not a readable CSV ({why}); nothing was changed")

    def _check_header(self, names: list[str]) -> None:
        wanted = (*self._extra, *([] if self._time_column is None else [self._time_column]))
        known = (*REQUIRED, "capture_id", *RANK_COLUMNS, *PATH_COLUMNS, *FLAGS, *TIME_COLUMNS, *wanted)
        twice = [key for key in known if names.count(key) > 1]
        if twice:
            raise InputError(f"{self.name}, row 1: the column {twice[0]!r} occurs twice; nothing was changed")
        missing = [key for key in (*REQUIRED, *wanted) if key not in names]
        missing += [" or ".join(pair) for pair in (RANK_COLUMNS, PATH_COLUMNS) if not set(pair) & set(names)]
        if not missing:
            return
        if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
            raise InputError(f"{self.name}: its columns are not separated by commas; save it as CSV with commas")
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise InputError(f"{self.name}, row 1: no column {', '.join(missing)}; the columns are: {shown}")

    def _parse(
        self,
        row: int,
        cells: list[str],
        get: Callable[[list[str]], tuple[str, ...]],
        flags: list[tuple[str, frozenset[int], int]],
        extras: list[int],
    ) -> Listed | None:
        """Return the image of a row; None for an empty one, and after an error."""
        season, site, roll, number, *more = get(cells)
        if not BLANK.isdisjoint(more):
            more = ["" if value in BLANK else value for value in more]
        given, rank_old, rank_new, path, relative, time = more
        if not (season or site or roll or number or path or relative):
            return None  # an empty line, as spreadsheets leave at the end
        problem, reason = self._flagged(row, cells, flags) if flags else (None, None)
        capture_number, rank = _whole(number), _whole(rank_old or rank_new)
        metadata = self._metadata(row, [cells[index] for index in extras]) if extras else None
        if capture_number is None or rank is None or not (path or relative) or _any_blank(season, site, roll):
            self._error(row, _wrong(season, site, roll, number, path or relative, rank_old or rank_new))
            return None
        path = _image_path(path, relative, season)
        place = self._place(row, path)
        if place is None:
            return None
        capture_id = given or f"{season}#{site}#{roll}#{number}"
        taken_at = as_written(time) if time else None
        # `_make`: by the name of each field it takes three times as long.
        image = IncomingImage._make((
            row, capture_id, season, site, roll, number, capture_number, rank, path, problem, reason, metadata,
            None, taken_at, time if time and taken_at is None else None,
        ))  # fmt: skip
        return image, place if problem is None else None

    def _flagged(
        self, row: int, cells: list[str], flags: list[tuple[str, frozenset[int], int]]
    ) -> tuple[str | None, str | None]:
        """Return problem and reason of an image that the CSV excludes; the last such flag counts."""
        found: tuple[str | None, str | None] = (None, None)
        for key, codes, index in flags:
            value = cells[index]
            if value in BLANK or value == "0":
                continue
            code = _flag(value)
            if code is None:
                self._error(row, f"column {key!r} is {short(value)}, not blank, 0 or another whole number")
            elif code in codes:
                found = ("excluded", f"{key} is {value}")
        return found

    def _metadata(self, row: int, values: list[str]) -> str | None:
        metadata: dict[str, Any] = {}
        for key, value in zip(self._extra, values, strict=True):
            if key.lower() == "#priority":
                # A priority that is no number loses the priority of every subject of the same links call.
                number = _number(value)
                if number is None and value not in BLANK:
                    self._error(row, f"column {key!r} is {short(value)}, not a number")
                elif number is not None:
                    metadata["#priority"] = number
            elif value != "":
                metadata[key] = value
        return json.dumps(metadata, ensure_ascii=False, sort_keys=True) if metadata else None


_HINT = "; save it as UTF-8, or name its encoding with --encoding, such as cp1252"

_END = ["the end of the file: a row of its own unless a quote is open"]


@functools.lru_cache(maxsize=64)
def _any_blank(season: str, site: str, roll: str) -> bool:
    """Tell whether one of them is empty; they stay the same for thousands of rows."""
    return not (season.strip() and site.strip() and roll.strip())


def _wrong(season: str, site: str, roll: str, number: str, path: str, rank: str) -> str:
    """Say what a row lacks."""
    for key, value in (("season", season), ("site", site), ("roll", roll), ("capture", number)):
        if not value.strip():
            return f"column {key!r} is empty"
    if not path:
        return "no image path (column 'path' or 'image_path_rel')"
    if _whole(number) is None:
        return f"column 'capture' is {short(number)}, not a whole number"
    return f"the rank (column 'image' or 'image_rank_in_capture') is {short(rank)}, not a whole number"


def _image_path(path: str, relative: str, season: str) -> str:
    if path:
        return path.replace("\\", "/")
    relative = relative.replace("\\", "/")
    first = relative.lstrip("/").partition("/")[0]
    return relative if first == season else f"{season}/{relative}"


_WHOLE = re.compile(r"[ \t]*[+-]?\d{1,15}(\.0*)?[ \t]*", re.ASCII)


@functools.lru_cache(maxsize=1024)  # ranks are few, and the images of a capture have its number
def _whole(value: str) -> int | None:
    number = whole_number(value)
    if number is not None:
        return number
    return int(float(value)) if _WHOLE.fullmatch(value) else None


_BLANK_WORDS = frozenset(word.upper() for word in BLANK)


def _flag(value: str) -> int | None:
    word = value.strip().upper()
    if word in ("TRUE", "FALSE"):  # R's
        return int(word == "TRUE")
    return 0 if word in _BLANK_WORDS else _whole(value)


def _number(value: str) -> int | float | None:
    whole = _whole(value)
    if whole is not None:
        return whole
    try:
        number = float(value)
    except ValueError:
        return None
    if "_" in value:  # Python reads 1_000 as a number; nobody else does
        return None
    return number if math.isfinite(number) else None
