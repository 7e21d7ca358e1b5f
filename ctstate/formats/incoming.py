"""Captures and images on their way into the ledger: the temporary table `incoming`, and how a reader fills it.

A reader (of a captures CSV, a legacy manifest, a Camtrap DP) yields one row per image; `ctstate.verbs.manifest`
merges the rows, whatever they came from.
"""

import abc
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from ctstate.errors import InputError

STAT_THREADS = 16
"""Files are looked at by so many threads: on a shared disk each look waits for the network."""

MOST_ERRORS = 5

COLUMNS = (
    "csv_row", "capture_id", "season", "site", "roll", "capture", "capture_number",
    "rank", "path", "problem", "problem_reason", "metadata", "rule",
)  # fmt: skip
"""Of `incoming`. `csv_row` is where a message about the row points to."""

_CREATE = """
CREATE TEMP TABLE incoming (
    csv_row INTEGER, capture_id TEXT, season TEXT, site TEXT, roll TEXT, capture TEXT, capture_number BIGINT,
    rank INTEGER, path TEXT, problem TEXT, problem_reason TEXT, metadata TEXT, rule TEXT)
"""


class Incoming(abc.ABC):
    """A source of captures, as rows of `incoming`; collects what is wrong with it.

    Args:
        name: of the file, for messages.
        root: folder below which all images must lie, real path; None: the paths are absolute.

    Attributes:
        rows: read so far.
        unit: what a row of the file is called in messages.
    """

    unit = "row"

    def __init__(self, name: str, root: str | None) -> None:
        self.name = name
        self.rows = 0
        self._root = root
        self._errors: list[tuple[int, str]] = []
        self._error_count = 0
        self._folders: dict[str, str | None] = {}

    @abc.abstractmethod
    def chunks(self) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows, parsed and checked, some ten thousand at a time.

        Raises:
            InputError: the file as a whole cannot be read.
        """

    def finish(self) -> None:
        """Raise the first error found, with the number of rows that have one."""
        if self._errors:
            row, message = self._errors[0]
            more = f" (and {self._error_count - 1} more {self.unit}s with errors)" if self._error_count > 1 else ""
            raise InputError(f"{self.name}, {self.unit} {row}: {message}{more}; nothing was changed")

    def _error(self, row: int, message: str) -> None:
        self._error_count += 1
        if len(self._errors) < MOST_ERRORS:
            self._errors.append((row, message))

    def _place(self, row: int, path: str) -> str | None:
        """Return where the file is, `..` and folders' symbolic links resolved; None after an error."""
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
            self._folders[folder] = real if _is_below(real, self._root) else None
        real_folder = self._folders[folder]
        if real_folder is None:
            self._error(row, f"the path {short(path)} leads out of --images-root {self._root}")
            return None
        return f"{real_folder}/{base}"

    def _look(self, parsed: list[tuple[Any, ...]], wanted: list[tuple[int, str]], pool: ThreadPoolExecutor) -> None:
        """Look whether the images are there, and put a problem into the rows of those that are not."""
        step = 500
        parts = [wanted[start : start + step] for start in range(0, len(wanted), step)]
        for part, verdicts in zip(parts, pool.map(self._look_at, parts), strict=False):
            for (index, _), verdict in zip(part, verdicts, strict=False):
                if verdict is None:
                    continue
                row = parsed[index]
                if verdict == "outside":
                    self._error(
                        row[0], f"the path {short(row[8])} is a link that leads out of --images-root {self._root}"
                    )
                else:
                    reason = {"missing": "no such file", "empty": "the file has zero bytes"}.get(verdict, verdict)
                    kind = verdict if verdict in ("missing", "empty") else "missing"
                    parsed[index] = (*row[:9], kind, reason, *row[11:])

    def _look_at(self, part: list[tuple[int, str]]) -> list[str | None]:
        return [_verdict(place, self._root) for _, place in part]


def stage(connection: Connection, reader: Incoming, on_progress: Callable[[int], None]) -> int:
    """Fill the temporary table `incoming`, one row per image; return how many rows were read."""
    connection.execute(text("DROP TABLE IF EXISTS incoming"))
    connection.execute(text(_CREATE))
    mark = "%s" if connection.dialect.paramstyle in ("format", "pyformat") else "?"
    insert = f"INSERT INTO incoming ({', '.join(COLUMNS)}) VALUES ({', '.join([mark] * len(COLUMNS))})"
    filled = False
    for chunk in reader.chunks():
        if chunk:
            connection.exec_driver_sql(insert, chunk)
            filled = True
        on_progress(reader.rows)
    reader.finish()
    if not filled:
        raise InputError(f"{reader.name}: holds no rows below its header; is it the right file?")
    connection.execute(text("CREATE INDEX incoming_capture ON incoming (capture_id, rank)"))
    return reader.rows


def _verdict(place: str, root: str | None) -> str | None:
    try:
        found = os.lstat(place)
        if stat.S_ISLNK(found.st_mode):
            if root is not None and not _is_below(os.path.realpath(place), root):
                return "outside"
            found = os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        return error.strerror or "cannot be read"
    if not stat.S_ISREG(found.st_mode):
        return "not a file"
    return "empty" if found.st_size == 0 else None


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def short(value: str) -> str:
    """Quote a value for a message, its middle left out where it is long."""
    return repr(value if len(value) <= 200 else f"{value[:120]}...{value[-60:]}")
