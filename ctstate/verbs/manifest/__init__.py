"""A season's captures and images into the ledger (`ctstate manifest`).

From a cleaned captures CSV, a Camtrap DP, or a folder of images. What is listed streams into a temporary table,
where SQL finds contradictions and merges it into the ledger in one transaction: memory is bounded whatever the
season's size, and a run that fails or is killed leaves the ledger as it was.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ctstate.errors import InputError, UsageError
from ctstate.formats.camtrap_dp import GAP_SECONDS, CamtrapDp, Package
from ctstate.formats.captures_csv import CapturesCsv
from ctstate.formats.deployments import read_deployments
from ctstate.formats.reader import CaptureReader, short
from ctstate.formats.times import zone_named
from ctstate.images.cores import usable_cores
from ctstate.ledger import Ledger, intake_captures, intake_checks, intake_times, runs, staging
from ctstate.ledger.seasons import put_season
from ctstate.verbs.manifest.checks import check_manifest_id, real_root
from ctstate.verbs.manifest.folder import LONGEST_GAP_S, FolderOptions
from ctstate.words import counted

RESERVED = frozenset(
    {
        "#capture_id", "#site", "#roll", "#season", "#capture", "attribution", "license", "#original_images",
        "capture_id_anonymized",
    }
)  # fmt: skip
"""Keys that every subject carries already (docs/legacy-formats.md, section 5); the first is its identity."""


@dataclass
class ManifestReport:
    """What `manifest`, `load_camtrap` or `load_folder` did.

    Attributes:
        season: manifest id.
        rows: of the file; of a folder: its images.
        captures_new, captures_unchanged, captures_updated: what became of captures.
        captures_kept: differ, but are past the state in which `--update` may touch them.
        captures_without_image: have no usable image and will not be uploaded.
        images_usable, images_excluded, images_missing, images_empty: what became of images.
        duplicate_rows: passed over.
        season_changed: it is new, or its attribution, license or folder of images is.
        examples: a few lines on missing and empty images.
        rules: captures by the rule that made them (Camtrap DP).
        passed_over: files of a folder that are no images, or that the pattern does not fit.
        images_timeless: of which the file tells no time.
        images_no_time: of these, where something stands in its place that is no time.
        images_timed: that the ledger had without this time, and `--update` gave it.
        images_untimed: that the ledger has without the time that the file tells.
        deployments: new ones, or changed.
    """

    season: str
    rows: int = 0
    captures_new: int = 0
    captures_unchanged: int = 0
    captures_updated: int = 0
    captures_kept: int = 0
    captures_without_image: int = 0
    images_usable: int = 0
    images_excluded: int = 0
    images_missing: int = 0
    images_empty: int = 0
    duplicate_rows: int = 0
    season_changed: bool = False
    examples: list[str] = field(default_factory=list)
    rules: dict[str, int] = field(default_factory=dict)
    passed_over: int = 0
    images_timeless: int = 0
    images_no_time: int = 0
    images_timed: int = 0
    images_untimed: int = 0
    deployments: int = 0

    @property
    def changed(self) -> bool:
        """Whether the ledger is not as it was."""
        return bool(
            self.captures_new
            or self.captures_updated
            or self.season_changed
            or self.images_timed
            or self.deployments
        )


@dataclass(frozen=True)
class Times:
    """What a data manager says of times and places, besides what the file does.

    Attributes:
        zone: of the cameras' clocks, such as `Africa/Johannesburg` or `+02:00`.
        column: of the captures CSV.
        exif: open images of which the file tells no time, for what the camera wrote into them.
        deployments: a table of where cameras stood; see `ctstate.formats.deployments`.
        processes: that open images.
    """

    zone: str | None = None
    column: str | None = None
    exif: bool = False
    deployments: str | os.PathLike[str] | None = None
    processes: int = field(default_factory=usable_cores)

    @property
    def openers(self) -> int:
        """Processes that open images; 0: none is opened."""
        return self.processes if self.exif else 0


NO_TIMES = Times()


def manifest(
    ledger: Ledger,
    captures_csv: str | os.PathLike[str],
    *,
    attribution: str,
    license: str,
    images_root: str | os.PathLike[str] | None = None,
    manifest_id: str | None = None,
    metadata_columns: Sequence[str] = (),
    update: bool = False,
    allow_missing: bool = False,
    encoding: str = "utf-8-sig",
    times: Times = NO_TIMES,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> ManifestReport:
    """Read a cleaned captures CSV into the ledger, in one transaction.

    Args:
        ledger: where to.
        captures_csv: the CSV, one row per image.
        attribution, license: go into the metadata of every subject.
        images_root: folder below which all images must lie, symbolic links and `..` resolved.
        manifest_id: name of the season in the ledger; by default the CSV's one season.
        metadata_columns: further columns to pass to the subject, under their own names.
        update: let the CSV change captures that are not on their way to Zooniverse yet.
        allow_missing: also where most of the images are not there.
        encoding: of the CSV.
        times: what else is known of times and places.
        on_progress: called with the number of rows read so far.

    Raises:
        InputError: the CSV is not what it should be, or contradicts the ledger; the ledger is as it was.
        UsageError: a bad manifest id, or a folder that is not there.
        LedgerError: the ledger could not be written.
    """
    if manifest_id is not None:
        check_manifest_id(manifest_id)
    for option, value in (("--attribution", attribution), ("--license", license), ("--images-root", images_root)):
        if value is not None and not os.fspath(value).strip():
            raise UsageError(f"{option} must not be empty")
    for key in metadata_columns:
        if key in RESERVED:
            raise UsageError(f"--metadata-column {key}: every subject carries that key already")
    root = real_root(images_root)
    name = os.fspath(captures_csv)
    return _load(
        ledger,
        CapturesCsv(name, root, tuple(metadata_columns), encoding, times.column, times.openers),
        # A file's name need not be text.
        {"captures_csv": os.fsencode(name).decode("utf-8", "replace"), "update": update},
        _SeasonTexts(attribution, license, root),
        manifest_id,
        update,
        allow_missing,
        times,
        on_progress,
    )


def load_camtrap(
    ledger: Ledger,
    datapackage: str | os.PathLike[str],
    *,
    attribution: str,
    license: str,
    images_root: str | os.PathLike[str] | None = None,
    manifest_id: str | None = None,
    gap_seconds: float = GAP_SECONDS,
    update: bool = False,
    allow_missing: bool = False,
    times: Times = NO_TIMES,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> ManifestReport:
    """Read a Camtrap DP into the ledger, in one transaction; see `ctstate.formats.camtrap_dp`.

    Args:
        ledger, attribution, license, update, allow_missing, times, on_progress: as for `manifest`; a package has
            deployments of its own, which `times.deployments` adds to.
        datapackage: the file datapackage.json, or the folder that holds it.
        images_root: folder below which the media are; by default the package's own.
        manifest_id: name of the season in the ledger; by default the package's name.
        gap_seconds: for the last of the rules.

    Raises:
        InputError: the package is not what it should be, or contradicts the ledger; the ledger is as it was.
        UsageError: a bad manifest id or gap, or a folder that is not there.
        LedgerError: the ledger could not be written.
    """
    if not 0 <= gap_seconds <= LONGEST_GAP_S:
        raise UsageError(f"--gap-seconds must be between 0 and {LONGEST_GAP_S}, not {gap_seconds}")
    package = Package.open(datapackage)
    manifest_id = manifest_id or package.name
    if manifest_id is None:
        raise UsageError(f"{package.file}: the package has no name; name the season with --manifest-id")
    check_manifest_id(manifest_id)
    root = real_root(images_root if images_root is not None else package.file.absolute().parent)
    zone = None if times.zone is None else zone_named(times.zone)
    reader = CamtrapDp(package, manifest_id, root, gap_seconds, zone, times.openers)
    report = _load(
        ledger,
        reader,
        {"datapackage": str(package.file), "gap_seconds": gap_seconds, "update": update},
        _SeasonTexts(attribution, license, root),
        manifest_id,
        update,
        allow_missing,
        times,
        on_progress,
    )
    report.rules = dict(reader.rules)
    return report


def load_folder(
    ledger: Ledger,
    folder: str | os.PathLike[str],
    options: FolderOptions,
    *,
    manifest_id: str,
    attribution: str,
    license: str,
    update: bool = False,
    times: Times = NO_TIMES,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> ManifestReport:
    """Read a folder of images into the ledger, in one transaction.

    Args:
        ledger, attribution, license, update, times, on_progress: as for `manifest`.
        folder: that holds the images, in folders of their own.
        options: how it becomes captures.
        manifest_id: name of the season.

    Raises:
        InputError, UsageError, LedgerError: as for `manifest`.
    """
    reader = options.reader(folder, manifest_id)
    report = _load(
        ledger,
        reader,
        {"folder": os.fsencode(folder).decode("utf-8", "replace"), "pattern": options.pattern, "update": update},
        _SeasonTexts(attribution, license, reader.name),
        manifest_id,
        update,
        False,
        times,
        on_progress,
    )
    report.passed_over, report.rules = reader.passed_over, dict(reader.rules)
    return report


# -- the steps -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _SeasonTexts:
    attribution: str
    license: str
    images_root: str | None


def _load(
    ledger: Ledger,
    reader: CaptureReader,
    arguments: Mapping[str, Any],
    texts: _SeasonTexts,
    manifest_id: str | None,
    update: bool,
    allow_missing: bool,
    times: Times,
    on_progress: Callable[[int], None],
) -> ManifestReport:
    """Bring what a reader yields into the ledger: read all of it, check it, merge it."""
    if times.zone is not None:
        zone_named(times.zone)
    deployments = read_deployments(times.deployments) if times.deployments is not None else []
    with ledger.connection() as connection:
        with ledger.read(connection) as reading:
            staging.begin_images(reading)
            for images in reader.chunks():
                staging.add_images(reading, images)
                on_progress(reader.rows)
            staging.end_images(reading)
            contents = intake_checks.check_incoming(reading, reader.name)
            if manifest_id is None:
                manifest_id = _the_one_season(reader.name, contents.seasons)
            if not allow_missing:
                _check_that_they_are_there(reader, contents, texts.images_root)
        with ledger.atomic_run("manifest", {**arguments, "manifest_id": manifest_id}, connection) as (write, run):
            season = put_season(
                write, manifest_id, texts.attribution, texts.license, texts.images_root, update, times.zone
            )
            merged = intake_captures.merge(write, reader.name, season.id, run, update)
            report = ManifestReport(
                season=manifest_id,
                rows=reader.rows,
                captures_new=merged.new,
                captures_unchanged=merged.unchanged,
                captures_updated=merged.updated,
                captures_kept=merged.kept,
                captures_without_image=merged.without_image,
                images_usable=contents.usable,
                images_excluded=contents.excluded,
                images_missing=contents.missing,
                images_empty=contents.empty,
                duplicate_rows=contents.duplicates,
                season_changed=season.changed,
                images_timeless=contents.timeless,
                images_no_time=contents.no_times,
                images_timed=merged.images_timed,
                images_untimed=merged.images_untimed,
                deployments=intake_times.put_deployments(
                    write, season.id, [*reader.deployments, *deployments], update
                ),
                examples=[f"{reader.unit} {row}: {short(path)}: {why}" for row, path, why in contents.examples],
            )
            if not report.changed:
                runs.forget(write, run)
    return report


def _check_that_they_are_there(
    reader: CaptureReader, contents: intake_checks.Contents, images_root: str | None
) -> None:
    """Refuse a season most of whose images are not there: the folder is not the right one, or not mounted."""
    looked_for = contents.usable + contents.missing + contents.empty
    if 2 * contents.missing <= looked_for:
        return
    first = next((f"{reader.unit} {row}: {short(path)}" for row, path, _ in contents.examples), "")
    where = f"is --images-root {images_root} the right folder" if images_root else "is their disk mounted"
    raise InputError(
        f"{reader.name}: not there: {contents.missing:,} of {counted(looked_for, 'image')} (the first, {first}); "
        f"{where}? Nothing was changed; --allow-missing reads them in all the same"
    )


def _the_one_season(name: str, seasons: Sequence[str]) -> str:
    if len(seasons) != 1:
        raise InputError(
            f"{name}: holds {len(seasons)} seasons ({', '.join(seasons[:4])}); name the manifest with --manifest-id"
        )
    check_manifest_id(seasons[0])
    return seasons[0]
