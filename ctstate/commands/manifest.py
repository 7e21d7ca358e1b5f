"""ctstate manifest"""

import os
from pathlib import Path
from typing import Any

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import counter, echo_json, json_option, places
from ctstate.errors import UsageError
from ctstate.formats.camtrap_dp import GAP_SECONDS
from ctstate.formats.captures_csv import TIME_COLUMNS
from ctstate.verbs.export import ExportReport
from ctstate.verbs.manifest import ManifestReport, Times, load_camtrap, load_folder
from ctstate.verbs.manifest import manifest as carry_out
from ctstate.verbs.manifest.checks import check_manifest_id
from ctstate.verbs.manifest.folder import FolderOptions, folder_to_csv
from ctstate.words import counted


@click.command()
@click.argument("captures_csv", metavar="CSV", type=click.Path())
@click.option("--images-root", type=click.Path(), help="Folder below which the images are; must hold all of them.")
@click.option("--attribution", required=True, help="For every subject's metadata.")
@click.option("--license", required=True, help="For every subject's metadata.")
@click.option("--manifest-id", metavar="ID", help="Name of the season in the ledger and of its subject sets.")
@click.option(
    "--metadata-column",
    "metadata_columns",
    multiple=True,
    metavar="NAME",
    help="Pass this column on to the subject.",
)
@click.option("--update", is_flag=True, help="Let the CSV change captures that are not on their way yet.")
@click.option("--allow-missing", is_flag=True, help="Also where most of the images are not there.")
@click.option("--encoding", default="utf-8-sig", show_default=True, help="Of the CSV.")
@click.option(
    "--format",
    type=click.Choice(["csv", "camtrap-dp", "folder"]),
    help="camtrap-dp: CSV is the datapackage.json of a Camtrap DP, or its folder; folder: a folder of images. By "
    "default a CSV, or a folder of images where CSV is a folder.",
)
@click.option(
    "--gap-seconds",
    type=float,
    default=GAP_SECONDS,
    show_default=True,
    help="Camtrap DP, folder: images that follow one another so closely are one capture (where no event says).",
)
@click.option(
    "--pattern",
    default=FolderOptions.pattern,
    show_default=True,
    help="Folder: which parts of a path are what; * is any name, ** any folders.",
)
@click.option("--most-images", type=int, metavar="N", help="Folder: no more images than that are one capture.")
@click.option(
    "--name-time",
    metavar="PATTERN",
    help="Folder: how a file's name tells the time where EXIF does not, such as IMG_%Y%m%d_%H%M%S*",
)
@click.option(
    "--clock-shifts",
    type=click.Path(),
    metavar="CSV",
    help="Folder: cameras whose clock was wrong: columns site, roll, from, offset (-3600, or +1d 02:30:00).",
)
@click.option(
    "--times-from",
    type=click.Path(),
    metavar="JSON",
    help="Folder: MegaDetector's file, where it has a datetime of each image: none need be opened.",
)
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(),
    metavar="FILE",
    help="Folder: write the captures as a CSV to look through and correct, and leave the ledger alone.",
)
@click.option(
    "--time-column",
    metavar="NAME",
    help=f"CSV: where it stands when a picture was taken; by default {', '.join(TIME_COLUMNS)}, whichever it has.",
)
@click.option("--exif-times", is_flag=True, help="Read the time of other images from the images (opens them).")
@click.option(
    "--time-zone",
    metavar="ZONE",
    help="Of the cameras' clocks: Africa/Johannesburg, +02:00. A fact of the season; changes no time, but that a "
    "Camtrap DP's are told in it.",
)
@click.option(
    "--deployments",
    type=click.Path(),
    metavar="CSV",
    help="Where cameras stood: columns site, roll, start, end, latitude, longitude, camera.",
)
@json_option
@places
def manifest(
    where: Places,
    /,
    captures_csv: str,
    images_root: str | None,
    attribution: str,
    license: str,
    manifest_id: str | None,
    metadata_columns: tuple[str, ...],
    update: bool,
    allow_missing: bool,
    encoding: str,
    format: str | None,
    gap_seconds: float,
    csv_file: str | None,
    time_column: str | None,
    exif_times: bool,
    time_zone: str | None,
    deployments: str | None,
    as_json: bool,
    **of_folder: Any,
) -> None:
    """Read a cleaned captures CSV, a Camtrap DP, or a folder of images, into the ledger.

    Running it again on the same CSV changes nothing.

    \b
    Example:
      ctstate manifest WLD_S6_cleaned.csv --images-root /shared/albums/WLD --attribution 'UMN' --license 'UMN'
    """
    if manifest_id is not None:
        check_manifest_id(manifest_id)
    if format is None:
        format = "folder" if os.path.isdir(captures_csv) else "csv"
    if format != "csv" and (metadata_columns or encoding != "utf-8-sig" or time_column is not None):
        raise UsageError("--metadata-column, --encoding and --time-column are for a captures CSV")
    options = FolderOptions(gap_seconds=gap_seconds, **of_folder)
    if format == "folder":
        if manifest_id is None:
            raise UsageError("name the season of a folder of images with --manifest-id")
        if csv_file is not None:
            count = folder_to_csv(captures_csv, options, manifest_id=manifest_id, file=csv_file)
            if as_json:
                echo_json(ExportReport(Path(csv_file), count))
                return
            click.echo(
                f"{csv_file}: {counted(count, 'image')}. Look through it; then `ctstate manifest {csv_file} "
                f"--images-root {captures_csv} ...` reads it."
            )
            return
    elif csv_file is not None:
        raise UsageError("--csv is for a folder of images")
    times = Times(time_zone, time_column, exif_times, deployments)
    season: dict[str, Any] = {"attribution": attribution, "license": license, "manifest_id": manifest_id}
    season |= {"update": update, "times": times}
    listed = {"images_root": images_root, "allow_missing": allow_missing}
    if format == "folder":
        given: dict[str, Any] = {"options": options}
    elif format == "camtrap-dp":
        given = {**listed, "gap_seconds": gap_seconds}
    else:
        given = {**listed, "metadata_columns": metadata_columns, "encoding": encoding}
    read: Any = {"folder": load_folder, "camtrap-dp": load_camtrap, "csv": carry_out}[format]
    unit = "image" if format == "folder" else "row"
    with counter(unit) as progress:
        report = where.open_or_make(
            lambda ledger: read(ledger, captures_csv, **season, **given, on_progress=progress)
        )
    if as_json:
        echo_json(report)
    else:
        _echo(report, unit)


def _echo(report: ManifestReport, unit: str) -> None:
    click.echo(
        f"Season {report.season}: {counted(report.captures_new, 'new capture')}, {report.captures_unchanged:,} "
        "as before"
        + (f", {report.captures_updated:,} updated" if report.captures_updated else "")
        + f" ({counted(report.rows, unit)})."
    )
    if report.captures_kept:
        click.echo(
            f"{counted(report.captures_kept, 'capture', 'differ')} from the CSV, on the way or uploaded "
            "already: left alone."
        )
    click.echo(
        f"Images: {report.images_usable:,} usable, {report.images_excluded:,} excluded, "
        f"{report.images_missing:,} missing, {report.images_empty:,} empty."
    )
    if report.images_timeless:
        what = f", {report.images_no_time:,} with something else in its place" if report.images_no_time else ""
        click.echo(f"{counted(report.images_timeless, 'image')} without a time{what}.")
    if report.images_timed:
        click.echo(f"{counted(report.images_timed, 'image')} of the ledger got the time at which they were taken.")
    if report.images_untimed:
        click.echo(
            f"{counted(report.images_untimed, 'image')} without a time in the ledger, but with one in the file: "
            "--update takes it over, whatever the state of their capture."
        )
    if report.deployments:
        click.echo(f"{counted(report.deployments, 'deployment')} new or changed.")
    for rule, count in sorted(report.rules.items()):
        click.echo(f"{counted(count, 'capture')} by the rule: {rule}.")
    if report.passed_over:
        click.echo(f"{counted(report.passed_over, 'file')} passed over: no image, or not where the pattern says.")
    if report.duplicate_rows:
        click.echo(f"{counted(report.duplicate_rows, 'duplicate row', 'were')} ignored.")
    if report.captures_without_image:
        click.echo(
            f"{counted(report.captures_without_image, 'capture', 'have')} no usable image and will not be uploaded."
        )
    for example in report.examples:
        click.echo(f"  {example}", err=True)
    if not report.changed:
        click.echo("Nothing new: the ledger is as it was.")
    elif report.season_changed and not report.captures_new:
        click.echo("The season's attribution, license, folder of images or time zone was changed.")
