"""When a picture was taken, as other people's files write it.

Cameras know no zone: what they wrote is kept as it is, to the second, as `2026-06-03T05:12:44`. An offset that a
file adds is dropped, unless the season's zone was stated: then a moment is told in it (`in_zone`).
"""

import contextlib
import multiprocessing
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from PIL import Image

from ctstate.errors import UsageError

_EXIF_IFD, _DATE_TIME_ORIGINAL = 0x8769, 0x9003

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_TIME = re.compile(
    r"\s*(?P<year>\d{4})(?P<mark>[-:/])(?P<month>\d\d)(?P=mark)(?P<day>\d\d)[T ]"
    r"(?P<time>(?:[01]\d|2[0-3]):[0-5]\d)(?::(?P<seconds>[0-5]\d)(?:[.,]\d+)?)?"
    r"(?:Z|z|[+-]\d\d:?\d\d)?[\s\0]*",
    re.ASCII,
)


@lru_cache(maxsize=4096)  # a season has a few hundred days, and many images on each
def _is_day(year: str, month: str, day: str) -> bool:
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def _plain_day(said: str) -> str | None:
    """Return how a plain time begins (`2026-06-03 `, or with `:` or `/`), as the ledger has it; None: none does."""
    found = re.fullmatch(r"(\d{4})([-:/])(\d\d)\2(\d\d)[T ]", said, re.ASCII)
    return None if found is None or not _is_day(*found.group(1, 3, 4)) else f"{'-'.join(found.group(1, 3, 4))}T"


_plain_clock = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\Z", re.ASCII).match


@lru_cache(maxsize=64)  # the images of a burst
def as_written(said: str) -> str | None:
    """Return a time as cameras, databases and spreadsheets write it, in the ledger's form; None where it is none.

    Year, month, day (with `-`, `:` as EXIF has it, or `/`), hour and minute must be there; fractions of a second
    and an offset are dropped. What could be read in two ways, such as 6/7/2026, is no time.
    """
    if len(said) == 19 and _plain_clock(said, 11):  # most are: this takes half of the time
        day = _plain_day(said[:11])
        if day is not None:
            return day + said[11:]
    found = _TIME.fullmatch(said)
    if found is None:
        return None
    year, _, month, day, time, seconds = found.groups()
    return f"{year}-{month}-{day}T{time}:{seconds or '00'}" if _is_day(year, month, day) else None


def zone_named(name: str) -> tzinfo:
    """Return a time zone: `Africa/Johannesburg` (of the IANA's table), or an offset such as `+02:00`.

    Raises:
        UsageError: there is no such zone.
    """
    found = re.fullmatch(r"([+-])(\d\d):?([0-5]\d)", name, re.ASCII)
    try:
        if found is not None:
            size = timedelta(hours=int(found[2]), minutes=int(found[3]))
            return timezone(-size if found[1] == "-" else size)
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise UsageError(
            f"no such time zone: {name!r:.80}; give one such as Africa/Johannesburg, or an offset such as +02:00"
        ) from None


def in_zone(microseconds: int, zone: tzinfo) -> str:
    """Return a moment (microseconds since 1970) as a clock of the zone shows it."""
    moment = (_EPOCH + timedelta(microseconds=microseconds)).astimezone(zone)
    return moment.replace(tzinfo=None, microsecond=0).isoformat()


# -- as the camera wrote it into the image ---------------------------------------------------------------------


def exif_times(paths: Sequence[str]) -> list[str | None]:
    """Return when the camera says that it took each file (EXIF's DateTimeOriginal); None where it does not say."""
    return [_exif_time(path) for path in paths]


def _exif_time(path: str) -> str | None:
    try:
        with Image.open(path) as picture:
            exif = picture.getexif()
            said = exif.get_ifd(_EXIF_IFD).get(_DATE_TIME_ORIGINAL)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # whatever is wrong with it, it tells no time; `upload` says what is wrong
    return as_written(said) if isinstance(said, str) else None


Mapping = Callable[..., Iterable[list[str | None]]]


@contextlib.contextmanager
def in_processes(number: int) -> Iterator[Mapping]:
    """Yield `map`, for `exif_times`, in so many processes."""
    if number <= 1:
        yield map
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "PIL.JpegImagePlugin"])
    with ProcessPoolExecutor(number, mp_context=context) as pool:
        yield pool.map
