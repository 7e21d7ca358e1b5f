"""Take in what others have uploaded (`ctstate adopt`): from a subject set alone, or from imported legacy files.

A season that the old scripts half uploaded is finished by ctstate without one duplicate: what is whole in its
set becomes uploaded, what was made but never linked (or lacks images) is noted and finished by the next upload,
and only then is the rest free to be uploaded. What files claim (docs/legacy-formats.md, sections 2 and 3) is
believed only after looking at Zooniverse.
"""

import re
from collections.abc import Container
from dataclasses import dataclass, field

from ctstate.capture import pages
from ctstate.errors import FencedError, NotFoundError, UsageError
from ctstate.ledger import (
    Ledger,
    LiveRun,
    State,
    Transaction,
    exclusions,
    intake_subjects,
    legacy_claims,
    set_lease,
    transitions,
)
from ctstate.ledger.set_lease import turn
from ctstate.ledger.staging import MOST_EXAMPLES
from ctstate.verbs.pages import note_project
from ctstate.verbs.reconcile import reconcile
from ctstate.verbs.survey import Survey, survey
from ctstate.verbs.upload.begin import claim_set
from ctstate.words import counted
from ctstate.zooniverse import PAGE_SIZE, Zooniverse
from ctstate.zooniverse.rows import Subject, SubjectSet
from ctstate.zooniverse.subject import ANONYMIZED, CAPTURE_ID, ORIGINAL_IMAGES, subject_set_name

_SET_NAME = re.compile(r"(?P<season>.+)_(?P<batch>complete|batch_\d+)")
_OWN_KEYS = (
    CAPTURE_ID, "#site", "#roll", "#season", "#capture", "attribution", "license", ORIGINAL_IMAGES, ANONYMIZED,
)  # fmt: skip
_TAKEN = ("adopt", "finish")
"""Findings of a survey that adopt acts on; everything else is left to `ctstate reconcile`."""


@dataclass
class AdoptReport:
    """What `adopt` did.

    Attributes:
        season, batches: what it looked at.
        captures_new: captures (and their images) that the ledger had not known.
        adopted: captures now uploaded.
        to_finish: captures whose subject exists but is not whole or not linked; the next upload finishes them.
        released: captures that files claimed, but that are not on Zooniverse: free to be uploaded.
        without_id: subjects of a set that have no `#capture_id`; reported, never touched.
        excluded: captures of the season that are on Zooniverse though they are excluded here.
        examples: a few of these by name.
        left: the findings that `ctstate reconcile` is for.
    """

    season: str
    batches: list[str] = field(default_factory=list)
    captures_new: int = 0
    adopted: int = 0
    to_finish: int = 0
    released: int = 0
    without_id: int = 0
    excluded: int = 0
    examples: list[str] = field(default_factory=list)
    left: Survey | None = None


def adopt(
    ledger: Ledger,
    zooniverse: Zooniverse,
    project_id: int,
    *,
    subject_set_id: int | None = None,
    season_name: str | None = None,
    batch_name: str | None = None,
    images_root: str | None = None,
    even_if_gone: bool = False,
) -> AdoptReport:
    """Build or complete the ledger from Zooniverse. It can be killed and run again at any time.

    Args:
        ledger, zooniverse, project_id: the two to bring together.
        subject_set_id: a set; its name says season and batch (`WLD_S6_batch_2`), unless these are given.
            None: all batches of the season, whose sets are found by their names or by what files said.
        season_name, batch_name: manifest id and name of the batch.
        images_root: where the images of a season new to the ledger are.
        even_if_gone: free what files claim also where most of it is not on Zooniverse.

    Raises:
        UsageError: most of what files claim is not in this project; a set whose name does not say season and batch;
        no such season or batch. NotFoundError: no such project or set.
    """
    project = zooniverse.project(project_id)
    ledger.bind_endpoint(zooniverse.endpoint)
    note_project(ledger, project_id, project.slug)
    if subject_set_id is not None:
        chosen = _one_set(zooniverse, project_id, subject_set_id, season_name, batch_name)
        season_name, batch_name = chosen["season"], chosen["batch"]
    arguments = {"project_id": project_id, "subject_set_id": subject_set_id, "season": season_name}
    with ledger.live_run("adopt", arguments, figures=zooniverse.traffic.figures) as live:
        ledger.recover()  # the leases of dead runs with it
        report = AdoptReport(season=season_name or ledger.season(None).name)
        claimed = _claimed_and_there(ledger, zooniverse, project_id, report.season, even_if_gone)
        if subject_set_id is not None:
            _know_set(ledger, live, project_id, report, batch_name or "", subject_set_id, zooniverse, images_root)
        else:
            _find_sets(ledger, live, zooniverse, project_id, report, batch_name)
        found = survey(
            ledger,
            zooniverse,
            project_id,
            season=report.season,
            batch_name=batch_name,
            take_over=subject_set_id is not None,
        )
        taken = [finding for finding in found.findings if finding.kind in _TAKEN]
        done = reconcile(
            ledger, zooniverse, project_id, Survey(found.season, findings=taken), {"for": "adopt", "run": live.id}
        )
        report.adopted, report.to_finish = done.get("adopt", 0), done.get("finish", 0)
        report.batches = sorted({f.batch for f in taken if f.batch} | set(report.batches))
        _settle_claims(ledger, claimed, report)
        found.findings = [f for f in found.findings if f.kind not in (*_TAKEN, "not uploaded")]
        report.left = found
        season_id = ledger.season(report.season).id
        with ledger.read() as connection:
            report.excluded, report.examples = exclusions.excluded_there(connection, season_id, MOST_EXAMPLES)
    return report


def _one_set(
    zooniverse: Zooniverse,
    project_id: int,
    set_id: int,
    season_name: str | None,
    batch_name: str | None,
) -> dict[str, str]:
    """Return season and batch of a set, by what the user says or by its name."""
    try:
        row = zooniverse.subject_set(set_id)
    except NotFoundError:
        raise NotFoundError(f"no subject set {set_id} on {zooniverse.endpoint}") from None
    if row.links.project != project_id:
        raise UsageError(f"subject set {set_id} belongs to project {row.links.project}, not to {project_id}")
    found = _SET_NAME.fullmatch(row.display_name)
    if (season_name is None or batch_name is None) and found is None:
        raise UsageError(
            f"subject set {set_id} is named {row.display_name!r}, which does not say season and batch "
            "(as in WLD_S6_batch_2): give --season and --batch"
        )
    return {
        "season": season_name or (found["season"] if found else ""),
        "batch": batch_name or (found["batch"] if found else ""),
    }


def _find_sets(
    ledger: Ledger,
    live: LiveRun,
    zooniverse: Zooniverse,
    project_id: int,
    report: AdoptReport,
    batch_name: str | None,
) -> None:
    """Give each batch without a set the one that files named, or that has its name."""
    row = ledger.season(report.season)
    for item in ledger.batches(row.id, batch_name):
        report.batches.append(item.name)
        if item.subject_set_id is not None:
            continue
        name = item.subject_set_name or subject_set_name(report.season, item.name)
        found = zooniverse.find_sets(project_id, name)
        if not found:
            found = _named_by_files(ledger, zooniverse, item.id)
        if found:
            _bind(ledger, live, zooniverse, project_id, item.id, found[0])


def _bind(
    ledger: Ledger, live: LiveRun, zooniverse: Zooniverse, project_id: int, batch_id: int, row: SubjectSet
) -> None:
    """Write down that a batch has this set, here and there: from now on this ledger feeds it."""
    with turn(ledger, live, batch_id, zooniverse.patience.wait) as lease:
        if lease is None:
            raise FencedError("this run was silent for so long that another took it for dead; run it again")
        claim_set(ledger, zooniverse, row, take_over=True)
        with ledger.write() as connection:
            set_lease.note_subject_set(connection, lease, project_id, row.id, row.display_name)


def _named_by_files(ledger: Ledger, zooniverse: Zooniverse, batch_id: int) -> list[SubjectSet]:
    with ledger.read() as connection:
        named = legacy_claims.subject_set_named(connection, batch_id)
    if named is None:
        return []
    try:
        return [zooniverse.subject_set(named)]
    except NotFoundError:
        return []  # stale, as such files can be


# -- making rows of subjects -----------------------------------------------------------------------------------


def _know_set(
    ledger: Ledger,
    live: LiveRun,
    project_id: int,
    report: AdoptReport,
    batch_name: str,
    set_id: int,
    zooniverse: Zooniverse,
    images_root: str | None,
) -> None:
    """Make sure that the ledger knows season, batch, captures and images of a subject set."""
    row = zooniverse.subject_set(set_id)
    season_id: int | None = None
    batch_id: int | None = None
    report.batches.append(batch_name)
    for page in pages(zooniverse.subjects_in_set(set_id), PAGE_SIZE):
        if season_id is None or batch_id is None:
            with ledger.write() as connection:
                metadata = page[0].metadata
                season_id = intake_subjects.know_season(
                    connection,
                    report.season,
                    str(metadata.get("attribution", "")),
                    str(metadata.get("license", "")),
                    images_root,
                )
                batch_id = intake_subjects.know_batch(connection, season_id, batch_name, set_id)
            _bind(ledger, live, zooniverse, project_id, batch_id, row)
        with ledger.write() as connection:
            for subject in page:
                if not isinstance(subject.metadata.get(CAPTURE_ID), str):
                    report.without_id += 1
                elif intake_subjects.know_capture(connection, live.id, season_id, _read(subject)):
                    report.captures_new += 1


def _read(subject: Subject) -> intake_subjects.FoundCapture:
    """Return the capture that a subject shows; its `#capture_id` says what its metadata may leave out."""
    metadata = subject.metadata
    capture_id = metadata[CAPTURE_ID]
    parts = [*capture_id.split("#"), "", "", "", ""]
    season, site, roll, capture = (
        str(metadata.get(f"#{key}", part))
        for key, part in zip(("season", "site", "roll", "capture"), parts, strict=False)
    )
    digits = re.search(r"[0-9]{1,15}", capture)
    paths = metadata.get(ORIGINAL_IMAGES)
    count = len(subject.locations)
    if not isinstance(paths, list) or len(paths) != count:
        paths = [f"unknown_{rank}" for rank in range(1, count + 1)]
    return intake_subjects.FoundCapture(
        subject_id=subject.id,
        capture_id=capture_id,
        season=season,
        site=site,
        roll=roll,
        capture=capture,
        capture_number=int(digits[0]) if digits else 0,
        extra={key: value for key, value in metadata.items() if key not in _OWN_KEYS},
        paths=[str(path) for path in paths],
    )


# -- what files claimed ----------------------------------------------------------------------------------------


def _claimed_and_there(
    ledger: Ledger, zooniverse: Zooniverse, project_id: int, season_name: str, even_if_gone: bool
) -> set[int]:
    """Look at every subject that files claimed; return those that are what the files say.

    Raises:
        UsageError: most are not there: that is another project (or a set that was deleted).
    """
    there: set[int] = set()
    claims_looked_at = 0
    for claims in legacy_claims.unchecked(ledger.read, season_name):
        wanted = {claim.subject_id: claim.capture_id for claim in claims if claim.subject_id is not None}
        claims_looked_at += len(wanted)
        found = zooniverse.subjects_by_id(list(wanted)) if wanted else {}
        there |= {
            key
            for key, subject in found.items()
            if subject.metadata.get(CAPTURE_ID) == wanted[key] and subject.links.project == project_id
        }
    if 2 * len(there) < claims_looked_at and not even_if_gone:
        raise UsageError(
            f"of {counted(claims_looked_at, 'subject')} that the files name, project {project_id} has "
            f"{len(there):,} on {zooniverse.endpoint}: is that the right project, and the right folder of "
            "files? Nothing was "
            "changed; --even-if-gone frees the others, to be uploaded again"
        )
    return there


def _settle_claims(ledger: Ledger, there: Container[int], report: AdoptReport) -> None:
    """Write down of each claim what Zooniverse showed; then the claims bind no more."""
    for claims in legacy_claims.unchecked(ledger.read, report.season):
        with ledger.write() as connection:
            for claim in claims:
                legacy_claims.note_checked(connection, claim.id, _settle_claim(connection, claim, there, report))
            exclusions.release_claimed(connection, [claim.key for claim in claims])


def _settle_claim(
    connection: Transaction, claim: legacy_claims.LegacyClaim, there: Container[int], report: AdoptReport
) -> str:
    if claim.state == State.UPLOADED.value:
        return "uploaded"
    if claim.subject_id is None or claim.subject_id not in there:
        report.released += 1
        return "not on Zooniverse: free to be uploaded"
    if claim.known_subject_id is None:
        # It exists in no set of the season: the next upload puts its images again and links it.
        transitions.know_subject(connection, claim.key, claim.subject_id)
        report.to_finish += 1
    return "made, but never linked: the next upload finishes it"
