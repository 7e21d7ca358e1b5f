"""Creates whose reply was lost: resolved by looking, never by posting again blindly.

A subject that such a create made lies above every subject id that was known when it was sent (ids grow), was
uploaded by the run's account, and carries the ledger's own mark. One listing resolves all that wait.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Optional, Protocol

from sqlalchemy import select

from ctstate.errors import CtstateError
from ctstate.ledger import Ledger, claims
from ctstate.schema import run
from ctstate.subjects import read_mark
from ctstate.zooniverse import Zooniverse


class Doubtful(Protocol):
    """A capture whose create may have made a subject."""

    claim: claims.Claim
    create_run_id: int
    create_floor: int


Resolved = Callable[[Doubtful, Optional[int]], None]


class Doubts:
    """Waits until the server can no longer be at work on a lost request, then looks.

    Args:
        ledger, zooniverse: of the upload.
        settle: seconds after which the server is done with a request, whatever became of its reply.
        resolved: told each capture's subject id, or None where no subject was made.
        fatal: told the error with which looking failed.
    """

    def __init__(
        self,
        ledger: Ledger,
        zooniverse: Zooniverse,
        settle: float,
        resolved: Resolved,
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._ledger = ledger
        self._zooniverse = zooniverse
        self._settle = settle
        self._resolved = resolved
        self._fatal = fatal
        self._heap: list[tuple[float, int, Doubtful]] = []
        self._ticket = itertools.count()
        self._closing = False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="doubts", daemon=True)
        self._thread.start()

    def add(self, item: Doubtful, age: float = 0.0) -> None:
        """Take in a capture whose reply was lost `age` seconds ago."""
        with self._condition:
            due = time.monotonic() + max(0.0, self._settle - age)
            heapq.heappush(self._heap, (due, next(self._ticket), item))
            self._condition.notify()

    def __len__(self) -> int:
        with self._condition:
            return len(self._heap)

    def close(self) -> list[Doubtful]:
        """Stop looking; return what is still in doubt."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()
        return [item for _, _, item in self._heap]

    def _due(self) -> list[Doubtful]:
        with self._condition:
            while not self._closing:
                now = time.monotonic()
                if self._heap and self._heap[0][0] <= now:
                    due = []
                    while self._heap and self._heap[0][0] <= now:
                        due.append(heapq.heappop(self._heap)[2])
                    return due
                self._condition.wait(self._heap[0][0] - now if self._heap else None)
            return []

    def _work(self) -> None:
        while True:
            due = self._due()
            if not due:
                return
            try:
                self._look(due)
            except CtstateError as error:
                for item in due:
                    self.add(item)  # still in doubt: given back when the run ends
                self._fatal(error)
                return
            except BaseException as error:  # noqa: BLE001 - handed to the run, which ends with it
                self._fatal(error)
                return

    def _look(self, items: Sequence[Doubtful]) -> None:
        """List the subjects above what was known, once per account and project, and tell what was found."""
        with self._ledger.read() as connection:
            senders = {
                row.id: (row.project_id, row.uploader_id)
                for row in connection.execute(
                    select(run.c.id, run.c.project_id, run.c.uploader_id).where(
                        run.c.id.in_({item.create_run_id for item in items})
                    )
                )
            }
        for sender in dict.fromkeys(senders.values()):
            mine = [item for item in items if senders[item.create_run_id] == sender]
            floor = min(item.create_floor for item in mine)
            found: dict[int, int] = {}
            for row in self._zooniverse.subjects_above(*sender, floor):  # newest first: the oldest stays
                mark = read_mark(row.get("external_id"))
                if mark is not None and mark.ledger_id == self._ledger.ledger_id:
                    found[mark.capture_key] = int(row["id"])
            for item in mine:
                subject_id = found.get(item.claim.row.id)
                if subject_id is not None and subject_id <= item.create_floor:
                    subject_id = None
                self._resolved(item, subject_id)
