"""The machine that the product runs on in the simulator: `with running_on(SimMachine(kernel)): ...`.

A lock is held only between two pauses, when nobody else runs; so taking one never waits, and holding one while
something foreign runs (a request, a transaction, a wait for something else) is a violation.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Self

from ctstate.machine import Machine
from tests.simulation.kernel import Kernel, Killed, Task, Worker

EPOCH = 1793491200.0
"""The wall clock's time when a season begins: 2026-11-01, 00:00 UTC."""


class SimMachine(Machine):
    """Clocks and threads of whichever worker the current task belongs to."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = self.kernel = kernel

    def wall(self) -> float:
        task = self._kernel.current
        return EPOCH + self._kernel.time + (task.worker.skew if task is not None else 0.0)

    def monotonic(self) -> float:
        task = self._kernel.current
        return self._kernel.time + (task.worker.offset if task is not None else 0.0)

    def sleep(self, seconds: float) -> None:
        self._kernel.sleep(seconds)

    def condition(self) -> "SimCondition":
        return SimCondition(self._kernel)

    def event(self) -> "SimEvent":
        return SimEvent(self._kernel)

    def thread(self, target: Callable[[], None], name: str) -> Task:
        task = self._kernel.current
        if task is None:
            raise RuntimeError("outside of the simulation there are no threads")
        return self._kernel.spawn(task.worker, target, name)

    def each(self, function: Callable[[Any], Any], items: Iterable[Any], at_once: int) -> list[Any]:
        return [function(item) for item in items]


class _Shared:
    """What the tasks of one worker share."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._worker: Worker | None = kernel.current.worker if kernel.current is not None else None
        self._waiting: list[tuple[Task, int]] = []

    def _me(self) -> Task | None:
        """The current task; Killed where it is dead, or where this is a dead worker's and a finalizer asks."""
        task = self._kernel.current
        if task is None:
            if self._worker is not None and not self._worker.alive:
                raise Killed
            return None
        if not task.worker.alive:
            self._kernel.refuse(task)
        return task

    def _wait(self, what: str, timeout: float | None) -> bool:
        kernel = self._kernel
        task = kernel.current
        assert task is not None
        entry = (task, task.ticket)
        self._waiting.append(entry)
        woken = False
        try:
            woken = kernel.park(what, None if timeout is None else kernel.time + max(0.0, timeout))
        finally:
            if not woken and entry in self._waiting:
                self._waiting.remove(entry)
        return woken

    def _wake_all(self) -> None:
        for task, ticket in self._waiting:
            self._kernel.wake(task, ticket)
        self._waiting.clear()

    def _wake_one(self) -> None:
        """Wake any one: `threading` promises no order."""
        if self._waiting:
            task, ticket = self._waiting.pop(self._kernel.scheduling.randrange(len(self._waiting)))
            self._kernel.wake(task, ticket)


class SimCondition(_Shared):
    """In place of `threading.Condition`."""

    _depth = 0

    def __enter__(self) -> Self:
        task = self._me()
        if task is not None:
            kernel = self._kernel
            if not task.locks and not task.transactions and kernel.scheduling.random() < kernel.lock_pauses:
                kernel.pause("lock")
            task.locks += 1
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        task = self._kernel.current
        if task is not None:
            task.locks -= 1

    def wait(self, timeout: float | None = None) -> bool:
        task = self._me()
        if task is None or self._depth == 0:
            raise RuntimeError("cannot wait on un-acquired lock")
        depth, self._depth = self._depth, 0
        task.locks -= depth
        try:
            # No pause here: between giving the lock away and waiting nobody may notify.
            self._kernel.endanger("wait", "at a condition")
            return self._wait("a condition", timeout)
        finally:
            task.locks += depth
            self._depth = depth

    def notify(self) -> None:
        self._me()
        if self._depth == 0:
            raise RuntimeError("cannot notify on un-acquired lock")
        self._wake_one()

    def notify_all(self) -> None:
        self._me()
        if self._depth == 0:
            raise RuntimeError("cannot notify on un-acquired lock")
        self._wake_all()


class SimEvent(_Shared):
    """In place of `threading.Event`."""

    _happened = False

    def set(self) -> None:
        self._me()
        self._happened = True
        self._wake_all()

    def is_set(self) -> bool:
        return self._happened

    def wait(self, timeout: float | None = None) -> bool:
        self._me()
        self._kernel.pause("wait", "for an event")
        if not self._happened:
            self._wait("an event", timeout)
        return self._happened


class SimLock(_Shared):
    """A lock that may be held while others run, as an exception: by who logs in for all threads."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._owner: Task | None = None
        self._depth = 0

    def __enter__(self) -> Self:
        task = self._me()
        while task is not None and self._owner is not None and self._owner is not task:
            self._wait(f"a lock that {self._owner} holds", None)
        self._owner = task
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            if self._kernel.current is None or self._kernel.current.worker.alive:
                self._wake_all()


class TaskLocal:
    """In place of `threading.local`: each task sees what it put there itself."""

    _names = itertools.count()

    def __init__(self, kernel: Kernel) -> None:
        object.__setattr__(self, "_kernel", kernel)
        object.__setattr__(self, "_outside", {})
        object.__setattr__(self, "_prefix", f"{next(self._names)}.")

    def _memory(self) -> dict[str, Any]:
        task = self._kernel.current
        memory: dict[str, Any] = self._outside if task is None else task.memory
        return memory

    def __getattr__(self, name: str) -> Any:
        try:
            return self._memory()[self._prefix + name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._memory()[self._prefix + name] = value
