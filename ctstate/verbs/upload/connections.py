"""Threads that send requests, and how long creates wait while Zooniverse does badly."""

import heapq
import itertools
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ctstate.machine import machine
from ctstate.verbs.upload.story import Create, Want
from ctstate.zooniverse import Backoff


class WantsRequest(Protocol):
    """A story that waits for the answer to a request."""

    want: Want | None


class Availability:
    """How Zooniverse is doing: after failures, creates wait, longer and longer, all connections together."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures = 0
        self._since = 0.0

    def good(self) -> None:
        """A request had its answer."""
        self._failures = 0

    def bad(self) -> None:
        """A create had none."""
        if self._failures == 0:
            self._since = machine().monotonic()
        self._failures += 1

    def wait(self) -> float:
        """Return how long to wait before the next create."""
        failures = self._failures
        return self._backoff.wait(failures - 1) if failures else 0.0

    @property
    def hopeless(self) -> bool:
        """Whether it has been bad for too long to go on."""
        return self._failures > 0 and machine().monotonic() - self._since > self._backoff.give_up


S = TypeVar("S", bound=WantsRequest)


class Connections(Generic[S]):
    """Threads that send requests: what finishes a subject goes before what begins one.

    Args:
        many: how many at once.
        carry_out: sends one; must not raise.
    """

    def __init__(self, many: int, carry_out: Callable[[S], None]) -> None:
        self._carry_out = carry_out
        self._due: list[tuple[int, int, S]] = []
        self._later: list[tuple[float, int, S]] = []
        self._ticket = itertools.count()
        self._closing = False
        self._condition = machine().condition()
        self._threads = [machine().thread(self._work, f"connection {number}") for number in range(many)]

    def add(self, story: S, wait: float = 0.0) -> None:
        """Hand over a story that wants a request, to be sent after `wait` seconds."""
        with self._condition:
            if wait > 0:
                heapq.heappush(self._later, (machine().monotonic() + wait, next(self._ticket), story))
            else:
                heapq.heappush(self._due, (isinstance(story.want, Create), next(self._ticket), story))
            self._condition.notify()

    def hurry(self) -> None:
        """Let nothing wait any longer: the run is to stop."""
        with self._condition:
            self._later = [(0.0, ticket, story) for _, ticket, story in self._later]
            heapq.heapify(self._later)
            self._condition.notify_all()

    def close(self) -> None:
        """End the threads; nothing waits any more."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def _next(self) -> S | None:
        with self._condition:
            while not self._closing:
                moment = machine().monotonic()
                while self._later and self._later[0][0] <= moment:
                    _, ticket, story = heapq.heappop(self._later)
                    heapq.heappush(self._due, (isinstance(story.want, Create), ticket, story))
                if self._due:
                    return heapq.heappop(self._due)[2]
                self._condition.wait(self._later[0][0] - moment if self._later else None)
            return None

    def _work(self) -> None:
        while (story := self._next()) is not None:
            self._carry_out(story)
