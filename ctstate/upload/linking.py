"""Linking: the step that publishes. One run at a time links to a subject set, many subjects a call."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from typing import Optional, Protocol

from ctstate.errors import (
    CtstateError,
    FencedError,
    NotFoundError,
    RequestRefusedError,
    UnavailableError,
)
from ctstate.ledger import Ledger, LiveRun, claims
from ctstate.upload.stop import StopSignal
from ctstate.zooniverse import Zooniverse

LEASE_S = 240.0
"""How long a run may keep others from linking; longer than any one call can take."""

MOST_WAIT_S = 15.0
"""How long whole subjects may wait for others to be linked with."""


class Linkable(Protocol):
    """A capture whose subject is whole."""

    claim: claims.Claim
    subject_id: Optional[int]


class Outcomes(Protocol):
    """What the linker tells the pipeline of a capture."""

    def linked(self, item: Linkable) -> None:
        """It is in its subject set."""

    def subject_gone(self, item: Linkable) -> None:
        """Its subject is no longer on Zooniverse."""

    def refused(self, item: Linkable, reason: str) -> None:
        """Zooniverse does not take it into the set."""

    def give_back(self, item: Linkable, reason: str) -> None:
        """It was not linked, and may be later."""

    def fenced(self, item: Linkable) -> None:
        """Another run has taken it over."""

    def fatal(self, error: BaseException) -> None:
        """The run cannot go on."""


class Linker:
    """Collects whole subjects per batch and links them.

    Args:
        ledger, run, zooniverse, stop: of the upload.
        outcomes: told what became of each capture.
        sets: subject set id by batch.
        size: how many subjects make a call.
    """

    def __init__(
        self,
        ledger: Ledger,
        run: LiveRun,
        zooniverse: Zooniverse,
        stop: StopSignal,
        outcomes: Outcomes,
        sets: Mapping[int, int],
        size: int,
    ) -> None:
        self._ledger = ledger
        self._run = run
        self._zooniverse = zooniverse
        self._stop = stop
        self._outcomes = outcomes
        self._sets = sets
        self._size = size
        self._waiting: dict[int, list[Linkable]] = {}
        self._since: dict[int, float] = {}
        self._flush = False
        self._closing = False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="linker", daemon=True)
        self._thread.start()

    def add(self, item: Linkable) -> None:
        """Hand over a capture whose images are whole."""
        with self._condition:
            key = item.claim.batch_id
            self._waiting.setdefault(key, []).append(item)
            self._since.setdefault(key, time.monotonic())
            self._condition.notify()

    def flush(self) -> None:
        """Link what there is now: nothing more is coming for the moment."""
        with self._condition:
            self._flush = True
            self._condition.notify()

    def close(self) -> None:
        """Link what there is and stop."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    def _next(self) -> Optional[tuple[int, list[Linkable]]]:
        with self._condition:
            while True:
                now = time.monotonic()
                for key, items in self._waiting.items():
                    due = len(items) >= self._size or now - self._since[key] > MOST_WAIT_S
                    if items and (due or self._flush or self._closing):
                        part, rest = items[: self._size], items[self._size :]
                        del self._waiting[key], self._since[key]
                        if rest:
                            self._waiting[key], self._since[key] = rest, now
                        return key, part
                self._flush = False
                if self._closing:
                    return None
                self._condition.wait(1.0)

    def _work(self) -> None:
        while True:
            part = self._next()
            if part is None:
                return
            try:
                self._link(*part)
            except CtstateError as error:
                for item in part[1]:
                    self._outcomes.give_back(item, str(error))
                self._outcomes.fatal(error)
            except BaseException as error:  # noqa: BLE001 - handed to the run, which ends with it
                self._outcomes.fatal(error)
                return

    def _link(self, batch_id: int, items: list[Linkable]) -> None:
        taken = self._take_turn(batch_id, items)
        if taken is None:
            for item in items:
                self._outcomes.give_back(item, "stopped while another run was linking")
            return
        token, mine = taken
        try:
            self._link_mine(self._sets[batch_id], mine)
        finally:
            with self._ledger.write() as connection:
                claims.drop_lease(connection, batch_id, token)

    def _take_turn(self, batch_id: int, items: list[Linkable]) -> Optional[tuple[int, list[Linkable]]]:
        """Wait for the lease; then make sure, in the same transaction, which captures are still ours."""
        while True:
            fenced: list[Linkable] = []
            mine: list[Linkable] = []
            with self._ledger.write() as connection:
                token = claims.take_lease(connection, batch_id, self._run.id, LEASE_S)
                if token is not None:
                    for item in items:
                        try:
                            claims.still_mine(connection, item.claim)
                            mine.append(item)
                        except FencedError:
                            fenced.append(item)
            if token is not None:
                for item in fenced:
                    self._outcomes.fenced(item)
                return token, mine
            if self._stop.wait(random.uniform(0.05, 0.5)):
                return None

    def _link_mine(self, set_id: int, items: list[Linkable]) -> None:
        if not items:
            return
        ids = [item.subject_id for item in items if item.subject_id is not None]
        try:
            self._zooniverse.link_subjects(set_id, ids)
        except NotFoundError:
            raise NotFoundError(
                f"subject set {set_id} is no longer on Zooniverse; `ctstate reconcile` shows what became of it"
            ) from None
        except UnavailableError as error:
            for item in items:
                self._outcomes.give_back(item, str(error))
            self._stop.request(str(error))
            return
        except RequestRefusedError as error:
            self._sort_out(set_id, items, ids, error)
            return
        for item in items:
            self._outcomes.linked(item)

    def _sort_out(self, set_id: int, items: list[Linkable], ids: list[int], error: RequestRefusedError) -> None:
        """One subject that is gone makes the whole call fail: find which, and link the others."""
        there = self._zooniverse.subjects_by_id(ids)
        present = [item for item in items if item.subject_id in there]
        gone = [item for item in items if item.subject_id not in there]
        for item in gone:
            self._outcomes.subject_gone(item)
        if gone:
            self._link_mine(set_id, present)
        elif len(items) == 1:
            self._outcomes.refused(items[0], str(error))
        else:
            middle = len(items) // 2
            self._link_mine(set_id, items[:middle])
            self._link_mine(set_id, items[middle:])
