"""The old scripts' upload tracker file: capture ids and subject ids (docs/legacy-formats.md, section 3)."""

import csv
import os
from collections.abc import Iterable, Iterator
from typing import IO

from ctstate.capture import LegacyEntry, pages
from ctstate.errors import InputError
from ctstate.formats.legacy_manifest import subject_id_of
from ctstate.formats.opening import text

_HEADER = ["unique_id", "subject_id"]


def read_tracker(file: str | os.PathLike[str]) -> Iterator[LegacyEntry]:
    """Yield the captures that a tracker file says are uploaded.

    Raises:
        InputError: it cannot be read, or is no tracker file.
    """
    with text(file) as stream:
        rows = csv.reader(stream)
        header = [cell.strip() for cell in next(rows, [])]
        if header[:2] != _HEADER:
            raise InputError(f"{file}, row 1: not an upload tracker file; its header is unique_id,subject_id")
        for number, cells in enumerate(rows, start=2):
            if not any(cell.strip() for cell in cells):
                continue
            subject_id = subject_id_of(cells[1]) if len(cells) > 1 else None
            if subject_id is None:
                raise InputError(
                    f"{file}, row {number} ({cells[0]}): no subject id in column 2; nothing was changed"
                )
            yield LegacyEntry(number, cells[0].strip(), uploaded=True, subject_id=subject_id)


def write_tracker_file(stream: IO[str], rows: Iterable[tuple[str, int | None]]) -> int:
    """Write capture ids and subject ids (None: uploaded, as what is not known); return how many."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_HEADER)
    count = 0
    for part in pages(rows):
        writer.writerows(part)
        count += len(part)
    return count
