"""One reader of a ledger for many who look on, who together cost a worker next to nothing (`watch`, `serve`)."""

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from typing import Any, Generic, NamedTuple, Self, TypeVar

from ctstate.errors import LedgerError
from ctstate.ledger import Ledger, live
from ctstate.machine import machine

T = TypeVar("T")

EVERY_S = 5.0
"""The same question is not put to the ledger more often, however many ask it."""

SELDOM_S = 15.0
"""Nor more often than this where nobody can commit while somebody reads."""

PATIENCE_S = 2.0
"""So long a look waits for a ledger that is locked, or for a server."""

_KEPT = 200
"""Answers that are kept; the one that was asked for longest ago goes first."""


class Answer(NamedTuple, Generic[T]):
    """What the ledger said.

    Attributes:
        value: its answer.
        age: so many seconds ago it was sure to be so.
        trouble: why it could not be asked anew, in a line; None: it need not, or it was.
    """

    value: T
    age: float
    trouble: str | None


class _Kept:
    """An answer, the ledger's version that it is of, when it was made, and when it was last known to be so."""

    def __init__(self, value: Any, version: str, made: float, at: float) -> None:
        self.value, self.version, self.made, self.at = value, version, made, at


class SharedReader:
    """Puts questions to a ledger: one at a time, on one connection, each at most every `EVERY_S`.

    Before a question that was answered before comes the cheapest there is: whether anybody has written since. It
    asks nothing by itself: where nobody looks on, the ledger is not read. In a `with`, or with `close`.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._turn = machine().condition()
        self._held: ExitStack | None = None
        self._connection: live.Reading | None = None
        self._connections = 0
        self._file: tuple[int, int] | None = None
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._trouble: tuple[float, str] | None = None
        self.holds_up_writers = True
        """Whether nobody can commit while somebody reads, as far as is known."""
        self.asked = 0
        """So many transactions there were."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        with self._turn:
            self._hang_up()

    def ask(
        self, name: Hashable, question: Callable[[live.Reading], T], every: float = EVERY_S, keeps: float = math.inf
    ) -> Answer[T]:
        """Return the answer to a question, as it was no longer ago than this, if the ledger can be read.

        Args:
            name: what tells the question from others.
            question: a short read, in the transaction that it is given.
            every: so many seconds an answer is good for without a look at the ledger.
            keeps: so many seconds an answer is good for if nobody writes (that a worker is silent shows in that).

        Raises:
            LedgerError: it cannot be read, and there is no older answer.
        """
        with self._turn:
            at = machine().monotonic()
            if self.holds_up_writers and every >= EVERY_S:
                every = max(every, SELDOM_S)
            kept = self._kept.get(name)
            if kept is not None:
                self._kept.move_to_end(name)
                if at - kept.at < every:
                    return Answer(kept.value, at - kept.at, None)
            if self._trouble is not None and at - self._trouble[0] < EVERY_S:
                return self._older(kept, at, self._trouble[1])
            try:
                kept = self._anew(kept if kept and at - kept.made < keeps else None, question, at)
            except LedgerError as error:
                self._hang_up()
                self._trouble = (machine().monotonic(), str(error))
                return self._older(kept, at, str(error))
            self._trouble = None
            self._kept[name] = kept
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return Answer(kept.value, 0.0, None)

    def _older(self, kept: _Kept | None, at: float, trouble: str) -> Answer[Any]:
        if kept is None:
            raise LedgerError(trouble)
        return Answer(kept.value, at - kept.at, trouble)

    def _anew(self, kept: _Kept | None, question: Callable[[live.Reading], Any], at: float) -> _Kept:
        connection = self._connected()
        self.asked += 1
        with self._ledger.read(connection) as reading:
            version = f"{self._connections} {live.version(reading)}"
            if kept is not None and kept.version == version:
                return _Kept(kept.value, version, kept.made, at)
            return _Kept(question(reading), version, at, at)

    def _connected(self) -> live.Reading:
        file = self._which_file()
        if self._connection is not None and file == self._file:
            return self._connection
        self._hang_up()
        held = ExitStack()
        with held:
            connection = held.enter_context(self._ledger.connection())
            live.impatient(connection, PATIENCE_S)
            self.holds_up_writers = live.readers_hold_up_writers(connection)
            self._held = held.pop_all()
        self._connection, self._file = connection, file
        self._connections += 1  # versions of one connection say nothing on another
        return connection

    def _hang_up(self) -> None:
        if self._held is not None:
            held, self._held, self._connection = self._held, None, None
            held.close()
            self._ledger.close()  # those that wait in its pool, too, may be of a file that is another one by now

    def _which_file(self) -> tuple[int, int] | None:
        """Which file it is: one that was put in its place is another ledger."""
        if self._ledger.path is None:
            return None
        try:
            found = os.stat(self._ledger.path)
        except OSError as error:
            raise LedgerError(f"ledger {self._ledger.name}: {error.strerror or error}") from error
        return found.st_dev, found.st_ino
