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

import functools
import logging
import os
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ctstate.capture import PAGE
from ctstate.errors import AllowanceError, CtstateError, FencedError, UnavailableError
from ctstate.ledger import Ledger, LiveRun, Transaction, claims, uploads
from ctstate.ledger.claims import Claim
from ctstate.ledger.facts import Announced
from ctstate.machine import machine
from ctstate.verbs.upload import acts
from ctstate.verbs.upload.commits import Committer
from ctstate.verbs.upload.connections import Availability, Connections
from ctstate.verbs.upload.encoding import Encoders
from ctstate.verbs.upload.gauge import Counts
from ctstate.verbs.upload.linking import Linker, Whole
from ctstate.verbs.upload.lost_creates import Lost, LostCreates
from ctstate.verbs.upload.stop import StopSignal
from ctstate.verbs.upload.story import (
    Announce,
    Create,
    Doubt,
    Encode,
    Ending,
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
from ctstate.zooniverse import Backoff, Zooniverse

log = logging.getLogger(__name__)

MOST_LOST = 500
"""No more captures are claimed while so many creates are lost: something is wrong out there."""

RECOVER_EVERY_S = 30.0

WAIT_FOR_OTHERS_S = 2.0
"""How often a run that has nothing left to do looks whether other runs are done with theirs."""

TICK_S = 0.2


@dataclass(frozen=True)
class Assignment:
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
class StoryUnderWay:
    """A story that is being told, and what it waits for."""

    claim: Claim
    telling: Story
    want: Want | None = None
    since: float = 0.0  # when it began to want that
    holds: bool = field(default=False)  # images in memory


class Runner:
    """One upload run at work; `carry_out` does it all.

    Args:
        ledger, live, zooniverse, stop, assignment: what, with what, and until when.
        floor: a subject id above which all subjects lie that this run makes.
        encoders: closed when the work is done.
    """

    def __init__(
        self,
        ledger: Ledger,
        live: LiveRun,
        zooniverse: Zooniverse,
        stop: StopSignal,
        assignment: Assignment,
        floor: int,
        encoders: Encoders,
    ) -> None:
        self._ledger = ledger
        self._ledger_id = ledger.ledger_id
        self._live = live
        self._stop = stop
        self._assignment = assignment
        self._floor = floor
        self._encoders = encoders
        self._availability = Availability(assignment.backoff)
        self._acts = acts.act_of(ledger, live, zooniverse, assignment.project_id)
        self.counts = Counts()
        self._waited: defaultdict[str, float] = defaultdict(float)
        self._fatal: BaseException | None = None
        self._changed = machine().condition()  # guards what follows; notified when a story ends
        self._stories: dict[int, StoryUnderWay] = {}
        self._to_encode: deque[StoryUnderWay] = deque()
        self._holding = 0
        self._capacity = 2 * assignment.processes + 4 * assignment.connections
        self._recovered_at = machine().monotonic()
        self._committer = Committer(ledger, self._die)
        self._lost = LostCreates(ledger, zooniverse, assignment.settle, self._looked, self._die)
        size = assignment.link_batch_size
        self._linker = Linker(ledger, live, zooniverse, stop.wait, assignment.sets, size, self._linked, self._die)
        self._connections = Connections(assignment.connections, self._send)

    # -- the run -----------------------------------------------------------------------------------------

    def carry_out(self, on_progress: Callable[[Counts], None]) -> None:
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

    def _main_loop(self, on_progress: Callable[[Counts], None]) -> None:
        claimable = True
        while self._fatal is None:
            if self._live.lost.is_set():
                self._die(FencedError("other runs took this one for dead (it was silent for too long)"))
            if self._live.stop_requested.is_set():
                self._stop.request("asked to stop by `ctstate stop`")
            if self._availability.hopeless:
                self._stop.request("Zooniverse has not answered for too long")
            if self._stop.requested or self._fatal is not None:
                return
            if machine().monotonic() - self._recovered_at > RECOVER_EVERY_S:
                claimable = self._recover() or claimable
            claimable = claimable and self._claim()
            if not claimable and not self._stories:
                if self._limit_reached():
                    return
                claimable = self._recover()
                if not claimable:
                    if not self._others_are_at_it():
                        return
                    # They may die, and their captures are then this run's: so it stays until all is done.
                    claimable = not self._stop.wait(WAIT_FOR_OTHERS_S)
            self._pause(on_progress, flush=not claimable)

    def _end(self, on_progress: Callable[[Counts], None]) -> None:
        """End the run, in the one order in which that can be done: no more is claimed; each story comes to its end,
        in which it writes down what is known and gives its capture back; only then do the threads end, and the
        committer last."""
        while self._stories:
            reason = StopAskedError(str(self._fatal or self._stop.reason or "the run ended"))
            with self._changed:
                waiting = list(self._to_encode)
                self._to_encode.clear()
            for story in waiting:
                self._tell(story, None, reason)
            self._lost.give_up(reason)
            self._connections.hurry()
            self._pause(on_progress, flush=True)
        self._connections.close()
        self._lost.close()
        self._linker.close()
        self._encoders.close()
        self._committer.close()
        on_progress(self.counts)

    def _pause(self, on_progress: Callable[[Counts], None], flush: bool) -> None:
        """Wait a moment, or until a story has ended."""
        lost = len(self._lost)
        if flush and len(self._stories) == lost + len(self._linker):
            self._linker.flush()
        self.counts.in_doubt = lost
        with self._changed:
            if self._stories:
                self._changed.wait(TICK_S)
        on_progress(self.counts)

    def _die(self, error: BaseException) -> None:
        """The run cannot go on."""
        if self._fatal is None:
            self._fatal = error
        self._stop.request(str(error))

    def _recover(self) -> bool:
        self._recovered_at = machine().monotonic()
        return self._ledger.recover() > 0

    def waited(self) -> dict[str, float]:
        """Return for how many seconds captures waited for each thing that a story wants, all together."""
        with self._changed:
            return {f"seconds: captures waited for {want}": seconds for want, seconds in self._waited.items()}

    # -- claiming ----------------------------------------------------------------------------------------

    def _limit_reached(self) -> bool:
        return self._assignment.limit is not None and self.counts.claimed >= self._assignment.limit

    def _claim(self) -> bool:
        """Claim captures while there is room; return False once there is nothing left to claim."""
        ahead = self._assignment.claim_ahead
        while not self._stop.requested:
            lost = len(self._lost)
            room = self._capacity + ahead - (len(self._stories) - lost - len(self._linker))
            if room < ahead or lost > MOST_LOST:
                return True
            if self._assignment.limit is not None:
                room = min(room, self._assignment.limit - self.counts.claimed)
            room = min(room, 10 * ahead, PAGE)
            got: list[Claim] = []
            for batch_id in self._assignment.sets if room > 0 else ():
                got = self._ledger.do(functools.partial(self._claim_of, batch_id, room))
                if got:
                    break
            if not got:
                return False
            self.counts.claimed += len(got)
            for claim in got:
                story = StoryUnderWay(claim, life(claim, self._ledger_id, skip_broken=self._assignment.skip_broken))
                with self._changed:
                    self._stories[claim.row.id] = story
                self._tell(story)
        return True

    def _claim_of(self, batch_id: int, room: int, connection: Transaction) -> list[Claim]:
        return claims.claim(connection, self._live.id, self._assignment.season_id, batch_id, room)

    def _others_are_at_it(self) -> bool:
        """Tell whether other runs have claimed captures that are this run's to upload, too."""
        with self._ledger.read() as connection:
            return uploads.others_are_at_it(
                connection, self._live.id, self._assignment.season_id, list(self._assignment.sets)
            )

    # -- telling stories ---------------------------------------------------------------------------------

    def _tell(self, story: StoryUnderWay, answer: Any = None, error: BaseException | None = None) -> None:
        """Tell a story on with an answer (or an error), and pass what it wants next to whoever carries that out."""
        self._see_wait(story)
        try:
            story.want = story.telling.throw(error) if error is not None else story.telling.send(answer)
        except StopIteration as end:
            self._over(story, end.value)
            return
        except BaseException as unforeseen:  # noqa: BLE001 - handed to the run, which ends with it
            self._die(unforeseen)
            self._over(story, Ending("given_back", str(unforeseen)))
            return
        match story.want:
            case Encode():
                with self._changed:
                    self._to_encode.append(story)
                # Also one that holds its place already (its encoder died) queues anew, lest all wait for each
                # other.
                self._let_go(story)
            case Write(facts):
                self._committer.submit(story.claim, facts, lambda error: self._tell(story, None, error))
            case Announce(facts):
                # As it is now: what is made once this is written lies higher still.
                doubt = Doubt(self._live.id, self._floor)
                self._committer.submit(
                    story.claim,
                    (*facts, Announced(doubt.run_id, doubt.floor)),
                    lambda error: self._tell(story, doubt, error),
                )
            case Create():
                self._connections.add(story, self._availability.wait())
            case FreshUrls() | Put() | Prove() | TakeBack():
                self._connections.add(story)
            case LookFor(doubt):
                self._let_go(story)
                self._lost.add(Lost(story.claim.row.id, doubt))
            case Link(subject_id):
                with self._changed:
                    self.counts.whole += 1
                self._let_go(story)
                self._linker.add(Whole(story.claim, subject_id))
                with self._changed:
                    if not self._holding:
                        self._changed.notify_all()  # perhaps all that is left is to be linked
            case _:
                raise AssertionError(f"nobody carries out {story.want}")

    def _see_wait(self, story: StoryUnderWay) -> None:
        since, story.since = story.since, machine().monotonic()
        if story.want is not None:
            with self._changed:
                self._waited[type(story.want).__name__] += story.since - since

    def _over(self, story: StoryUnderWay, ending: Ending) -> None:
        """A story has ended."""
        self._let_go(story)
        if ending.outcome == "fenced":
            log.warning("%s: another run has taken it over", story.claim.capture_id)
        elif ending.outcome == "failed":
            log.warning("%s: failed: %s", story.claim.capture_id, ending.reason)
        if ending.error is not None and not isinstance(ending.error, UnavailableError | AllowanceError):
            self._die(ending.error)
        elif ending.error is not None:
            self._stop.request(ending.reason)
        with self._changed:
            del self._stories[story.claim.row.id]
            setattr(self.counts, ending.outcome, getattr(self.counts, ending.outcome) + 1)
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
                story = self._to_encode.popleft()
                self._holding += not story.holds
                story.holds = True
            assert isinstance(story.want, Encode)
            stopped = self._stopped(story.want)
            if stopped is not None:
                self._tell(story, None, stopped)
                continue
            paths = [self._place(image.path) for image in story.want.images]
            self._encoders.encode(
                paths,
                self._assignment.root,
                lambda made, error, story=story: self._tell(story, made, error),  # type: ignore[misc]
            )

    def _let_go(self, story: StoryUnderWay) -> None:
        """A story holds no images any more: another one may."""
        with self._changed:
            self._holding -= story.holds
            story.holds = False
        self._feed_encoders()

    def _place(self, path: str) -> str:
        return path if self._assignment.root is None else os.path.join(self._assignment.root, path)

    # -- Zooniverse --------------------------------------------------------------------------------------

    def _send(self, story: StoryUnderWay) -> None:
        """Send the request that a story wants (by a thread of `Connections`)."""
        want = story.want
        assert want is not None
        answer: Any = None
        error: BaseException | None = self._stopped(want)
        if error is None:
            try:
                answer = self._acts[type(want)](want)
            except CtstateError as refusal:
                error = refusal
                if isinstance(want, Create) and isinstance(refusal, UnavailableError):
                    self._availability.bad()
                    log.info("%s: %s", story.claim.capture_id, refusal)
            except BaseException as unforeseen:  # noqa: BLE001 - handed to the run, which ends with it
                self._die(unforeseen)
                error = StopAskedError(str(unforeseen))
            else:
                self._sent(want, answer)
        self._tell(story, answer, error)

    def _sent(self, want: Want, answer: Any) -> None:
        self._availability.good()
        with self._changed:
            if isinstance(want, Create):
                self._floor = max(self._floor, answer.id)
            elif isinstance(want, Put):
                self.counts.images += 1
                self.counts.bytes += len(want.image.data)

    def _looked(self, lost: Lost, subject_id: int | None, error: CtstateError | None) -> None:
        story = self._stories[lost.key]
        if subject_id is not None:
            log.info("%s: its lost create made subject %s", story.claim.capture_id, subject_id)
        self._tell(story, subject_id, error)

    def _linked(self, item: Whole, error: CtstateError | None) -> None:
        self._tell(self._stories[item.claim.row.id], None, error)
