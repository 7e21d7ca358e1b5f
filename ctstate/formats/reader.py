"""Files that list captures with their images: what their readers share.

A reader (of a captures CSV, a legacy manifest, a Camtrap DP) says which images a file lists. Here it is checked
that none of them lies outside the folder of images, and seen which are there.
"""

import abc
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from ctstate.capture import PAGE, Deployment, IncomingImage, pages
from ctstate.errors import InputError
from ctstate.formats.opening import brief
from ctstate.formats.times import Mapping, exif_times, in_processes
from ctstate.machine import machine
from ctstate.words import and_more

CHUNK = PAGE
"""So many images at a time: memory is bounded, whatever the file's size. With ten thousand, Python's collector of
garbage goes through all of them again and again, which takes a quarter of the time of reading."""

Listed = tuple[IncomingImage, str | None]
"""An image of a file, and where to look for it; None: it is not looked for."""

_Verdict = tuple[int, tuple[str, str]]
"""Which file of a list cannot be uploaded, with its problem and reason."""

LOOKS = 25
"""So many files are looked at between two looks at the clock, and by one thread at a time."""

STAT_THREADS = 16
"""So many threads look at files where each look waits for a network; on a local disk they cost more than they
bring."""

SLOW_LOOK_S = 0.0001
"""A look that takes longer waits for something: one at a file of a local disk takes a twentieth of it."""


class CaptureReader(abc.ABC):
    """A file that lists captures; collects what is wrong with it.

    Args:
        name: of the file, for messages.
        root: folder below which all images must lie, real path; None: the paths are absolute.
        exif: processes that open images of which the file tells no time, for what the camera wrote into them;
            0: they are not opened.

    Attributes:
        rows: read so far.
        deployments: where cameras stood, as far as the file says so.
        unit: what a row of the file is called in messages.
    """

    unit = "row"

    def __init__(self, name: str, root: str | None, exif: int = 0) -> None:
        self.name = name
        self.rows = 0
        self.deployments: list[Deployment] = []
        self._exif = exif
        self._root = root
        self._error_count = 0
        self._first_error: tuple[int, str] | None = None
        self._folders: dict[str, str | None] = {}

    def chunks(self) -> Iterator[list[IncomingImage]]:
        """Yield the images, checked and looked for, some ten thousand at a time.

        Raises:
            InputError: the file cannot be read or lists nothing; or, once all was read, the first error in a row.
        """
        found = False
        with ThreadPoolExecutor(STAT_THREADS) as pool, in_processes(self._exif) as each:
            for part in pages(self._images(), CHUNK):
                found = True
                images, places = [image for image, _ in part], [place for _, place in part]
                self._look(images, places, pool)
                yield _timed(images, places, each) if self._exif else images
        if self._first_error is not None:
            row, message = self._first_error
            more = and_more(self._error_count - 1, f"more {self.unit}s with errors")
            raise InputError(f"{self.name}, {self.unit} {row}: {message}{more}; nothing was changed")
        if not found:
            raise InputError(f"{self.name}: holds no rows below its header; is it the right file?")

    @abc.abstractmethod
    def _images(self) -> Iterator[Listed]:
        """Yield the images of rows without an error, and call `_error` for the others.

        Raises:
            InputError: the file as a whole cannot be read.
        """

    def _error(self, row: int, message: str) -> None:
        self._error_count += 1
        if self._first_error is None:
            self._first_error = (row, message)

    def _place(self, row: int, path: str) -> str | None:
        """Return where the file is, `..` and folders' symbolic links resolved; None after an error."""
        if not path.isascii() or "\0" in path:
            wrong = _no_file_name(path)
            if wrong:
                self._error(row, wrong)
                return None
        if self._root is None:
            if not path.startswith("/"):
                self._error(
                    row, f"the path {short(path)} is relative: say with --images-root below which folder it is"
                )
                return None
            return path
        folder, _, base = path.rpartition("/")
        if path.startswith("/"):
            folder = folder or "/"
        if base in ("", ".", ".."):
            self._error(row, f"the path {short(path)} is no image file")
            return None
        if folder not in self._folders:
            real = os.path.realpath(os.path.join(self._root, folder))
            self._folders[folder] = real if is_below(real, self._root) else None
        real_folder = self._folders[folder]
        if real_folder is None:
            self._error(row, f"the path {short(path)} leads out of --images-root {self._root}")
            return None
        return f"{real_folder}/{base}"

    def _look(self, images: list[IncomingImage], places: list[str | None], pool: ThreadPoolExecutor) -> None:
        """Look whether the images are there, and put a problem into those that are not."""
        parts = list(pages(places, LOOKS))
        for first, wrong in zip(range(0, len(places), LOOKS), self._wrong(parts, pool), strict=True):
            for index, (problem, reason) in wrong:
                image = images[first + index]
                if problem == _OUTSIDE:
                    message = f"the path {short(image.path)} is a link that leads out of --images-root {self._root}"
                    self._error(image.row, message)
                else:
                    images[first + index] = image._replace(problem=problem, problem_reason=reason)

    def _wrong(self, parts: list[list[str | None]], pool: ThreadPoolExecutor) -> Iterator[list[_Verdict]]:
        for number, part in enumerate(parts, start=1):
            began = machine().monotonic()
            wrong = self._look_at(part)
            is_slow = machine().monotonic() - began > SLOW_LOOK_S * (len(part) - part.count(None))
            yield wrong
            if is_slow:
                yield from pool.map(self._look_at, parts[number:])
                return

    def _look_at(self, part: list[str | None]) -> list[_Verdict]:
        """Return which files cannot be uploaded, and why."""
        return [
            (index, verdict)
            for index, place in enumerate(part)
            if place is not None and (verdict := _verdict(place, self._root)) is not None
        ]


def _timed(images: list[IncomingImage], places: list[str | None], each: Mapping) -> list[IncomingImage]:
    """Put the camera's time into those images that have none and are there."""
    wanted = [
        (index, place)
        for index, (image, place) in enumerate(zip(images, places, strict=True))
        if place is not None and image.taken_at is None and image.problem is None
    ]
    parts = list(pages(wanted, PAGE))
    asked = ([place for _, place in part] for part in parts)
    for part, times in zip(parts, each(exif_times, asked), strict=True):
        for (index, _), at in zip(part, times, strict=True):
            if at is not None:
                images[index] = images[index]._replace(taken_at=at, taken_text=None)
    return images


def _no_file_name(path: str) -> str:
    """Say why a text can be no file's name here; '' where it can."""
    if "\0" in path:
        return f"the path {short(path)} holds a NUL, which no file's name does"
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return f"the path {path!a:.200} can be no file's name in this system's encoding; set LANG=C.UTF-8"
    return ""


_OUTSIDE = "outside"


def _verdict(place: str, root: str | None) -> tuple[str, str] | None:
    """Return problem and reason of a file that cannot be uploaded, or None."""
    try:
        found = os.lstat(place)
        if stat.S_ISREG(found.st_mode) and found.st_size:  # most are
            return None
        if stat.S_ISLNK(found.st_mode):
            if root is not None and not is_below(os.path.realpath(place), root):
                return _OUTSIDE, ""
            found = os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        return "missing", "no such file"
    except OSError as error:
        return "missing", error.strerror or "cannot be read"
    if not stat.S_ISREG(found.st_mode):
        return "missing", "not a file"
    return ("empty", "the file has zero bytes") if found.st_size == 0 else None


def is_below(path: str, root: str) -> bool:
    """Tell whether a real path lies below a folder, or is it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def short(value: str) -> str:
    """Quote a value for a message, its middle left out where it is long."""
    return repr(brief(value))
