"""ctstate export, ctstate import"""

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import batch_option, echo_csv, places, season_option
from ctstate.verbs import export as exports
from ctstate.verbs.export import ExportReport, Whereabouts
from ctstate.verbs.import_ import ImportReport, import_manifest, import_tracker

_folder_option = click.option(
    "--output-dir", "folder", default=".", show_default=True, type=click.Path(), help="Where the file goes."
)


@click.group()
def export() -> None:
    """Write files for other programs."""


@export.command("manifest")
@season_option
@batch_option
@_folder_option
@places
def export_manifest(where: Places, season: str | None, batch: str | None, folder: str) -> None:
    """Write the old scripts' JSON manifest of a season, or of one batch.

    Take along `ctstate export tracker` where captures are on Zooniverse already.
    """
    with where.open(read_only=True) as ledger:
        _echo_export(exports.export_manifest(ledger, season, batch, folder=folder), "captures")


@export.command("uploaded-manifest")
@season_option
@batch_option
@_folder_option
@places
def export_uploaded_manifest(where: Places, season: str | None, batch: str | None, folder: str) -> None:
    """Write the old scripts' JSON manifest as it is after an upload."""
    with where.open(read_only=True) as ledger:
        _echo_export(exports.export_manifest(ledger, season, batch, folder=folder, uploaded=True), "captures")


@export.command("tracker")
@season_option
@batch_option
@_folder_option
@places
def export_tracker(where: Places, season: str | None, batch: str | None, folder: str) -> None:
    """Write the old scripts' upload tracker file: captures that are on Zooniverse."""
    with where.open(read_only=True) as ledger:
        _echo_export(exports.export_tracker(ledger, season, batch, folder=folder), "captures")


@export.command("captures")
@season_option
@batch_option
@click.option("--output", "-o", "file", default="-", type=click.Path(), help="File; by default the terminal.")
@click.option("--excel", is_flag=True, help="Begin the file with a byte order mark, for Excel.")
@places
def export_captures(where: Places, season: str | None, batch: str | None, file: str, excel: bool) -> None:
    """Write the captures as CSV (the view v_captures), for R, pandas, Excel."""
    with where.open(read_only=True) as ledger:
        if file == "-":
            echo_csv(*exports.captures_table(ledger, season, batch))
        else:
            _echo_export(exports.export_captures(ledger, file, season, batch, excel=excel), "captures")


@export.command("speciesnet-instances")
@season_option
@batch_option
@click.option("--output", "-o", "file", required=True, type=click.Path(), help="File.")
@click.option("--country", help="Where the images were taken: three letters, such as ZAF.")
@click.option("--admin1-region", help="State or province, such as CA.")
@click.option("--latitude", type=click.FloatRange(-90, 90))
@click.option("--longitude", type=click.FloatRange(-180, 180))
@places
def export_speciesnet_instances(
    where: Places,
    season: str | None,
    batch: str | None,
    file: str,
    country: str | None,
    admin1_region: str | None,
    latitude: float | None,
    longitude: float | None,
) -> None:
    """Write the file that SpeciesNet takes, to make predictions from the ledger."""
    with where.open(read_only=True) as ledger:
        report = exports.export_speciesnet_instances(
            ledger, file, season, batch, whereabouts=Whereabouts(country, admin1_region, latitude, longitude)
        )
    _echo_export(report, "images")


def _echo_export(report: ExportReport, what: str) -> None:
    click.echo(f"{report.file}: {report.count:,} {what}")


@click.group("import")
def import_() -> None:
    """Read files of the old scripts.

    What they say of subjects on Zooniverse is believed only once `ctstate adopt` has looked there.
    """


# The verb's name is a word of Python's own.
globals()["import"] = import_


@import_.command("manifest")
@click.argument("file", type=click.Path())
@click.option("--images-root", type=click.Path(), help="Folder below which the images are.")
@click.option("--manifest-id", metavar="ID", help="Instead of what the file's name says.")
@click.option("--batch", metavar="NAME", help="Instead of what the file's name says.")
@places
def import_a_manifest(
    where: Places, file: str, images_root: str | None, manifest_id: str | None, batch: str | None
) -> None:
    """Read a JSON manifest, ID__BATCH__manifest.json or ID__BATCH__manifest_uploaded.json."""
    from pathlib import Path

    from ctstate.errors import InputError

    if not Path(file).is_file():  # before a ledger is made for it
        raise InputError(f"{file}: no such file")
    with where.open(create=True) as ledger:
        report = import_manifest(ledger, file, images_root=images_root, manifest_id=manifest_id, batch=batch)
    click.echo(
        f"Season {report.season}, {report.batch}: {report.captures:,} captures, {report.new:,} of them new; "
        f"{report.batched:,} put into the batch, {report.predicted:,} with predictions."
    )
    if report.images_missing:
        click.echo(f"{report.images_missing:,} images are not there.")
    if report.differing:
        click.echo(f"{report.differing:,} captures have other images in the ledger, which keeps them.", err=True)
    _echo_claims(report)


@import_.command("tracker")
@click.argument("file", type=click.Path())
@places
def import_a_tracker(where: Places, file: str) -> None:
    """Read an upload tracker file, ID__BATCH__upload_tracker_file.txt."""
    with where.open() as ledger:
        report = import_tracker(ledger, file)
    click.echo(f"{report.captures:,} captures in the tracker file.")
    if report.unknown:
        click.echo(f"{report.unknown:,} of them are not in the ledger.", err=True)
    _echo_claims(report)


def _echo_claims(report: ImportReport) -> None:
    if report.claimed:
        click.echo(
            f"{report.claimed:,} are uploaded by the file's word; they wait until `ctstate adopt` has looked on "
            "Zooniverse."
        )
    if report.confirmed:
        click.echo(f"{report.confirmed:,} have that very subject in the ledger.")
    if report.conflicting:
        click.echo(f"{report.conflicting:,} have another subject in the ledger.", err=True)
    if report.uploading:
        click.echo(f"{report.uploading:,} of them are being uploaded at this moment: see `ctstate stop`.", err=True)
    for example in report.examples:
        click.echo(f"  {example}", err=True)
    if report.conflicting or report.uploading:
        raise SystemExit(1)
