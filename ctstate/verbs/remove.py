"""Subjects taken out of their subject set (`ctstate remove`), and what that shares with `ctstate delete`.

First a plan, which changes nothing; then the plan is carried out, a part at a time. Each part looks at Zooniverse
again, does the work, looks whether it was done, and only then writes it down: a run that is killed is simply run
again, and what it had done already counts as done.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from ctstate.capture import Batch, Snapshot, pages
from ctstate.errors import FencedError, NotFoundError, UsageError, ZooniverseError
from ctstate.ledger import Ledger, LiveRun, State, transitions
from ctstate.ledger.set_lease import turn
from ctstate.verbs.choose import Wanted, choose
from ctstate.words import and_more, counted
from ctstate.zooniverse import MOST_IDS_IN_PATH, Zooniverse

REMOVE, DELETE = "remove", "delete"


class SubjectToRemove(NamedTuple):
    """A subject to take out of its set, or off Zooniverse.

    Attributes:
        subject_id: Zooniverse's number.
        seen: its capture; None for one that is not this ledger's.
        sets: of one that is not this ledger's: the sets of this ledger that it is in.
    """

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


NO_CONSENT = Consent()


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
    wanted: Wanted
    consent: Consent
    todo: list[SubjectToRemove] = field(default_factory=list)
    gone: list[SubjectToRemove] = field(default_factory=list)
    done: int = 0
    shared: list[SubjectToRemove] = field(default_factory=list)
    classified: list[SubjectToRemove] = field(default_factory=list)
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
    moved: list[SubjectToRemove] = field(default_factory=list)
    shared: list[SubjectToRemove] = field(default_factory=list)
    classified: list[SubjectToRemove] = field(default_factory=list)
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
    wanted: Wanted,
    consent: Consent = NO_CONSENT,
) -> Plan:
    """Find out what taking subjects out of their sets would do.

    Nothing is changed, but that what dead runs had claimed is given back.

    Args:
        ledger, zooniverse, project_id: where they are.
        wanted: which.
        consent: what a person said yes to.

    Raises:
        UsageError: no criterion, none that any capture fits, a subject that is not this ledger's, or captures of
            another project.
        InputError: see `choose`.
        NotFoundError: no such project.
        ZooniverseError: see `Zooniverse`.
    """
    return make_plan(ledger, zooniverse, project_id, REMOVE, wanted, consent)


def make_plan(
    ledger: Ledger, zooniverse: Zooniverse, project_id: int, verb: str, wanted: Wanted, consent: Consent
) -> Plan:
    """Sort what is wanted, by what the ledger says of it; see `plan_removal`."""
    if not wanted.given:
        raise UsageError(
            f"say which: {verb} never takes everything; --season is a criterion, if all of it is meant"
        )
    ledger.check_endpoint(zooniverse.endpoint)
    ledger.recover()
    choice = choose(ledger, wanted)
    if choice.foreign and not consent.foreign:
        shown = ", ".join(map(str, choice.foreign[:5])) + (", ..." if len(choice.foreign) > 5 else "")
        raise UsageError(
            f"{counted(len(choice.foreign), 'subject', 'are')} no capture's of this ledger ({shown}); "
            "nothing was changed; --force-foreign takes them all the same"
        )
    if not choice.captures and not choice.foreign:
        raise UsageError("no capture fits: nothing was changed")
    check_account(zooniverse)
    zooniverse.project(project_id)
    plan = Plan(verb, project_id, wanted, consent)
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
    return plan


def check_account(zooniverse: Zooniverse) -> None:
    """Refuse an account that is banned: it is told that all went well, and nothing is done.

    Raises:
        ZooniverseError: it is (docs/panoptes-api.md, section 1).
    """
    account = zooniverse.me()
    if account.banned:
        raise ZooniverseError(f"account {account.login} is banned on {zooniverse.endpoint}; ask Zooniverse why")


def batches_by_id(ledger: Ledger) -> dict[int, Batch]:
    """Return all batches of the ledger."""
    return {row.id: row for row in ledger.batches(None)}


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
        plan.todo.append(SubjectToRemove(seen.subject_id, seen))
    elif plan.verb == REMOVE:
        plan.nowhere.append(seen)  # linking comes last: what is not uploaded is in no set
    elif seen.excluded is not None:
        plan.todo.append(SubjectToRemove(seen.subject_id, seen))  # no upload will take it up again
    else:
        plan.unfinished.append(seen)


def _foreign(plan: Plan, zooniverse: Zooniverse, ids: Sequence[int], batches: Mapping[int, Batch]) -> None:
    """Add subjects that are not this ledger's; to be taken out of this ledger's sets only."""
    season_sets = {
        row.subject_set_id
        for row in batches.values()
        if row.subject_set_id is not None and plan.wanted.selection.batch in (None, row.name)
    }
    there = zooniverse.subjects_by_id(ids) if ids else {}
    for subject_id in ids:
        subject = there.get(subject_id)
        if subject is None:
            plan.gone.append(SubjectToRemove(subject_id, None))
        elif subject.links.project != plan.project_id:
            raise UsageError(
                f"subject {subject_id} belongs to project {subject.links.project}, not to {plan.project_id}; "
                "nothing was changed"
            )
        else:
            sets = subject.sets
            ours = tuple(key for key in sets if key in season_sets)
            if plan.verb == DELETE or ours:
                plan.todo.append(SubjectToRemove(subject_id, None, ours))
            elif not sets:
                plan.done += 1
            else:
                raise UsageError(
                    f"subject {subject_id} is in no subject set of this ledger's batches, but in "
                    f"{', '.join(map(str, sets))}; nothing was changed"
                )
    plan.foreign = len(ids)


# -- carrying it out -------------------------------------------------------------------------------------------


def remove(
    ledger: Ledger,
    zooniverse: Zooniverse,
    plan: Plan,
    reason: str,
    *,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Report:
    """Carry a plan of `plan_removal` out. A run that is killed or fails is simply run again.

    Args:
        ledger, zooniverse: as for `plan_removal`.
        plan: its result.
        reason: for the history of each capture.
        on_progress: told how many subjects are done so far.

    Raises:
        UsageError: no reason.
        FencedError: the run was taken for dead by another.
        LedgerError, ZooniverseError: what ended the run; what was done until then is written down.
    """
    with carrying_out(ledger, zooniverse, plan, reason) as removal:
        for set_id, batch_id, part in _parts(plan, removal.batches):
            if removal.asked_to_stop():
                break
            _take_out(removal, set_id, batch_id, part)
            on_progress(removal.report.done + removal.report.gone)
    return removal.report


def _parts(plan: Plan, batches: Mapping[int, Batch]) -> Iterator[tuple[int | None, int, list[SubjectToRemove]]]:
    """Yield parts of the plan, each of one subject set: the set, its batch, and the subjects."""
    in_sets: dict[tuple[int | None, int], list[SubjectToRemove]] = {}
    batch_of = {row.subject_set_id: row.id for row in batches.values() if row.subject_set_id is not None}
    for item in plan.todo:
        if item.seen is not None:
            key = item.seen.batch_id or 0
            in_sets.setdefault((batches[key].subject_set_id, key), []).append(item)
        for ours in item.sets:
            in_sets.setdefault((ours, batch_of[ours]), []).append(item)
    for (set_id, batch_id), items in in_sets.items():
        for part in pages(items, MOST_IDS_IN_PATH):
            yield set_id, batch_id, part


def _take_out(removal: "Removal", set_id: int | None, batch_id: int, part: list[SubjectToRemove]) -> None:
    """Take subjects out of a set, while no other run changes it."""
    zooniverse = removal.zooniverse
    with turn(removal.ledger, removal.live, batch_id, removal.wait) as lease:
        if lease is None:
            removal.asked_to_stop()
            return
        part = removal.unmoved(part)
        ids = [item.subject_id for item in part]
        if set_id is not None and ids:
            removal.live.make_sure()
            with suppress(NotFoundError):  # the whole set is gone: so they are in it no more
                zooniverse.unlink_subjects(set_id, ids)
        there = zooniverse.subjects_by_id(ids) if ids else {}
        left = [key for key, subject in there.items() if set_id is not None and set_id in subject.sets]
        if left:
            raise ZooniverseError(
                f"Zooniverse said that it took subject {min(left)}{and_more(len(left) - 1)} out of subject "
                f"set {set_id} and did not; is the account banned, or without the right to?"
            )
        gone = [item for item in part if item.subject_id not in there]
        out = [item for item in part if item.subject_id in there]
        removal.report.done += removal.record(out, State.REMOVED)
        removal.report.gone += removal.record(gone, State.DELETED)


# -- what remove and delete share ------------------------------------------------------------------------------


@contextmanager
def carrying_out(ledger: Ledger, zooniverse: Zooniverse, plan: Plan, reason: str) -> Iterator["Removal"]:
    """A run that carries a plan out; what was gone before is written down on entering.

    Raises:
        UsageError: no reason, or another Zooniverse than the ledger's.
    """
    reason = reason.strip()
    if not reason:
        raise UsageError("give the reason with --reason; it stays in the ledger")
    ledger.bind_endpoint(zooniverse.endpoint)
    foreign = [item.subject_id for item in plan.todo if item.seen is None]
    arguments = {
        "project_id": plan.project_id,
        **plan.wanted.as_arguments(),
        "reason": reason,
        "foreign": foreign[:1000],
        **{f"even_if_{name}": True for name in ("shared", "classified") if getattr(plan.consent, name)},
    }
    with ledger.live_run(plan.verb, arguments, figures=zooniverse.traffic.figures) as live:
        ledger.recover()  # the leases of dead runs with it
        removal = Removal(ledger, zooniverse, live, reason, batches_by_id(ledger))
        for part in pages(plan.gone):
            removal.report.gone += removal.record(removal.still_gone(part), State.DELETED)
        yield removal
        if removal.report.stopped:
            live.stopped("asked to stop by `ctstate stop`")


@dataclass
class Removal:
    """A plan that is being carried out.

    Attributes:
        ledger, zooniverse, live: where, and by which run.
        reason: for the history of each capture.
        batches: all of the ledger's, by their key.
        report: what was done so far.
    """

    ledger: Ledger
    zooniverse: Zooniverse
    live: LiveRun
    reason: str
    batches: Mapping[int, Batch]
    report: Report = field(default_factory=Report)

    def asked_to_stop(self) -> bool:
        """Tell whether somebody asked this run to stop, and note it.

        Raises:
            FencedError: the run was taken for dead by another.
        """
        if self.live.lost.is_set():
            raise FencedError("this run was silent for so long that another took it for dead; run it again")
        self.report.stopped = self.live.stop_requested.is_set()
        return self.report.stopped

    def wait(self, seconds: float) -> bool:
        """Wait; return whether waiting is over for good."""
        return self.live.stop_requested.is_set() or self.zooniverse.patience.wait(seconds)

    def still_gone(self, part: list[SubjectToRemove]) -> list[SubjectToRemove]:
        """Look again, as the plan may be hours old; return those that are not on Zooniverse."""
        there = self.zooniverse.subjects_by_id([item.subject_id for item in part])
        return [item for item in part if item.subject_id not in there]

    def unmoved(self, part: list[SubjectToRemove]) -> list[SubjectToRemove]:
        """Return those whose captures are as they were seen; note the others."""
        with self.ledger.read() as connection:
            still = transitions.unmoved(connection, [item.seen for item in part if item.seen is not None])
        same = []
        for item in part:
            if item.seen is None or item.seen.id in still:
                same.append(item)
            else:
                self.report.moved.append(item)
        return same

    def record(self, part: Sequence[SubjectToRemove], state: State) -> int:
        """Write down what was done; return for how many. Captures that moved meanwhile keep their state."""
        recorded = 0
        with self.ledger.write() as connection:
            for item in part:
                seen = item.seen
                if seen is None:
                    done = True
                elif seen.state == State.BATCHED.value:  # excluded, with a subject that an upload left behind
                    done = transitions.forget_subject(connection, seen)
                else:
                    done = transitions.move(connection, self.live.id, seen, state, self.reason)
                if done:
                    recorded += 1
                else:
                    self.report.moved.append(item)
        return recorded
