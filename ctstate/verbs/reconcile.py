"""The ledger held against Zooniverse (`ctstate reconcile`, `ctstate verify`).

A survey lists a batch's subject set page by page and what this ledger's runs made in no set, matches
`#capture_id` and the ledger's own mark, and classifies everything it finds. `reconcile` carries the plan out;
`verify` also asks the store for every image and changes nothing.

Both may run beside live uploads. What a survey saw is old when it is acted on; so each finding is looked at again,
and what is then written names the capture as it was seen, and changes nothing if it has moved since. What is
changed or deleted on Zooniverse bears this ledger's mark, or is a subject that the ledger wrote down.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sqlalchemy import Row, func, insert, select
from sqlalchemy.engine import Connection

from ctstate.capture import Capture
from ctstate.errors import NotFoundError, UsageError
from ctstate.ledger import Ledger, LiveRun, claims, clock, set_lease, transitions
from ctstate.ledger.schema import accepted_subject, batch, capture, legacy_subject, run
from ctstate.ledger.set_lease import turn
from ctstate.ledger.states import State
from ctstate.machine import machine
from ctstate.zooniverse.api import PAGE_SIZE, Zooniverse
from ctstate.zooniverse.subject import CAPTURE_ID, LEDGER_KEY, read_mark, subject_metadata, subject_set_name

HEADS_AT_ONCE = 8

KINDS: Mapping[str, str] = {
    "own set": "a subject set made from this ledger, which does not know it: note it",
    "adopt": "on Zooniverse and whole, but the ledger does not say uploaded: adopt it",
    "finish": "its subject exists, but is not whole or not linked: note it, the next upload finishes it",
    "unlinked": "the ledger says uploaded, but the subject is in its set no more: to removed",
    "deleted": "its subject is no longer on Zooniverse: to deleted",
    "set gone": "the whole subject set is no longer on Zooniverse: forget it",
    "duplicate": "another subject of a capture that has one: delete it",
    "classified duplicate": "another subject of a capture that has one, but volunteers classified it: left alone",
    "foreign duplicate": "another subject of a capture that has one, not made from this ledger: left alone",
    "images": "uploaded, but images are missing or not as sent: to batched, the next upload puts them again",
    "metadata": "metadata differs from the ledger's: update it",
    "stranger": "in the set, but not this ledger's: never touched; --accept SUBJECT says that it is fine there",
    "unknown set": "a set of the batch's name has subjects that the ledger does not know: `ctstate adopt` takes "
    "it in",
    "not uploaded": "not on Zooniverse yet",
}
"""What a survey can find, and what is done about it."""

ACTED_ON = frozenset(KINDS) - {
    "stranger", "unknown set", "classified duplicate", "foreign duplicate", "not uploaded"
}  # fmt: skip
"""Kinds that `reconcile --apply` does something about."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        kind: one of KINDS.
        capture_id, subject_id: what it is about, where known.
        batch: name of the batch.
        detail: what was seen.
    """

    kind: str
    batch: str
    capture_id: str | None = None
    subject_id: int | None = None
    detail: str = ""
    seen: Any = field(default=None, compare=False, repr=False)
    batch_id: int = field(default=0, compare=False, repr=False)
    set_id: int | None = field(default=None, compare=False, repr=False)
    set_name: str = field(default="", compare=False, repr=False)
    differs: bool = field(default=False, compare=False, repr=False)  # its metadata, besides


@dataclass
class Survey:
    """What was found: how many captures agree, and everything else."""

    season: str
    agree: int = 0
    under_way: int = 0
    excluded: int = 0
    taken_back: int = 0  # removed or deleted on purpose, and so it is
    accepted: int = 0  # strangers that a person said are fine there
    findings: list[Finding] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """Return how many findings are of a kind."""
        return sum(1 for finding in self.findings if finding.kind == kind)

    @property
    def advice(self) -> str:
        """Which verbs help with what was found; empty where all is well."""
        kinds = {finding.kind for finding in self.findings}
        said = []
        if kinds & ACTED_ON:
            said.append("`ctstate reconcile --apply` carries out what is proposed.")
        if "unknown set" in kinds:
            said.append("`ctstate adopt` takes in a set that is there already; do not upload before.")
        if "stranger" in kinds:
            said.append(
                "Strangers are never touched: `ctstate reconcile --accept SUBJECT` says that one is fine there."
            )
        if kinds & {"foreign duplicate", "classified duplicate"}:
            said.append("Look at the duplicates that are left alone: `ctstate delete` takes one back.")
        pending = [f for f in self.findings if f.kind == "not uploaded"]
        if any(f.seen is not None and f.seen.state == State.FAILED.value for f in pending):
            said.append("`ctstate retry` gives failed captures another try.")
        if (
            any(f.seen is None or f.seen.state != State.FAILED.value for f in pending)
            and "unknown set" not in kinds
        ):
            said.append("`ctstate upload` uploads what is not there yet.")
        if self.under_way:
            said.append(f"{self.under_way:,} captures are under way at this moment.")
        return " ".join(said)

    @property
    def to_do(self) -> list[Finding]:
        """The findings that `reconcile --apply` does something about."""
        return [finding for finding in self.findings if finding.kind in ACTED_ON]


def set_of(connection: Connection, batch_id: int) -> int | None:
    """Return the subject set that a batch has at this moment."""
    return connection.execute(select(batch.c.subject_set_id).where(batch.c.id == batch_id)).scalar()


class _Batch(NamedTuple):
    """A batch, as far as it matters."""

    id: int
    name: str
    subject_set_id: int | None = None


@dataclass
class _Seen:
    """A subject of the set, as far as it matters."""

    id: int
    problem: str  # with its images; empty where they are whole or were not looked at
    differs: tuple[str, ...]


def survey(
    ledger: Ledger,
    zooniverse: Zooniverse,
    project_id: int,
    *,
    season: str | None = None,
    batch_name: str | None = None,
    subject_set_id: int | None = None,
    check_images: bool = False,
    take_over: bool = False,
    on_progress: Callable[[int], None] = lambda subjects: None,
) -> Survey:
    """Compare a season, a batch or the batch of a subject set with Zooniverse; nothing is changed.

    Args:
        ledger, zooniverse: the two to compare.
        project_id: the Zooniverse project.
        season: manifest id; may be None where the ledger holds one season.
        batch_name, subject_set_id: only this batch.
        check_images: ask the store for every image, not only where the ledger is in doubt.
        take_over: subjects in the sets that bear another ledger's mark are this one's, as that one is lost
        (`adopt`). on_progress: told the number of subjects seen so far.

    Raises:
        UsageError: no such season or batch, or a set that is no batch's.
        ZooniverseError: no usable answer; see `Zooniverse`.
    """
    ledger.check_endpoint(zooniverse.endpoint)
    row = ledger.season(season)
    batches = list(ledger.batches(row.id, batch_name))
    if subject_set_id is not None:
        batches = [b for b in batches if b.subject_set_id == subject_set_id]
        if not batches:
            raise UsageError(
                f"no batch of season {row.name} has subject set {subject_set_id}; "
                "`ctstate adopt` takes in a set that the ledger does not know"
            )
    zooniverse.project(project_id)
    result = Survey(season=row.name)
    surveyor = _Surveyor(ledger, zooniverse, project_id, row.id, check_images, take_over, result, on_progress)
    looked_at = [
        _Batch(item.id, item.name, item.subject_set_id)
        if item.subject_set_id is not None
        else surveyor.unknown_set(
            item.id, item.name, item.subject_set_name or subject_set_name(row.name, item.name)
        )
        for item in batches
    ]
    for each in looked_at:
        surveyor.batch(each)
    surveyor.outside_sets(looked_at)
    if batch_name is None and subject_set_id is None:
        surveyor.unbatched()
    surveyor.spare_what_is_not_ours()
    return result


class _Surveyor:
    def __init__(
        self,
        ledger: Ledger,
        zooniverse: Zooniverse,
        project_id: int,
        season_id: int,
        check_images: bool,
        take_over: bool,
        result: Survey,
        on_progress: Callable[[int], None],
    ) -> None:
        self._ledger = ledger
        self._zooniverse = zooniverse
        self._project = project_id
        self._season = season_id
        self._check = check_images
        self._take_over = take_over
        self._result = result
        self._on_progress = on_progress
        self._subjects = 0
        self._first_set: str | None = None  # when the first of the sets was made, by the server's clock
        self._accounted: set[int] = set()  # subjects that a finding or an agreement speaks of

    def _found(self, kind: str, item: _Batch, seen: Any = None, subject_id: int | None = None, **more: Any) -> None:
        if subject_id is not None:
            self._accounted.add(subject_id)
        self._result.findings.append(
            Finding(
                kind=kind,
                batch=item.name,
                capture_id=seen.capture_id if seen is not None else None,
                subject_id=subject_id,
                seen=seen,
                batch_id=item.id,
                set_id=item.subject_set_id,
                **more,
            )
        )

    # -- a batch and its set -----------------------------------------------------------------------------

    def batch(self, item: _Batch) -> None:
        """Compare a batch's captures with its subject set."""
        there: dict[int, list[_Seen]] = {}
        set_gone = False
        if item.subject_set_id is not None:
            try:
                made = str(self._zooniverse.subject_set(item.subject_set_id)["created_at"])
                self._first_set = made if self._first_set is None else min(made, self._first_set)
                there = self._members(item, item.subject_set_id)
            except NotFoundError:
                set_gone = True
                self._found("set gone", item, detail=f"subject set {item.subject_set_id}")
        for rows in _pages(self._captures_of(item.id, there)):
            self._compare(item, rows, there, set_gone)

    def unknown_set(self, batch_id: int, name: str, set_name: str) -> _Batch:
        """Look for a set that has the name of a batch's set, but that the ledger does not know; return the batch.

        With its set, where that was made from this ledger: an older copy of it was put back.
        """
        for row in self._zooniverse.find_sets(self._project, set_name)[:1]:
            set_id = int(row["id"])
            if (row.get("metadata") or {}).get(LEDGER_KEY) == self._ledger.ledger_id:
                item = _Batch(batch_id, name, set_id)
                self._found("own set", item, detail=f"subject set {set_id}, {set_name!r}", set_name=set_name)
                return item
            count = self._zooniverse.count_in_set(set_id)
            if count:
                detail = f"{count:,} subjects in set {set_id}: `ctstate adopt --subject-set-id {set_id}`"
                self._found("unknown set", _Batch(batch_id, name), detail=detail)
        return _Batch(batch_id, name)

    def _members(self, item: _Batch, set_id: int) -> dict[int, list[_Seen]]:
        """Return the set's subjects by the key of their capture; report strangers."""
        there: dict[int, list[_Seen]] = {}
        for page in _pages(self._zooniverse.subjects_in_set(set_id), PAGE_SIZE):
            rows = self._captures_behind(page)
            pairs = [(subject, rows.get(int(subject["id"]))) for subject in page]
            looked = machine().each(lambda pair: self._look(*pair), pairs, HEADS_AT_ONCE)
            for (subject, row), seen in zip(pairs, looked, strict=True):
                if row is None or seen is None:
                    self._stranger(item, subject)
                else:
                    there.setdefault(row.id, []).append(seen)
            self._subjects += len(page)
            self._on_progress(self._subjects)
        return there

    def _stranger(self, item: _Batch, subject: Mapping[str, Any]) -> None:
        subject_id = int(subject["id"])
        with self._ledger.read() as connection:
            accepted = connection.execute(
                select(accepted_subject.c.subject_id).where(accepted_subject.c.subject_id == subject_id)
            ).first()
        if accepted is not None:
            self._result.accepted += 1
            return
        mark = read_mark(subject.get("external_id"))
        whose = f", made from ledger {mark.ledger_id}" if mark is not None else ""
        shown = subject["metadata"].get(CAPTURE_ID)
        self._found("stranger", item, subject_id=subject_id, detail=f"{CAPTURE_ID} {shown!r}{whose}")

    def _captures_behind(self, page: Sequence[Mapping[str, Any]]) -> dict[int, Capture]:
        """Return the captures of subjects, by subject id: those that the ledger wrote down, those with its own
        mark, and those with nobody's mark and the `#capture_id`. A subject of another ledger is no capture's."""
        keys: dict[int, int] = {}
        names: dict[int, str] = {}
        for subject in page:
            mark = read_mark(subject.get("external_id"))
            ours = mark is not None and mark.ledger_id == self._ledger.ledger_id
            if mark is None or (self._take_over and not ours):
                names[int(subject["id"])] = str(subject["metadata"].get(CAPTURE_ID))
            elif ours:
                keys[int(subject["id"])] = mark.capture_key
        with self._ledger.read() as connection:
            found = connection.execute(
                select(capture.c.id, capture.c.capture_id, capture.c.subject_id).where(
                    capture.c.capture_id.in_(set(names.values()))
                    | capture.c.subject_id.in_([int(subject["id"]) for subject in page])
                )
            ).all()
            by_name = {row.capture_id: row.id for row in found}
            keys.update({subject_id: by_name[name] for subject_id, name in names.items() if name in by_name})
            keys.update({row.subject_id: row.id for row in found if row.subject_id is not None})
            rows = {row.id: row for row in claims.read_captures(connection, sorted(set(keys.values())))}
        return {subject_id: rows[key] for subject_id, key in keys.items() if key in rows}

    def _look(self, subject: Mapping[str, Any], row: Capture | None) -> _Seen | None:
        """Compare one subject with its capture; its images only where that matters."""
        if row is None:
            return None
        subject_id = int(subject["id"])
        settled = row.state == State.UPLOADED.value and row.subject_id == subject_id
        problem = ""
        if self._check or not settled:
            problem = image_problem(self._zooniverse, subject, row)
        elif len(subject["locations"]) != len(row.images):
            problem = f"{len(subject['locations'])} images, not {len(row.images)}"
        wanted = subject_metadata(row)
        differs = tuple(key for key, value in wanted.items() if subject["metadata"].get(key) != value)
        return _Seen(subject_id, problem, differs)

    def _captures_of(self, batch_id: int, there: Mapping[int, Any]) -> Iterator[Row[Any]]:
        """Yield the batch's captures, then those of other batches (or none) that are in its set."""
        last = 0
        mine = set()
        while True:
            with self._ledger.read() as connection:
                rows = connection.execute(
                    select(capture)
                    .where(capture.c.season_id == self._season, capture.c.batch_id == batch_id, capture.c.id > last)
                    .order_by(capture.c.id)
                    .limit(500)
                ).all()
            for row in rows:
                mine.add(row.id)
                yield row
            if len(rows) < 500:
                break
            last = rows[-1].id
        others = sorted(there.keys() - mine)
        for start in range(0, len(others), 500):
            with self._ledger.read() as connection:
                yield from connection.execute(
                    select(capture).where(capture.c.id.in_(others[start : start + 500])).order_by(capture.c.id)
                ).all()

    def _compare(
        self, item: _Batch, rows: Sequence[Row[Any]], there: dict[int, list[_Seen]], set_gone: bool
    ) -> None:
        if item.subject_set_id is None:
            item = self._with_set(item)  # a live upload may have made it since the batches were read
        # What the ledger knows a subject of, but the set does not hold: is it there at all?
        missing = [row.subject_id for row in rows if row.subject_id is not None and row.id not in there]
        elsewhere = self._zooniverse.subjects_by_id(missing) if missing else {}
        self._linked_since(item, rows, elsewhere, there)
        for row in rows:
            subjects = there.get(row.id, [])
            if row.state == State.UPLOADING.value:
                self._result.under_way += 1
                self._accounted.update(seen.id for seen in subjects)
            elif subjects:
                self._in_set(item, row, subjects)
            elif row.batch_id == item.id:
                self._not_in_set(item, row, elsewhere, set_gone)

    def _with_set(self, item: _Batch) -> _Batch:
        with self._ledger.read() as connection:
            return item._replace(subject_set_id=set_of(connection, item.id))

    def _linked_since(
        self,
        item: _Batch,
        rows: Sequence[Row[Any]],
        elsewhere: Mapping[int, Mapping[str, Any]],
        there: dict[int, list[_Seen]],
    ) -> None:
        """Add what was linked after the set was listed and before the ledger was read: a live upload goes on."""
        late = [
            row
            for row in rows
            if row.subject_id in elsewhere and str(item.subject_set_id) in _sets(elsewhere[row.subject_id])
        ]
        if late:
            with self._ledger.read() as connection:
                captures = {row.id: row for row in claims.read_captures(connection, [row.id for row in late])}
            for row in late:
                seen = self._look(elsewhere[row.subject_id], captures[row.id])
                if seen is not None:
                    there[row.id] = [seen]

    def _in_set(self, item: _Batch, row: Row[Any], subjects: list[_Seen]) -> None:
        if row.batch_id is not None and row.batch_id != item.id and row.state == State.UPLOADED.value:
            # It is uploaded in the set of its own batch: this one is too many.
            for extra in subjects:
                if extra.id != row.subject_id:
                    self._found("duplicate", item, row, extra.id, detail=f"kept: subject {row.subject_id}")
            return
        known = [seen for seen in subjects if seen.id == row.subject_id]
        whole = [seen for seen in subjects if not seen.problem]
        keep = (known or whole or subjects)[0]
        for extra in subjects:
            if extra.id != keep.id:
                self._found("duplicate", item, row, extra.id, detail=f"kept: subject {keep.id}")
        if row.state == State.UPLOADED.value and keep.id == row.subject_id:
            if keep.problem:
                self._found("images", item, row, keep.id, detail=keep.problem)
            elif keep.differs:
                self._found("metadata", item, row, keep.id, detail=", ".join(keep.differs))
            else:
                self._accounted.add(keep.id)
                self._result.agree += 1
        elif keep.problem and row.state == State.BATCHED.value and row.subject_id == keep.id:
            self._found("not uploaded", item, row, keep.id, detail=keep.problem)  # noted: an upload finishes it
        elif keep.problem:
            self._found("finish", item, row, keep.id, detail=keep.problem)
        else:
            self._found("adopt", item, row, keep.id, detail=f"ledger says {row.state}", differs=bool(keep.differs))

    def _not_in_set(
        self, item: _Batch, row: Row[Any], elsewhere: Mapping[int, Mapping[str, Any]], set_gone: bool
    ) -> None:
        state = State(row.state)
        subject = elsewhere.get(row.subject_id) if row.subject_id is not None else None
        if row.subject_id is not None and subject is None and state is not State.DELETED:
            self._found("deleted", item, row, row.subject_id, detail=f"ledger says {state}")
        elif state is State.UPLOADED:
            detail = "its set is gone" if set_gone else f"in sets {', '.join(_sets(subject)) or 'none'}"
            self._found("unlinked", item, row, row.subject_id, detail=detail)
        elif state in (State.REMOVED, State.DELETED):
            self._result.taken_back += 1
            if row.subject_id is not None:
                self._accounted.add(row.subject_id)
        elif row.subject_id is not None:
            # A run noted its subject and stopped: the next upload goes on from there.
            self._accounted.add(row.subject_id)
            self._found("not uploaded", item, row, row.subject_id, detail=row.reason or str(state))
        else:
            self._pending(item, row)

    def _pending(self, item: _Batch, row: Row[Any]) -> None:
        if row.excluded is not None:
            self._result.excluded += 1
        else:
            self._found("not uploaded", item, row, detail=row.reason or row.state)

    def unbatched(self) -> None:
        """Count the captures of the season that are in no batch."""
        with self._ledger.read() as connection:
            rows = connection.execute(
                select(capture.c.excluded, func.count())
                .where(capture.c.season_id == self._season, capture.c.batch_id.is_(None))
                .group_by(capture.c.excluded)
            ).all()
        for excluded, count in rows:
            if excluded is not None:
                self._result.excluded += count
            else:
                self._result.findings.append(Finding("not uploaded", "", detail=f"{count:,} captures in no batch"))

    # -- subjects in no set ------------------------------------------------------------------------------

    def outside_sets(self, batches: Sequence[_Batch]) -> None:
        """Find subjects in no set that are captures of this ledger: lost by a run, or by other scripts."""
        # Whoever uploaded it: a season that is switched over may have been begun by a colleague's account.
        # What other scripts lost was made after their set; what our runs lost, after the first of them began.
        with self._ledger.read() as connection:
            began = connection.execute(
                select(func.min(run.c.started_at)).where(run.c.verb == "upload", run.c.project_id == self._project)
            ).scalar()
        since = min(
            filter(None, (self._first_set, clock.shifted(began, -clock.SKEW_S) if began else None)), default=None
        )
        newest = self._zooniverse.newest_subjects(self._project, page_size=PAGE_SIZE)
        if since is None:  # nothing was ever uploaded, as far as this ledger knows; it may be an older copy
            recent: Iterable[dict[str, Any]] = itertools.islice(newest, PAGE_SIZE)
        else:
            recent = itertools.takewhile(lambda row: row["created_at"] >= since, newest)
        lost: dict[int, list[int]] = {}
        for page in _pages(recent):
            for key, subject_id in self._ours_in_no_set(page):
                lost.setdefault(key, []).append(subject_id)
        found = set()
        for keys in _pages(iter(sorted(lost))):
            found |= self._lost(keys, lost, {item.id: item for item in batches})
        # A capture found lost is no longer simply not uploaded.
        self._result.findings = [
            finding
            for finding in self._result.findings
            if not (finding.kind == "not uploaded" and finding.capture_id in found)
        ]

    def _ours_in_no_set(self, page: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int]]:
        """Yield capture key and subject id: by our mark, or by `#capture_id` where nobody's mark is on it."""
        unmarked: dict[str, list[int]] = {}
        for subject in page:
            subject_id = int(subject["id"])
            if subject_id in self._accounted or subject["links"]["subject_sets"]:
                continue
            mark = read_mark(subject.get("external_id"))
            if mark is not None and mark.ledger_id == self._ledger.ledger_id:
                yield mark.capture_key, subject_id
            elif mark is None:
                unmarked.setdefault(str(subject["metadata"].get(CAPTURE_ID)), []).append(subject_id)
        if unmarked:
            with self._ledger.read() as connection:
                rows = connection.execute(
                    select(capture.c.id, capture.c.capture_id).where(capture.c.capture_id.in_(list(unmarked)))
                ).all()
            for row in rows:
                for subject_id in unmarked[row.capture_id]:
                    yield row.id, subject_id

    def _lost(self, keys: Sequence[int], lost: Mapping[int, list[int]], batches: Mapping[int, _Batch]) -> set[str]:
        """Report lost subjects; return the captures that an upload has only to finish."""
        with self._ledger.read() as connection:
            rows = connection.execute(select(capture).where(capture.c.id.in_(keys))).all()
        found = set()
        for row in rows:
            item = batches.get(row.batch_id)
            if item is None or row.state == State.UPLOADING.value:
                continue
            ids = sorted(lost[row.id])
            if row.subject_id is None and row.state in (State.BATCHED.value, State.FAILED.value):
                found.add(row.capture_id)
                self._found("finish", item, row, ids[0], detail="made, but never linked")
                ids = ids[1:]
            for surplus in ids:
                if surplus != row.subject_id:
                    self._found(
                        "duplicate", item, row, surplus, detail=f"in no set; kept: subject {row.subject_id}"
                    )
        return found

    def spare_what_is_not_ours(self) -> None:
        """Volunteers' work is never deleted, nor what was not made from this ledger: these duplicates are
        reported."""
        ids = [f.subject_id for f in self._result.findings if f.kind == "duplicate" and f.subject_id is not None]
        if not ids:
            return
        classified = self._zooniverse.classified(self._project, ids)
        foreign = set(ids) - deletable(self._ledger, self._zooniverse.subjects_by_id(ids))
        kinds = dict.fromkeys(foreign, "foreign duplicate") | dict.fromkeys(classified, "classified duplicate")
        self._result.findings = [
            replace(f, kind=kinds.get(f.subject_id or 0, f.kind)) if f.kind == "duplicate" else f
            for f in self._result.findings
        ]


def deletable(ledger: Ledger, subjects: Mapping[int, Mapping[str, Any]]) -> set[int]:
    """Return those of these subjects that were made from this ledger, or that a file of the old scripts names."""
    with ledger.read() as connection:
        named = set(
            connection.execute(
                select(legacy_subject.c.subject_id).where(legacy_subject.c.subject_id.in_(list(subjects)))
            ).scalars()
        )
    marks = {key: read_mark(subject.get("external_id")) for key, subject in subjects.items()}
    return named | {key for key, mark in marks.items() if mark is not None and mark.ledger_id == ledger.ledger_id}


def image_problem(zooniverse: Zooniverse, subject: Mapping[str, Any], row: Capture) -> str:
    """Ask the store for each image of a subject; return what is wrong, or ''.

    An image that this ledger sent must have the MD5 it was sent with; one that others sent must be there.
    """
    urls = [str(url) for location in subject["locations"] for url in location.values()]
    if len(urls) != len(row.images):
        return f"{len(urls)} images, not {len(row.images)}"
    for number, (url, image) in enumerate(zip(urls, row.images, strict=False), start=1):
        md5 = zooniverse.image_md5(url)
        if md5 is None:
            return f"image {number} of {len(urls)} never arrived"
        if image.md5 and md5 and md5 != image.md5:
            return f"image {number} of {len(urls)} is not the one that was sent"
    return ""


def _sets(subject: Mapping[str, Any] | None) -> list[str]:
    return [str(key) for key in subject["links"]["subject_sets"]] if subject else []


def _pages(items: Iterable[Any], size: int = 500) -> Iterator[list[Any]]:
    iterator = iter(items)
    while page := list(itertools.islice(iterator, size)):
        yield page


# -- carrying it out -------------------------------------------------------------------------------------------


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
    with ledger.live_run("reconcile", arguments) as live:
        for page in _pages(found.to_do, PAGE_SIZE):
            for finding in _still_so(ledger, zooniverse, project_id, page):
                live.make_sure()
                if _settle(ledger, zooniverse, project_id, live, finding):
                    done[finding.kind] = done.get(finding.kind, 0) + 1
    return done


def _still_so(
    ledger: Ledger, zooniverse: Zooniverse, project_id: int, findings: Sequence[Finding]
) -> Iterator[Finding]:
    """Look at Zooniverse again, and yield the findings that are still true."""
    ids = sorted({finding.subject_id for finding in findings if finding.subject_id is not None})
    there = zooniverse.subjects_by_id(ids) if ids else {}
    doubles = [key for key in ids if any(f.kind == "duplicate" and f.subject_id == key for f in findings)]
    classified = zooniverse.classified(project_id, doubles) if doubles else set()
    ours = deletable(ledger, there)
    with ledger.read() as connection:
        sets = {key: set_of(connection, key) for key in sorted({finding.batch_id for finding in findings})}
    for finding in findings:
        subject = there.get(finding.subject_id or 0)
        in_set = subject is not None and str(sets[finding.batch_id] or finding.set_id) in _sets(subject)
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
        elif finding.kind in ("adopt", "images"):
            still = in_set
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
    if kind == "duplicate":
        assert subject_id is not None
        return _is_too_many(ledger, zooniverse, seen.id, subject_id) and zooniverse.delete_subject(subject_id)
    done = True
    if kind != "metadata":
        with ledger.write() as connection:
            done = _correct(connection, live.id, finding, f"reconcile: {finding.detail}")
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
        kept = connection.execute(select(capture.c.subject_id).where(capture.c.id == key)).scalar()
    return kept is not None and kept != subject_id and bool(zooniverse.subjects_by_id([kept]))


def _note_set(ledger: Ledger, zooniverse: Zooniverse, project_id: int, live: LiveRun, finding: Finding) -> bool:
    """Write down that a batch has this set, or has it no more."""
    gone = finding.kind == "set gone"
    with turn(ledger, live, finding.batch_id, zooniverse.patience.wait) as lease:
        if lease is None:
            return False
        with ledger.write() as connection:
            if set_of(connection, finding.batch_id) != (finding.set_id if gone else None):
                return False
            set_id, name = (None, None) if gone else (finding.set_id, finding.set_name)
            set_lease.note_subject_set(connection, lease, project_id, set_id, name)
    return True


def _correct(connection: Connection, run_id: int, finding: Finding, reason: str) -> bool:
    kind, seen, subject_id = finding.kind, finding.seen, finding.subject_id
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
        if key not in there or int(there[key]["links"]["project"]) != project_id:
            raise UsageError(f"no subject {key} in project {project_id}: nothing was accepted")
    new = 0
    arguments = {"project_id": project_id, "subjects": list(subject_ids)}
    with ledger.atomic_run("accept", arguments) as (connection, run_id):
        for key in dict.fromkeys(subject_ids):
            mine = connection.execute(select(capture.c.capture_id).where(capture.c.subject_id == key)).scalar()
            if mine is not None:
                raise UsageError(f"subject {key} is capture {mine}'s: nothing was accepted")
            known = select(accepted_subject.c.subject_id).where(accepted_subject.c.subject_id == key)
            if connection.execute(known).first() is None:
                connection.execute(
                    insert(accepted_subject).values(subject_id=key, run_id=run_id, accepted_at=clock.now())
                )
                new += 1
    return new
