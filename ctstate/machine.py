"""What the program runs on: its clocks and its threads, behind one door.

Everything of ctstate that waits, starts a thread or asks for the time does so here. The simulator
(`tests/simulation`) puts a machine of its own in this place, with a virtual clock and a seeded scheduler, and the
same code then runs through a hundred thousand accidents an hour.

Two clocks, never mixed: `wall` is for people and for the ledger's columns, and differs between hosts; whoever
measures how long something lasts takes `monotonic`, which no other host and no administrator can move.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol


class Condition(Protocol):
    """A lock to wait at, as `threading.Condition`."""

    def __enter__(self) -> Any: ...
    def __exit__(self, *_: Any) -> Any: ...
    def wait(self, timeout: float | None = None) -> bool:
        """Give the lock away until notified, or so many seconds."""
        ...

    def notify(self) -> None:
        """Wake one that waits."""
        ...

    def notify_all(self) -> None:
        """Wake all that wait."""
        ...


class Event(Protocol):
    """Something that happens once, as `threading.Event`."""

    def set(self) -> None:
        """It has happened."""
        ...

    def is_set(self) -> bool:
        """Whether it has happened."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it, or so many seconds; return whether it has happened."""
        ...


class Thread(Protocol):
    """A thread that was started, as `threading.Thread`."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended."""
        ...


class Machine:
    """The real one."""

    def wall(self) -> float:
        """Return this host's idea of the time: seconds since 1970, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since some moment; they go on while the machine (or this process) sleeps."""
        # CLOCK_BOOTTIME goes on while the machine sleeps; time.monotonic() does not.
        return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def condition(self) -> Condition:
        """Return a new condition."""
        return threading.Condition()

    def event(self) -> Event:
        """Return a new event."""
        return threading.Event()

    def thread(self, target: Callable[[], None], name: str) -> Thread:
        """Start a thread that ends with the process."""
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread

    def each(self, function: Callable[[Any], Any], items: Iterable[Any], at_once: int) -> list[Any]:
        """Call a function with each of the items, several at once; return what it returned, in their order.

        An error of a call is raised once those that had begun have ended.
        """
        work = list(items)
        if at_once <= 1 or len(work) <= 1:
            return [function(item) for item in work]
        with ThreadPoolExecutor(min(at_once, len(work))) as pool:
            return list(pool.map(function, work))


_current: list[Machine] = [Machine()]


def machine() -> Machine:
    """Return the machine this process runs on."""
    return _current[-1]


@contextmanager
def running_on(other: Machine) -> Iterator[None]:
    """Let everything run on another machine for a while."""
    _current.append(other)
    try:
        yield
    finally:
        _current.pop()
