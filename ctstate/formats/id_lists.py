"""Lists of captures or images that a user (or a report of ctstate) wrote: one reader for all verbs that take one.

What is read, told apart by content:

* a CSV whose header has a column of image paths (`path`, `image_path_rel`, `file`, `filepath`, `original_images`)
  or of capture ids (`capture_id`, `#capture_id`, `unique_id`); commas, semicolons or tabs between its columns;
* JSON: a list of texts, or of objects with such keys (`--json` of a report);
* else plain lines, one capture id or image path each; blank ones and those that begin with `# ` do not count.

Verbs about subjects on Zooniverse also take their numbers: a column `subject_id`, or numbers in JSON.
"""

import csv
import os
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from ctstate.errors import InputError
from ctstate.formats.opening import text

CAPTURE_COLUMNS = ("capture_id", "#capture_id", "unique_id")
PATH_COLUMNS = ("path", "image_path_rel", "file", "filepath", "original_images")

SUBJECT_COLUMNS = ("subject_id", "#subject_id", "subject")

CAPTURE, PATH, EITHER, SUBJECT = "capture", "path", "either", "subject"

_COLUMNS = {CAPTURE: CAPTURE_COLUMNS, PATH: PATH_COLUMNS, SUBJECT: SUBJECT_COLUMNS}
_PATH_FIRST, _CAPTURE_FIRST, _NO_PATHS = (PATH, CAPTURE), (CAPTURE, PATH), (CAPTURE, SUBJECT)


class Listed(NamedTuple):
    """An entry of a list: its row (as a spreadsheet counts), what it is, and the text."""

    row: int
    kind: str  # CAPTURE, PATH, EITHER or SUBJECT
    value: str


def read_listed(
    file: str | os.PathLike[str], *, prefer_captures: bool = False, subjects: bool = False
) -> Iterator[Listed]:
    """Yield the entries of a list, as they stand there.

    Args:
        file: the list.
        prefer_captures: where an entry has both a path and a capture id, take the capture.
        subjects: entries are captures or subjects, the capture where it has both; paths do not count.

    Raises:
        InputError: it cannot be read, or holds nothing.
    """
    name = os.fspath(file)
    found = False
    order = _NO_PATHS if subjects else _CAPTURE_FIRST if prefer_captures else _PATH_FIRST
    with text(name) as stream:
        for entry in _entries(name, stream, order):
            found = True
            yield entry
    if not found:
        raise InputError(f"{name}: lists no capture and no {'subject' if subjects else 'image'}")


def _entries(name: str, stream: IO[str], order: tuple[str, ...]) -> Iterator[Listed]:
    head = stream.readline()
    if head.lstrip()[:1] == "[":
        stream.seek(0)
        yield from _from_json(name, order)
        return
    delimiter = max(",;\t", key=head.count)
    names = [cell.strip().lower() for cell in next(csv.reader([head], delimiter=delimiter), [])]
    columns = {kind: next((names.index(key) for key in _COLUMNS[kind] if key in names), None) for kind in order}
    if all(index is None for index in columns.values()):
        for row, line in enumerate(_lines(head, stream), start=1):
            value = line.strip().strip('"')
            if value and not value.startswith("# "):
                yield Listed(row, EITHER, value)
        return
    for row, cells in enumerate(csv.reader(stream, delimiter=delimiter), start=2):
        for kind in order:
            index = columns[kind]
            if index is not None and index < len(cells) and cells[index].strip():
                yield Listed(row, kind, cells[index])
                break


def _lines(head: str, stream: IO[str]) -> Iterator[str]:
    yield head
    yield from stream


def _from_json(name: str, order: tuple[str, ...]) -> Iterator[Listed]:
    from ctstate.formats.json_stream import items

    for row, item in enumerate(items(name), start=1):
        if isinstance(item, str):
            yield Listed(row, EITHER, item)
            continue
        entry = _from_object({SUBJECT_COLUMNS[0]: item} if _is_number(item) else item, order, row)
        if entry is None:
            wanted = " or ".join(_COLUMNS[kind][0] for kind in order)
            raise InputError(f"{name}, entry {row}: neither a text nor an object with a {wanted}")
        yield entry


def _from_object(item: Any, order: tuple[str, ...], row: int) -> Listed | None:
    if isinstance(item, dict):
        for kind in order:
            for key in _COLUMNS[kind]:
                value = str(item[key]) if kind == SUBJECT and _is_number(item.get(key)) else item.get(key)
                if isinstance(value, str) and value:
                    return Listed(row, kind, value)
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
