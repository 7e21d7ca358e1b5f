"""Group commits: many threads hand in small writes, one thread commits them together.

Each commit waits for the disk once, however many captures it speaks of, and no thread of the upload holds a
transaction while it talks to Zooniverse.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ctstate.errors import CtstateError, FencedError, LedgerError
from ctstate.ledger import Ledger, Transaction
from ctstate.machine import machine

Operation = Callable[[Transaction], Any]
"""Writes in a transaction that carries others, too."""

WhenWritten = Callable[[Any, CtstateError | None], None]
"""Gets what the operation returned, or the error."""

MOST_IN_ONE_COMMIT = 500

GATHER_S = 0.04
"""How long a commit waits at most for more to carry: one story waits for it, and the others go on meanwhile."""

ENOUGH = 8
"""So many writes are worth a commit at once. Over a network fewer come while one waits, so that many workers of one
ledger share its lock as before; where writes come faster, it is the wait that would hold them up."""


class _Handed(NamedTuple):
    operation: Operation
    when_written: WhenWritten


class Committer:
    """Writes operations in the order they were submitted.

    Args:
        ledger: where to.
        fatal: called with the error once a commit has failed; nothing is written after that, and each operation is
            answered with a LedgerError.
    """

    def __init__(self, ledger: Ledger, fatal: Callable[[BaseException], None]) -> None:
        self._ledger = ledger
        self._fatal = fatal
        self._queue: deque[_Handed] = deque()
        self._closing = False
        self._broken: CtstateError | None = None
        self._condition = machine().condition()
        self._thread = machine().thread(self._run, "committer")

    def submit(self, operation: Operation, when_written: WhenWritten) -> None:
        """Hand in a write.

        Args:
            operation: writes; a FencedError it raises concerns it alone.
            when_written: called after the commit, with what the operation returned, or with the error.
        """
        with self._condition:
            self._queue.append(_Handed(operation, when_written))
            if len(self._queue) in (1, ENOUGH):  # else the thread has no reason to wake
                self._condition.notify_all()

    def close(self) -> None:
        """Write what was handed in and end the thread."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()

    def _next(self) -> list[_Handed]:
        with self._condition:
            while not self._queue and not self._closing:
                self._condition.wait()
            until = machine().monotonic() + GATHER_S
            while len(self._queue) < ENOUGH and not self._closing:
                left = until - machine().monotonic()
                if left <= 0:
                    break
                self._condition.wait(left)
            return [self._queue.popleft() for _ in range(min(len(self._queue), MOST_IN_ONE_COMMIT))]

    def _run(self) -> None:
        while True:
            part = self._next()
            if not part and self._closing:
                return
            try:
                answers = self._commit(part)
            except CtstateError as error:
                self._break(error, part)
            except BaseException as error:  # noqa: BLE001 - handed to the run, which ends with it
                self._break(error, part)
            else:
                for handed, (answer, fenced) in zip(part, answers, strict=True):
                    handed.when_written(answer, fenced)

    def _break(self, error: BaseException, part: list[_Handed]) -> None:
        self._broken = (
            error if isinstance(error, CtstateError) else LedgerError(f"the ledger cannot be written: {error}")
        )
        self._fatal(error)
        for handed in part:
            handed.when_written(None, self._broken)

    def _commit(self, part: list[_Handed]) -> list[tuple[Any, FencedError | None]]:
        if self._broken is not None:
            raise self._broken
        return self._ledger.do(lambda connection: [_answer(handed, connection) for handed in part]) if part else []


def _answer(handed: _Handed, connection: Transaction) -> tuple[Any, FencedError | None]:
    try:
        return handed.operation(connection), None
    except FencedError as error:
        return None, error
