"""Creates whose reply was lost: resolved by looking, never by posting again blindly.

A subject that such a create made lies above every subject id that was known when it was sent (ids grow), was
uploaded by the run's account, and carries the ledger's own mark. One listing resolves all that wait.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from ctstate.errors import CtstateError
from ctstate.ledger import Ledger, clock, uploads
from ctstate.machine import machine
from ctstate.verbs.upload.story import Doubt, StopAskedError
from ctstate.zooniverse import Zooniverse
from ctstate.zooniverse.subject import read_mark


class Lost(NamedTuple):
    """A capture (by its key) whose create may have made a subject."""

    key: int
    doubt: Doubt

    def above(self, floor: int) -> "Lost":
        """The same, to be looked for above another floor."""
        return self._replace(doubt=replace(self.doubt, floor=floor))


class Seen(NamedTuple):
    """What a look showed.

    Attributes:
        found: by the capture's key: its subject. Of the others there is none, or none yet: the server may still be
            at work.
        newest: the highest id among all that was listed.
    """

    found: dict[int, int]
    newest: int


def look(ledger: Ledger, zooniverse: Zooniverse, lost: Sequence[Lost], *, surely: bool = True) -> Seen:
    """Find the subjects that lost creates made: one listing for each account that sent some.

    Args:
        ledger, zooniverse: of the upload.
        lost: what to look for, each above its floor.
        surely: nothing that is there may be missed; else only most of it will be seen, in half the requests.
    """
    ledger_id = ledger.ledger_id
    with ledger.read() as connection:
        senders = uploads.senders(connection, {item.doubt.run_id for item in lost})
    found: dict[int, int] = {}
    newest = 0
    for sender in dict.fromkeys(senders.values()):
        mine = [item for item in lost if senders[item.doubt.run_id] == sender]
        made: dict[int, list[int]] = {}
        for row in zooniverse.subjects_above(*sender, min(item.doubt.floor for item in mine), surely=surely):
            newest = max(newest, row.id)
            mark = read_mark(row.external_id)
            if mark is not None and mark.ledger_id == ledger_id:
                made.setdefault(mark.capture_key, []).append(row.id)
        for item in mine:
            above = [key for key in made.get(item.key, ()) if key > item.doubt.floor]
            if above:
                found[item.key] = min(above)
    return Seen(found, newest)


Told = Callable[[Lost, int | None, CtstateError | None], None]


EARLY_S = (3.0, 12.0)
"""So long after a reply was lost its subject is looked for already: one that is found is found."""

EARLY_TOGETHER_S, TOGETHER_S = 2.0, 10.0
"""A look waits so long for others that fall due: an early one, and one after the whole time."""


class _Waiting(NamedTuple):
    """A lost create whose subject is still to be found.

    Attributes:
        item: the capture.
        since, until: since when, and until when it may yet turn up.
        unseen: ids up to here were listed before; what comes later has a higher one, as a rule.
        at: when to look next.
    """

    item: Lost
    since: float
    until: float
    unseen: int
    at: float

    def again(self, moment: float, newest: int) -> "_Waiting":
        """Wait for the next look, after one that saw all up to an id."""
        last = self.until + min(TOGETHER_S, (self.until - self.since) / 8)
        early = (self.since + wait for wait in EARLY_S)
        at = next((due + EARLY_TOGETHER_S for due in early if moment < due < self.until - TOGETHER_S), last)
        return self._replace(at=at, unseen=max(self.unseen, newest))


class LostCreates:
    """A thread that looks for the subjects of lost creates, all that wait with one listing.

    What it finds, early or late, is found. That there is none is believed only once the server can no longer be at
    work on the request.

    Args:
        ledger, zooniverse: of the upload.
        settle: seconds after which the server is done with a request, whatever became of its reply.
        told: gets each capture's subject id or None, or the error with which looking failed.
        fatal: gets an error that nobody foresaw.
    """

    def __init__(
        self,
        ledger: Ledger,
        zooniverse: Zooniverse,
        settle: float,
        told: Told,
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._ledger = ledger
        self._zooniverse = zooniverse
        self._settle = settle
        self._told = told
        self._fatal = fatal
        self._waiting: list[_Waiting] = []
        self._looking = 0
        self._closing = False
        self._condition = machine().condition()
        self._thread = machine().thread(self._work, "lost creates")

    def add(self, item: Lost) -> None:
        """Take in a capture; it is looked for in its time.

        When its reply was lost, a host wrote down whose clock may be off. So unless that is longer ago than clocks
        can differ, the whole time is waited for again, by this host's own measure.
        """
        since = item.doubt.since
        wait = 0.0 if since is not None and clock.surely_older(since, self._settle) else self._settle
        with self._condition:
            moment = machine().monotonic()
            waiting = _Waiting(item, moment, moment + wait, item.doubt.floor, moment)
            self._waiting.append(waiting.again(moment, 0))
            self._condition.notify_all()

    def __len__(self) -> int:
        with self._condition:
            return len(self._waiting) + self._looking

    def give_up(self, error: CtstateError) -> None:
        """Answer all that still wait with an error: the run is to stop."""
        with self._condition:
            waiting = [waiting.item for waiting in self._waiting]
            self._waiting.clear()
        for item in waiting:
            self._told(item, None, error)

    def close(self) -> None:
        """End the thread."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()

    def _due(self) -> list[_Waiting]:
        """Wait for the next look; return all that wait then."""
        with self._condition:
            while not self._closing:
                first = min((waiting.at for waiting in self._waiting), default=None)
                moment = machine().monotonic()
                if first is not None and first <= moment:
                    due, self._waiting = self._waiting, []
                    self._looking = len(due)
                    return due
                self._condition.wait(first - moment if first is not None else None)
            return []

    def _work(self) -> None:
        while due := self._due():
            began = machine().monotonic()
            # Once the server is done with one of them, nothing above its floor may be missed.
            last = any(waiting.until <= began for waiting in due)
            wanted = [
                waiting.item if waiting.until <= began else waiting.item.above(waiting.unseen) for waiting in due
            ]
            seen, failure = Seen({}, 0), None
            try:
                seen = look(self._ledger, self._zooniverse, wanted, surely=last)
            except CtstateError as error:
                failure = error
            except BaseException as error:  # noqa: BLE001 - handed to the run, which ends with it
                self._fatal(error)
                failure = StopAskedError(str(error))
            answered: list[Lost] = []
            with self._condition:
                moment = machine().monotonic()
                for waiting in due:
                    if failure is not None or waiting.item.key in seen.found or waiting.until <= began:
                        answered.append(waiting.item)
                    else:
                        self._waiting.append(waiting.again(moment, seen.newest))
                self._looking = 0
            for item in answered:
                self._told(item, seen.found.get(item.key), failure)
