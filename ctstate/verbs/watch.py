"""How an upload goes on, picture after picture (`ctstate watch`; `ctstate serve` shows the same).

A picture is one short read. It asks no scheduler and writes nothing, and is made anew only when somebody has
written.
"""

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from ctstate.ledger import Ledger, live, uploads
from ctstate.ledger.clock import age
from ctstate.ledger.counts import count_states
from ctstate.ledger.database import moment
from ctstate.ledger.history import MadeBackup, last_backup
from ctstate.ledger.live import Hour, RunFacts, Verified
from ctstate.ledger.runs import LOST, QUIET_S
from ctstate.ledger.states import PENDING
from ctstate.machine import machine
from ctstate.verbs.pages import Pages
from ctstate.verbs.reading import EVERY_S, SharedReader
from ctstate.verbs.status import STATES, BatchStatus, by_batch

_REMEMBERED_S = 300.0
"""A rate is of these last seconds."""

KEEPS_S = 4 * EVERY_S
"""A picture is made anew after this even if nobody writes: then workers are silent, and do nothing any more."""

_ENOUGH_S = 15.0
"""A rate of fewer seconds says nothing yet."""


class WatchedRun(NamedTuple):
    """A run, as somebody sees it who looks on.

    Attributes:
        facts: what the ledger says of it.
        state: `live`, `silent` (its heartbeat stands still), `stopping`, `lost`, or its outcome: `done`, `failed`,
            `stopped`.
        uploaded, failed: captures that it brought there, or gave up.
        uploading: that it has under way.
        rate: captures a second, of late; None: not known, or it uploads nothing.
        lasted: seconds since it began, or from its begin to its end; of a lost run to its last heartbeat.
    """

    facts: RunFacts
    state: str
    uploaded: int
    failed: int
    uploading: int
    rate: float | None
    lasted: float

    @property
    def is_live(self) -> bool:
        """Whether it is at work, as far as can be told."""
        return self.state in ("live", "stopping", "silent")


class Picture(NamedTuple):
    """How far all is.

    Attributes:
        at: when it was read, by the ledger's clock.
        batches: how far each is.
        runs: that have not ended, and the newest that have; newest first.
        hours: in which something happened, oldest first.
        verified: the newest comparison with Zooniverse.
        backup: the newest copy of the ledger.
        trouble: why there is no newer picture than this one; None: it is the newest.
    """

    at: str
    batches: list[BatchStatus]
    runs: list[WatchedRun]
    hours: list[Hour]
    verified: Verified | None
    backup: MadeBackup | None
    trouble: str | None = None

    def count(self, state: str) -> int:
        """Return how many captures are in a state, excluded ones apart."""
        return sum(batch.counts[state] for batch in self.batches)

    @property
    def total(self) -> int:
        """All captures."""
        return sum(batch.total for batch in self.batches)

    @property
    def excluded(self) -> int:
        """Captures that are not to be uploaded."""
        return sum(batch.excluded for batch in self.batches)

    @property
    def by_state(self) -> dict[str, int]:
        """How many captures are in each state, and how many `excluded`."""
        return {**{state: self.count(state) for state in STATES}, "excluded": self.excluded}

    @property
    def in_doubt(self) -> int:
        """Captures whose create got no answer."""
        return sum(batch.in_doubt for batch in self.batches)

    @property
    def left(self) -> int:
        """Captures in batches that uploads have still to bring there."""
        return sum(batch.counts[state] for batch in self.batches if batch.batch is not None for state in PENDING)

    @property
    def workers(self) -> list[WatchedRun]:
        """Uploads at work."""
        return [run for run in self.runs if run.is_live and run.facts.verb == "upload"]

    @property
    def rate(self) -> float:
        """Captures a second, of all workers together."""
        return sum(run.rate or 0.0 for run in self.workers)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None: nobody is at work, or nothing is left."""
        return self.left / self.rate if self.left and self.rate > 0 else None


class Watcher:
    """Makes pictures of a ledger, one after the other; remembers what it takes to tell rates."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._tallies = live.Tallies()
        self._seen: dict[int, deque[tuple[float, int]]] = {}

    def look(self, connection: live.Reading, ended: int = 20) -> Picture:
        """Return how far all is, with so many of the runs that have ended."""
        facts = live.newest_runs(connection, ended)
        tallies = self._tallies.of(connection, [run.id for run in facts])
        under_way = uploads.under_way(connection)
        gone = set(self._ledger.dead_runs(connection))
        watched = []
        for run in facts:
            tally, at_work = tallies[run.id], under_way.get(run.id, uploads.UnderWay(0, 0))
            brought = tally.uploaded + at_work.whole
            watched.append(
                WatchedRun(
                    facts=run,
                    state=_state(run, run.id in gone),
                    uploaded=tally.uploaded,
                    failed=tally.failed,
                    uploading=at_work.uploading,
                    rate=self._rate(run, brought),
                    lasted=_lasted(run, run.id in gone),
                )
            )
        self._seen = {run.id: self._seen[run.id] for run in facts if run.id in self._seen and run.ended_at is None}
        return Picture(
            at=moment(connection),
            batches=by_batch(count_states(connection, None, None), Pages(self._ledger, connection)),
            runs=watched,
            hours=live.hours(connection),
            verified=live.last_verification(connection),
            backup=last_backup(connection),
        )

    def _rate(self, run: RunFacts, brought: int) -> float | None:
        if run.verb != "upload":
            return None
        lasted = _lasted(run)
        if run.ended_at is not None:
            return brought / lasted if lasted > 0 else None
        at = machine().monotonic()
        seen = self._seen.setdefault(run.id, deque(maxlen=1000))
        seen.append((at, brought))
        while at - seen[0][0] > _REMEMBERED_S:
            seen.popleft()
        since, before = seen[0]
        if at - since >= _ENOUGH_S:
            return (brought - before) / (at - since)
        return brought / lasted if lasted > 0 and brought else None


def watch(ledger: Ledger, every: float = EVERY_S) -> Iterator[Picture]:
    """Yield how far all is: at once, and then again and again, for as long as it is asked.

    A ledger that cannot be read for a while is waited for: the last picture is yielded again, with the `trouble`.

    Args:
        ledger: may be open for reading only.
        every: so many seconds apart, at least `EVERY_S`.

    Raises:
        LedgerError: it cannot be read, not even once.
    """
    with SharedReader(ledger) as reader:
        watcher = Watcher(ledger)
        while True:
            answer = reader.ask("picture", watcher.look, keeps=KEEPS_S)
            yield answer.value._replace(trouble=answer.trouble)
            machine().sleep(max(every, EVERY_S))


def _state(run: RunFacts, gone: bool) -> str:
    if run.ended_at is not None:
        return run.outcome or "done"
    if gone:
        return LOST
    if run.stop_requested_at is not None:
        return "stopping"
    return "live" if age(run.heartbeat_at) < 4 * QUIET_S else "silent"


def _lasted(run: RunFacts, gone: bool = False) -> float:
    # When a run was lost nobody wrote down: its end is when another found that out, its heartbeat when it lived.
    ended = run.heartbeat_at if gone or run.outcome == LOST else run.ended_at
    if ended is None:
        return max(age(run.started_at), 0.0)
    begin, end = (datetime.fromisoformat(moment.rstrip("Z")) for moment in (run.started_at, ended))
    return (end - begin).total_seconds()
