"""ctstate import"""

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import places
from ctstate.verbs.import_ import ImportReport, import_manifest, import_tracker


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
    report = where.open_or_make(
        lambda ledger: import_manifest(ledger, file, images_root=images_root, manifest_id=manifest_id, batch=batch)
    )
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
