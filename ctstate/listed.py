"""Lists of captures or images that a user (or a report of ctstate) wrote: one reader for all verbs that take one.

What is read, told apart by content:

* a CSV whose header has a column of image paths (`path`, `image_path_rel`, `file`, `filepath`, `original_images`)
  or of capture ids (`capture_id`, `#capture_id`, `unique_id`); commas, semicolons or tabs between its columns;
* JSON: a list of texts, or of objects with such keys (`--json` of a report);
* else plain lines, one capture id or image path each; blank ones and those that begin with `# ` do not count.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from typing import IO, Any, NamedTuple, Optional

from ctstate.errors import InputError

CAPTURE_COLUMNS = ("capture_id", "#capture_id", "unique_id")
PATH_COLUMNS = ("path", "image_path_rel", "file", "filepath", "original_images")

CAPTURE, PATH, EITHER = "capture", "path", "either"


class Listed(NamedTuple):
    """An entry of a list: its row (as a spreadsheet counts), what it is, and the text."""

    row: int
    kind: str  # CAPTURE, PATH or EITHER
    value: str


def read_listed(file: str | os.PathLike[str], *, prefer_captures: bool = False) -> Iterator[Listed]:
    """Yield the entries of a list, as they stand there.

    Args:
        file: the list.
        prefer_captures: where an entry has both a path and a capture id, take the capture.

    Raises:
        InputError: it cannot be read, or holds nothing.
    """
    name = os.fspath(file)
    found = False
    try:
        with open(name, encoding="utf-8-sig", newline="") as stream:
            for entry in _entries(name, stream, prefer_captures):
                found = True
                yield entry
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None
    except UnicodeError as error:
        raise InputError(f"{name}: not text in UTF-8 ({error})") from None
    except csv.Error as error:
        raise InputError(f"{name}: not a readable CSV ({error})") from None
    if not found:
        raise InputError(f"{name}: lists no capture and no image")


def _entries(name: str, stream: IO[str], prefer_captures: bool) -> Iterator[Listed]:
    head = stream.readline()
    if head.lstrip()[:1] == "[":
        stream.seek(0)
        yield from _from_json(name, prefer_captures)
        return
    delimiter = max(",;\t", key=head.count)
    names = [cell.strip().lower() for cell in next(csv.reader([head], delimiter=delimiter), [])]
    columns = {
        CAPTURE: next((names.index(key) for key in CAPTURE_COLUMNS if key in names), None),
        PATH: next((names.index(key) for key in PATH_COLUMNS if key in names), None),
    }
    if columns[CAPTURE] is None and columns[PATH] is None:
        for row, line in enumerate(_lines(head, stream), start=1):
            value = line.strip().strip('"')
            if value and not value.startswith("# "):
                yield Listed(row, EITHER, value)
        return
    order = (CAPTURE, PATH) if prefer_captures else (PATH, CAPTURE)
    for row, cells in enumerate(csv.reader(stream, delimiter=delimiter), start=2):
        for kind in order:
            index = columns[kind]
            if index is not None and index < len(cells) and cells[index].strip():
                yield Listed(row, kind, cells[index])
                break


def _lines(head: str, stream: IO[str]) -> Iterator[str]:
    yield head
    yield from stream


def _from_json(name: str, prefer_captures: bool) -> Iterator[Listed]:
    from ctstate.jsonstream import items

    order = (CAPTURE_COLUMNS, PATH_COLUMNS) if prefer_captures else (PATH_COLUMNS, CAPTURE_COLUMNS)
    for row, item in enumerate(items(name, "item"), start=1):
        if isinstance(item, str):
            yield Listed(row, EITHER, item)
            continue
        entry = _from_object(item, order, row)
        if entry is None:
            raise InputError(f"{name}, entry {row}: neither a text nor an object with a capture_id or path")
        yield entry


def _from_object(item: Any, order: tuple[tuple[str, ...], ...], row: int) -> Optional[Listed]:
    if isinstance(item, dict):
        for keys in order:
            for key in keys:
                if isinstance(item.get(key), str) and item[key]:
                    return Listed(row, CAPTURE if keys is CAPTURE_COLUMNS else PATH, item[key])
    return None
