"""Linking: the step that publishes. One run at a time links to a subject set, many subjects a call."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ctstate.errors import (
    CtstateError,
    NotFoundError,
    RequestRefusedError,
    ZooniverseError,
)
from ctstate.ledger import Ledger, LiveRun, claims
from ctstate.ledger.claims import Claim
from ctstate.ledger.set_lease import turn
from ctstate.machine import machine
from ctstate.verbs.upload.story import StopAskedError
from ctstate.zooniverse import Zooniverse

MOST_WAIT_S = 15.0
"""How long whole subjects may wait for others to be linked with."""


class Whole(NamedTuple):
    """A claimed capture whose subject is whole."""

    claim: Claim
    subject_id: int


Told = Callable[[Whole, CtstateError | None], None]
"""Gets None once a subject is in its set, or what stands in the way."""


def link_together(
    ledger: Ledger,
    live: LiveRun,
    zooniverse: Zooniverse,
    batch_id: int,
    set_id: int,
    items: Sequence[Whole],
    wait: Callable[[float], bool],
    told: Told,
) -> None:
    """Put subjects into their batch's set, when it is this run's turn, and tell of each how that went.

    Args:
        ledger, live, zooniverse: of the upload.
        batch_id, set_id: where they belong.
        items: of that batch.
        wait: see `turn`.
        told: called once for each.
    """
    with turn(ledger, live, batch_id, wait) as lease:
        if lease is None:
            for item in items:
                told(item, StopAskedError("stopped while another run was linking"))
            return
        with ledger.read() as connection:
            held = claims.held(connection, [item.claim for item in items])
        mine = [item for item in items if item.claim.row.id in held]
        for item in items:
            if item.claim.row.id not in held:
                told(item, claims.taken_over(item.claim.capture_id))
        _link(live, zooniverse, set_id, mine, told)


def _link(live: LiveRun, zooniverse: Zooniverse, set_id: int, items: Sequence[Whole], told: Told) -> None:
    if not items:
        return
    answer: CtstateError | None = None
    try:
        zooniverse.link_subjects(set_id, [item.subject_id for item in items], live.make_sure)
    except NotFoundError:
        answer = ZooniverseError(
            f"subject set {set_id} is no longer on Zooniverse; `ctstate reconcile` shows what became of it"
        )
    except RequestRefusedError as error:
        _sort_out(live, zooniverse, set_id, items, error, told)
        return
    except CtstateError as error:
        answer = error
    for item in items:
        told(item, answer)


def _sort_out(
    live: LiveRun,
    zooniverse: Zooniverse,
    set_id: int,
    items: Sequence[Whole],
    refusal: RequestRefusedError,
    told: Told,
) -> None:
    """One subject that is gone makes the whole call fail: find which, and link the others."""
    try:
        there = zooniverse.subjects_by_id([item.subject_id for item in items])
    except CtstateError as error:
        for item in items:
            told(item, error)
        return
    gone = [item for item in items if item.subject_id not in there]
    for item in gone:
        told(item, NotFoundError(f"subject {item.subject_id} is no longer on Zooniverse"))
    if gone:
        _link(live, zooniverse, set_id, [item for item in items if item.subject_id in there], told)
    elif len(items) == 1:
        told(items[0], refusal)
    else:
        middle = len(items) // 2
        _link(live, zooniverse, set_id, items[:middle], told)
        _link(live, zooniverse, set_id, items[middle:], told)


class Linker:
    """A thread that collects whole subjects per batch and links them.

    Args:
        ledger, live, zooniverse: of the upload.
        wait: waits so many seconds; True where the run is to stop.
        sets: subject set id by batch.
        size: how many subjects make a call.
        told: see `link_together`.
        fatal: gets an error that nobody foresaw.
    """

    def __init__(
        self,
        ledger: Ledger,
        live: LiveRun,
        zooniverse: Zooniverse,
        wait: Callable[[float], bool],
        sets: Mapping[int, int],
        size: int,
        told: Told,
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._ledger = ledger
        self._live = live
        self._zooniverse = zooniverse
        self._wait = wait
        self._sets = sets
        self._size = size
        self._told = told
        self._fatal = fatal
        self._waiting: dict[int, list[Whole]] = {}
        self._since: dict[int, float] = {}
        self._linking = 0
        self._flush = False
        self._closing = False
        self._condition = machine().condition()
        self._thread = machine().thread(self._work, "linker")

    def add(self, item: Whole) -> None:
        """Hand over a capture whose images are whole."""
        with self._condition:
            key = item.claim.batch_id
            self._waiting.setdefault(key, []).append(item)
            self._since.setdefault(key, machine().monotonic())
            self._condition.notify_all()

    def __len__(self) -> int:
        with self._condition:
            return sum(map(len, self._waiting.values())) + self._linking

    def flush(self) -> None:
        """Link what there is now: nothing more is coming for the moment."""
        with self._condition:
            self._flush = True
            self._condition.notify_all()

    def close(self) -> None:
        """End the thread; nothing waits any more."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()

    def _next(self) -> tuple[int, list[Whole]] | None:
        with self._condition:
            while not self._closing:
                moment = machine().monotonic()
                for key, items in self._waiting.items():
                    due = len(items) >= self._size or moment - self._since[key] > MOST_WAIT_S
                    if due or self._flush:
                        part, rest = items[: self._size], items[self._size :]
                        del self._waiting[key], self._since[key]
                        if rest:
                            self._waiting[key], self._since[key] = rest, moment
                        self._linking = len(part)
                        return key, part
                self._flush = False
                self._condition.wait(MOST_WAIT_S / 5 if self._waiting else None)
            return None

    def _work(self) -> None:
        while (part := self._next()) is not None:
            batch_id, items = part
            told: set[int] = set()

            def tell(item: Whole, error: CtstateError | None, told: set[int] = told) -> None:
                told.add(item.claim.row.id)
                with self._condition:
                    self._linking -= 1
                self._told(item, error)

            try:
                link_together(
                    self._ledger,
                    self._live,
                    self._zooniverse,
                    batch_id,
                    self._sets[batch_id],
                    items,
                    self._wait,
                    tell,
                )
            except BaseException as error:  # noqa: BLE001 - the ledger's (the turn), or handed to the run
                failure = error if isinstance(error, CtstateError) else StopAskedError(str(error))
                if failure is not error:
                    self._fatal(error)
                for item in items:
                    if item.claim.row.id not in told:
                        tell(item, failure)
