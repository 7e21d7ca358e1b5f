"""Group commits: many threads hand in small writes, one thread commits them together.

Each commit waits for the disk once, however many captures it speaks of, and no thread of the upload holds a
transaction while it talks to Zooniverse.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Optional

from sqlalchemy.engine import Connection

from ctstate.errors import FencedError
from ctstate.ledger import Ledger

Operation = Callable[[Connection], None]
Then = Callable[[Optional[FencedError]], None]

MOST_IN_ONE_COMMIT = 500

GATHER_S = 0.04
"""How long a commit waits for more to carry: nothing waits for it but the pipeline, which has work meanwhile."""


class Committer:
    """Writes operations in the order they were submitted.

    Args:
        ledger: where to.
        on_fatal: called once with the error when a commit fails; nothing is written after that.
    """

    def __init__(self, ledger: Ledger, on_fatal: Callable[[BaseException], None]) -> None:
        self._ledger = ledger
        self._on_fatal = on_fatal
        self._queue: queue.SimpleQueue[Optional[tuple[Operation, Optional[Then]]]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation, then: Optional[Then] = None) -> None:
        """Hand in a write.

        Args:
            operation: writes; a FencedError it raises concerns it alone.
            then: called after the commit, with the FencedError where there was one.
        """
        self._queue.put((operation, then))

    def close(self) -> None:
        """Write what was handed in and stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            part = [self._queue.get()]
            if part[0] is not None:
                time.sleep(GATHER_S)
            while len(part) < MOST_IN_ONE_COMMIT:
                try:
                    part.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            work = [pair for pair in part if pair is not None]
            going = len(work) == len(part)
            try:
                self._commit(work)
            except BaseException as error:  # noqa: BLE001 - handed to the run, which ends with it
                self._on_fatal(error)
                return

    def _commit(self, work: list[tuple[Operation, Optional[Then]]]) -> None:
        verdicts: list[Optional[FencedError]] = []
        if not work:
            return
        with self._ledger.write() as connection:
            for operation, _ in work:
                try:
                    operation(connection)
                    verdicts.append(None)
                except FencedError as error:
                    verdicts.append(error)
        for (_, then), verdict in zip(work, verdicts):
            if then is not None:
                then(verdict)
