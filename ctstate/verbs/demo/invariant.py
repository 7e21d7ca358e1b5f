"""The invariant, stated once: what must hold after any mix of kills, faults and workers.

Each capture has exactly one active subject, in the right set, with every image whole; there are no orphans and
no duplicates; at no instant was a subject in a set before its images were whole; and the ledger says so, and has
counted right.

`violations` holds a ledger against everything a sandbox knows. For a user's own season on Zooniverse,
`ctstate verify` checks the same from outside (less the history, which only a sandbox keeps).
"""

import base64
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ctstate.ledger import Ledger, State, audit, counts
from ctstate.ledger.audit import AuditedCapture, AuditedImage
from ctstate.words import counted
from ctstate.zooniverse.subject import CAPTURE_ID, read_mark

Subject = Mapping[str, Any]
"""A subject as the sandbox tells of it."""


def violations(ledger: Ledger, world: Mapping[str, Any], *, complete: bool = True) -> list[str]:
    """Return every way in which the invariant does not hold; an empty list is good.

    Args:
        ledger: the ledger, with no run at work.
        world: what the sandbox's `GET /sandbox/state` says.
        complete: every capture that is not excluded must be uploaded; else those on their way may be not yet
            whole or linked, but never doubled, lost or published too early.
    """
    ledger_id = ledger.ledger_id
    with ledger.read() as connection:
        captures, images, live = audit.everything(connection)
        miscounted = counts.drift(connection)
    made_here = {s["id"] for s in world["subjects"] if _ledger_of(s) == ledger_id}
    found = [
        f"published before its images were whole: {entry}"
        for entry in world["published_incomplete"]
        if entry["subject"] in made_here
    ]
    if miscounted:
        found.append(f"the ledger miscounts its captures in {counted(miscounted, 'row')} of state_count")
    active = {int(s["id"]): s for s in world["subjects"] if s["active"]}
    names = Counter((s["project"], s["display_name"]) for s in world["subject_sets"] if not s["deleted"])
    found += [f"{count} subject sets are named {name!r}" for (_, name), count in names.items() if count > 1]
    by_capture: dict[str, list[int]] = {}
    for subject_id, subject in active.items():
        by_capture.setdefault(str(subject["metadata"].get(CAPTURE_ID)), []).append(subject_id)
    known = set()
    for row in captures:
        subjects = by_capture.get(row.capture_id, [])
        known.update(subjects)
        where = f"{row.capture_id} ({row.state})"
        if len(subjects) > 1:
            found.append(f"{where}: {counted(len(subjects), 'active subject')}: {sorted(subjects)}")
        if row.state == State.UPLOADING and row.run_id not in live:
            found.append(f"{where}: claimed by run {row.run_id}, which has ended")
        if row.state == State.UPLOADED:
            found += [f"{where}: {what}" for what in _uploaded(row, active, images.get(row.id, []))]
        elif row.state in (State.REMOVED, State.DELETED):
            found += [f"{where}: {what}" for what in _taken_back(row, active)]
        elif complete and row.excluded is None:
            found.append(f"{where}: not uploaded ({row.reason})")
        else:
            found += [f"{where}: {what}" for what in _on_its_way(row, subjects)]
    for subject_id, subject in active.items():
        if subject_id not in known and _ledger_of(subject) == ledger_id:
            found.append(f"subject {subject_id} was made by this ledger and is no capture's")
    return found


def _ledger_of(subject: Subject) -> str | None:
    mark = read_mark(subject.get("external_id"))
    return mark.ledger_id if mark is not None else None


def _subject_of(row: AuditedCapture, active: Mapping[int, Subject]) -> Subject | None:
    return None if row.subject_id is None else active.get(row.subject_id)


def _uploaded(row: AuditedCapture, active: Mapping[int, Subject], images: list[AuditedImage]) -> list[str]:
    subject = _subject_of(row, active)
    if subject is None:
        return [f"its subject {row.subject_id} is not there"]
    found = []
    if [int(key) for key in subject["subject_sets"]] != [row.subject_set_id]:
        found.append(f"its subject is in sets {subject['subject_sets']}, not in {row.subject_set_id}")
    if len(subject["images"]) != len(images):
        found.append(f"{counted(len(subject['images']), 'image')}, not {len(images)}")
    for ours, theirs in zip(images, subject["images"], strict=False):
        if not theirs["whole"]:
            found.append(f"image {ours.path} is not whole")
        elif ours.md5 and base64.b64decode(theirs["md5"]).hex() != ours.md5:
            found.append(f"image {ours.path} is not the one the ledger knows")
    return found


def _taken_back(row: AuditedCapture, active: Mapping[int, Subject]) -> list[str]:
    subject = _subject_of(row, active)
    if row.state == State.DELETED:
        return [f"its subject {row.subject_id} is still there"] if subject is not None else []
    if subject is None:
        return [f"its subject {row.subject_id} is not there"]
    return (
        [f"its subject is still in set {row.subject_set_id}"]
        if str(row.subject_set_id) in map(str, subject["subject_sets"])
        else []
    )


def _on_its_way(row: AuditedCapture, subjects: list[int]) -> list[str]:
    # A subject that the ledger does not know yet is fine only where a create is written down as in doubt.
    unknown = [key for key in subjects if key != row.subject_id]
    if unknown and row.create_sent_at is None:
        return [f"subject {unknown[0]} is not in the ledger, and no create is in doubt"]
    return []
