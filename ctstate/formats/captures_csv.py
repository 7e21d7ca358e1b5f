"""A cleaned captures CSV: one row per image (docs/legacy-formats.md, section 1)."""

import csv
import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import IO, Any

from ctstate.capture import IncomingImage, pages
from ctstate.errors import InputError
from ctstate.formats.opening import text
from ctstate.formats.reader import CHUNK, CaptureReader, Listed, short
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

Column = Sequence[str]


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
        return chain.from_iterable(self._parts())

    def _parts(self) -> Iterator[list[Listed]]:
        before = csv.field_size_limit(LONGEST_FIELD)
        try:
            with text(self.name, self._encoding, hint=_HINT) as file:
                yield from self._listed(file)
        finally:
            csv.field_size_limit(before)

    def _listed(self, file: IO[str]) -> Iterator[list[Listed]]:
        rows = csv.reader(chain(self._lines(file), _END))
        header = next(rows)
        if header == _END:
            raise InputError(f"{self.name}: the file is empty")
        names = [name.strip().lstrip("\ufeff") for name in header]
        self._check_header(names)
        width = len(names)

        def column(key: str) -> int:
            return names.index(key) if key in names else width  # there stands a blank one, see `_parse`

        flags = [(key, codes, names.index(key)) for key, codes in FLAGS.items() if key in names]
        extras = [names.index(key) for key in self._extra]
        time = self._time_column or next((key for key in TIME_COLUMNS if key in names), "")
        get = itemgetter(*map(column, (*REQUIRED, "capture_id", *RANK_COLUMNS, *PATH_COLUMNS, time)))
        for part in pages(self._rows(rows, width), CHUNK):
            first = self.rows + 2  # as a spreadsheet counts
            self.rows += len(part)
            yield self._parse(first, part, get, flags, extras)

    def _rows(self, rows: Iterable[list[str]], width: int) -> Iterator[list[str]]:
        """Yield the rows below the header, each as long as it."""
        for number, cells in enumerate(rows, start=2):
            if len(cells) != width:
                if cells == _END:
                    return
                self._make_as_long(number, cells, width)
            yield cells
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
        first: int,
        part: list[list[str]],
        get: Callable[[Sequence[Column]], tuple[Column, ...]],
        flags: list[tuple[str, frozenset[int], int]],
        extras: list[int],
    ) -> list[Listed]:
        """Return the images of rows, of which `first` is the number of the first; none of empty or wrong ones.

        What many rows have alike, or nearly all have right, is looked at in whole columns: that takes a fraction of
        the time.
        """
        columns: list[Column] = [*zip(*part, strict=True), ("",) * len(part)]
        seasons, sites, rolls, numbers, *more = get(columns)
        given, ranks_old, ranks_new, paths, relatives, times = map(_without_blanks, more)
        ranks = [old or new for old, new in zip(ranks_old, ranks_new, strict=True)]
        some_names_are_blank = any(map(_holds_blanks, (seasons, sites, rolls)))
        flags = [flag for flag in flags if not _NO_FLAGS.issuperset(columns[flag[2]])]
        listed: list[Listed] = []
        problem = reason = metadata = None
        rows = zip(
            range(first, first + len(part)), part, seasons, sites, rolls, numbers, map(_whole, numbers), given,
            ranks, map(_whole, ranks), paths, relatives, times, map(as_written, times), strict=True,
        )  # fmt: skip
        for (
            row, cells, season, site, roll, number, capture_number, its_id,
            rank_text, rank, path, relative, time, taken_at,
        ) in rows:  # fmt: skip
            if capture_number is None and not (season or site or roll or number or path or relative):
                continue  # an empty line, as spreadsheets leave at the end
            if flags:
                problem, reason = self._flagged(row, cells, flags)
            if extras:
                metadata = self._metadata(row, [cells[index] for index in extras])
            is_named = not some_names_are_blank or (season.strip() and site.strip() and roll.strip())
            if capture_number is None or rank is None or not (path or relative) or not is_named:
                self._error(row, _wrong(season, site, roll, number, path or relative, rank_text))
                continue
            path = path.replace("\\", "/") if path else _below_season(relative, season)
            place = self._place(row, path)
            if place is None:
                continue
            # `_make`: by the name of each field it takes three times as long.
            image = IncomingImage._make((
                row, its_id or f"{season}#{site}#{roll}#{number}", season, site, roll, number, capture_number, rank,
                path, problem, reason, metadata, None, taken_at, time if time and taken_at is None else None,
            ))  # fmt: skip
            listed.append((image, place if problem is None else None))
        return listed

    def _flagged(
        self, row: int, cells: list[str], flags: list[tuple[str, frozenset[int], int]]
    ) -> tuple[str | None, str | None]:
        """Return problem and reason of an image that the CSV excludes; the last such flag counts."""
        found: tuple[str | None, str | None] = (None, None)
        for key, codes, index in flags:
            value = cells[index]
            if value in _NO_FLAGS:
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


_BLANK_WORDS = BLANK - {""}


def _without_blanks(column: Column) -> Column:
    """Return a column in which "no value" is always an empty text."""
    if _BLANK_WORDS.isdisjoint(column):
        return column
    return ["" if value in BLANK else value for value in column]


def _holds_blanks(column: Column) -> bool:
    """Tell whether a column, most of whose values are alike, holds one that is empty or blanks alone."""
    return not all(value.strip() for value in set(column))


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


def _below_season(relative: str, season: str) -> str:
    """Return a path that may leave its first folder out, the season's."""
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


_NO_FLAGS = BLANK | {"0"}
_NO_FLAG_WORDS = frozenset(word.upper() for word in BLANK)


def _flag(value: str) -> int | None:
    word = value.strip().upper()
    if word in ("TRUE", "FALSE"):  # R's
        return int(word == "TRUE")
    return 0 if word in _NO_FLAG_WORDS else _whole(value)


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
