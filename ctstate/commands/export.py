"""ctstate export"""

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import batch_option, echo_csv, echo_json, json_option, places, season_option
from ctstate.errors import UsageError
from ctstate.formats.speciesnet_instances import Whereabouts
from ctstate.verbs import export as exports
from ctstate.verbs.export import ExportReport

_folder_option = click.option(
    "--output-dir",
    "folder",
    default=".",
    show_default=True,
    type=click.Path(),
    help="Where the file goes; made where it is missing.",
)


@click.group()
def export() -> None:
    """Write files for other programs.

    \b
    Example:
      ctstate export captures -o WLD_S6.csv
    """


@export.command("manifest")
@season_option
@batch_option
@_folder_option
@json_option
@places
def export_manifest(where: Places, season: str | None, batch: str | None, folder: str, as_json: bool) -> None:
    """Write the old scripts' JSON manifest of a season, or of one batch.

    Take along `ctstate export tracker` where captures are on Zooniverse already.

    \b
    Example:
      ctstate export manifest --batch batch_1 --output-dir Manifests/WLD
    """
    with where.open(read_only=True) as ledger:
        _echo_export(exports.export_manifest(ledger, season, batch, folder=folder), "captures", as_json)


@export.command("uploaded-manifest")
@season_option
@batch_option
@_folder_option
@json_option
@places
def export_uploaded_manifest(
    where: Places, season: str | None, batch: str | None, folder: str, as_json: bool
) -> None:
    """Write the old scripts' JSON manifest as it is after an upload.

    \b
    Example:
      ctstate export uploaded-manifest --output-dir Manifests/WLD
    """
    with where.open(read_only=True) as ledger:
        _echo_export(
            exports.export_manifest(ledger, season, batch, folder=folder, uploaded=True), "captures", as_json
        )


@export.command("tracker")
@season_option
@batch_option
@_folder_option
@json_option
@places
def export_tracker(where: Places, season: str | None, batch: str | None, folder: str, as_json: bool) -> None:
    """Write the old scripts' upload tracker file: captures that are on Zooniverse.

    \b
    Example:
      ctstate export tracker --batch batch_1 --output-dir Manifests/WLD
    """
    with where.open(read_only=True) as ledger:
        _echo_export(exports.export_tracker(ledger, season, batch, folder=folder), "captures", as_json)


@export.command("captures")
@season_option
@batch_option
@click.option("--output", "-o", "file", default="-", type=click.Path(), help="File; by default the terminal.")
@click.option("--excel", is_flag=True, help="Begin the file with a byte order mark, for Excel.")
@json_option
@places
def export_captures(
    where: Places, season: str | None, batch: str | None, file: str, excel: bool, as_json: bool
) -> None:
    """Write the captures as CSV, for R, pandas, Excel: the view v_captures, and each subject's web address.

    \b
    Example:
      ctstate export captures -o WLD_S6.csv --excel
    """
    if as_json and file == "-":
        raise UsageError(
            "--json tells which file was written: say where with -o (`ctstate sql --json` prints rows)"
        )
    with where.open(read_only=True) as ledger:
        if file == "-":
            echo_csv(*exports.captures_table(ledger, season, batch))
        else:
            _echo_export(exports.export_captures(ledger, file, season, batch, excel=excel), "captures", as_json)


@export.command("speciesnet-instances")
@season_option
@batch_option
@click.option("--output", "-o", "file", required=True, type=click.Path(), help="File.")
@click.option("--country", help="Where the images were taken: three letters, such as ZAF.")
@click.option("--admin1-region", help="State or province, such as CA.")
@click.option("--latitude", type=click.FloatRange(-90, 90))
@click.option("--longitude", type=click.FloatRange(-180, 180))
@json_option
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
    as_json: bool,
) -> None:
    """Write the file that SpeciesNet takes, to make predictions from the ledger.

    \b
    Example:
      ctstate export speciesnet-instances -o instances.json --country ZAF
    """
    with where.open(read_only=True) as ledger:
        report = exports.export_speciesnet_instances(
            ledger, file, season, batch, whereabouts=Whereabouts(country, admin1_region, latitude, longitude)
        )
    _echo_export(report, "images", as_json)


def _echo_export(report: ExportReport, what: str, as_json: bool) -> None:
    if as_json:
        echo_json(report)
        return
    click.echo(f"{report.file}: {report.count:,} {what}")
