"""The ledger -> files for other programs (`ctstate export`).

Legacy files (docs/legacy-formats.md, sections 2, 3) equal as JSON what the old scripts write for the same
captures, one capture a line, in the same order: of a batch in the order of its split, else sorted by the text
`season#site#roll#%05d`. Excluded captures are not in them, but for those that old scripts are said to have
uploaded. A manifest says `uploaded: false` of every capture, as before an upload; who goes back to the old scripts
takes the tracker file along, by which they skip what is there already.

A file is written beside its place and moved there when it is whole (`files`).
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctstate.capture import COMPLETE, Season
from ctstate.errors import UsageError
from ctstate.formats.csv_table import write_csv
from ctstate.formats.legacy_manifest import ManifestEntry, ManifestSubject, local_time, write_manifest
from ctstate.formats.speciesnet_instances import Whereabouts, write_instances
from ctstate.formats.tracker_file import write_tracker_file
from ctstate.ledger import Ledger, exports
from ctstate.ledger.exports import ExportedCapture
from ctstate.ledger.views import CaptureFacts
from ctstate.verbs.files import written
from ctstate.zooniverse.subject import anonymized, subject_metadata, upload_metadata


@dataclass
class ExportReport:
    """What was written.

    Attributes:
        file: which.
        count: of the captures (or images) in it.
    """

    file: Path
    count: int = 0


def export_manifest(
    ledger: Ledger,
    season: str | None = None,
    batch: str | None = None,
    *,
    folder: str | os.PathLike[str] = ".",
    uploaded: bool = False,
) -> ExportReport:
    """Write the legacy manifest of a season (as batch `complete`), or of one batch.

    Args:
        ledger: the ledger.
        season: manifest id; may be left out where the ledger holds one.
        batch: name of a batch.
        folder: where the file goes, made where it is missing; its name is ID__BATCH__manifest.json.
        uploaded: write the manifest as it is after an upload, ID__BATCH__manifest_uploaded.json.

    Raises:
        UsageError: no such season or batch, or a file where the folder should be.
    """
    found = ledger.season(season)
    name = f"{found.name}__{batch or COMPLETE}__manifest{'_uploaded' if uploaded else ''}.json"
    batch = _known(ledger, found, batch)
    report = ExportReport(_in_folder(folder, name))
    with written(report.file) as stream:
        captures = exports.of_manifest(ledger.read, found.id, batch, with_subjects=uploaded)
        report.count = write_manifest(stream, map(_entry, captures))
    return report


def _entry(each: ExportedCapture) -> ManifestEntry:
    there = each.subject
    return ManifestEntry(
        capture_id=each.capture.capture_id,
        # An upload adds what only subjects carry.
        upload_metadata=upload_metadata(each.capture) if there is None else subject_metadata(each.capture),
        images=[image.path for image in each.capture.images],
        machine_learning=each.machine_learning,
        subject=there
        and ManifestSubject(
            subject_id=there.subject_id,
            subject_set_id=there.subject_set_id,
            subject_set_name=there.subject_set_name,
            upload_time=there.upload_time or (local_time(there.uploaded_at) if there.uploaded_at else ""),
            anonymized_capture_id=anonymized(each.capture.capture_id),
        ),
    )


def export_tracker(
    ledger: Ledger,
    season: str | None = None,
    batch: str | None = None,
    *,
    folder: str | os.PathLike[str] = ".",
) -> ExportReport:
    """Write the legacy upload tracker file, ID__BATCH__upload_tracker_file.txt: what the old scripts are to skip.

    Args:
        ledger, season, batch, folder: as for `export_manifest`.

    Raises:
        UsageError: no such season or batch, or a file where the folder should be.
    """
    found = ledger.season(season)
    batch = _known(ledger, found, batch)
    report = ExportReport(_in_folder(folder, f"{found.name}__{batch or COMPLETE}__upload_tracker_file.txt"))
    with written(report.file) as stream:
        rows = exports.of_tracker(ledger.read, found.id, batch)
        report.count = write_tracker_file(stream, rows)
    return report


def captures_table(
    ledger: Ledger, season: str | None = None, batch: str | None = None
) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
    """Return the header and the rows of `v_captures`, for a CSV; by season, site, roll, capture.

    Args:
        ledger, season, batch: as for `export_manifest`; without a season, all.

    Raises:
        UsageError: no such season or batch.
    """
    season_id = None
    if season is not None or batch is not None:
        found = ledger.season(season)
        season_id, batch = found.id, _known(ledger, found, batch)
    return CaptureFacts._fields, exports.of_table(ledger.read, season_id, batch)


def export_captures(
    ledger: Ledger,
    file: str | os.PathLike[str],
    season: str | None = None,
    batch: str | None = None,
    *,
    excel: bool = False,
) -> ExportReport:
    """Write `v_captures` as CSV in UTF-8, one row per capture.

    Args:
        ledger, season, batch: as for `captures_table`.
        file: where to.
        excel: begin with a byte order mark, without which Excel takes UTF-8 for something else.

    Raises:
        UsageError: no such season or batch, or no such folder.
    """
    header, rows = captures_table(ledger, season, batch)
    report = ExportReport(Path(file))
    with written(report.file) as stream:
        report.count = write_csv(stream, header, rows, excel=excel)
    return report


def export_speciesnet_instances(
    ledger: Ledger,
    file: str | os.PathLike[str],
    season: str | None = None,
    batch: str | None = None,
    *,
    whereabouts: Whereabouts | None = None,
) -> ExportReport:
    """Write the file that SpeciesNet takes (`--instances_json`): every usable image, with its whole path.

    Args:
        ledger, season, batch: as for `export_manifest`.
        file: where to.
        whereabouts: the same for every image; None: say nothing of it.

    Raises:
        UsageError: no such season, batch or folder.
    """
    found = ledger.season(season)
    report = ExportReport(Path(file))
    with written(report.file) as stream:
        paths = (
            os.path.join(found.images_root or "", image.path)
            for each in exports.of_manifest(ledger.read, found.id, _known(ledger, found, batch))
            for image in each.capture.images
        )
        report.count = write_instances(stream, paths, whereabouts or Whereabouts())
    return report


def _known(ledger: Ledger, season: Season, batch: str | None) -> str | None:
    """Return the name of a batch once it is sure that the season has it."""
    if batch is not None:
        ledger.batches(season.id, batch)
    return batch


def _in_folder(folder: str | os.PathLike[str], name: str) -> Path:
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{place}: a file is in the way of that folder") from None
    return place / name
