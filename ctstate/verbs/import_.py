"""The files of the old scripts -> the ledger: JSON manifests, upload trackers (`ctstate import`).

docs/legacy-formats.md, sections 2 and 3; the way back is `ctstate.verbs.export`. A manifest makes the season, its
captures and images, its batch, and the predictions it carries. What such files say of subjects is a claim and no
fact: a tracker can be stale, and can miss subjects made just before a crash. So

* `import` moves no capture to `uploaded`; each claimed subject becomes a row of the table `legacy_subject`, which
  `checked_at` tells apart from what was compared with Zooniverse;
* until then the capture is excluded with the reason `CLAIMED_BY_OLD_SCRIPTS`, so that no upload makes a second
  subject of it. `ctstate adopt` looks at Zooniverse and settles both.

Captures that the ledger holds already stay as they are, whatever images a manifest gives them; the report says so.
"""

import json
import os
from dataclasses import dataclass, field

from ctstate.capture import pages
from ctstate.errors import InputError, UsageError
from ctstate.formats.legacy_manifest import LegacyManifest, parse_name
from ctstate.formats.predictions.legacy import scores_of
from ctstate.formats.tracker_file import read_tracker
from ctstate.ledger import (
    Ledger,
    Transaction,
    intake_captures,
    intake_checks,
    intake_legacy,
    intake_predictions,
    runs,
    staging,
)
from ctstate.ledger.intake_predictions import FileOfPredictions, MadePrediction, Scope
from ctstate.ledger.seasons import put_season, season_named
from ctstate.verbs.manifest.checks import check_manifest_id, real_root
from ctstate.words import counted

SOURCE = "manifest"
"""Under which name the ledger keeps predictions that came with a manifest."""

_CHUNK = 5_000


@dataclass
class ImportReport:
    """What `import_manifest` or `import_tracker` did.

    Attributes:
        season, batch: into which.
        captures: in the file.
        new: of these, those that the ledger did not hold.
        differing: those that it held with other images; they stay as they were.
        batched: put into the batch.
        predicted: whose predictions were taken over.
        claimed: that the file says are uploaded, and that wait to be checked.
        confirmed: that the file says are uploaded, and of which the ledger has this very subject.
        conflicting: of which the ledger has another subject.
        uploading: claimed ones that a run is uploading at this moment.
        unknown: rows of a tracker that name no capture of the ledger.
        images_missing: not found below the images' root.
        examples: a few lines on what is off.
    """

    season: str = ""
    batch: str = ""
    captures: int = 0
    new: int = 0
    differing: int = 0
    batched: int = 0
    predicted: int = 0
    claimed: int = 0
    confirmed: int = 0
    conflicting: int = 0
    uploading: int = 0
    unknown: int = 0
    images_missing: int = 0
    examples: list[str] = field(default_factory=list)


def import_manifest(
    ledger: Ledger,
    file: str | os.PathLike[str],
    *,
    images_root: str | os.PathLike[str] | None = None,
    manifest_id: str | None = None,
    batch: str | None = None,
) -> ImportReport:
    """Read a legacy manifest into the ledger, in one transaction; see the module's text.

    Images of captures that are uploaded already by the file's word are not looked for.

    Args:
        ledger: the ledger.
        file: the manifest.
        images_root: folder below which the images are; may be left out where the ledger knows the season.
        manifest_id, batch: instead of what the file's name says.

    Raises:
        InputError: the file is not what it should be; the ledger is as it was.
        UsageError: the name does not say which season and batch, or the folder is not there.
        LedgerError: the ledger could not be written.
    """
    said = parse_name(file)
    manifest_id = manifest_id or (said.manifest_id if said else None)
    batch = batch or (said.batch if said else None)
    if manifest_id is None or batch is None:
        raise UsageError(
            f"{os.fspath(file)}: the name is not ID__BATCH__manifest.json; give --manifest-id and --batch"
        )
    check_manifest_id(manifest_id)
    with ledger.read() as connection:
        known = season_named(connection, manifest_id)
    root = real_root(images_root)
    if known is not None and root is None:
        root = known.images_root
    elif known is not None and root != known.images_root:
        raise UsageError(
            f"--images-root {root}: season {manifest_id} has {known.images_root} in the ledger; "
            "`ctstate manifest --update` changes it"
        )
    name = os.fspath(file)
    report = ImportReport(season=manifest_id, batch=batch)
    with ledger.connection() as connection:
        with ledger.read(connection) as reading:
            _read_manifest(reading, LegacyManifest(name, root))
            report.captures = intake_legacy.count_entries(reading)
            intake_checks.check_incoming(reading, name)
            texts = intake_legacy.season_texts(reading, name, known)
        arguments = {"manifest": name, "manifest_id": manifest_id, "batch": batch}
        with ledger.atomic_run("import", arguments, connection) as (writing, run_id):
            season = put_season(writing, manifest_id, texts.attribution, texts.license, root, update_it=False)
            _put_captures(writing, name, season.id, run_id, report)
            noted = _take_over_predictions(writing, run_id, name, Scope(season.id, batch=batch), report)
            report.batched = intake_legacy.put_into_batch(writing, season.id, batch, run_id)
            _note_claims(writing, name, run_id, report)
            if not (season.changed or report.new or noted or report.batched or report.claimed):
                runs.forget(writing, run_id)
    return report


def import_tracker(ledger: Ledger, file: str | os.PathLike[str]) -> ImportReport:
    """Read a legacy upload tracker file, in one transaction; see the module's text.

    Args:
        ledger: the ledger, which holds the captures already.
        file: a CSV with the columns unique_id and subject_id.

    Raises:
        InputError: the file is not what it should be, or names no capture of the ledger; nothing was changed.
        LedgerError: the ledger could not be written.
    """
    name = os.fspath(file)
    report = ImportReport()
    with ledger.connection() as connection:
        with ledger.read(connection) as reading:
            intake_legacy.begin_entries(reading)
            for part in pages(read_tracker(name), _CHUNK):
                intake_legacy.add_entries(reading, part)
            report.captures = intake_legacy.count_entries(reading)
        with ledger.atomic_run("import", {"tracker": name}, connection) as (writing, run_id):
            _see_unknown(writing, name, report)
            _note_claims(writing, name, run_id, report)
            if not report.claimed:
                runs.forget(writing, run_id)
    return report


# -- the steps -------------------------------------------------------------------------------------------------


def _read_manifest(connection: Transaction, reader: LegacyManifest) -> None:
    """Stage what the manifest says, and its images."""
    staging.begin_images(connection)
    intake_legacy.begin_entries(connection)
    for part in reader.parts():
        intake_legacy.add_entries(connection, part.entries)
        staging.add_images(connection, part.images)
    staging.end_images(connection)


def _put_captures(connection: Transaction, name: str, season_id: int, run_id: int, report: ImportReport) -> None:
    """Add the captures that the ledger does not hold, and compare the others."""
    known = intake_legacy.leave_known_captures(connection, name, season_id)
    report.differing = known.differing
    report.examples += [f"{each}: the ledger has other images of it, and keeps them" for each in known.some]
    missing = intake_legacy.missing_images(connection)
    report.images_missing = missing.number
    report.examples += [f"{path}: {reason}" for path, reason in missing.some]
    report.new = intake_captures.merge(connection, name, season_id, run_id, update_them=False).new


def _take_over_predictions(
    connection: Transaction, run_id: int, name: str, scope: Scope, report: ImportReport
) -> bool:
    """Give the file's predictions to captures that have none; return whether the file was written down for it."""
    if not intake_legacy.speaks_of_predictions(connection):
        return False
    intake_predictions.begin(connection)
    for part in pages(intake_legacy.new_predictions(connection), _CHUNK):
        made = [MadePrediction(key, metadata, scores_of(json.loads(metadata))) for key, metadata in part]
        intake_predictions.add_made(connection, SOURCE, made)
    file = FileOfPredictions(SOURCE, "legacy-manifest", os.path.abspath(name), None, "{}")
    taken = intake_predictions.take_over(connection, run_id, file, scope)
    report.predicted = taken.captures
    return taken.noted


def _see_unknown(connection: Transaction, name: str, report: ImportReport) -> None:
    unknown = intake_legacy.unknown_captures(connection)
    report.unknown = unknown.number
    if report.unknown and report.unknown == report.captures:
        raise InputError(
            f"{name}: of its {counted(report.captures, 'capture')}, none is in the ledger; import the manifest "
            "(or the captures CSV) first; nothing was changed"
        )
    report.examples += [f"row {row}: not in the ledger: {capture_id}" for row, capture_id in unknown.first]


def _note_claims(connection: Transaction, name: str, run_id: int, report: ImportReport) -> None:
    """Write down what the file says is uploaded, and keep those captures from being uploaded again."""
    claims = intake_legacy.note_claims(connection, name, run_id)
    report.claimed, report.confirmed = claims.claimed, claims.confirmed
    report.conflicting, report.uploading = claims.conflicting, claims.uploading
    report.examples += [
        f"{capture_id}: its subject is {here} in the ledger, {there} in the file"
        for capture_id, here, there in claims.conflicts
    ]
