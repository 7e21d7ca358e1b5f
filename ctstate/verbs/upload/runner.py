"""The runner: carries out what the stories of many captures want, all at once and with bounded memory.

    main loop ── claims ──> stories ── Encode ──> encoding processes
                              ^  │ ── Write, Announce ──> committer (one commit for many)
                              │  │ ── Create, FreshUrls, Put, Prove ──> connections
                              │  │ ── LookFor ──> lost creates (one listing for many)
                              │  └─── Link ──> linker (one call for many)
                              └── the answer, from whichever thread has it

Nothing here knows what comes next for a capture: that is `story`. A story waits for one answer at a time, so that
whoever has the answer may tell it on, and no lock is held meanwhile. No thread holds a transaction while it talks
to Zooniverse.
"""

import heapq
import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from ctstate.errors import AllowanceError, CtstateError, FencedError, UnavailableError
from ctstate.ledger import Ledger, LiveRun, claims
from ctstate.ledger.claims import Claim
from ctstate.ledger.schema import capture
from ctstate.ledger.states import State
from ctstate.machine import machine
from ctstate.verbs.upload import acts
from ctstate.verbs.upload.commits import Committer
from ctstate.verbs.upload.encoding import Encoders
from ctstate.verbs.upload.linking import Linker, Whole
from ctstate.verbs.upload.lost_creates import Lost, LostCreates
from ctstate.verbs.upload.stop import StopSignal
from ctstate.verbs.upload.story import (
    Announce,
    Create,
    Doubt,
    Encode,
    Ending,
    Fact,
    FreshUrls,
    Link,
    LookFor,
    Prove,
    Put,
    StopAskedError,
    Story,
    TakeBack,
    Want,
    Write,
    life,
)
from ctstate.zooniverse.api import Backoff, Zooniverse

log = logging.getLogger(__name__)

MOST_LOST = 500
"""No more captures are claimed while so many creates are lost: something is wrong out there."""

RECOVER_EVERY_S = 30.0

WAIT_FOR_OTHERS_S = 2.0
"""How often a run that has nothing left to do looks whether other runs are done with theirs."""

TICK_S = 0.2


@dataclass
class Tally:
    """What a run did so far."""

    claimed: int = 0
    uploaded: int = 0
    failed: int = 0
    given_back: int = 0
    fenced: int = 0
    images: int = 0
    bytes: int = 0
    in_doubt: int = 0


@dataclass(frozen=True)
class Work:
    """What a run is to do.

    Attributes:
        project_id: the Zooniverse project.
        season_id: the season's key.
        sets: subject set id by batch, in the order in which batches are to be uploaded.
        root: folder below which relative image paths are.
        skip_broken: leave out broken images where another remains.
        processes, connections: how many.
        link_batch_size: subjects in a links call.
        limit: claim no more captures than this.
        settle: see `LostCreates`.
        backoff: waits between tries.
        claim_ahead: captures claimed at a time; single claims starve other workers (see benchmarks/claims.py).
    """

    project_id: int
    season_id: int
    sets: Mapping[int, int]
    root: str | None
    skip_broken: bool
    processes: int
    connections: int
    link_batch_size: int
    limit: int | None
    settle: float
    backoff: Backoff
    claim_ahead: int = 50


@dataclass(eq=False)
class Tale:
    """A story that is being told, and what it waits for."""

    claim: Claim
    story: Story
    want: Want | None = None
    holds: bool = field(default=False)  # images in memory


class Weather:
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


class Connections:
    """Threads that send requests: what finishes a subject goes before what begins one.

    Args:
        many: how many at once.
        carry_out: sends one; must not raise.
    """

    def __init__(self, many: int, carry_out: Callable[[Tale], None]) -> None:
        self._carry_out = carry_out
        self._due: list[tuple[int, int, Tale]] = []
        self._later: list[tuple[float, int, Tale]] = []
        self._ticket = itertools.count()
        self._closing = False
        self._condition = machine().condition()
        self._threads = [machine().thread(self._work, f"connection {number}") for number in range(many)]

    def add(self, tale: Tale, wait: float = 0.0) -> None:
        """Hand over a story that wants a request, to be sent after `wait` seconds."""
        with self._condition:
            if wait > 0:
                heapq.heappush(self._later, (machine().monotonic() + wait, next(self._ticket), tale))
            else:
                heapq.heappush(self._due, (isinstance(tale.want, Create), next(self._ticket), tale))
            self._condition.notify_all()

    def hurry(self) -> None:
        """Let nothing wait any longer: the run is to stop."""
        with self._condition:
            self._later = [(0.0, ticket, tale) for _, ticket, tale in self._later]
            heapq.heapify(self._later)
            self._condition.notify_all()

    def close(self) -> None:
        """End the threads; nothing waits any more."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def _next(self) -> Tale | None:
        with self._condition:
            while not self._closing:
                moment = machine().monotonic()
                while self._later and self._later[0][0] <= moment:
                    _, ticket, tale = heapq.heappop(self._later)
                    heapq.heappush(self._due, (isinstance(tale.want, Create), ticket, tale))
                if self._due:
                    return heapq.heappop(self._due)[2]
                self._condition.wait(self._later[0][0] - moment if self._later else None)
            return None

    def _work(self) -> None:
        while (tale := self._next()) is not None:
            self._carry_out(tale)


class Runner:
    """One upload run at work; `carry_out` does it all.

    Args:
        ledger, live, zooniverse, stop, work: what, with what, and until when.
        floor: a subject id above which all subjects lie that this run makes.
        encoders: closed when the work is done.
    """

    def __init__(
        self,
        ledger: Ledger,
        live: LiveRun,
        zooniverse: Zooniverse,
        stop: StopSignal,
        work: Work,
        floor: int,
        encoders: Encoders,
    ) -> None:
        self._ledger = ledger
        self._ledger_id = ledger.ledger_id
        self._live = live
        self._stop = stop
        self._work = work
        self._floor = floor
        self._encoders = encoders
        self._weather = Weather(work.backoff)
        self._acts = acts.act_of(ledger, live, zooniverse, work.project_id)
        self.tally = Tally()
        self._fatal: BaseException | None = None
        self._changed = machine().condition()  # guards what follows; notified when a story ends
        self._tales: dict[int, Tale] = {}
        self._to_encode: deque[Tale] = deque()
        self._holding = 0
        self._capacity = 2 * work.processes + 2 * work.connections
        self._recovered_at = machine().monotonic()
        self._committer = Committer(ledger, self._die)
        self._lost = LostCreates(ledger, zooniverse, work.settle, self._looked, self._die)
        self._linker = Linker(
            ledger, live, zooniverse, stop.wait, work.sets, work.link_batch_size, self._linked, self._die
        )
        self._connections = Connections(work.connections, self._send)

    # -- the run -----------------------------------------------------------------------------------------

    def carry_out(self, on_progress: Callable[[Tally], None]) -> None:
        """Upload until nothing is left that this run may do, or it is to stop.

        Raises:
            CtstateError: what ended the run; what it had claimed was given back.
        """
        try:
            self._main_loop(on_progress)
        except BaseException as error:
            self._die(error)
            raise
        finally:
            self._end(on_progress)
        if self._fatal is not None:
            raise self._fatal

    def _main_loop(self, on_progress: Callable[[Tally], None]) -> None:
        claimable = True
        while self._fatal is None:
            if self._live.lost.is_set():
                self._die(FencedError("other runs took this one for dead (it was silent for too long)"))
            if self._live.stop_requested.is_set():
                self._stop.request("asked to stop by `ctstate stop`")
            if self._weather.hopeless:
                self._stop.request("Zooniverse has not answered for too long")
            if self._stop.requested or self._fatal is not None:
                return
            if machine().monotonic() - self._recovered_at > RECOVER_EVERY_S:
                claimable = self._recover() or claimable
            claimable = claimable and self._claim()
            if not claimable and not self._tales:
                if self._limit_reached():
                    return
                claimable = self._recover()
                if not claimable:
                    if not self._others_are_at_it():
                        return
                    # They may die, and their captures are then this run's: so it stays until all is done.
                    claimable = not self._stop.wait(WAIT_FOR_OTHERS_S)
            self._pause(on_progress, flush=not claimable)

    def _end(self, on_progress: Callable[[Tally], None]) -> None:
        """End the run, in the one order in which that can be done: no more is claimed; each story comes to its end,
        in which it writes down what is known and gives its capture back; only then do the threads end, and the
        committer last."""
        while self._tales:
            reason = StopAskedError(str(self._fatal or self._stop.reason or "the run ended"))
            with self._changed:
                waiting = list(self._to_encode)
                self._to_encode.clear()
            for tale in waiting:
                self._tell(tale, None, reason)
            self._lost.give_up(reason)
            self._connections.hurry()
            self._pause(on_progress, flush=True)
        self._connections.close()
        self._lost.close()
        self._linker.close()
        self._encoders.close()
        self._committer.close()
        on_progress(self.tally)

    def _pause(self, on_progress: Callable[[Tally], None], flush: bool) -> None:
        """Wait a moment, or until a story has ended."""
        lost = len(self._lost)
        if flush and len(self._tales) == lost + len(self._linker):
            self._linker.flush()
        self.tally.in_doubt = lost
        with self._changed:
            if self._tales:
                self._changed.wait(TICK_S)
        on_progress(self.tally)

    def _die(self, error: BaseException) -> None:
        """The run cannot go on."""
        if self._fatal is None:
            self._fatal = error
        self._stop.request(str(error))

    def _recover(self) -> bool:
        self._recovered_at = machine().monotonic()
        return self._ledger.recover() > 0

    # -- claiming ----------------------------------------------------------------------------------------

    def _limit_reached(self) -> bool:
        return self._work.limit is not None and self.tally.claimed >= self._work.limit

    def _claim(self) -> bool:
        """Claim captures while there is room; return False once there is nothing left to claim."""
        ahead = self._work.claim_ahead
        while not self._stop.requested:
            lost = len(self._lost)
            room = self._capacity + ahead - (len(self._tales) - lost - len(self._linker))
            if room < ahead or lost > MOST_LOST:
                return True
            if self._work.limit is not None:
                room = min(room, self._work.limit - self.tally.claimed)
            room = min(room, 10 * ahead, 500)
            got: list[Claim] = []
            for batch_id in self._work.sets if room > 0 else ():
                with self._ledger.write() as connection:
                    got = claims.claim(connection, self._live.id, self._work.season_id, batch_id, room)
                if got:
                    break
            if not got:
                return False
            self.tally.claimed += len(got)
            for claim in got:
                tale = Tale(claim, life(claim, self._ledger_id, skip_broken=self._work.skip_broken))
                with self._changed:
                    self._tales[claim.row.id] = tale
                self._tell(tale)
        return True

    def _others_are_at_it(self) -> bool:
        """Tell whether other runs have claimed captures that are this run's to upload, too."""
        with self._ledger.read() as connection:
            count = connection.execute(
                select(func.count())
                .select_from(capture)
                .where(
                    capture.c.season_id == self._work.season_id,
                    capture.c.batch_id.in_(list(self._work.sets)),
                    capture.c.state.in_([State.UPLOADING.value, State.BATCHED.value]),
                    # Its own, where no story tells them any more, are not worth waiting for.
                    (capture.c.state == State.BATCHED.value) | (capture.c.run_id != self._live.id),
                    capture.c.excluded.is_(None),
                )
            ).scalar_one()
        return int(count) > 0

    # -- telling stories ---------------------------------------------------------------------------------

    def _tell(self, tale: Tale, answer: Any = None, error: BaseException | None = None) -> None:
        """Tell a story on with an answer (or an error), and pass what it wants next to whoever carries that out."""
        try:
            tale.want = tale.story.throw(error) if error is not None else tale.story.send(answer)
        except StopIteration as end:
            self._over(tale, end.value)
            return
        except BaseException as unforeseen:  # noqa: BLE001 - handed to the run, which ends with it
            self._die(unforeseen)
            self._over(tale, Ending("given_back", str(unforeseen)))
            return
        match tale.want:
            case Encode():
                with self._changed:
                    self._to_encode.append(tale)
                # Also one that holds its place already (its encoder died) queues anew, lest all wait for each
                # other.
                self._let_go(tale)
            case Write(facts):
                self._committer.submit(lambda c: _write(c, tale.claim, facts), lambda a, e: self._tell(tale, a, e))
            case Announce(facts):
                self._committer.submit(
                    lambda c: self._announce(c, tale.claim, facts), lambda a, e: self._tell(tale, a, e)
                )
            case Create():
                self._connections.add(tale, self._weather.wait())
            case FreshUrls() | Put() | Prove() | TakeBack():
                self._connections.add(tale)
            case LookFor(doubt):
                self._let_go(tale)
                self._lost.add(Lost(tale.claim.row.id, doubt))
            case Link(subject_id):
                self._let_go(tale)
                self._linker.add(Whole(tale.claim, subject_id))
            case _:
                raise AssertionError(f"nobody carries out {tale.want}")

    def _over(self, tale: Tale, ending: Ending) -> None:
        """A story has ended."""
        self._let_go(tale)
        if ending.outcome == "fenced":
            log.warning("%s: another run has taken it over", tale.claim.capture_id)
        elif ending.outcome == "failed":
            log.warning("%s: failed: %s", tale.claim.capture_id, ending.reason)
        if ending.error is not None and not isinstance(ending.error, UnavailableError | AllowanceError):
            self._die(ending.error)
        elif ending.error is not None:
            self._stop.request(ending.reason)
        with self._changed:
            del self._tales[tale.claim.row.id]
            setattr(self.tally, ending.outcome, getattr(self.tally, ending.outcome) + 1)
            self._changed.notify_all()

    def _stopped(self, want: Want) -> StopAskedError | None:
        """Return why a want is not to be begun any more. What is under way is finished, unless the run is ended."""
        if self._fatal is not None and not isinstance(want, TakeBack):
            return StopAskedError(str(self._fatal))
        if self._stop.requested and isinstance(want, Encode | Create | LookFor):
            return StopAskedError(self._stop.reason)
        return None

    # -- encoding ----------------------------------------------------------------------------------------

    def _feed_encoders(self) -> None:
        while True:
            with self._changed:
                if not self._to_encode or self._holding >= self._capacity:
                    return
                tale = self._to_encode.popleft()
                self._holding += not tale.holds
                tale.holds = True
            assert isinstance(tale.want, Encode)
            stopped = self._stopped(tale.want)
            if stopped is not None:
                self._tell(tale, None, stopped)
                continue
            paths = [self._place(image.path) for image in tale.want.images]
            self._encoders.encode(paths, lambda made, error, tale=tale: self._tell(tale, made, error))  # type: ignore[misc]

    def _let_go(self, tale: Tale) -> None:
        """A story holds no images any more: another one may."""
        with self._changed:
            self._holding -= tale.holds
            tale.holds = False
        self._feed_encoders()

    def _place(self, path: str) -> str:
        return path if self._work.root is None else os.path.join(self._work.root, path)

    # -- the ledger --------------------------------------------------------------------------------------

    def _announce(self, connection: Connection, claim: Claim, facts: tuple[Fact, ...]) -> Doubt:
        floor = self._floor
        _write(connection, claim, facts)
        claims.note_create_intent(connection, claim, self._live.id, floor)
        return Doubt(self._live.id, floor)

    # -- Zooniverse --------------------------------------------------------------------------------------

    def _send(self, tale: Tale) -> None:
        """Send the request that a story wants (by a thread of `Connections`)."""
        want = tale.want
        assert want is not None
        answer: Any = None
        error: BaseException | None = self._stopped(want)
        if error is None:
            try:
                answer = self._acts[type(want)](want)
            except CtstateError as refusal:
                error = refusal
                if isinstance(want, Create) and isinstance(refusal, UnavailableError):
                    self._weather.bad()
                    log.info("%s: %s", tale.claim.capture_id, refusal)
            except BaseException as unforeseen:  # noqa: BLE001 - handed to the run, which ends with it
                self._die(unforeseen)
                error = StopAskedError(str(unforeseen))
            else:
                self._sent(want, answer)
        self._tell(tale, answer, error)

    def _sent(self, want: Want, answer: Any) -> None:
        self._weather.good()
        with self._changed:
            if isinstance(want, Create):
                self._floor = max(self._floor, answer.id)
            elif isinstance(want, Put):
                self.tally.images += 1
                self.tally.bytes += len(want.image.data)

    def _looked(self, lost: Lost, subject_id: int | None, error: CtstateError | None) -> None:
        tale = self._tales[lost.key]
        if subject_id is not None:
            log.info("%s: its lost create made subject %s", tale.claim.capture_id, subject_id)
        self._tell(tale, subject_id, error)

    def _linked(self, item: Whole, error: CtstateError | None) -> None:
        self._tell(self._tales[item.claim.row.id], None, error)


def _write(connection: Connection, claim: Claim, facts: tuple[Fact, ...]) -> None:
    for fact, *values in facts:
        fact(connection, claim, *values)
