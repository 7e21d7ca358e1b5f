"""Tables as CSV, written for R, pandas and Excel."""

import csv
import re
from collections.abc import Iterable, Sequence
from typing import IO


def write_csv(
    stream: IO[str], header: Sequence[str], rows: Iterable[Sequence[object]], *, excel: bool = False
) -> int:
    """Write a header and rows; return how many rows.

    Args:
        stream: where to.
        header, rows: the table.
        excel: begin with a byte order mark, without which Excel takes UTF-8 for something else; and put an
            apostrophe before a cell that it would take for a formula (owasp.org, "CSV Injection").
    """
    if excel:
        stream.write("\ufeff")
    writer = csv.writer(stream, lineterminator="\r\n" if excel else "\n")
    writer.writerow(header)
    count = 0
    for row in rows:
        writer.writerow(map(_no_formula, row) if excel else row)
        count += 1
    return count


def _no_formula(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
