"""Group commits: many threads hand in what is to be written of a capture, one thread commits it together.

Each commit waits for the disk once, however many captures it speaks of, and no thread of the upload holds a
transaction while it talks to Zooniverse.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ctstate.errors import CtstateError, FencedError, LedgerError
from ctstate.ledger import Ledger, Transaction, claims
from ctstate.ledger.claims import Claim
from ctstate.ledger.facts import Fact, write_down
from ctstate.machine import machine

WhenWritten = Callable[[CtstateError | None], None]
"""Gets None once it is written, or the error."""

MOST_IN_ONE_COMMIT = 500

GATHER_S = 0.04
"""How long a commit waits at most for more to carry: one story waits for it, and the others go on meanwhile."""

ENOUGH = 8
"""So many writes are worth a commit at once. Over a network fewer come while one waits, so that many workers of one
ledger share its lock as before; where writes come faster, it is the wait that would hold them up."""


class _Page(NamedTuple):
    claim: Claim
    facts: Sequence[Fact]
    when_written: WhenWritten


class Committer:
    """Writes facts in the order they were submitted.

    Args:
        ledger: where to.
        fatal: called with the error once a commit has failed; nothing is written after that, and each page is
            answered with a LedgerError.
    """

    def __init__(self, ledger: Ledger, fatal: Callable[[BaseException], None]) -> None:
        self._ledger = ledger
        self._fatal = fatal
        self._queue: deque[_Page] = deque()
        self._closing = False
        self._broken: CtstateError | None = None
        self._condition = machine().condition()
        self._thread = machine().thread(self._run, "committer")

    def submit(self, claim: Claim, facts: Sequence[Fact], when_written: WhenWritten) -> None:
        """Hand in a page.

        Args:
            claim: of the capture; none of its pages waits to be written.
            facts: in their order.
            when_written: called after the commit, or with the error; a FencedError concerns this capture alone.
        """
        with self._condition:
            self._queue.append(_Page(claim, facts, when_written))
            if len(self._queue) in (1, ENOUGH):  # else the thread has no reason to wake
                self._condition.notify_all()

    def close(self) -> None:
        """Write what was handed in and end the thread."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()

    def _next(self) -> list[_Page]:
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
            self._write(part)

    def _write(self, part: list[_Page]) -> None:
        """Write pages in one commit; where another run has some of the captures by now, the others' in another."""
        error = self._commit(lambda c: write_down(c, [(page.claim, page.facts) for page in part]))
        if not isinstance(error, FencedError) or len(part) == 1:
            for page in part:
                page.when_written(error)
            return
        held: set[int] = set()
        self._commit(lambda c: held.update(claims.held(c, [page.claim for page in part])))
        mine = [page for page in part if page.claim.row.id in held]
        for page in part:
            if page.claim.row.id not in held:
                page.when_written(self._broken or claims.taken_over(page.claim.capture_id))
        if len(mine) == len(part):  # a row that one of them speaks of is gone
            for page in mine:
                self._write([page])
        elif mine:
            self._write(mine)

    def _commit(self, work: Callable[[Transaction], None]) -> CtstateError | None:
        """Return None once it is written, or why it is not."""
        if self._broken is not None:
            return self._broken
        try:
            self._ledger.do(work)
        except FencedError as fenced:
            return fenced
        except CtstateError as error:
            self._broken = error
            self._fatal(error)
        except BaseException as error:  # noqa: BLE001 - handed to the run, which ends with it
            self._broken = LedgerError(f"the ledger cannot be written: {error}")
            self._fatal(error)
        return self._broken
