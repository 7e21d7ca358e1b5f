"""The ledger and Zooniverse brought to agree (`ctstate reconcile`), as a survey proposes.

What a survey saw is old when it is acted on, and uploads may go on meanwhile; so each finding is looked at again,
and what is then written names the capture as it was seen, and changes nothing if it has moved since. What is
changed or deleted on Zooniverse bears this ledger's mark, or is a subject that the ledger wrote down.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctstate.capture import Snapshot, pages
from ctstate.errors import NotFoundError, UsageError
from ctstate.ledger import (
    Ledger,
    LiveRun,
    State,
    Transaction,
    captures,
    claims,
    comparison,
    set_lease,
    subject_sets,
    transitions,
)
from ctstate.ledger.set_lease import turn
from ctstate.verbs.survey import Finding, Survey, deletable, image_problem
from ctstate.zooniverse import PAGE_SIZE, Zooniverse
from ctstate.zooniverse.subject import subject_metadata


def reconcile(
    ledger: Ledger, zooniverse: Zooniverse, project_id: int, found: Survey, arguments: Mapping[str, Any]
) -> dict[str, int]:
    """Carry out what a survey proposes. Every step can be repeated; a killed run is simply run again.

    Args:
        ledger, zooniverse, project_id: as for `survey`.
        found: its result.
        arguments: for the record.

    Returns:
        how many findings of each kind were settled.
    """
    ledger.bind_endpoint(zooniverse.endpoint)
    done: dict[str, int] = {}
    with ledger.live_run("reconcile", arguments, figures=zooniverse.traffic.figures) as live:
        for page in pages(found.to_do, PAGE_SIZE):
            for finding in _still_so(ledger, zooniverse, project_id, page):
                live.make_sure()
                if _settle(ledger, zooniverse, project_id, live, finding):
                    done[finding.kind] = done.get(finding.kind, 0) + 1
    return done


def _still_so(
    ledger: Ledger, zooniverse: Zooniverse, project_id: int, found: Sequence[Finding]
) -> Iterator[Finding]:
    """Look at Zooniverse again, and yield the findings that are still true."""
    ids = sorted({finding.subject_id for finding in found if finding.subject_id is not None})
    there = zooniverse.subjects_by_id(ids) if ids else {}
    doubles = [key for key in ids if any(f.kind == "duplicate" and f.subject_id == key for f in found)]
    classified = zooniverse.classified(project_id, doubles) if doubles else set()
    ours = deletable(ledger, there)
    with ledger.read() as connection:
        batches = sorted({finding.batch_id for finding in found})
        sets = {key: subject_sets.of_batch(connection, key) for key in batches}
        rows = claims.read_captures(connection, [f.seen.id for f in found if f.kind == "images" and f.seen])
    contents = {row.id: row for row in rows}
    for finding in found:
        subject = there.get(finding.subject_id or 0)
        in_set = subject is not None and (sets[finding.batch_id] or finding.set_id) in subject.sets
        if finding.kind == "own set":
            still = True
        elif finding.kind == "set gone":
            still = finding.set_id is not None and _is_gone(zooniverse, finding.set_id)
        elif finding.kind == "deleted":
            still = subject is None
        elif finding.kind == "unlinked":
            still = subject is not None and not in_set
        elif finding.kind == "duplicate":
            still = finding.subject_id in ours and finding.subject_id not in classified
        elif finding.kind == "adopt":
            still = in_set
        elif finding.kind == "images":
            assert finding.seen is not None
            content = contents[finding.seen.id]
            still = subject is not None and in_set and bool(image_problem(zooniverse, subject, content))
        else:
            still = subject is not None
        if still:
            yield finding


def _is_gone(zooniverse: Zooniverse, set_id: int) -> bool:
    try:
        zooniverse.subject_set(set_id)
    except NotFoundError:
        return True
    return False


def _settle(ledger: Ledger, zooniverse: Zooniverse, project_id: int, live: LiveRun, finding: Finding) -> bool:
    """Carry out one finding; return False where the capture has moved since it was seen."""
    kind, seen, subject_id = finding.kind, finding.seen, finding.subject_id
    if kind in ("set gone", "own set"):
        return _note_set(ledger, zooniverse, project_id, live, finding)
    assert seen is not None
    if kind == "duplicate":
        assert subject_id is not None
        return _is_too_many(ledger, zooniverse, seen.id, subject_id) and zooniverse.delete_subject(subject_id)
    done = True
    if kind != "metadata":
        with ledger.write() as connection:
            done = _correct(connection, live.id, finding, seen, f"reconcile: {finding.detail}")
    if done and (kind == "metadata" or (kind == "adopt" and finding.differs)):
        assert subject_id is not None
        with ledger.read() as connection:
            row = claims.read_captures(connection, [seen.id])[0]
        if row.subject_id == subject_id:
            zooniverse.update_metadata(subject_id, subject_metadata(row))
    return done


def _is_too_many(ledger: Ledger, zooniverse: Zooniverse, key: int, subject_id: int) -> bool:
    """Tell whether the ledger knows another subject of the capture, and that one is there."""
    with ledger.read() as connection:
        kept = captures.subject_of(connection, key)
    return kept is not None and kept != subject_id and bool(zooniverse.subjects_by_id([kept]))


def _note_set(ledger: Ledger, zooniverse: Zooniverse, project_id: int, live: LiveRun, finding: Finding) -> bool:
    """Write down that a batch has this set, or has it no more."""
    gone = finding.kind == "set gone"
    with turn(ledger, live, finding.batch_id, zooniverse.patience.wait) as lease:
        if lease is None:
            return False
        with ledger.write() as connection:
            if subject_sets.of_batch(connection, finding.batch_id) != (finding.set_id if gone else None):
                return False
            set_id, name = (None, None) if gone else (finding.set_id, finding.set_name)
            set_lease.note_subject_set(connection, lease, project_id, set_id, name)
    return True


def _correct(connection: Transaction, run_id: int, finding: Finding, seen: Snapshot, reason: str) -> bool:
    kind, subject_id = finding.kind, finding.subject_id
    if kind == "unlinked":
        return transitions.move(connection, run_id, seen, State.REMOVED, reason)
    if kind == "deleted":
        if seen.state in (State.UPLOADED.value, State.REMOVED.value, State.FAILED.value):
            return transitions.move(connection, run_id, seen, State.DELETED, reason)
        return transitions.forget_subject(connection, seen)
    assert subject_id is not None
    if kind == "images":
        return transitions.redo(connection, run_id, seen, subject_id, finding.batch_id, reason)
    # Another subject takes the place of the one that the ledger had: that one is forgotten first.
    fresh = transitions.make_room(connection, run_id, seen, subject_id, reason)
    if fresh is None:
        return False
    if kind == "adopt":
        return transitions.adopt(connection, run_id, fresh, subject_id, finding.batch_id, reason)
    assert kind == "finish"
    if fresh.state == State.BATCHED.value:
        done = transitions.note_subject(connection, fresh, subject_id)
        if done:
            transitions.forget_images(connection, fresh.id)
        return done
    return transitions.redo(connection, run_id, fresh, subject_id, finding.batch_id, reason)


def accept(ledger: Ledger, zooniverse: Zooniverse, project_id: int, subject_ids: Sequence[int]) -> int:
    """Write down that subjects which are no capture's are fine in this ledger's sets; return how many were new.

    Raises:
        UsageError: a subject is not there, of another project, or a capture's.
    """
    ledger.bind_endpoint(zooniverse.endpoint)
    there = zooniverse.subjects_by_id(subject_ids)
    for key in subject_ids:
        if key not in there or there[key].links.project != project_id:
            raise UsageError(f"no subject {key} in project {project_id}: nothing was accepted")
    arguments = {"project_id": project_id, "subjects": list(subject_ids)}
    with ledger.atomic_run("accept", arguments) as (connection, run_id):
        new = 0
        for key in dict.fromkeys(subject_ids):
            mine = captures.name_of_subject(connection, key)
            if mine is not None:
                raise UsageError(f"subject {key} is capture {mine}'s: nothing was accepted")
            new += comparison.accept(connection, run_id, key)
    return new
