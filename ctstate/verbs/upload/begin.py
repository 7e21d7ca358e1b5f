"""Before the first create: each batch has its subject set, and the ledger knows all that Zooniverse has of it.

A ledger may be *behind*: a backup that was put back, one made anew for a season that is on Zooniverse already, or
one of two that feed the same set. What it does not know, it would upload again. So a run stops here, before it has
sent anything, when Zooniverse shows a subject that this ledger should know and does not. It costs a request or two
a run, and one more for a set that is found.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from ctstate.capture import pages
from ctstate.errors import LedgerBehindError, NotFoundError, ZooniverseError
from ctstate.ledger import Ledger, LiveRun, Transaction, set_lease, subject_sets, uploads
from ctstate.ledger.set_lease import turn
from ctstate.verbs.upload.plan import PlannedBatch
from ctstate.words import and_more, counted
from ctstate.zooniverse import PAGE_SIZE, Zooniverse
from ctstate.zooniverse.rows import Subject, SubjectSet
from ctstate.zooniverse.subject import CAPTURE_ID, LEDGER_KEY, read_mark

log = logging.getLogger(__name__)

MEND = "`ctstate reconcile --apply` writes down what is there; nothing was uploaded"

HELD = (
    "it is claimed by a run that this ledger takes for alive; once `ctstate runs` shows that it is gone (a quarter "
    "of an hour after its last sign of life, at most), `ctstate reconcile --apply` writes down what is there; "
    "nothing was uploaded"
)
"""What an older copy holds of a run that was under way is mended only when that run is known to be gone."""


# -- the account's newest subjects -----------------------------------------------------------------------------


def account_for_newest(
    ledger: Ledger, live: LiveRun, zooniverse: Zooniverse, project_id: int, uploader_id: int
) -> int:
    """Make sure that the ledger knows of every subject it made with this account, and return the newest id there
    is.

    All up to the watermark of earlier runs was held against Zooniverse before; so one page is read, or two.

    Raises:
        LedgerBehindError: it does not.
    """
    with ledger.read() as connection:
        known = uploads.watermark(connection, project_id, uploader_id)
    floor = known or 0
    newest = floor
    ours: dict[int, int] = {}
    sets: dict[int, Sequence[int]] = {}
    for row in zooniverse.newest_to_account_for(project_id, uploader_id, known):
        newest = max(newest, row.id)
        mark = read_mark(row.external_id)
        if mark is not None and mark.ledger_id == ledger.ledger_id:
            ours[row.id] = mark.capture_key
            sets[row.id] = row.sets

    def accounted(connection: Transaction) -> "dict[int, _Unknown]":
        unknown = _unaccounted(connection, ours)
        if not unknown:
            uploads.note_watermark(connection, live.id, project_id, uploader_id, newest)
        return unknown

    # Read after Zooniverse was: whatever a live run made meanwhile, it had announced before.
    unknown = ledger.do(accounted)
    if unknown:
        # First what can be mended at once.
        subject_id, what = min(unknown.items(), key=lambda item: (item[1].held, item[0]))
        raise LedgerBehindError(
            f"subject {subject_id} of capture {what.name}{and_more(len(unknown) - 1)} was made from this "
            f"ledger, which does not know it: is it an older copy? {_remedy(ledger, what, sets[subject_id])}"
        )
    return newest


def _remedy(ledger: Ledger, what: "_Unknown", set_ids: Sequence[int]) -> str:
    """Say which verb mends that the ledger does not know a subject, which is in these sets."""
    if what.held:
        return HELD
    known = {item.subject_set_id for item in ledger.batches(None)}
    unknown = [set_id for set_id in set_ids if set_id not in known]
    if unknown:
        return (
            f"`ctstate adopt --subject-set-id {unknown[0]}` takes in the set that it is in, which this ledger does "
            "not know, either; nothing was uploaded"
        )
    return MEND


class _Unknown(NamedTuple):
    """A capture that the ledger would make again."""

    name: str
    held: bool = False  # claimed by a run that may live


def _unaccounted(connection: Transaction, ours: Mapping[int, int]) -> dict[int, _Unknown]:
    """Return those of our subjects (with their captures) that the ledger would make again."""
    unknown: dict[int, _Unknown] = {}
    for part in pages(sorted(ours.items())):
        known = uploads.known_captures(connection, {key for _, key in part})
        for subject_id, key in part:
            what = known.get(key)
            if what is None:
                unknown[subject_id] = _Unknown(f"number {key}")
            elif what.subject_id is None and not what.announced:
                unknown[subject_id] = _Unknown(what.capture_id, what.claimed)
            elif what.subject_id not in (None, subject_id):
                log.warning(
                    "%s has subject %s; subject %s is one too many: see `ctstate reconcile`",
                    what.capture_id,
                    what.subject_id,
                    subject_id,
                )
    return unknown


# -- the subject sets ------------------------------------------------------------------------------------------


def check_members(ledger: Ledger, zooniverse: Zooniverse, set_ids: Collection[int]) -> None:
    """Make sure that the ledger knows every member of its subject sets, all with one request where it does.

    Raises:
        LedgerBehindError: it does not, and is behind, or not the only one that feeds the set.
    """
    if not set_ids:
        return
    # Counted before the ledger is read: what live runs link meanwhile is in the ledger before it is in the set.
    there = zooniverse.count_in_sets(list(set_ids))
    with ledger.read() as connection:
        known = uploads.count_subjects(connection, set_ids)
    if there <= known:
        return
    for set_id in sorted(set_ids):
        strangers = unknown_members(ledger, zooniverse, set_id)
        if strangers:
            raise _behind(ledger, set_id, strangers)


def unknown_members(ledger: Ledger, zooniverse: Zooniverse, set_id: int) -> list[Subject]:
    """Return the members of a set that the ledger neither knows nor was told to accept."""
    ledger_id = ledger.ledger_id
    unknown: list[Subject] = []
    for page in pages(zooniverse.subjects_in_set(set_id), PAGE_SIZE):
        with ledger.read() as connection:
            known = uploads.known_subjects(connection, [subject.id for subject in page])
            strangers = [subject for subject in page if subject.id not in known]
            # One of this ledger's whose create is announced is what that create made: it will be found.
            marks = {subject.id: read_mark(subject.external_id) for subject in strangers}
            ours = {key: m.capture_key for key, m in marks.items() if m is not None and m.ledger_id == ledger_id}
            accounted = ours.keys() - _unaccounted(connection, ours).keys()
        unknown += [subject for subject in strangers if subject.id not in accounted]
    return unknown


def _behind(ledger: Ledger, set_id: int, strangers: list[Subject]) -> LedgerBehindError:
    marks = {subject.id: read_mark(subject.external_id) for subject in strangers}
    first = strangers[0]
    example = f"subject {first.id}, {CAPTURE_ID} {first.metadata.get(CAPTURE_ID)!r}"
    ours = {
        key: mark.capture_key
        for key, mark in marks.items()
        if mark is not None and mark.ledger_id == ledger.ledger_id
    }
    if ours:
        with ledger.read() as connection:
            held = all(what.held for what in _unaccounted(connection, ours).values())
        return LedgerBehindError(
            f"subject set {set_id} has {counted(len(strangers), 'subject')} that this ledger does not know "
            f"({example}), made from this very ledger: is it an older copy? {HELD if held else MEND}"
        )
    if any(mark is not None for mark in marks.values()):
        return LedgerBehindError(
            f"subject set {set_id} has {counted(len(strangers), 'subject')} of another ledger ({example}): use "
            f"that ledger, or, where it is lost, take them in with `ctstate adopt --subject-set-id {set_id}`; "
            "nothing "
            "was uploaded"
        )
    return LedgerBehindError(
        f"subject set {set_id} has {counted(len(strangers), 'subject')} that this ledger does not know "
        f"({example}): take in what is this season's with `ctstate adopt --subject-set-id {set_id}`, and say "
        "which others are fine "
        "there with `ctstate reconcile --accept SUBJECT`; nothing was uploaded"
    )


def ensure_set(
    ledger: Ledger,
    live: LiveRun,
    zooniverse: Zooniverse,
    wait: Callable[[float], bool],
    project_id: int,
    season: str,
    planned: PlannedBatch,
) -> int:
    """Return the id of a batch's subject set; one run makes it, and it is fed by this ledger alone.

    Raises:
        LedgerBehindError: it is another ledger's, or has subjects that this one does not know.
        NotFoundError: it is no longer on Zooniverse.
        FencedError: another run took over meanwhile.
    """
    with turn(ledger, live, planned.id, wait) as lease:
        with ledger.read() as connection:
            known = subject_sets.of_batch(connection, planned.id)
        if lease is None:
            if known is not None:
                return known
            raise ZooniverseError(f"stopped while another run was making subject set {planned.set_name}")
        set_id = known if known is not None else planned.set_id
        is_new = False
        if set_id is not None:
            row = existing_set(zooniverse, planned.name, int(set_id))
        else:
            live.make_sure()
            about = {"season": season, "batch": planned.name, LEDGER_KEY: ledger.ledger_id}
            row, is_new = zooniverse.ensure_set(project_id, planned.set_name, about)
        set_id = row.id
        claim_set(ledger, zooniverse, row)
        if known is None and not is_new:
            # Bound for the first time: whatever is in it already, this ledger must know.
            strangers = unknown_members(ledger, zooniverse, set_id)
            if strangers:
                raise _behind(ledger, set_id, strangers)
        live.make_sure()
        mine, made = lease, set_id
        ledger.do(lambda c: set_lease.note_subject_set(c, mine, project_id, made, planned.set_name))
        return set_id


def existing_set(zooniverse: Zooniverse, batch_name: str, set_id: int) -> SubjectSet:
    """Return the set that the ledger says a batch has.

    Raises:
        NotFoundError: it is no longer on Zooniverse.
    """
    try:
        return zooniverse.subject_set(set_id)
    except NotFoundError:
        raise NotFoundError(
            f"subject set {set_id} of batch {batch_name} is no longer on Zooniverse; "
            "`ctstate reconcile` shows what became of it"
        ) from None


def claim_set(ledger: Ledger, zooniverse: Zooniverse, row: SubjectSet, *, take_over: bool = False) -> None:
    """Write into a set's metadata that this ledger feeds it, unless that stands there already.

    Args:
        ledger, zooniverse: whose set it is to be, and where.
        row: the set, as Zooniverse shows it.
        take_over: also where it is another ledger's, which is lost (`adopt`).

    Raises:
        LedgerBehindError: it is another ledger's.
    """
    ours = ledger.ledger_id
    owner = row.metadata.get(LEDGER_KEY)
    if owner is None or (take_over and owner != ours):
        row = zooniverse.mark_set(row.id, LEDGER_KEY, ours)
        owner = row.metadata.get(LEDGER_KEY)
    if owner != ours:
        raise LedgerBehindError(
            f"subject set {row.id} ({row.display_name!r}) is fed by another ledger ({owner}), this one "
            f"is {ours}: two would upload each capture twice. Use that ledger, or, where it is lost, take the set "
            f"in with `ctstate adopt --subject-set-id {row.id}`; nothing was uploaded"
        )
