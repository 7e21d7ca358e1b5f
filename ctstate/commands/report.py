"""ctstate report"""

import click

from ctstate.commands.completion import files
from ctstate.commands.root import Places
from ctstate.commands.shared import echo_json, json_option, places, season_option
from ctstate.errors import UsageError
from ctstate.verbs.report import report as carry_out
from ctstate.verbs.report import report_before_upload


@click.command()
@click.option(
    "-o",
    "--output",
    "file",
    required=True,
    metavar="FILE",
    shell_complete=files,
    help="Where the page goes; a file that is there is replaced.",
)
@season_option
@click.option(
    "--before-upload",
    is_flag=True,
    help="Instead, a contact sheet: what lies around the thresholds of exclude, and a sample of every site.",
)
@click.option(
    "--around",
    multiple=True,
    metavar="SCORE=NUMBER",
    help="With --before-upload: this threshold, such as machine_person=0.2 (repeatable); else those of exclude.",
)
@click.option(
    "--per-site",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    metavar="N",
    help="With --before-upload: so many captures of every site.",
)
@click.option(
    "--images-root",
    metavar="FOLDER",
    help="With --before-upload: where the images are, if not where the ledger says.",
)
@json_option
@places
def report(
    where: Places,
    file: str,
    season: str | None,
    before_upload: bool,
    around: tuple[str, ...],
    per_site: int,
    images_root: str | None,
    as_json: bool,
) -> None:
    """Write a page about a season: how far it is, what is wrong, when it will be done.

    One HTML file for any browser, with all that it shows in it: send it around, print it, keep it. With
    --before-upload it is a contact sheet, which shows what a threshold does before people are shown to the public.

    \b
    Examples:
      ctstate report -o season.html
      ctstate report --before-upload --around machine_person=0.2 -o sheet.html
    """
    if (around or images_root) and not before_upload:
        raise UsageError("--around and --images-root are for --before-upload: a contact sheet")
    with where.open(read_only=True) as ledger:
        if before_upload:
            made = report_before_upload(
                ledger, file, season, around=around, per_site=per_site, images_root=images_root
            )
        else:
            made = carry_out(ledger, file, season)
    if as_json:
        echo_json(made)
        return
    click.echo(f"{made.sentence}\n{made.file}: {made.bytes / 1e6:,.2f} MB")
