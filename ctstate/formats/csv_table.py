"""Writing a table as CSV, for R, pandas and Excel."""

import csv
from collections.abc import Iterable, Sequence
from typing import IO


def write_csv(
    stream: IO[str], header: Sequence[str], rows: Iterable[Sequence[object]], *, excel: bool = False
) -> int:
    """Write a header and rows; return how many rows.

    Args:
        stream: where to.
        header, rows: the table.
        excel: begin with a byte order mark, without which Excel takes UTF-8 for something else.
    """
    if excel:
        stream.write("\ufeff")
    writer = csv.writer(stream, lineterminator="\r\n" if excel else "\n")
    writer.writerow(header)
    count = 0
    for row in rows:
        writer.writerow(row)
        count += 1
    return count
