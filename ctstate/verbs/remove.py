"""Taking subjects back: out of their subject set (`ctstate remove`), or off Zooniverse (`ctstate delete`).

First a plan, which changes nothing; then the plan is carried out, a part at a time. Each part looks at Zooniverse
again, does the work, looks whether it was done, and only then writes it down: a run that is killed is simply run
again, and what it had done already counts as done.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.engine import Connection

from ctstate.capture import Snapshot
from ctstate.errors import FencedError, NotFoundError, UsageError, ZooniverseError
from ctstate.ledger import Ledger, LiveRun, transitions
from ctstate.ledger.schema import batch, capture
from ctstate.ledger.set_lease import turn
from ctstate.ledger.states import State
from ctstate.machine import machine
from ctstate.verbs.choose import Criteria, choose
from ctstate.zooniverse.api import MOST_IDS_IN_PATH, PAGE_SIZE, Zooniverse

REMOVE, DELETE = "remove", "delete"

DELETED_AT_ONCE = 50
"""Subjects deleted between two commits: what a kill leaves undone in the ledger, not on Zooniverse."""


class Target(NamedTuple):
    """A subject to take back; `seen` is its capture, None for one that is not this ledger's."""

    subject_id: int
    seen: Snapshot | None
    sets: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """How a person knows it."""
        return self.seen.capture_id if self.seen is not None else "not in this ledger"


@dataclass(frozen=True)
class Consent:
    """What a person said yes to beforehand.

    Attributes:
        shared: delete subjects that are in another subject set, too.
        classified: delete subjects that volunteers classified.
        foreign: take back subjects that are not this ledger's.
    """

    shared: bool = False
    classified: bool = False
    foreign: bool = False


@dataclass
class Plan:
    """What would be done.

    Attributes:
        verb: REMOVE or DELETE.
        todo: subjects to take back.
        gone: subjects that are no longer on Zooniverse, which is written down.
        done: captures that are removed or deleted already.
        shared, classified: subjects that are spared, as another set has them or volunteers classified them.
        uploading: captures that a run is uploading at this moment.
        unfinished: captures with a subject whose upload is not finished, or with a create in doubt.
        nowhere: captures that have no subject in a set (or none at all).
        foreign: of `todo` and `gone`, how many are not this ledger's.
    """

    verb: str
    project_id: int
    criteria: Criteria
    consent: Consent
    todo: list[Target] = field(default_factory=list)
    gone: list[Target] = field(default_factory=list)
    done: int = 0
    shared: list[Target] = field(default_factory=list)
    classified: list[Target] = field(default_factory=list)
    uploading: list[Snapshot] = field(default_factory=list)
    unfinished: list[Snapshot] = field(default_factory=list)
    nowhere: list[Snapshot] = field(default_factory=list)
    foreign: int = 0

    @property
    def work(self) -> int:
        """How many subjects something is to be done about."""
        return len(self.todo) + len(self.gone)

    @property
    def left_alone(self) -> int:
        """How many that were named are not taken back."""
        return len(self.shared) + len(self.classified) + len(self.uploading) + len(self.unfinished)


@dataclass
class Report:
    """What was done.

    Attributes:
        done: subjects taken back.
        gone: subjects that were gone from Zooniverse already.
        moved: captures that moved meanwhile and were left alone.
        shared, classified: subjects that were spared since the plan was made.
        stopped: asked to stop before all was done.
    """

    done: int = 0
    gone: int = 0
    moved: list[Target] = field(default_factory=list)
    shared: list[Target] = field(default_factory=list)
    classified: list[Target] = field(default_factory=list)
    stopped: bool = False

    @property
    def left_alone(self) -> int:
        """How many of the plan were not taken back."""
        return len(self.moved) + len(self.shared) + len(self.classified)


# -- the plan --------------------------------------------------------------------------------------------------


def plan_removal(
    ledger: Ledger,
    zooniverse: Zooniverse,
    project_id: int,
    verb: str,
    criteria: Criteria,
    consent: Consent = Consent(),
) -> Plan:
    """Find out what taking back would do; nothing is changed, but that what dead runs had claimed is given back.

    Raises:
        UsageError: no criterion, none that any capture fits, a subject that is not this ledger's, or captures of
            another project.
        InputError: see `choose`.
        NotFoundError: no such project.
        ZooniverseError: see `Zooniverse`.
    """
    if not criteria.given:
        raise UsageError(
            f"say which: {verb} never takes everything; --season is a criterion, if all of it is meant"
        )
    ledger.check_endpoint(zooniverse.endpoint)
    ledger.recover()
    choice = choose(ledger, criteria)
    if choice.foreign and not consent.foreign:
        shown = ", ".join(map(str, choice.foreign[:5])) + (", ..." if len(choice.foreign) > 5 else "")
        raise UsageError(
            f"{len(choice.foreign):,} of the subjects are no capture's of this ledger ({shown}); "
            "nothing was changed; --force-foreign takes them all the same"
        )
    if not choice.captures and not choice.foreign:
        raise UsageError("no capture fits: nothing was changed")
    check_account(zooniverse)
    zooniverse.project(project_id)
    plan = Plan(verb, project_id, criteria, consent)
    batches = batches_by_id(ledger)
    for seen in choice.captures:
        row = batches.get(seen.batch_id or 0)
        if row is not None and row.project_id is not None and row.project_id != project_id:
            raise UsageError(
                f"capture {seen.capture_id} is in project {row.project_id}, not in {project_id}; "
                "nothing was changed"
            )
        _sort_in(plan, seen)
    _foreign(plan, zooniverse, choice.foreign, batches)
    if verb == DELETE:
        targets, plan.todo = plan.todo, []
        for part in _parts(targets, PAGE_SIZE):
            there, gone, shared, classified = _look(zooniverse, plan, part, batches)
            plan.todo += there
            plan.gone += gone
            plan.shared += shared
            plan.classified += classified
    return plan


def check_account(zooniverse: Zooniverse) -> None:
    """Refuse an account that is banned: it is told that all went well, and nothing is done.

    Raises:
        ZooniverseError: it is (docs/panoptes-api.md, section 1).
    """
    account = zooniverse.me()
    if account.banned:
        raise ZooniverseError(f"account {account.login} is banned on {zooniverse.endpoint}; ask Zooniverse why")


def batches_by_id(ledger: Ledger) -> dict[int, Any]:
    """Return all batches of the ledger."""
    with ledger.read() as connection:
        return {row.id: row for row in connection.execute(select(batch).order_by(batch.c.id))}


def _sort_in(plan: Plan, seen: Snapshot) -> None:
    """Put a capture where it belongs; never one that a run has claimed."""
    state = State(seen.state)
    if state is State.UPLOADING:
        plan.uploading.append(seen)
    elif state is State.DELETED or (state is State.REMOVED and plan.verb == REMOVE):
        plan.done += 1
    elif seen.subject_id is None:
        (plan.nowhere if seen.create_sent_at is None else plan.unfinished).append(seen)
    elif state is State.UPLOADED or (plan.verb == DELETE and state in (State.REMOVED, State.FAILED)):
        plan.todo.append(Target(seen.subject_id, seen))
    elif plan.verb == REMOVE:
        plan.nowhere.append(seen)  # linking comes last: what is not uploaded is in no set
    elif seen.excluded is not None:
        plan.todo.append(Target(seen.subject_id, seen))  # no upload will take it up again
    else:
        plan.unfinished.append(seen)


def _foreign(plan: Plan, zooniverse: Zooniverse, ids: Sequence[int], batches: Mapping[int, Any]) -> None:
    """Add subjects that are not this ledger's; to be taken out of this ledger's sets only."""
    season_sets = {
        row.subject_set_id
        for row in batches.values()
        if row.subject_set_id is not None and plan.criteria.batch in (None, row.name)
    }
    there = zooniverse.subjects_by_id(ids) if ids else {}
    for subject_id in ids:
        subject = there.get(subject_id)
        if subject is None:
            plan.gone.append(Target(subject_id, None))
        elif int(subject["links"]["project"]) != plan.project_id:
            raise UsageError(
                f"subject {subject_id} belongs to project {subject['links']['project']}, not to {plan.project_id}; "
                "nothing was changed"
            )
        else:
            sets = _sets_of(subject)
            ours = tuple(key for key in sets if key in season_sets)
            if plan.verb == DELETE or ours:
                plan.todo.append(Target(subject_id, None, ours))
            elif not sets:
                plan.done += 1
            else:
                raise UsageError(
                    f"subject {subject_id} is in no subject set of this ledger's batches, but in "
                    f"{', '.join(map(str, sets))}; nothing was changed"
                )
    plan.foreign = len(ids)


def _look(
    zooniverse: Zooniverse, plan: Plan, targets: Sequence[Target], batches: Mapping[int, Any]
) -> tuple[list[Target], list[Target], list[Target], list[Target]]:
    """Sort subjects into those to delete, those gone already, and those spared: shared, classified."""
    ids = [target.subject_id for target in targets]
    there = zooniverse.subjects_by_id(ids)
    gone = [target for target in targets if target.subject_id not in there]
    present = [target for target in targets if target.subject_id in there]
    shared: set[int] = set()
    if not plan.consent.shared:
        shared = {t.subject_id for t in present if _is_shared(t, _sets_of(there[t.subject_id]), batches)}
    classified: set[int] = set()
    if not plan.consent.classified:
        classified = zooniverse.classified(plan.project_id, [t.subject_id for t in present])
    return (
        [t for t in present if t.subject_id not in shared | classified],
        gone,
        [t for t in present if t.subject_id in shared],
        [t for t in present if t.subject_id in classified - shared],
    )


def _is_shared(target: Target, sets: Sequence[int], batches: Mapping[int, Any]) -> bool:
    if target.seen is None:
        return len(sets) > 1
    row = batches.get(target.seen.batch_id or 0)
    return any(key != (row.subject_set_id if row is not None else None) for key in sets)


def _sets_of(subject: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(key) for key in subject["links"].get("subject_sets") or ())


def _parts(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while part := list(itertools.islice(iterator, size)):
        yield part


# -- carrying it out -------------------------------------------------------------------------------------------


def carry_out(
    ledger: Ledger,
    zooniverse: Zooniverse,
    plan: Plan,
    reason: str,
    *,
    connections: int = 4,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Report:
    """Carry a plan out. A run that is killed or fails is simply run again.

    Args:
        ledger, zooniverse: as for `plan_removal`.
        plan: its result.
        reason: for the history of each capture.
        connections: deletions at the same time; there is no route for many.
        on_progress: told how many subjects are done so far.

    Raises:
        UsageError: no reason.
        FencedError: the run was taken for dead by another.
        LedgerError, ZooniverseError: what ended the run; what was done until then is written down.
    """
    reason = reason.strip()
    if not reason:
        raise UsageError("give the reason with --reason; it stays in the ledger")
    ledger.bind_endpoint(zooniverse.endpoint)
    foreign = [target.subject_id for target in plan.todo if target.seen is None]
    arguments = {
        "project_id": plan.project_id,
        **plan.criteria.as_arguments(),
        "reason": reason,
        "foreign": foreign[:1000],
        **{f"even_if_{name}": True for name in ("shared", "classified") if getattr(plan.consent, name)},
    }
    with ledger.live_run(plan.verb, arguments) as live:
        ledger.recover()  # the leases of dead runs with it
        worker = _Worker(ledger, zooniverse, live, plan, reason, on_progress, max(1, connections))
        worker.all()
        if worker.report.stopped:
            live.stopped("asked to stop by `ctstate stop`")
    return worker.report


class _Worker:
    def __init__(
        self,
        ledger: Ledger,
        zooniverse: Zooniverse,
        live: LiveRun,
        plan: Plan,
        reason: str,
        on_progress: Callable[[int], None],
        connections: int,
    ) -> None:
        self._ledger = ledger
        self._zooniverse = zooniverse
        self._live = live
        self._plan = plan
        self._connections = connections
        self._reason = reason
        self._on_progress = on_progress
        self._batches = batches_by_id(ledger)
        self.report = Report()

    def all(self) -> None:
        """Do all of the plan, or all until asked to stop."""
        for part in _parts(self._plan.gone, 500):
            self.report.gone += self._record(self._still_gone(part), State.DELETED)
        for set_id, batch_id, part in self._work():
            if self._asked_to_stop():
                return
            if self._plan.verb == DELETE:
                self._delete(part)
            else:
                self._remove(set_id, batch_id, part)
            self._on_progress(self.report.done + self.report.gone)

    def _still_gone(self, part: list[Target]) -> list[Target]:
        """Look again: the plan may be hours old."""
        there = self._zooniverse.subjects_by_id([target.subject_id for target in part])
        return [target for target in part if target.subject_id not in there]

    def _work(self) -> Iterator[tuple[int | None, int, list[Target]]]:
        """Yield parts of the plan; for `remove`, each of one subject set."""
        if self._plan.verb == DELETE:
            for part in _parts(self._plan.todo, DELETED_AT_ONCE):
                yield None, 0, part
            return
        in_sets: dict[tuple[int | None, int], list[Target]] = {}
        batch_of = {row.subject_set_id: row.id for row in self._batches.values() if row.subject_set_id is not None}
        for target in self._plan.todo:
            if target.seen is not None:
                key = target.seen.batch_id or 0
                in_sets.setdefault((self._batches[key].subject_set_id, key), []).append(target)
            for ours in target.sets:
                in_sets.setdefault((ours, batch_of[ours]), []).append(target)
        for (set_id, batch_id), targets in in_sets.items():
            for part in _parts(targets, MOST_IDS_IN_PATH):
                yield set_id, batch_id, part

    def _asked_to_stop(self) -> bool:
        if self._live.lost.is_set():
            raise FencedError("this run was silent for so long that another took it for dead; run it again")
        self.report.stopped = self._live.stop_requested.is_set()
        return self.report.stopped

    # -- delete --------------------------------------------------------------------------------------------

    def _delete(self, part: list[Target]) -> None:
        with self._ledger.read() as connection:
            part = self._unmoved(connection, part)
        # The plan may be hours old: volunteers may have come to these subjects meanwhile.
        there, gone, shared, classified = _look(self._zooniverse, self._plan, part, self._batches)
        self.report.shared += shared
        self.report.classified += classified
        ids = [target.subject_id for target in there]
        self._live.make_sure()
        machine().each(self._zooniverse.delete_subject, ids, self._connections)
        # A good answer is no proof: an account that was banned meanwhile gets such.
        left = self._zooniverse.subjects_by_id(ids) if ids else {}
        if left:
            raise ZooniverseError(
                f"Zooniverse said that it deleted subject {min(left)} (and {len(left) - 1} more) and did not; "
                "is the account banned, or without the right to?"
            )
        self.report.done += self._record(there, State.DELETED)
        self.report.gone += self._record(gone, State.DELETED)

    # -- remove --------------------------------------------------------------------------------------------

    def _remove(self, set_id: int | None, batch_id: int, part: list[Target]) -> None:
        with turn(self._ledger, self._live, batch_id, self._wait) as lease:
            if lease is None:
                self._asked_to_stop()
                return
            with self._ledger.read() as connection:
                part = self._unmoved(connection, part)
            ids = [target.subject_id for target in part]
            if set_id is not None and ids:
                self._live.make_sure()
                with suppress(NotFoundError):  # the whole set is gone: so they are in it no more
                    self._zooniverse.unlink_subjects(set_id, ids)
            there = self._zooniverse.subjects_by_id(ids) if ids else {}
            left = [key for key, subject in there.items() if set_id is not None and set_id in _sets_of(subject)]
            if left:
                raise ZooniverseError(
                    f"Zooniverse said that it took subject {min(left)} (and {len(left) - 1} more) out of subject "
                    f"set {set_id} and did not; is the account banned, or without the right to?"
                )
            gone = [target for target in part if target.subject_id not in there]
            out = [target for target in part if target.subject_id in there]
            self.report.done += self._record(out, State.REMOVED)
            self.report.gone += self._record(gone, State.DELETED)

    def _wait(self, seconds: float) -> bool:
        return self._live.stop_requested.is_set() or self._zooniverse.patience.wait(seconds)

    # -- both ----------------------------------------------------------------------------------------------

    def _unmoved(self, connection: Connection, part: list[Target]) -> list[Target]:
        """Return those whose captures are as they were seen; note the others."""
        keys = [target.seen.id for target in part if target.seen is not None]
        rows = connection.execute(
            select(capture.c.id, capture.c.state, capture.c.claim, capture.c.subject_id).where(
                capture.c.id.in_(keys)
            )
        )
        now = {row.id: (row.state, row.claim, row.subject_id) for row in rows}
        same = []
        for target in part:
            seen = target.seen
            if seen is None or now.get(seen.id) == (seen.state, seen.claim, seen.subject_id):
                same.append(target)
            else:
                self.report.moved.append(target)
        return same

    def _record(self, part: Sequence[Target], state: State) -> int:
        """Write down what was done; return for how many. Captures that moved meanwhile keep their state."""
        recorded = 0
        with self._ledger.write() as connection:
            for target in part:
                seen = target.seen
                if seen is None:
                    done = True
                elif seen.state == State.BATCHED.value:  # excluded, with a subject that an upload left behind
                    done = transitions.forget_subject(connection, seen)
                else:
                    done = transitions.move(connection, self._live.id, seen, state, self._reason)
                if done:
                    recorded += 1
                else:
                    self.report.moved.append(target)
        return recorded
