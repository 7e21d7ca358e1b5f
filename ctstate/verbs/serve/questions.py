"""SQL that somebody types into the page: through the read-only gate, in a time limit, one question at a time."""

import csv
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, NamedTuple

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from ctstate.errors import CtstateError, InputError
from ctstate.ledger import Ledger
from ctstate.ledger.dialect import Value
from ctstate.machine import machine
from ctstate.verbs.reading import SharedReader
from ctstate.verbs.sql import ask

ROWS = 500
"""So many rows are shown; a file has all."""

_SHOWN_S, _FILE_S = 5.0, 60.0
_HELD_UP_S = 1.0
"""Where nobody can commit while somebody reads, a question may take no longer than this."""

_SPOOLED = 1 << 20
_SHOWN_BYTES, _FILE_BYTES = 4_000_000, 500_000_000
"""More than this is not kept, whatever the rows are."""


class Limits(NamedTuple):
    """How long a question may take, in seconds, and how many rows are shown."""

    shown: float
    file: float
    rows: int


class Asked(NamedTuple):
    """What came of a question: columns and rows, or why there are none."""

    columns: Sequence[str]
    rows: list[Sequence[Value]]
    more: bool
    trouble: str | None
    seconds: float


class Questions:
    """Answers them."""

    def __init__(self, ledger: Ledger, reader: SharedReader) -> None:
        self._ledger = ledger
        self._reader = reader
        self._turn = machine().condition()

    @property
    def limits(self) -> Limits:
        """What holds for this ledger."""
        if self._reader.holds_up_writers:
            return Limits(_HELD_UP_S, _HELD_UP_S, ROWS)
        return Limits(_SHOWN_S, _FILE_S, ROWS)

    def ask(self, question: str) -> Asked:
        """Answer a question for the page."""
        began = machine().monotonic()
        with self._turn:
            try:
                with ask(self._ledger, question, self.limits.shown) as answer:
                    rows, more = _first(answer.rows)
            except CtstateError as error:
                return Asked([], [], False, str(error), machine().monotonic() - began)
        return Asked(answer.columns, rows, more, None, machine().monotonic() - began)

    def file(self, question: str) -> Response:
        """Answer a question as a CSV file, whole before the first byte goes out: a slow line holds up nobody."""
        # Read to its end first, in bounded memory; from then on nobody in the ledger waits for the browser.
        spooled = tempfile.SpooledTemporaryFile(max_size=_SPOOLED)  # noqa: SIM115 - closed when it is sent
        try:
            with self._turn, ask(self._ledger, question, self.limits.file) as answer:
                text = io.TextIOWrapper(spooled, encoding="utf-8", newline="", write_through=True)
                writer = csv.writer(text, lineterminator="\n")
                writer.writerow(answer.columns)
                writer.writerows(_bounded(answer.rows, spooled))
                text.detach()
        except CtstateError as error:
            spooled.close()
            return PlainTextResponse(f"{error}\n", 400)
        except OSError as error:
            spooled.close()
            return PlainTextResponse(f"no room for the answer here ({error.strerror}): `ctstate sql --csv`\n", 507)
        except BaseException:
            spooled.close()
            raise
        size = spooled.tell()
        spooled.seek(0)
        named = {"Content-Disposition": 'attachment; filename="answer.csv"', "Content-Length": str(size)}
        return StreamingResponse(_pieces(spooled), media_type="text/csv; charset=utf-8", headers=named)


def _first(rows: Iterable[Sequence[Value]]) -> tuple[list[Sequence[Value]], bool]:
    """Return the rows that are shown, and whether there are more."""
    shown: list[Sequence[Value]] = []
    size = 0
    for row in rows:
        if len(shown) == ROWS or size > _SHOWN_BYTES:
            return shown, True
        shown.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
    return shown, False


def _bounded(rows: Iterable[Sequence[Value]], file: IO[bytes]) -> Iterator[Sequence[Value]]:
    """Yield rows for as long as what they are written to stays small enough for a disk that others share."""
    for row in rows:
        yield row
        if file.tell() > _FILE_BYTES:
            raise InputError(f"SQL: more than {_FILE_BYTES / 1e9:g} GB; `ctstate sql --csv` gives it whole")


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(1 << 16):
            yield piece
