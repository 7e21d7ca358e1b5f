"""Look at the ledger and at Zooniverse, and say where the two differ: what reconcile, verify and adopt share.

A survey lists a batch's subject set page by page and what this ledger's runs made in no set, matches
`#capture_id` and the ledger's own mark, and classifies everything it finds. It changes nothing, and may run beside
live uploads: what it saw is old when it is acted on, so each finding names the capture as it was seen.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from ctstate.errors import UsageError
from ctstate.ledger import Ledger, comparison, history
from ctstate.verbs.survey.findings import ACTED_ON, KINDS, Finding, Notes, Survey
from ctstate.verbs.survey.lost import find_lost
from ctstate.verbs.survey.sets import Comparison, sets_of_no_batch, unknown_set
from ctstate.verbs.survey.share import ALL, DOUBTFUL, Share
from ctstate.verbs.survey.subjects import deletable, image_problem
from ctstate.words import counted
from ctstate.zooniverse import Zooniverse

__all__ = [
    "ACTED_ON",
    "ALL",
    "DOUBTFUL",
    "KINDS",
    "Finding",
    "Share",
    "Survey",
    "deletable",
    "image_problem",
    "keep",
    "survey",
]


def survey(
    ledger: Ledger,
    zooniverse: Zooniverse,
    project_id: int,
    *,
    season: str | None = None,
    batch_name: str | None = None,
    subject_set_id: int | None = None,
    share: Share = DOUBTFUL,
    take_over: bool = False,
    on_progress: Callable[[int], None] = lambda subjects: None,
) -> Survey:
    """Compare a season, a batch or the batch of a subject set with Zooniverse; nothing is changed.

    Args:
        ledger, zooniverse: the two to compare.
        project_id: the Zooniverse project.
        season: manifest id; may be None where the ledger holds one season.
        batch_name, subject_set_id: only this batch.
        share: of which captures the store is asked for every image, not only where the ledger is in doubt.
        take_over: subjects in the sets that bear another ledger's mark are this one's, as that one is lost
            (`adopt`).
        on_progress: told the number of subjects seen so far.

    Raises:
        UsageError: no such season or batch, or a set that is no batch's.
        ZooniverseError: no usable answer; see `Zooniverse`.
    """
    ledger.check_endpoint(zooniverse.endpoint)
    row = ledger.season(season)
    batches = ledger.batches(row.id, batch_name)
    if subject_set_id is not None:
        batches = [b for b in batches if b.subject_set_id == subject_set_id]
        if not batches:
            raise UsageError(
                f"no batch of season {row.name} has subject set {subject_set_id}; "
                "`ctstate adopt` takes in a set that the ledger does not know"
            )
    zooniverse.project(project_id)
    notes = Notes(Survey(season=row.name, began_at=ledger.moment(), part=share.name))
    looked_at = [
        item
        if item.subject_set_id is not None
        else unknown_set(ledger, zooniverse, project_id, row.name, item, notes)
        for item in batches
    ]
    sets = Comparison(ledger, zooniverse, notes, share=share, take_over=take_over, on_progress=on_progress)
    for each in looked_at:
        sets.batch(each)
    find_lost(ledger, zooniverse, project_id, looked_at, notes)
    if batch_name is None and subject_set_id is None:
        sets_of_no_batch(ledger, zooniverse, project_id, row.name, looked_at, notes)
        _unbatched(ledger, row.id, notes.survey)
    _spare_what_is_not_ours(ledger, zooniverse, project_id, notes.survey)
    return notes.survey


def keep(ledger: Ledger, verb: str, project_id: int, found: Survey, batch_name: str | None = None) -> None:
    """Write a survey down, with its own run: `v_verifications` tells what was looked at, and when.

    Args:
        ledger, project_id, found, batch_name: as for `survey`, and what it returned.
        verb: that made it.

    Raises:
        LedgerError: the ledger cannot be written, or was opened to be read.
    """
    arguments = {"project_id": project_id, "season": found.season, "batch": batch_name, "part": found.part}
    kinds = Counter(finding.kind for finding in found.findings)
    season_id = ledger.season(found.season).id
    with ledger.atomic_run(verb, arguments) as (connection, run_id):
        made = history.Verification(
            season_id=season_id,
            batch=batch_name,
            project_id=project_id,
            began_at=found.began_at,
            part=found.part,
            captures=found.captures,
            subjects=found.subjects,
            images_asked=found.images_asked,
            found=kinds,
        )
        history.note_verification(connection, run_id, made)
    found.kept = True


def _unbatched(ledger: Ledger, season_id: int, result: Survey) -> None:
    """Count the captures of the season that are in no batch."""
    with ledger.read() as connection:
        none = comparison.count_in_no_batch(connection, season_id)
    result.excluded += none.excluded
    if none.to_upload:
        result.findings.append(
            Finding("not uploaded", "", detail=f"{counted(none.to_upload, 'capture')} in no batch")
        )


def _spare_what_is_not_ours(ledger: Ledger, zooniverse: Zooniverse, project_id: int, result: Survey) -> None:
    """Volunteers' work is never deleted, nor what was not made from this ledger: these duplicates are reported."""
    ids = [f.subject_id for f in result.findings if f.kind == "duplicate" and f.subject_id is not None]
    if not ids:
        return
    classified = zooniverse.classified(project_id, ids)
    foreign = set(ids) - deletable(ledger, zooniverse.subjects_by_id(ids))
    kinds = dict.fromkeys(foreign, "foreign duplicate") | dict.fromkeys(classified, "classified duplicate")
    result.findings = [
        replace(f, kind=kinds.get(f.subject_id or 0, f.kind)) if f.kind == "duplicate" else f
        for f in result.findings
    ]
