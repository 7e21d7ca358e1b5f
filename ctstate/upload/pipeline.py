"""The pipeline of one upload run: claim, encode, create, put, link, all at once and with bounded memory.

Threads, and what passes between them:

    main ── claims ──> encoding processes ── images ──> uploading threads ── whole subjects ──> linker
      ^                                                     │ lost replies
      └──────────────── found, or not there ──────── doubts <┘

Everything known of a capture is committed by one thread (`commits.Committer`). No thread holds a transaction
while it talks to Zooniverse.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Protocol, Union

from sqlalchemy.engine import Connection

from ctstate import clock, subjects
from ctstate.errors import (
    AllowanceError,
    BrokenImageError,
    CtstateError,
    FencedError,
    NotFoundError,
    RequestRefusedError,
    UnavailableError,
    ZooniverseError,
)
from ctstate.images import EncodedImage
from ctstate.ledger import Ledger, LiveRun, claims
from ctstate.states import State
from ctstate.upload.commits import Committer
from ctstate.upload.doubts import Doubtful, Doubts
from ctstate.upload.encoding import Encoded, Encoders
from ctstate.upload.linking import Linkable, Linker
from ctstate.upload.stop import StopSignal
from ctstate.zooniverse import Backoff, Zooniverse

log = logging.getLogger(__name__)

MOST_CREATES = 5
"""Creates of one capture whose reply was lost, and that made nothing, before it fails."""

CLAIM_AHEAD = 50
"""Captures claimed at a time: single claims starve other workers (see benchmarks/claims.py)."""

MOST_DOUBTS = 500
"""No more captures are claimed while so many are in doubt: something is wrong out there."""

RECOVER_EVERY_S = 30.0


class Claimed(Protocol):
    """Anything that stands for a claimed capture."""

    claim: claims.Claim


@dataclass
class Item:
    """A claimed capture on its way."""

    claim: claims.Claim
    subject_id: Optional[int]
    create_run_id: int = 0
    create_floor: int = 0
    lost_creates: int = 0
    images: list[tuple[claims.ImageRow, EncodedImage]] = field(default_factory=list)
    broken_pools: int = 0

    @property
    def arrived(self) -> bool:
        """Whether all its images are known to be on Zooniverse."""
        return self.subject_id is not None and all(image.arrived for image in self.claim.row.images)


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
        batches: keys of the batches, in order.
        sets: subject set id by batch.
        root: folder below which relative image paths are.
        skip_broken: leave out broken images where another remains.
        processes, connections: how many.
        link_batch_size: subjects in a links call.
        limit: claim no more captures than this.
        settle: see `doubts.Doubts`.
        backoff: waits between tries.
    """

    project_id: int
    season_id: int
    batches: tuple[int, ...]
    sets: Mapping[int, int]
    root: Optional[str]
    skip_broken: bool
    processes: int
    connections: int
    link_batch_size: int
    limit: Optional[int]
    settle: float
    backoff: Backoff


class _Weather:
    """How Zooniverse is doing: after failures, creates wait, longer and longer, all threads together."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._lock = threading.Lock()
        self._failures = 0
        self._since = 0.0

    def good(self) -> None:
        with self._lock:
            self._failures = 0

    def bad(self) -> None:
        with self._lock:
            if self._failures == 0:
                self._since = time.monotonic()
            self._failures += 1

    def wait(self) -> float:
        """Return how long to wait before the next create."""
        with self._lock:
            return self._backoff.wait(self._failures - 1) if self._failures else 0.0

    @property
    def hopeless(self) -> bool:
        with self._lock:
            return self._failures > 0 and time.monotonic() - self._since > self._backoff.give_up


class Pipeline:
    """One upload run at work; `carry_out` does it all.

    Args:
        ledger, run, zooniverse, stop, work: what, with what, and until when.
        floor: the newest subject id before the run's first create.
        encoders: closed when the work is done.
    """

    def __init__(
        self,
        ledger: Ledger,
        run: LiveRun,
        zooniverse: Zooniverse,
        stop: StopSignal,
        work: Work,
        floor: int,
        encoders: Encoders,
    ) -> None:
        self._ledger = ledger
        self._ledger_id = ledger.ledger_id
        self._run = run
        self._zooniverse = zooniverse
        self._stop = stop
        self._work = work
        self._floor = floor
        self._encoders = encoders
        self._weather = _Weather(work.backoff)
        self.tally = Tally()
        self._fatal: Optional[BaseException] = None
        self._lock = threading.Condition()
        self._items: dict[int, Item] = {}
        self._settled: set[int] = set()
        self._to_encode: deque[Item] = deque()
        self._encoding = 0
        self._capacity = 2 * work.processes + 2 * work.connections
        self._ready: queue.SimpleQueue[Optional[Item]] = queue.SimpleQueue()
        self._road: set[int] = set()  # items between claim and whole: what memory depends on
        self._recovered_at = time.monotonic()

    # -- the run -----------------------------------------------------------------------------------------

    def carry_out(self, on_progress: Callable[[Tally], None]) -> None:
        """Upload until nothing is left to claim, or the run is to stop.

        Raises:
            CtstateError: what ended the run; what it had claimed was given back.
        """
        self._committer = Committer(self._ledger, self.fatal)
        self._doubts = Doubts(self._ledger, self._zooniverse, self._work.settle, self._resolved, self._lost_sight)
        self._linker = Linker(
            self._ledger, self._run, self._zooniverse, self._stop, self, self._work.sets, self._work.link_batch_size
        )
        threads = [
            threading.Thread(target=self._upload_all, name=f"upload-{n}", daemon=True)
            for n in range(self._work.connections)
        ]
        for thread in threads:
            thread.start()
        try:
            self._main_loop(on_progress)
        finally:
            for _ in threads:
                self._ready.put(None)
            for thread in threads:
                thread.join()
            for doubtful in self._doubts.close():
                self._give_back(doubtful, "the run ended before its lost create could be looked for")
            self._encoders.close()
            self._linker.close()
            with self._lock:
                left = list(self._items.values())
            for item in left:
                self._give_back(item, self._stop.reason or "the run ended")
            self._committer.close()
            on_progress(self.tally)
        if self._fatal is not None:
            raise self._fatal

    def _main_loop(self, on_progress: Callable[[Tally], None]) -> None:
        claimable = True
        while self._fatal is None:
            if self._run.lost.is_set():
                self.fatal(FencedError("other runs took this one for dead (it was silent for too long)"))
                return
            if self._run.stop_requested.is_set():
                self._stop.request("asked to stop by `ctstate stop`")
            if self._weather.hopeless:
                self._stop.request("Zooniverse has not answered for too long")
            if self._stop.requested:
                self._give_back_unbegun()
                with self._lock:
                    if not self._road:
                        return
            else:
                if time.monotonic() - self._recovered_at > RECOVER_EVERY_S:
                    self._recovered_at = time.monotonic()
                    claimable = self._ledger.recover() > 0 or claimable
                if claimable:
                    claimable = self._claim()
                if not claimable and self._idle():
                    if self._ledger.recover() == 0:
                        return
                    claimable = True
            with self._lock:
                if not claimable and not self._road:
                    self._linker.flush()
                self.tally.in_doubt = len(self._doubts)
                self._lock.wait(0.2)
            on_progress(self.tally)

    def _idle(self) -> bool:
        with self._lock:
            return not self._items

    def _claim(self) -> bool:
        """Claim captures while there is room; return False once there is nothing left to claim."""
        while not self._stop.requested and self._fatal is None:
            with self._lock:
                room = self._capacity + CLAIM_AHEAD - len(self._road)
            if room < CLAIM_AHEAD or len(self._doubts) > MOST_DOUBTS:
                return True
            if self._work.limit is not None:
                room = min(room, self._work.limit - self.tally.claimed)
                if room <= 0:
                    return False
            got: list[claims.Claim] = []
            for batch_id in self._work.batches:
                with self._ledger.write() as connection:
                    got = claims.claim(connection, self._run.id, self._work.season_id, batch_id, min(room, 500))
                if got:
                    break
            if not got:
                return False
            for claim in got:
                self._take_in(claim)
        return True

    def _take_in(self, claim: claims.Claim) -> None:
        item = Item(claim, claim.row.subject_id)
        with self._lock:
            self._items[claim.row.id] = item
            self.tally.claimed += 1
        if claim.ambiguous_at is not None:
            item.create_run_id, item.create_floor = claim.create_run_id or 0, claim.create_floor or 0
            self._doubts.add(item, clock.age(claim.ambiguous_at))
            return
        with self._lock:
            self._road.add(claim.row.id)
        self._next_step(item)

    def _next_step(self, item: Item) -> None:
        """Send an item where it has to go, by what is known of it."""
        if item.arrived:
            self._whole(item)
        elif not item.claim.row.images:
            self._fail(item, "no usable image")
        else:
            with self._lock:
                self._to_encode.append(item)
            self._feed_encoders()

    def _give_back_unbegun(self) -> None:
        with self._lock:
            waiting = list(self._to_encode)
            self._to_encode.clear()
        for item in waiting:
            self._give_back(item, self._stop.reason)

    # -- encoding ----------------------------------------------------------------------------------------

    def _feed_encoders(self) -> None:
        while True:
            with self._lock:
                if not self._to_encode or self._encoding + self._ready.qsize() >= self._capacity:
                    return
                item = self._to_encode.popleft()
                self._encoding += 1
            self._encode(item)

    def _encode(self, item: Item) -> None:
        paths = [self._place(image.path) for image in item.claim.row.images]
        self._encoders.encode(paths, lambda result: self._encoded(item, result))

    def _place(self, path: str) -> str:
        return path if self._work.root is None else os.path.join(self._work.root, path)

    def _encoded(self, item: Item, result: Union[list[Encoded], BaseException]) -> None:
        if isinstance(result, BaseException):
            # An encoding process was killed, by whichever of the captures it had: each gets another chance.
            item.broken_pools += 1
            if item.broken_pools < 3 and not self._stop.requested:
                self._encode(item)
                return
            self._not_encoding()
            self._fail(item, "encoding its images ends the process (out of memory?)")
            return
        pairs = list(zip(item.claim.row.images, result))
        broken = [(image, error) for image, error in pairs if isinstance(error, BrokenImageError)]
        item.images = [(image, encoded) for image, encoded in pairs if isinstance(encoded, EncodedImage)]
        self._not_encoding()
        if broken and not (self._work.skip_broken and item.images):
            self._fail(item, str(broken[0][1]))
            return

        def write(connection: Connection) -> None:
            for image, error in broken:
                claims.note_broken(connection, item.claim, image.id, error.reason)
            facts = [
                claims.EncodedFacts(image.id, encoded.md5, len(encoded.data), encoded.note)
                for image, encoded in item.images
            ]
            claims.note_encoded(connection, item.claim, facts)
            if item.subject_id is None:
                item.create_run_id, item.create_floor = self._run.id, self._floor
                claims.note_create_intent(connection, item.claim, self._run.id, item.create_floor)

        self._commit(item, write, lambda: self._ready.put(item))

    def _not_encoding(self) -> None:
        with self._lock:
            self._encoding -= 1
        self._feed_encoders()

    # -- uploading ---------------------------------------------------------------------------------------

    def _upload_all(self) -> None:
        while True:
            item = self._ready.get()
            if item is None:
                return
            self._feed_encoders()
            try:
                if self._stop.requested or self._fatal is not None:
                    self._give_back_uncreated(item, self._stop.reason)
                else:
                    self._upload(item)
            except FencedError:
                self.fenced(item)
            except UnavailableError as error:
                self._give_back(item, str(error))
                self._stop.request(str(error))
            except (RequestRefusedError, NotFoundError) as error:
                self._fail(item, str(error))
            except BaseException as error:  # noqa: BLE001 - handed to the run, which ends with it
                self.fatal(error)
                if not isinstance(error, CtstateError):
                    return

    def _upload(self, item: Item) -> None:
        if item.subject_id is None:
            urls = self._create(item)
            if urls is None:
                return
        else:
            fresh = self._fresh_urls(item, item.subject_id)
            if fresh is None:
                return
            urls = fresh
        done: list[int] = []
        for index, (image, encoded) in enumerate(item.images):
            self._put(item, urls, index, encoded)
            done.append(image.id)
        self._weather.good()

        def write(connection: Connection) -> None:
            claims.note_arrived(connection, item.claim, done)

        with self._lock:
            self.tally.images += len(item.images)
            self.tally.bytes += sum(len(encoded.data) for _, encoded in item.images)
        item.images = []
        self._commit(item, write, lambda: self._whole(item))

    def _create(self, item: Item) -> Optional[list[str]]:
        """Make the subject; return where its images go, or None where the item went another way."""
        row = item.claim.row
        kept = {image.id for image, _ in item.images}
        sent = row if len(kept) == len(row.images) else _with_images(row, kept)
        metadata = subjects.subject_metadata(sent)
        mark = subjects.external_id(self._ledger_id, row.id, item.claim.token)
        while True:
            wait = self._weather.wait()
            if (wait and self._stop.wait(wait)) or self._stop.requested or self._fatal is not None:
                self._give_back_uncreated(item, self._stop.reason)
                return None
            # The last moment to notice that this process slept (SIGSTOP, a frozen node) through its lease.
            if not self._run.surely_alive():
                self._run.beat()
                if not self._run.surely_alive():
                    raise FencedError(f"{item.claim.capture_id}: this run was taken for dead")
            try:
                created = self._zooniverse.create_subject(
                    self._work.project_id, [encoded.mime for _, encoded in item.images], metadata, mark
                )
            except UnavailableError as error:
                self._weather.bad()
                if error.maybe_done:
                    log.warning("%s: in doubt: %s", item.claim.capture_id, error)
                    self._doubt(item)
                    return None
                log.info("%s: %s", item.claim.capture_id, error)
            except AllowanceError as error:
                self._stop.request(
                    f"{error}; ask Zooniverse (contact@zooniverse.org) to raise the account's subject limit"
                )
                self._give_back_uncreated(item, str(error))
                return None
            except (RequestRefusedError, NotFoundError) as error:
                self._commit(item, lambda c: claims.note_not_created(c, item.claim), lambda: None)
                self._fail(item, str(error))
                return None
            else:
                break
        self._weather.good()
        item.subject_id = created.id
        with self._lock:
            self._floor = max(self._floor, created.id)
        # The commit goes on beside the PUTs: a kill in between leaves an intent, by which the subject is found.
        self._commit(item, lambda c: claims.note_created(c, item.claim, created.id), lambda: None)
        if len(created.urls) != len(item.images):
            raise ZooniverseError(f"subject {created.id}: {len(created.urls)} places for {len(item.images)} images")
        return created.urls

    def _fresh_urls(self, item: Item, subject_id: int) -> Optional[list[str]]:
        """Return new places for the images of a subject that an earlier run made."""
        try:
            subject, etag = self._zooniverse.subject(subject_id)
        except NotFoundError:
            self.subject_gone(item)
            return None
        has = [mime for location in subject["locations"] for mime in location]
        wanted = [encoded.mime for _, encoded in item.images]
        return self._zooniverse.fresh_urls(subject_id, etag, () if has == wanted else wanted)

    def _put(self, item: Item, urls: list[str], index: int, encoded: EncodedImage) -> None:
        """Put one image; a signed URL that has expired is replaced by a new one."""
        assert item.subject_id is not None
        for last in (False, False, True):
            try:
                self._zooniverse.put_image(urls[index], encoded.data, encoded.mime, encoded.md5)
                return
            except RequestRefusedError as error:
                if error.status != 403 or last:
                    raise
            _, etag = self._zooniverse.subject(item.subject_id)
            urls[:] = self._zooniverse.fresh_urls(item.subject_id, etag)

    def _doubt(self, item: Item) -> None:
        item.images = []
        item.lost_creates += 1

        def on() -> None:
            self._doubts.add(item)
            with self._lock:
                self._road.discard(item.claim.row.id)

        self._commit(item, lambda c: claims.note_ambiguous(c, item.claim), on)

    def _lost_sight(self, error: BaseException) -> None:
        """Looking for lost subjects failed: without an answer from Zooniverse the run stops cleanly."""
        if isinstance(error, UnavailableError):
            self._stop.request(str(error))
        else:
            self.fatal(error)

    def _resolved(self, doubtful: Doubtful, subject_id: Optional[int]) -> None:
        with self._lock:
            item = self._items.get(doubtful.claim.row.id)
            if item is None:
                return
            self._road.add(item.claim.row.id)
        if subject_id is not None:
            log.info("%s: its lost create made subject %s", item.claim.capture_id, subject_id)
            item.subject_id = subject_id
            self._commit(
                item, lambda c: claims.note_created(c, item.claim, subject_id), lambda: self._next_step(item)
            )
            return

        def on() -> None:
            if item.lost_creates >= MOST_CREATES:
                self._fail(item, f"{MOST_CREATES} creates in a row got no usable answer and made nothing")
            else:
                self._next_step(item)

        self._commit(item, lambda c: claims.note_not_created(c, item.claim), on)

    def _whole(self, item: Item) -> None:
        self._linker.add(item)
        with self._lock:
            self._road.discard(item.claim.row.id)
            self._lock.notify_all()

    # -- outcomes (also called by the linker) ------------------------------------------------------------

    def linked(self, item: Linkable) -> None:
        """It is in its subject set: uploaded."""
        self._finish(item, "uploaded", lambda c: claims.note_moved(c, item.claim, State.UPLOADED))

    def subject_gone(self, item: Linkable) -> None:
        """Its subject was deleted by somebody: failed, so that a person decides whether it goes up again."""
        reason = f"subject {item.subject_id} is no longer on Zooniverse; `ctstate retry` uploads it again"

        def write(connection: Connection) -> None:
            claims.note_subject_gone(connection, item.claim)
            claims.note_moved(connection, item.claim, State.FAILED, reason)

        self._finish(item, "failed", write)

    def refused(self, item: Linkable, reason: str) -> None:
        """Zooniverse does not take it into the set: failed."""
        self._fail(item, reason)

    def give_back(self, item: Linkable, reason: str) -> None:
        """It was not linked, and may be later."""
        self._give_back(item, reason)

    def fenced(self, item: Linkable) -> None:
        """Another run has taken it over: nothing of it is this run's business any more."""
        log.warning("%s: another run has taken it over", item.claim.capture_id)
        with self._lock:
            if self._items.pop(item.claim.row.id, None) is not None:
                self.tally.fenced += 1
            self._road.discard(item.claim.row.id)
            self._lock.notify_all()

    def fatal(self, error: BaseException) -> None:
        """The run cannot go on."""
        with self._lock:
            if self._fatal is None:
                self._fatal = error
            self._lock.notify_all()
        self._stop.request(str(error))

    def _fail(self, item: Claimed, reason: str) -> None:
        log.warning("%s: failed: %s", item.claim.capture_id, reason)

        def write(connection: Connection) -> None:
            claims.note_moved(connection, item.claim, State.FAILED, reason)

        self._finish(item, "failed", write)

    def _give_back(self, item: Claimed, reason: str) -> None:
        self._finish(
            item, "given_back", lambda c: claims.note_moved(c, item.claim, State.BATCHED, reason or "released")
        )

    def _give_back_uncreated(self, item: Item, reason: str) -> None:
        """Give back an item whose create was announced but surely not sent."""

        def write(connection: Connection) -> None:
            if item.subject_id is None:
                claims.note_not_created(connection, item.claim)
            claims.note_moved(connection, item.claim, State.BATCHED, reason or "released")

        self._finish(item, "given_back", write)

    def _finish(self, item: Claimed, outcome: str, write: Callable[[Connection], None]) -> None:
        """End an item, once: its last write, and its place in the tally."""
        key = item.claim.row.id
        with self._lock:
            if key in self._settled or key not in self._items:
                return
            self._settled.add(key)

        def then(fenced: Optional[FencedError]) -> None:
            with self._lock:
                self._settled.discard(key)
                self._items.pop(key, None)
                self._road.discard(key)
                name = "fenced" if fenced else outcome
                setattr(self.tally, name, getattr(self.tally, name) + 1)
                self._lock.notify_all()

        self._committer.submit(write, then)

    def _commit(self, item: Item, write: Callable[[Connection], None], on: Callable[[], Any]) -> None:
        def then(fenced: Optional[FencedError]) -> None:
            if fenced is None:
                on()
            else:
                self.fenced(item)

        self._committer.submit(write, then)


def _with_images(row: claims.CaptureRow, kept: set[int]) -> claims.CaptureRow:
    return replace(row, images=tuple(image for image in row.images if image.id in kept))
