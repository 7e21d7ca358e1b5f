"""Subjects deleted on Zooniverse, for good (`ctstate delete`); `ctstate remove` is milder, and shares its plan."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ctstate.capture import Batch, pages
from ctstate.errors import ZooniverseError
from ctstate.ledger import Ledger, State
from ctstate.machine import machine
from ctstate.verbs.backup import back_up_before
from ctstate.verbs.choose import Wanted
from ctstate.verbs.remove import (
    DELETE,
    NO_CONSENT,
    Consent,
    Plan,
    Removal,
    Report,
    SubjectToRemove,
    batches_by_id,
    carrying_out,
    make_plan,
)
from ctstate.words import and_more
from ctstate.zooniverse import PAGE_SIZE, Zooniverse

DELETED_AT_ONCE = 50
"""Subjects deleted between two commits: what a kill leaves undone in the ledger, not on Zooniverse."""


def plan_deletion(
    ledger: Ledger,
    zooniverse: Zooniverse,
    project_id: int,
    wanted: Wanted,
    consent: Consent = NO_CONSENT,
) -> Plan:
    """Find out what deleting would do; arguments and errors as for `plan_removal`."""
    plan = make_plan(ledger, zooniverse, project_id, DELETE, wanted, consent)
    batches = batches_by_id(ledger)
    items, plan.todo = plan.todo, []
    for part in pages(items, PAGE_SIZE):
        seen = _look(zooniverse, plan, part, batches)
        plan.todo += seen.todo
        plan.gone += seen.gone
        plan.shared += seen.shared
        plan.classified += seen.classified
    return plan


def delete(
    ledger: Ledger,
    zooniverse: Zooniverse,
    plan: Plan,
    reason: str,
    *,
    connections: int = 4,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Report:
    """Carry a plan of `plan_deletion` out, after a copy of the ledger (`back_up_before`).

    A run that is killed or fails is simply run again.

    Args:
        ledger, zooniverse: as for `plan_deletion`.
        plan: its result.
        reason: for the history of each capture.
        connections: deletions at the same time; there is no route for many.
        on_progress: told how many subjects are done so far.

    Raises:
        UsageError: no reason.
        FencedError: the run was taken for dead by another.
        LedgerError, ZooniverseError: what ended the run; what was done until then is written down.
    """
    with carrying_out(ledger, zooniverse, plan, reason) as removal:
        if plan.todo:
            back_up_before(ledger, "delete")
        for part in pages(plan.todo, DELETED_AT_ONCE):
            if removal.asked_to_stop():
                break
            _delete(removal, plan, part, max(1, connections))
            on_progress(removal.report.done + removal.report.gone)
    return removal.report


def _delete(removal: Removal, plan: Plan, part: list[SubjectToRemove], connections: int) -> None:
    # The plan may be hours old: volunteers may have come to these subjects meanwhile.
    now = _look(removal.zooniverse, plan, removal.unmoved(part), removal.batches)
    removal.report.shared += now.shared
    removal.report.classified += now.classified
    ids = [item.subject_id for item in now.todo]
    removal.live.make_sure()
    machine().each(removal.zooniverse.delete_subject, ids, connections)
    # A good answer is no proof: an account that was banned meanwhile gets such.
    left = removal.zooniverse.subjects_by_id(ids) if ids else {}
    if left:
        raise ZooniverseError(
            f"Zooniverse said that it deleted subject {min(left)}{and_more(len(left) - 1)} and did not; "
            "is the account banned, or without the right to?"
        )
    removal.report.done += removal.record(now.todo, State.DELETED)
    removal.report.gone += removal.record(now.gone, State.DELETED)


class _Sorted(NamedTuple):
    """Subjects to delete, those gone already, and those spared."""

    todo: list[SubjectToRemove]
    gone: list[SubjectToRemove]
    shared: list[SubjectToRemove]
    classified: list[SubjectToRemove]


def _look(
    zooniverse: Zooniverse, plan: Plan, items: Sequence[SubjectToRemove], batches: Mapping[int, Batch]
) -> _Sorted:
    """Look at subjects on Zooniverse, and sort them."""
    there = zooniverse.subjects_by_id([item.subject_id for item in items])
    present = [item for item in items if item.subject_id in there]
    shared: set[int] = set()
    if not plan.consent.shared:
        shared = {t.subject_id for t in present if _is_shared(t, there[t.subject_id].sets, batches)}
    classified: set[int] = set()
    if not plan.consent.classified:
        classified = zooniverse.classified(plan.project_id, [t.subject_id for t in present])
    return _Sorted(
        todo=[t for t in present if t.subject_id not in shared | classified],
        gone=[item for item in items if item.subject_id not in there],
        shared=[t for t in present if t.subject_id in shared],
        classified=[t for t in present if t.subject_id in classified - shared],
    )


def _is_shared(item: SubjectToRemove, sets: Sequence[int], batches: Mapping[int, Batch]) -> bool:
    if item.seen is None:
        return len(sets) > 1
    row = batches.get(item.seen.batch_id or 0)
    return any(key != (row.subject_set_id if row is not None else None) for key in sets)
