"""ctstate manifest"""

import sys
from pathlib import Path

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import places
from ctstate.errors import InputError, UsageError
from ctstate.formats.camtrap_dp import GAP_SECONDS
from ctstate.verbs.manifest import check_manifest_id, load_camtrap
from ctstate.verbs.manifest import manifest as carry_out


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
@click.option("--encoding", default="utf-8-sig", show_default=True, help="Of the CSV.")
@click.option(
    "--format",
    type=click.Choice(["csv", "camtrap-dp"]),
    default="csv",
    show_default=True,
    help="camtrap-dp: CSV is the datapackage.json of a Camtrap DP, or its folder.",
)
@click.option(
    "--gap-seconds",
    type=float,
    default=GAP_SECONDS,
    show_default=True,
    help="Camtrap DP: media that follow one another so closely are one capture, where no event says.",
)
@places
def manifest(
    where: Places,
    captures_csv: str,
    images_root: str | None,
    attribution: str,
    license: str,
    manifest_id: str | None,
    metadata_columns: tuple[str, ...],
    update: bool,
    encoding: str,
    format: str,
    gap_seconds: float,
) -> None:
    """Read a cleaned captures CSV, or a Camtrap DP, into the ledger.

    Running it again on the same CSV changes nothing.
    """
    if manifest_id is not None:
        check_manifest_id(manifest_id)
    # Before a ledger is made for it:
    if not Path(captures_csv).exists():
        raise InputError(f"{captures_csv}: no such file")
    if format == "camtrap-dp" and (metadata_columns or encoding != "utf-8-sig"):
        raise UsageError("--metadata-column and --encoding are for a captures CSV")
    if format == "csv" and Path(captures_csv).is_dir():
        raise InputError(f"{captures_csv}: that is a folder; name the captures CSV")
    show = sys.stderr.isatty()

    def progress(rows: int) -> None:
        if show:
            click.echo(f"\r{rows:,} rows read", nl=False, err=True)

    with where.open(create=True) as ledger:
        if format == "camtrap-dp":
            report = load_camtrap(
                ledger,
                captures_csv,
                attribution=attribution,
                license=license,
                images_root=images_root,
                manifest_id=manifest_id,
                gap_seconds=gap_seconds,
                update=update,
                on_progress=progress,
            )
        else:
            report = carry_out(
                ledger,
                captures_csv,
                attribution=attribution,
                license=license,
                images_root=images_root,
                manifest_id=manifest_id,
                metadata_columns=metadata_columns,
                update=update,
                encoding=encoding,
                on_progress=progress,
            )
    if show:
        click.echo("\r", nl=False, err=True)
    click.echo(
        f"Season {report.season}: {report.captures_new:,} new captures, {report.captures_unchanged:,} as they were"
        + (f", {report.captures_updated:,} updated" if report.captures_updated else "")
        + f" ({report.rows:,} rows)."
    )
    if report.captures_kept:
        click.echo(
            f"{report.captures_kept:,} captures differ from the CSV but are on their way or uploaded: left alone."
        )
    click.echo(
        f"Images: {report.images_usable:,} usable, {report.images_excluded:,} excluded, "
        f"{report.images_missing:,} missing, {report.images_empty:,} empty."
    )
    for rule, count in sorted(report.rules.items()):
        click.echo(f"{count:,} captures by the rule: {rule}.")
    if report.duplicate_rows:
        click.echo(f"{report.duplicate_rows:,} duplicate rows were ignored.")
    if report.captures_without_image:
        click.echo(f"{report.captures_without_image:,} captures have no usable image and will not be uploaded.")
    for example in report.examples:
        click.echo(f"  {example}", err=True)
    if not report.changed:
        click.echo("Nothing new: the ledger is as it was.")
    elif report.season_changed and not report.captures_new:
        click.echo("The season's attribution, license or folder of images was changed.")
