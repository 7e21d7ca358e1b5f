"""Subjects in no set that are captures of this ledger: lost by a run, or by other scripts."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from ctstate.capture import Batch, Snapshot, pages
from ctstate.ledger import Ledger, State, captures, clock, comparison, uploads
from ctstate.verbs.survey.findings import Notes
from ctstate.zooniverse import PAGE_SIZE, PAGES_AT_ONCE, Zooniverse
from ctstate.zooniverse.rows import Subject
from ctstate.zooniverse.subject import CAPTURE_ID, read_mark


def find_lost(
    ledger: Ledger, zooniverse: Zooniverse, project_id: int, batches: Sequence[Batch], notes: Notes
) -> None:
    """Look at the project's newest subjects for those in no set; what it finds goes into the notes.

    Args:
        ledger, zooniverse, project_id: see `survey`.
        batches: those whose sets were compared.
        notes: what was found until now.
    """
    # Whoever uploaded it: a season that is switched over may have been begun by a colleague's account.
    # What other scripts lost was made after their set; what our runs lost, after the first of them began.
    with ledger.read() as connection:
        began = comparison.first_upload_began(connection, project_id)
    since = min(
        filter(None, (notes.first_set_made, clock.shifted(began, -clock.SKEW_S) if began else None)), default=None
    )
    newest = zooniverse.newest_subjects(project_id, page_size=PAGE_SIZE, at_once=PAGES_AT_ONCE)
    if since is None:  # nothing was ever uploaded, as far as this ledger knows; it may be an older copy
        recent: Iterable[Subject] = itertools.islice(newest, PAGE_SIZE)
    else:
        recent = itertools.takewhile(lambda row: row.created_at >= since, newest)
    # And whatever an upload of this account asks the ledger about, however old: its message names this verb.
    me = zooniverse.me().id
    with ledger.read() as connection:
        watermark = uploads.watermark(connection, project_id, me)
    to_account_for = zooniverse.newest_to_account_for(project_id, me, watermark)
    lost: dict[int, set[int]] = {}
    for page in pages(itertools.chain(recent, to_account_for)):
        for key, subject_id in _ours_in_no_set(ledger, page, notes.accounted):
            lost.setdefault(key, set()).add(subject_id)
    of = {item.id: item for item in batches}
    to_finish = set()
    for rows in captures.snapshots_among(ledger.read, sorted(lost)):
        for row in rows:
            item = of.get(row.batch_id) if row.batch_id is not None else None
            if (
                item is not None
                and row.state != State.UPLOADING.value
                and _report(notes, item, row, sorted(lost[row.id]))
            ):
                to_finish.add(row.capture_id)
    # A capture found lost is no longer simply not uploaded.
    notes.survey.findings = [
        finding
        for finding in notes.survey.findings
        if not (finding.kind == "not uploaded" and finding.capture_id in to_finish)
    ]


def _ours_in_no_set(ledger: Ledger, page: Sequence[Subject], accounted: set[int]) -> Iterator[tuple[int, int]]:
    """Yield capture key and subject id: by our mark, or by `#capture_id` where nobody's mark is on it."""
    unmarked: dict[str, list[int]] = {}
    for subject in page:
        subject_id = subject.id
        if subject_id in accounted or subject.sets:
            continue
        mark = read_mark(subject.external_id)
        if mark is not None and mark.ledger_id == ledger.ledger_id:
            yield mark.capture_key, subject_id
        elif mark is None:
            unmarked.setdefault(str(subject.metadata.get(CAPTURE_ID)), []).append(subject_id)
    if unmarked:
        with ledger.read() as connection:
            keys = captures.keys_by_capture_id(connection, unmarked)
        for name, key in keys.items():
            for subject_id in unmarked[name]:
                yield key, subject_id


def _report(notes: Notes, item: Batch, row: Snapshot, ids: list[int]) -> bool:
    """Report the lost subjects of a capture; return whether an upload has only to finish it."""
    to_finish = row.subject_id is None and row.state in (State.BATCHED.value, State.FAILED.value)
    if to_finish:
        notes.found("finish", item, row, ids[0], detail="made, but never linked")
        ids = ids[1:]
    for surplus in ids:
        if surplus != row.subject_id:
            detail = f"in no set; kept: subject {row.subject_id}"
            notes.found("duplicate", item, row, surplus, detail=detail)
    return to_finish
