"""A run of many transactions, which says that it lives until it ends."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self, TypeVar

from sqlalchemy.engine import Connection

from ctstate.errors import CtstateError, FencedError, LedgerError
from ctstate.ledger import run_figures, runs
from ctstate.machine import machine

log = logging.getLogger(__name__)

T = TypeVar("T")


class Writable(Protocol):
    """Of a ledger, what a run needs."""

    @property
    def lock_seconds(self) -> float: ...
    def do(self, work: Callable[[Connection], T]) -> T: ...
    def begin_run(
        self, connection: Connection, verb: str, arguments: Mapping[str, Any], log_file: str | None = None
    ) -> int: ...


class LiveRun:
    """A run of many transactions. A thread says every ten seconds that it lives.

    Use it in a `with`: left without an error it ends with `outcome` (`done`, unless `stopped` was called), left
    with one it ends as failed, with the error's message.

    Attributes:
        id: of the row in `run`.
        stop_requested: set when `ctstate stop` asked this run to stop.
        lost: set when others took this run for dead; it must do nothing more.
        figures: tells what the run did so far (`run_figures`); written down with each heartbeat and at the end.
    """

    def __init__(
        self,
        ledger: Writable,
        verb: str,
        arguments: Mapping[str, Any],
        log_file: str | None = None,
        figures: Callable[[], Mapping[str, float]] = dict,
        also: Callable[[Connection, int], None] | None = None,
    ) -> None:
        self._ledger = ledger

        def begin(connection: Connection) -> int:
            run_id = ledger.begin_run(connection, verb, arguments, log_file)
            if also is not None:
                also(connection, run_id)
            return run_id

        self.id = ledger.do(begin)
        self.stop_requested = machine().event()
        self.lost = machine().event()
        self.figures = figures
        self._before = self._figures()
        self._outcome, self._message = "done", ""
        self._ended = machine().event()
        self._beat_at = machine().monotonic()
        self._thread = machine().thread(self._beat, "heartbeat")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.end(self._outcome, self._message)
        else:
            self.end("failed", str(error) if isinstance(error, CtstateError) else type(error).__name__)

    def stopped(self, reason: str) -> None:
        """Let the run end as stopped, with the reason."""
        self._outcome, self._message = "stopped", reason

    def _beat(self) -> None:
        while not self._ended.wait(runs.HEARTBEAT_S):
            try:
                self.beat()
            except LedgerError as error:
                # The lease runs on meanwhile; `surely_alive` stops the run before others take it over.
                log.warning("no heartbeat: %s", error)

    def beat(self) -> None:
        """Say that the run lives, and hear what others have to say to it."""
        before = machine().monotonic()
        answer = self._ledger.do(self._written(lambda connection: runs.beat(connection, self.id)))
        if answer == runs.LOST:
            self.lost.set()
            return
        self._beat_at = before
        if answer == "stop":
            self.stop_requested.set()

    def surely_alive(self) -> bool:
        """Tell whether no other run can have taken this one for dead yet, nor will for a fifth of the lease.

        Asked before each request that must not be sent by two: a worker that was suspended finds out here, before
        it sends anything.
        """
        return not self.lost.is_set() and machine().monotonic() - self._beat_at < 0.8 * runs.LEASE_S

    def make_sure(self) -> None:
        """Make sure that the run is alive to all others, with a heartbeat where the last one is old.

        Raises:
            FencedError: others took it for dead.
        """
        # Again, where the process slept while it said so: the run is dead only once others have said that it is.
        while not self.surely_alive():
            if self.lost.is_set():
                raise FencedError("this run was silent for so long that another took it for dead; run it again")
            self.beat()

    def end(self, outcome: str, message: str = "") -> None:
        """Write down how the run ended and stop its heartbeat."""
        self._ended.set()
        self._thread.join()
        self._ledger.do(self._written(lambda connection: runs.end(connection, self.id, outcome, message)))

    def _figures(self) -> dict[str, float]:
        return {**self.figures(), "seconds: lock": self._ledger.lock_seconds}

    def _written(self, work: Callable[[Connection], T]) -> Callable[[Connection], T]:
        """Let work write down, too, what the run did so far."""
        figures = {name: value - self._before.get(name, 0.0) for name, value in self._figures().items()}

        def both(connection: Connection) -> T:
            done = work(connection)
            run_figures.put(connection, self.id, figures)
            return done

        return both
