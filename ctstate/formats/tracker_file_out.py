"""Writing the old scripts' upload tracker file (docs/legacy-formats.md, section 3): what they are to skip."""

import csv
from collections.abc import Iterable
from typing import IO, NamedTuple


class TrackedCapture(NamedTuple):
    """A row of the file; no subject id: known to be uploaded, as what is not."""

    unique_id: str
    subject_id: int | None


def write_tracker_file(stream: IO[str], rows: Iterable[TrackedCapture]) -> int:
    """Write a tracker file; return how many captures are in it."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(TrackedCapture._fields)
    count = 0
    for row in rows:
        writer.writerow(row)
        count += 1
    return count
