"""Deliberate defects of the protocol. A simulator that finds nothing proves nothing: each of these must be found,
by the ordinary mix of seasons, with no scenario or seed made for it (`python -m tests.simulation --defects`).

Each is a small patch that is applied while seasons are played. Where a defect is one that ctstate 0.1.0 had, it
says so.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from sqlalchemy import select, text

from ctstate.errors import RequestRefusedError, UnavailableError
from ctstate.ledger import LiveRun, claims, facts, runs, set_lease, transitions, uploads
from ctstate.ledger.schema import batch
from ctstate.ledger.states import State
from ctstate.verbs import reconcile as reconcile_module
from ctstate.verbs.survey.sets import Comparison
from ctstate.verbs.upload import acts, begin, lost_creates, runner, story
from ctstate.zooniverse import Zooniverse, failures
from tests.builders.ledgers import ON_POSTGRES
from tests.simulation.season import Season
from tests.simulation.sim_ledger import new_database

PATIENCE_S = 360.0 if ON_POSTGRES else 120.0
"""A defect that is not found in so many seconds was not found; seasons on PostgreSQL take three times as long."""

LINKED = {"subject_sets": [{"id": "1", "links": {"project": "1"}}]}
"""What a links call answers."""

Patch = Callable[[], AbstractContextManager[None]]
DEFECTS: dict[str, Patch] = {}


def find(which: tuple[str, int]) -> tuple[str, int | None]:
    """Play seasons with a defect; return its name and how many it took until one broke (None: none did)."""
    name, seed = which
    database = new_database()
    until = time.monotonic() + PATIENCE_S
    number = 0
    with DEFECTS[name]():
        while time.monotonic() < until:
            number += 1
            if found := Season(seed + number, database=database, tracing=False).play():
                # A patch that no longer fits what it patches breaks every season, and proves nothing.
                told = "\n".join(found)
                misfit = re.search(r"^(NameError|TypeError: .*\) (takes|got|missing) )", told, re.MULTILINE) or (
                    "defects.py" in told and "AttributeError" in told
                )
                assert not misfit, f"{name}: {told}"
                return name, number
    return name, None


@contextlib.contextmanager
def patched(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Put other values in the place of attributes for a while."""
    before = [(where, name, getattr(where, name)) for where, name, _ in changes]
    try:
        for where, name, value in changes:
            setattr(where, name, value)
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)


def defect(name: str) -> Callable[[Patch], Patch]:
    """Add a defect to the list."""

    def add(patch: Patch) -> Patch:
        DEFECTS[name] = patch
        return patch

    return add


# -- the fence -------------------------------------------------------------------------------------------------


def _unfenced(name: str) -> Patch:
    """The write changes whatever it finds, and complains of nothing."""

    def patch() -> AbstractContextManager[None]:
        loose = getattr(facts, name)

        def text_of(update: Any, size: int) -> str:
            written = original(update, size)
            fence = " AND claim = ? AND state = 'uploading'"
            return written.replace(fence, " AND ? IS NOT NULL") if update == loose else written

        original = facts._text
        return patched((facts, "_text", text_of))

    return patch


DEFECTS["no fence on the last move of a capture"] = _unfenced("_MOVED")


@defect("a run that was taken for dead goes on claiming")
def _() -> AbstractContextManager[None]:
    from ctstate.ledger.schema import run

    return patched((claims, "_ALIVE", select(run.c.id).where(run.c.id == claims.bindparam("run"))))


@defect("the lease is never renewed by a heartbeat")
def _() -> AbstractContextManager[None]:
    def beat(self: LiveRun) -> None:
        self._beat_at = runs.machine().monotonic()

    return patched((LiveRun, "beat", beat))


# -- creates ---------------------------------------------------------------------------------------------------


@defect("a create whose reply was lost is sent again, blindly")
def _() -> AbstractContextManager[None]:
    def create(self: Zooniverse, *given: Any, **more: Any) -> Any:
        try:
            return original(self, *given, **more)
        except UnavailableError as error:
            error.maybe_done = False
            raise

    original = Zooniverse.create_subject
    return patched((Zooniverse, "create_subject", create))


@defect("a break that looks like the proxy's or TLS's counts as never sent (0.1.0)")
def _() -> AbstractContextManager[None]:
    import requests

    def never(error: BaseException) -> bool:
        return original(error) or isinstance(error, requests.exceptions.ProxyError | requests.exceptions.SSLError)

    original = failures.never_connected
    return patched((failures, "never_connected", never))


@defect("a lost create is looked for at once, while the server may still be at work")
def _() -> AbstractContextManager[None]:
    def settled(self: Any, ledger: Any, zooniverse: Any, settle: float, *more: Any) -> None:
        original(self, ledger, zooniverse, 2.0, *more)

    original = lost_creates.LostCreates.__init__
    return patched((lost_creates.LostCreates, "__init__", settled))


@defect("an empty list is believed although the token may be dead")
def _() -> AbstractContextManager[None]:
    return patched((Zooniverse, "token_is_alive", lambda self, token: True))


def _counts_as_never_sent(said: str) -> Patch:
    def patch() -> AbstractContextManager[None]:
        def create(self: Zooniverse, *given: Any, **more: Any) -> Any:
            try:
                return make(self, *given, **more)
            except UnavailableError as error:
                if said in str(error):
                    error.maybe_done = False
                raise

        make = Zooniverse.create_subject
        return patched((Zooniverse, "create_subject", create))

    return patch


DEFECTS["a create without an answer in time counts as never sent"] = _counts_as_never_sent("in time")
DEFECTS["a create that a gateway gave up on counts as never sent"] = _counts_as_never_sent(": 504")
DEFECTS["a create whose reply was cut off counts as never sent"] = _counts_as_never_sent("cut off")
DEFECTS["a create whose connection broke counts as never sent"] = _counts_as_never_sent("connection broke")


@defect("a lost create that was found is made again")
def _() -> AbstractContextManager[None]:
    def search(*given: Any, **more: Any) -> Any:
        return look(*given, **more)._replace(found={})

    look = lost_creates.look
    return patched((lost_creates, "look", search))


@defect("the look for a lost create ends one page, or subject, too early")
def _() -> AbstractContextManager[None]:
    def look(ledger: Any, zooniverse: Any, lost: Any, **more: Any) -> Any:
        late = [item._replace(doubt=story.Doubt(item.doubt.run_id, item.doubt.floor + 1)) for item in lost]
        return original(ledger, zooniverse, late, **more)

    original = lost_creates.look
    return patched((lost_creates, "look", look))


@defect("the floor of a create is read after it was sent")
def _() -> AbstractContextManager[None]:
    return patched((runner, "Doubt", lambda run_id, floor: story.Doubt(run_id, floor + 3)))


@defect("a create is sent before it is announced")
def _() -> AbstractContextManager[None]:
    return patched((facts.Announced, "said", lambda self, mine, at: iter(())))


@defect("what a dead run had announced is not in doubt")
def _() -> AbstractContextManager[None]:
    def recover(connection: Any, lost: Any) -> int:
        count = original(connection, lost)
        connection.execute(
            text(
                "UPDATE capture SET create_sent_at = NULL, ambiguous_at = NULL, create_floor = NULL,"
                " create_run_id = NULL WHERE state = 'batched' AND subject_id IS NULL"
            )
        )
        return count

    original = runs.recover
    return patched((runs, "recover", recover))


@defect("the subject id is forgotten when a capture is given back")
def _() -> AbstractContextManager[None]:
    said = facts.Moved.said

    def forgotten(self: facts.Moved, mine: Any, at: str) -> Any:
        if self.state is State.BATCHED:
            yield from facts.SubjectGone().said(mine, at)
        yield from said(self, mine, at)

    return patched((facts.Moved, "said", forgotten))


# -- images and links ------------------------------------------------------------------------------------------


@defect("a PUT is believed without proof (0.1.0)")
def _() -> AbstractContextManager[None]:
    put = acts.put
    return patched((acts, "put", lambda want, zooniverse: put(want, zooniverse) or True))


@defect("a subject is linked before its images are proved")
def _() -> AbstractContextManager[None]:
    def put_all(ready: Any, urls: Any) -> Any:
        for url, (_, encoded) in zip(urls, ready, strict=True):
            with contextlib.suppress(RequestRefusedError):
                yield story.Put(url, encoded)
        return True

    return patched((story, "_put_all", put_all))


@defect("the last image of a subject is not put")
def _() -> AbstractContextManager[None]:
    def put_all(ready: Any, urls: Any) -> Any:
        if len(ready) > 1:
            ready, urls = ready[:-1], urls[:-1]
        return (yield from put(ready, urls))

    put = story._put_all
    return patched((story, "_put_all", put_all))


@defect("the images of a subject are put in the wrong order")
def _() -> AbstractContextManager[None]:
    def put_all(ready: Any, urls: Any) -> Any:
        return (yield from put(ready, urls[::-1]))

    put = story._put_all
    return patched((story, "_put_all", put_all))


@defect("a subject that is there is taken for whole")
def _() -> AbstractContextManager[None]:
    def read(connection: Any, ids: Any) -> Any:
        return [
            replace(row, images=tuple(replace(image, arrived=True) for image in row.images))
            for row in read_captures(connection, ids)
        ]

    read_captures = claims.read_captures
    return patched((claims, "read_captures", read))


@defect("a subject is put into its set as soon as it is made")
def _() -> AbstractContextManager[None]:
    def create(want: Any, live: Any, zooniverse: Any, project_id: int) -> Any:
        made = make(want, live, zooniverse, project_id)
        sets = [found.id for found in zooniverse._model.world.live_sets()]
        zooniverse.link_subjects(sets[0], [made.id])
        return made

    make = acts.create
    return patched((acts, "create", create))


@defect("images count as arrived when they are encoded")
def _() -> AbstractContextManager[None]:
    as_arrived = facts._ENCODED.same.replace("arrived_at = NULL", "arrived_at = '2026-01-01T00:00:00.000000Z'")
    return patched((facts, "_ENCODED", facts._ENCODED._replace(same=as_arrived)))


@defect("uploaded is written down although the links call had no answer")
def _() -> AbstractContextManager[None]:
    def once(self: Zooniverse, *call: Any) -> Any:
        try:
            return original(self, *call)
        except UnavailableError as error:
            if error.status == 409:
                raise
            return LINKED

    original = Zooniverse._unless_conflict
    return patched((Zooniverse, "_unless_conflict", once))


@defect("a 409 of linking counts as linked")
def _() -> AbstractContextManager[None]:
    def once(self: Zooniverse, *call: Any) -> Any:
        try:
            return original(self, *call)
        except UnavailableError as error:
            if error.status != 409:
                raise
            return LINKED

    original = Zooniverse._unless_conflict
    return patched((Zooniverse, "_unless_conflict", once), (set_lease, "take", _no_turns))


def _no_turns(connection: Any, batch_id: int, run_id: int) -> set_lease.Lease:
    token = connection.execute(select(batch.c.lease_token).where(batch.c.id == batch_id)).scalar_one()
    return set_lease.Lease(batch_id, run_id, int(token))


# -- sets, and ledgers that are behind -------------------------------------------------------------------------


@defect("an older copy of the ledger is not noticed (0.1.0)")
def _() -> AbstractContextManager[None]:
    def newest(ledger: Any, live: Any, zooniverse: Any, project_id: int, uploader_id: int) -> int:
        found = max((row.id for row in zooniverse.newest_subjects(project_id, uploader_id)), default=0)
        with ledger.write() as connection:
            uploads.note_watermark(connection, live.id, project_id, uploader_id, found)
        return int(found)

    return patched(
        (begin, "account_for_newest", newest),
        (begin, "check_members", lambda *given: None),
        (begin, "unknown_members", lambda *given: []),
    )


# -- the other verbs -------------------------------------------------------------------------------------------


@defect("reconcile acts on what it saw without looking again (0.1.0)")
def _() -> AbstractContextManager[None]:
    return patched(
        (reconcile_module, "_still_so", lambda ledger, zooniverse, project, findings: iter(findings)),
        (Comparison, "_linked_since", lambda self, item, rows, elsewhere, there: None),
        (reconcile_module, "_is_too_many", lambda *given: True),
    )


@defect("retry forgets the subject of a failed capture")
def _() -> AbstractContextManager[None]:
    def retry(connection: Any, run_id: int, seen: Any, reason: str) -> bool:
        done = again(connection, run_id, seen, reason)
        if done:
            connection.execute(text("UPDATE capture SET subject_id = NULL WHERE id = :id"), {"id": seen.id})
        return done

    again = transitions.retry
    return patched((transitions, "retry", retry))


# -- ends ------------------------------------------------------------------------------------------------------


@defect("a run that ends does not wait for its committer (0.1.0: writes after its end)")
def _() -> AbstractContextManager[None]:
    def end(self: Any, on_progress: Any) -> None:
        self._stories.clear()

    return patched((runner.Runner, "_end", end))


@defect("captures that wait to be encoded are forgotten when a run is to stop (0.1.0: a hang)")
def _() -> AbstractContextManager[None]:
    def feed(self: Any) -> None:
        if not self._stop.requested:
            feed_encoders(self)

    def end(self: Any, on_progress: Any) -> None:
        while self._stories:
            self._lost.give_up(story.StopAskedError("the end"))
            self._connections.hurry()
            self._pause(on_progress, flush=True)
        original_end(self, on_progress)

    feed_encoders, original_end = runner.Runner._feed_encoders, runner.Runner._end
    return patched((runner.Runner, "_feed_encoders", feed), (runner.Runner, "_end", end))


# -- the database ----------------------------------------------------------------------------------------------

if ON_POSTGRES:

    @defect("the number of a transaction is believed although the server crashed since")
    def _() -> AbstractContextManager[None]:
        from ctstate.ledger import postgres

        return patched((postgres, "_LIFE", "SELECT 'always the same'"))
