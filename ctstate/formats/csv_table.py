"""Tables as CSV: read with errors of one line, written for R, pandas and Excel."""

import contextlib
import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from ctstate.errors import InputError


@contextlib.contextmanager
def reading(file: str | os.PathLike[str]) -> Iterator[IO[str]]:
    """Open a text file in UTF-8, past its byte order mark, for the `csv` module.

    Raises:
        InputError: it cannot be read, or what is read from it is no text, or no CSV.
    """
    name = os.fspath(file)
    try:
        with open(name, encoding="utf-8-sig", newline="") as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None
    except UnicodeError as error:
        raise InputError(f"{name}: not text in UTF-8 ({error})") from None
    except csv.Error as error:
        raise InputError(f"{name}: not a readable CSV ({error})") from None


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
