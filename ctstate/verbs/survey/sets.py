"""A batch's captures held against its subject set."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ctstate.capture import Batch, CaptureContent, Snapshot, pages
from ctstate.errors import NotFoundError
from ctstate.ledger import Ledger, State, captures, claims, comparison, seasons, subject_sets
from ctstate.machine import machine
from ctstate.verbs.survey.findings import Notes
from ctstate.verbs.survey.share import Share
from ctstate.verbs.survey.subjects import SubjectSeen, look_at
from ctstate.words import counted
from ctstate.zooniverse import PAGE_SIZE, Zooniverse
from ctstate.zooniverse.rows import Subject
from ctstate.zooniverse.subject import CAPTURE_ID, LEDGER_KEY, read_mark, subject_set_name

HEADS_AT_ONCE = 8
_NO_BATCH = Batch(0, 0, "", None, None, None)


def unknown_set(
    ledger: Ledger, zooniverse: Zooniverse, project_id: int, season: str, item: Batch, notes: Notes
) -> Batch:
    """Look for a set that has the name of a batch's set, but that the ledger does not know; return the batch.

    With its set, where that was made from this ledger: an older copy of it was put back.
    """
    set_name = item.subject_set_name or subject_set_name(season, item.name)
    for row in zooniverse.find_sets(project_id, set_name)[:1]:
        set_id = row.id
        if row.metadata.get(LEDGER_KEY) == ledger.ledger_id:
            item = item._replace(subject_set_id=set_id)
            notes.found("own set", item, detail=f"subject set {set_id}, {set_name!r}", set_name=set_name)
            return item
        count = zooniverse.count_in_set(set_id)
        if count:
            detail = f"{counted(count, 'subject')} in set {set_id}: `ctstate adopt --subject-set-id {set_id}`"
            notes.found("unknown set", item, detail=detail)
    return item


def sets_of_no_batch(
    ledger: Ledger, zooniverse: Zooniverse, project_id: int, season: str, looked_at: Sequence[Batch], notes: Notes
) -> None:
    """Look for sets with subjects that were made from this ledger for the season, and that no batch of it has.

    An older copy was put back, of before the batch was: what is in the set may be excluded here, and so no upload
    would ask for it.
    """
    made_here = [row for row in zooniverse.sets(project_id) if row.metadata.get(LEDGER_KEY) == ledger.ledger_id]
    # The ledger is read after Zooniverse: a set that an upload makes meanwhile is in both.
    with ledger.read() as connection:
        known = {mine.set_id for mine in subject_sets.of_project(connection, project_id)}
        others = set(seasons.names(connection).values()) - {season}
    known.update(item.subject_set_id for item in looked_at if item.subject_set_id is not None)
    spoken_of = {item.subject_set_name or subject_set_name(season, item.name) for item in looked_at}
    for row in sorted(made_here, key=lambda row: row.id):
        if row.id in known or row.display_name in spoken_of or _another_s(row.display_name, season, others):
            continue
        count = zooniverse.count_in_set(row.id)
        if count:
            notes.found(
                "unknown set",
                _NO_BATCH,
                detail=f"{counted(count, 'subject')} in set {row.id}, {row.display_name!r}, made from this ledger: "
                f"`ctstate adopt --subject-set-id {row.id}`",
            )


def _another_s(set_name: str, season: str, others: Iterable[str]) -> bool:
    """Tell whether a set's name is that of another season's batch."""
    owner = max((name for name in (season, *others) if set_name.startswith(f"{name}_")), key=len, default=season)
    return owner != season


class Comparison:
    """Batches held against their sets; what it finds goes into the notes."""

    def __init__(
        self,
        ledger: Ledger,
        zooniverse: Zooniverse,
        notes: Notes,
        *,
        share: Share,
        take_over: bool,
        on_progress: Callable[[int], None],
    ) -> None:
        self._ledger = ledger
        self._zooniverse = zooniverse
        self._notes = notes
        self._share = share
        self._take_over = take_over
        self._on_progress = on_progress

    def batch(self, item: Batch) -> None:
        """Compare a batch's captures with its subject set."""
        there: dict[int, list[SubjectSeen]] = {}
        set_gone = False
        if item.subject_set_id is not None:
            try:
                made = self._zooniverse.subject_set(item.subject_set_id).created_at
                first = self._notes.first_set_made
                self._notes.first_set_made = made if first is None else min(made, first)
                there = self._members(item, item.subject_set_id)
            except NotFoundError:
                set_gone = True
                self._notes.found("set gone", item, detail=f"subject set {item.subject_set_id}")
        for rows in pages(self._captures_of(item, there)):
            self._compare(item, rows, there, set_gone)

    # -- what the set holds ------------------------------------------------------------------------------

    def _members(self, item: Batch, set_id: int) -> dict[int, list[SubjectSeen]]:
        """Return the set's subjects by the key of their capture; report strangers."""
        there: dict[int, list[SubjectSeen]] = {}
        for page in pages(self._zooniverse.subjects_in_set(set_id), PAGE_SIZE):
            rows = self._captures_behind(page)
            known = [(subject, rows[subject.id]) for subject in page if subject.id in rows]
            looked = machine().each(lambda pair: self._look(*pair), known, HEADS_AT_ONCE)
            for (_, row), seen in zip(known, looked, strict=True):
                there.setdefault(row.id, []).append(seen)
                self._notes.survey.images_asked += seen.asked
            for subject in page:
                if subject.id not in rows:
                    self._stranger(item, subject)
            self._notes.survey.subjects += len(page)
            self._on_progress(self._notes.survey.subjects)
        return there

    def _captures_behind(self, page: Sequence[Subject]) -> dict[int, CaptureContent]:
        """Return the captures of subjects, by subject id: those that the ledger wrote down, those with its own
        mark, and those with nobody's mark and the `#capture_id`. A subject of another ledger is no capture's."""
        keys: dict[int, int] = {}
        names: dict[int, str] = {}
        for subject in page:
            mark = read_mark(subject.external_id)
            ours = mark is not None and mark.ledger_id == self._ledger.ledger_id
            if mark is None or (self._take_over and not ours):
                names[subject.id] = str(subject.metadata.get(CAPTURE_ID))
            elif ours:
                keys[subject.id] = mark.capture_key
        with self._ledger.read() as connection:
            by_name = captures.keys_by_capture_id(connection, set(names.values()))
            keys.update({subject_id: by_name[name] for subject_id, name in names.items() if name in by_name})
            keys.update(captures.keys_by_subject_id(connection, [subject.id for subject in page]))
            rows = {row.id: row for row in claims.read_captures(connection, sorted(set(keys.values())))}
        return {subject_id: rows[key] for subject_id, key in keys.items() if key in rows}

    def _look(self, subject: Subject, row: CaptureContent) -> SubjectSeen:
        return look_at(self._zooniverse, subject, row, check_images=self._share.covers(row.id))

    def _stranger(self, item: Batch, subject: Subject) -> None:
        subject_id = subject.id
        with self._ledger.read() as connection:
            accepted = comparison.is_accepted(connection, subject_id)
        if accepted:
            self._notes.survey.accepted += 1
            return
        mark = read_mark(subject.external_id)
        whose = f", made from ledger {mark.ledger_id}" if mark is not None else ""
        shown = subject.metadata.get(CAPTURE_ID)
        detail = f"{CAPTURE_ID} {shown!r}{whose}"
        self._notes.found("stranger", item, subject_id=subject_id, detail=detail)

    # -- what the ledger says ----------------------------------------------------------------------------

    def _captures_of(self, item: Batch, there: Mapping[int, Any]) -> Iterator[Snapshot]:
        """Yield the batch's captures, then those of other batches (or none) that are in its set."""
        mine = set()
        for page in captures.snapshots_of_batch(self._ledger.read, item.season_id, item.id):
            mine |= {row.id for row in page}
            yield from page
        for page in captures.snapshots_among(self._ledger.read, sorted(there.keys() - mine)):
            yield from page

    def _compare(
        self, item: Batch, rows: Sequence[Snapshot], there: dict[int, list[SubjectSeen]], set_gone: bool
    ) -> None:
        if item.subject_set_id is None:
            item = self._with_set(item)  # a live upload may have made it since the batches were read
        # What the ledger knows a subject of, but the set does not hold: is it there at all?
        missing = [row.subject_id for row in rows if row.subject_id is not None and row.id not in there]
        elsewhere = self._zooniverse.subjects_by_id(missing) if missing else {}
        self._linked_since(item, rows, elsewhere, there)
        self._notes.survey.captures += len(rows)
        for row in rows:
            subjects = there.get(row.id, [])
            if row.state == State.UPLOADING.value:
                self._notes.survey.under_way += 1
                self._notes.accounted.update(seen.id for seen in subjects)
            elif subjects:
                self._in_set(item, row, subjects)
            elif row.batch_id == item.id:
                self._not_in_set(item, row, elsewhere, set_gone)

    def _with_set(self, item: Batch) -> Batch:
        with self._ledger.read() as connection:
            return item._replace(subject_set_id=subject_sets.of_batch(connection, item.id))

    def _linked_since(
        self,
        item: Batch,
        rows: Sequence[Snapshot],
        elsewhere: Mapping[int, Subject],
        there: dict[int, list[SubjectSeen]],
    ) -> None:
        """Add what was linked after the set was listed and before the ledger was read: a live upload goes on."""
        late = {}
        for row in rows:
            subject = elsewhere.get(row.subject_id) if row.subject_id is not None else None
            if subject is not None and item.subject_set_id in subject.sets:
                late[row.id] = subject
        if late:
            with self._ledger.read() as connection:
                behind = claims.read_captures(connection, list(late))
            for each in behind:
                there[each.id] = [self._look(late[each.id], each)]

    # -- what that means ---------------------------------------------------------------------------------

    def _in_set(self, item: Batch, row: Snapshot, subjects: list[SubjectSeen]) -> None:
        found = self._notes.found
        if row.batch_id is not None and row.batch_id != item.id and row.state == State.UPLOADED.value:
            # It is uploaded in the set of its own batch: this one is too many.
            for extra in subjects:
                if extra.id != row.subject_id:
                    found("duplicate", item, row, extra.id, detail=f"kept: subject {row.subject_id}")
            return
        known = [seen for seen in subjects if seen.id == row.subject_id]
        whole = [seen for seen in subjects if not seen.problem]
        keep = (known or whole or subjects)[0]
        for extra in subjects:
            if extra.id != keep.id:
                found("duplicate", item, row, extra.id, detail=f"kept: subject {keep.id}")
        if row.state == State.UPLOADED.value and keep.id == row.subject_id:
            if keep.problem:
                found("images", item, row, keep.id, detail=keep.problem)
            elif keep.differs:
                found("metadata", item, row, keep.id, detail=", ".join(keep.differs))
            else:
                self._notes.accounted.add(keep.id)
                self._notes.survey.agree += 1
        elif keep.problem and row.state == State.BATCHED.value and row.subject_id == keep.id:
            found("not uploaded", item, row, keep.id, detail=keep.problem)  # noted: an upload finishes it
        elif keep.problem:
            found("finish", item, row, keep.id, detail=keep.problem)
        else:
            found("adopt", item, row, keep.id, detail=f"ledger says {row.state}", differs=bool(keep.differs))

    def _not_in_set(self, item: Batch, row: Snapshot, elsewhere: Mapping[int, Subject], set_gone: bool) -> None:
        notes = self._notes
        state = State(row.state)
        subject = elsewhere.get(row.subject_id) if row.subject_id is not None else None
        if row.subject_id is not None and subject is None and state is not State.DELETED:
            notes.found("deleted", item, row, row.subject_id, detail=f"ledger says {state}")
        elif state is State.UPLOADED:
            sets = subject.sets if subject is not None else ()
            detail = "its set is gone" if set_gone else f"in sets {', '.join(map(str, sets)) or 'none'}"
            notes.found("unlinked", item, row, row.subject_id, detail=detail)
        elif state in (State.REMOVED, State.DELETED):
            notes.survey.taken_back += 1
            if row.subject_id is not None:
                notes.accounted.add(row.subject_id)
        elif row.subject_id is not None:
            # A run noted its subject and stopped: the next upload goes on from there.
            notes.found("not uploaded", item, row, row.subject_id, detail=row.reason or str(state))
        elif row.excluded is not None:
            notes.survey.excluded += 1
        else:
            notes.found("not uploaded", item, row, detail=row.reason or row.state)
