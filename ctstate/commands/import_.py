"""ctstate import"""

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import echo_json, json_option, places
from ctstate.verbs.import_ import ImportReport, import_manifest, import_tracker
from ctstate.words import counted


@click.group("import")
def import_() -> None:
    """Read files of the old scripts.

    What they say of subjects on Zooniverse is believed only once `ctstate adopt` has looked there.

    \b
    Example:
      ctstate import manifest WLD_S6__batch_2__manifest_uploaded.json
    """


# The verb's name is a word of Python's own.
globals()["import"] = import_


@import_.command("manifest")
@click.argument("file", type=click.Path())
@click.option("--images-root", type=click.Path(), help="Folder below which the images are.")
@click.option("--manifest-id", metavar="ID", help="Instead of what the file's name says.")
@click.option("--batch", metavar="NAME", help="Instead of what the file's name says.")
@json_option
@places
def import_a_manifest(
    where: Places, file: str, images_root: str | None, manifest_id: str | None, batch: str | None, as_json: bool
) -> None:
    """Read a JSON manifest, ID__BATCH__manifest.json or ID__BATCH__manifest_uploaded.json.

    \b
    Example:
      ctstate import manifest WLD_S6__batch_2__manifest_uploaded.json --images-root /shared/albums/WLD
    """
    report = where.open_or_make(
        lambda ledger: import_manifest(ledger, file, images_root=images_root, manifest_id=manifest_id, batch=batch)
    )
    if as_json:
        echo_json(report)
    else:
        _echo_manifest(report)
    _conclude(report)


def _echo_manifest(report: ImportReport) -> None:
    click.echo(
        f"Season {report.season}, {report.batch}: {counted(report.captures, 'capture')}, {report.new:,} new; "
        f"{report.batched:,} put into the batch, {report.predicted:,} with predictions."
    )
    if report.images_missing:
        click.echo(f"{counted(report.images_missing, 'image', 'are')} not there.")
    if report.differing:
        click.echo(
            f"{counted(report.differing, 'capture', 'have')} other images in the ledger, which keeps its own.",
            err=True,
        )
    _echo_claims(report)


@import_.command("tracker")
@click.argument("file", type=click.Path())
@json_option
@places
def import_a_tracker(where: Places, file: str, as_json: bool) -> None:
    """Read an upload tracker file, ID__BATCH__upload_tracker_file.txt.

    \b
    Example:
      ctstate import tracker WLD_S6__batch_2__upload_tracker_file.txt
    """
    with where.open() as ledger:
        report = import_tracker(ledger, file)
    if as_json:
        echo_json(report)
    else:
        click.echo(f"{counted(report.captures, 'capture')} in the tracker file.")
        if report.unknown:
            click.echo(f"{counted(report.unknown, 'capture', 'are')} not in the ledger.", err=True)
        _echo_claims(report)
    _conclude(report)


def _echo_claims(report: ImportReport) -> None:
    if report.claimed:
        click.echo(
            f"{counted(report.claimed, 'capture', 'are')} uploaded by the file's word, and not believed until "
            "`ctstate adopt` has looked on Zooniverse."
        )
    if report.confirmed:
        click.echo(f"{counted(report.confirmed, 'capture', 'have')} that very subject in the ledger.")
    if report.conflicting:
        click.echo(f"{counted(report.conflicting, 'capture', 'have')} another subject in the ledger.", err=True)
    if report.uploading:
        click.echo(
            f"{counted(report.uploading, 'capture', 'are')} being uploaded at this moment: see `ctstate stop`.",
            err=True,
        )
    for example in report.examples:
        click.echo(f"  {example}", err=True)


def _conclude(report: ImportReport) -> None:
    if report.conflicting or report.uploading:
        raise SystemExit(1)
