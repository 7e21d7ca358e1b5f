"""ctstate predict"""

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import batch_option, counter, echo_json, json_option, places, season_option
from ctstate.verbs.predict import FORMATS, PredictionFile
from ctstate.verbs.predict import predict as carry_out
from ctstate.words import counted


@click.command()
@click.argument("file", required=False, type=click.Path())
@click.option("--empty", type=click.Path(), help="Legacy empty model.")
@click.option("--species", type=click.Path(), help="Legacy species model.")
@click.option(
    "--add-all-species-scores", is_flag=True, help="Legacy species model: also the confidence of every class."
)
@click.option("--format", type=click.Choice(FORMATS), help="Of FILE, where its content does not tell.")
@click.option("--source", metavar="NAME", help="Keep FILE's predictions under this name instead of its format's.")
@season_option
@batch_option
@click.option(
    "--strip-prefix", default="", metavar="FOLDER", help="Take this from the front of FILE's image paths."
)
@click.option(
    "--base-folder", default="", metavar="FOLDER", help="Put this in front of FILE's relative image paths."
)
@json_option
@places
def predict(
    where: Places,
    file: str | None,
    empty: str | None,
    species: str | None,
    add_all_species_scores: bool,
    format: str | None,
    source: str | None,
    season: str | None,
    batch: str | None,
    strip_prefix: str,
    base_folder: str,
    as_json: bool,
) -> None:
    """Attach machine-learning predictions to captures.

    FILE is MegaDetector or SpeciesNet JSON, a legacy file, or a CSV with a column capture_id or path; its content
    tells which.

    \b
    Examples:
      ctstate predict --empty WLD_S6_empty_or_not.json --species WLD_S6_species.json
      ctstate predict megadetector.json --strip-prefix /scratch/images/
    """
    files = [
        PredictionFile(path, kind)
        for path, kind in ((empty, "legacy-empty"), (species, "legacy-species"), (file, format))
        if path is not None
    ]
    with where.open() as ledger, counter("entry") as progress:
        report = carry_out(
            ledger,
            files,
            season=season,
            batch=batch,
            source=source,
            all_species_scores=add_all_species_scores,
            strip_prefix=strip_prefix,
            base_folder=base_folder,
            on_progress=progress,
        )
    if as_json:
        echo_json(report)
        return
    for path, kind in report.files:
        click.echo(f"{path}: {kind}")
    click.echo(
        f"{counted(report.captures, 'capture')} with predictions ({report.changed:,} new or changed) "
        f"from {counted(report.entries, 'entry')}; {counted(report.without, 'capture', 'have')} none."
    )
    if report.images_with_boxes:
        click.echo(f"Boxes of {counted(report.images_with_boxes, 'image')} are kept, to be looked at.")
    if report.failed:
        click.echo(f"{counted(report.failed, 'entry', 'say')} only that the program failed.")
    if report.outside:
        click.echo(f"{counted(report.outside, 'capture', 'are')} not of the season or batch asked for: left out.")
    if report.pending:
        click.echo(
            f"{counted(report.pending, 'changed capture', 'are')} on Zooniverse or on the way: "
            "`ctstate update-metadata` brings the change there."
        )
    if report.unknown:
        click.echo(f"{counted(report.unknown, 'entry', 'name')} nothing in the ledger.", err=True)
    if report.bad_boxes:
        click.echo(
            f"{counted(report.bad_boxes, 'box', 'are')} not four fractions of an image: left out, scores count.",
            err=True,
        )
    for example in report.examples:
        click.echo(f"  {example}", err=True)
    if not report.changed:
        click.echo("Nothing new.")
