"""ctstate manifest"""

import sys
from typing import Any

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import places
from ctstate.errors import UsageError
from ctstate.formats.camtrap_dp import GAP_SECONDS
from ctstate.verbs.manifest import check_manifest_id, load_camtrap
from ctstate.verbs.manifest import manifest as carry_out
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
    allow_missing: bool,
    encoding: str,
    format: str,
    gap_seconds: float,
) -> None:
    """Read a cleaned captures CSV, or a Camtrap DP, into the ledger.

    Running it again on the same CSV changes nothing.

    \b
    Example:
      ctstate manifest WLD_S6_cleaned.csv --images-root /shared/albums/WLD --attribution 'UMN' --license 'UMN'
    """
    if manifest_id is not None:
        check_manifest_id(manifest_id)
    if format == "camtrap-dp" and (metadata_columns or encoding != "utf-8-sig"):
        raise UsageError("--metadata-column and --encoding are for a captures CSV")
    show = sys.stderr.isatty()

    def progress(rows: int) -> None:
        if show:
            click.echo(f"\r{counted(rows, 'row')} read", nl=False, err=True)

    more: dict[str, Any] = {"gap_seconds": gap_seconds}
    if format == "csv":
        more = {"metadata_columns": metadata_columns, "encoding": encoding}
    read = load_camtrap if format == "camtrap-dp" else carry_out
    report = where.open_or_make(
        lambda ledger: read(
            ledger,
            captures_csv,
            attribution=attribution,
            license=license,
            images_root=images_root,
            manifest_id=manifest_id,
            update=update,
            allow_missing=allow_missing,
            on_progress=progress,
            **more,
        )
    )
    if show:
        click.echo("\r", nl=False, err=True)
    click.echo(
        f"Season {report.season}: {counted(report.captures_new, 'new capture')}, {report.captures_unchanged:,} "
        "as before"
        + (f", {report.captures_updated:,} updated" if report.captures_updated else "")
        + f" ({counted(report.rows, 'row')})."
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
    for rule, count in sorted(report.rules.items()):
        click.echo(f"{counted(count, 'capture')} by the rule: {rule}.")
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
        click.echo("The season's attribution, license or folder of images was changed.")
