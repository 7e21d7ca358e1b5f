"""ctstate upload"""

import os
import signal
import socket
from types import FrameType

import click

from ctstate.commands import answers
from ctstate.commands.bar import Bar, in_words, on_terminal
from ctstate.commands.journal import Journal
from ctstate.commands.root import Places
from ctstate.commands.shared import (
    ID,
    account_options,
    batch_option,
    connect,
    echo_json,
    json_option,
    places,
    season_option,
)
from ctstate.images import ImageOptions
from ctstate.images.cores import usable_cores
from ctstate.verbs.upload import SETTLE_S, StopSignal, UploadOptions, UploadPlan, UploadReport, plan_upload
from ctstate.verbs.upload import upload as carry_out
from ctstate.words import counted
from ctstate.zooniverse.wording import shown


@click.command()
@account_options
@season_option
@batch_option
@click.option("--subject-set-id", type=ID, help="Use this set; refused if its name is not SEASON_BATCH.")
@click.option("--subject-set-name", help="Name of the set instead of SEASON_BATCH.")
@click.option(
    "--image-root-path", type=click.Path(), help="Where the images are now, if not where manifest found them."
)
@click.option("--save-quality", type=int, default=50, show_default=True, help="JPEG quality, above 15 up to 100.")
@click.option("--max-pixel-of-largest-side", type=int, default=1440, show_default=True)
@click.option("--dont-compress-images", is_flag=True, help="Send the files as they are, less their EXIF.")
@click.option(
    "--keep-exif", is_flag=True, help="Leave EXIF in the images: it may tell where endangered animals live."
)
@click.option("--skip-broken-images", is_flag=True, help="Leave a broken image out if another remains.")
@click.option(
    "--n-processes",
    type=int,
    default=usable_cores,
    show_default="the cores it may use, at most 8",
    help="Encoding at the same time.",
)
@click.option("--connections", type=int, default=8, show_default=True, help="To Zooniverse at the same time.")
@click.option(
    "--link-batch-size", type=int, default=200, show_default=True, help="Subjects linked with one request."
)
@click.option("--limit", type=int, help="Upload at most so many captures, then stop.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--log-dir",
    type=click.Path(file_okay=False),
    help="Folder for a log file: all that the terminal shows, with times.",
)
@click.option("--log-filename", help="Begin of the log file's name.")
@click.option(
    "--settle-seconds",
    type=float,
    default=SETTLE_S,
    show_default=True,
    help="How long Zooniverse may be at work on a request whose reply was lost; less only for a sandbox.",
)
@json_option
@places
def upload(
    where: Places,
    project_id: int,
    password_file: str | None,
    season: str | None,
    batch: str | None,
    subject_set_id: int | None,
    subject_set_name: str | None,
    image_root_path: str | None,
    save_quality: int,
    max_pixel_of_largest_side: int,
    dont_compress_images: bool,
    keep_exif: bool,
    skip_broken_images: bool,
    n_processes: int,
    connections: int,
    link_batch_size: int,
    limit: int | None,
    dry_run: bool,
    log_dir: str | None,
    log_filename: str | None,
    settle_seconds: float,
    as_json: bool,
) -> None:
    """Upload captures to Zooniverse, each exactly once; run it again to resume.

    Ctrl-C, SIGTERM and SIGUSR1 stop it cleanly (exit code 75); a second Ctrl-C stops it at once.

    \b
    Examples:
      ctstate upload --project-id 593 --password-file ~/keys/passwords.ini
      ctstate upload --project-id 593 --batch batch_1 --limit 100 --log-dir logs
    """
    options = UploadOptions(
        project_id=project_id,
        season=season,
        batch=batch,
        subject_set_id=subject_set_id,
        subject_set_name=subject_set_name,
        images_root=image_root_path,
        images=ImageOptions(
            max_pixels=max_pixel_of_largest_side,
            quality=save_quality,
            compress=not dont_compress_images,
            keep_exif=keep_exif,
        ),
        skip_broken_images=skip_broken_images,
        processes=n_processes,
        connections=connections,
        link_batch_size=link_batch_size,
        limit=limit,
        settle=settle_seconds,
    )
    stop = StopSignal()
    with where.open() as ledger:
        zooniverse = connect(where, password_file, connections=connections)
        if dry_run:
            with Journal(None, None, terse=False, aside=as_json) as journal:
                planned = plan_upload(ledger, zooniverse, options)
                _say_plan(journal, planned)
                journal.say("Dry run: nothing was done.")
            if as_json:
                echo_json(_as_json(planned, None))
            return
        with Journal(log_dir, log_filename, terse=on_terminal(), aside=as_json) as journal:
            _note_what_runs(journal, ledger.name, zooniverse.endpoint)
            _listen(stop)
            with Bar(in_words) as bar:
                report = carry_out(
                    ledger,
                    zooniverse,
                    options,
                    stop=stop,
                    log_file=journal.path,
                    on_plan=lambda plan: _say_plan(journal, plan),
                    on_progress=bar,
                )
            code = _say_report(journal, report, limit)
            if as_json:
                echo_json(_as_json(report.plan, report))
            if code:
                raise SystemExit(code)


def _as_json(plan: UploadPlan, report: UploadReport | None) -> answers.Uploaded:
    found = answers.Uploaded(
        season=plan.season,
        project=plan.project,
        account=plan.account.login,
        batches=[
            answers.UploadBatch(b.name, b.set_name, b.set_id, b.pending, b.now, b.images) for b in plan.batches
        ],
        warning=plan.warning,
    )
    if report is not None:
        counts = report.counts
        found.done = answers.UploadCounts(
            uploaded=counts.uploaded,
            failed=counts.failed,
            given_back=counts.given_back,
            fenced=counts.fenced,
            images=counts.images,
            bytes=counts.bytes,
            requests=report.requests,
            image_requests=report.image_requests,
        )
        found.left = answers.NotThereYet(**report.left._asdict())
        found.stopped = report.stopped
    return found


def _note_what_runs(journal: Journal, ledger: str, endpoint: str) -> None:
    if journal.path is None:
        return
    from ctstate.verbs.doctor.installation import versions  # which loads all that the doctor needs

    journal.note(versions())
    journal.note(f"ledger {ledger}, {shown(endpoint)}; host {socket.gethostname()}, process {os.getpid()}")


def _say_report(journal: Journal, report: UploadReport, limit: int | None) -> int:
    """Say what was done, what of the selection is not on Zooniverse and which verb helps; return the exit code."""
    counts = report.counts
    journal.say(
        f"{counted(counts.uploaded, 'capture')} uploaded ({counted(counts.images, 'image')}, "
        f"{counts.bytes / 1e6:,.1f} MB), "
        f"{counts.failed:,} failed, {counts.given_back:,} given back; {counted(report.requests, 'API request')}."
    )
    if counts.fenced:
        journal.say(f"{counted(counts.fenced, 'capture', 'were')} taken over by another run: left to it.")
    if report.stopped:
        journal.say(f"Stopped cleanly: {report.stopped}. Run the same command again to go on.")
    left = report.left
    if left.failed:
        journal.say(
            f'{counted(left.failed, "capture", "are")} failed: see why with `ctstate sql "SELECT * FROM '
            'v_failures"`; `ctstate retry` gives another try.'
        )
    if left.unbatched:
        journal.say(f"{counted(left.unbatched, 'capture', 'are')} in no batch: `ctstate batch` makes batches.")
    if left.pending:
        doubt = f", {left.in_doubt:,} of them to be looked for" if left.in_doubt else ""
        why = " (--limit)" if limit is not None and not report.stopped else ""
        journal.say(f"{counted(left.pending, 'capture', 'are')} left{doubt}{why}: run the same command again.")
    if left.pending or report.stopped:
        return 75
    return 1 if left.failed or left.unbatched else 0


def _say_plan(journal: Journal, plan: UploadPlan) -> None:
    journal.say(f"Project {plan.project}, account {plan.account.login}, season {plan.season}:")
    for planned in plan.batches:
        if not planned.now:
            continue
        where = f"subject set {planned.set_id}" if planned.set_id else "a subject set to be found or made"
        what = f"{counted(planned.now, 'capture')} ({counted(planned.images, 'image')})"
        if planned.now < planned.pending:
            what = f"{planned.now:,} of {counted(planned.pending, 'capture')}"
        journal.say(f"  {planned.name}: {what} -> {where}, {planned.set_name!r}")
    if not plan.pending:
        journal.say("  nothing is pending")
    elif plan.now < plan.pending:
        journal.say(f"  left for later (--limit): {counted(plan.pending - plan.now, 'capture')}")
    if plan.warning:
        journal.say(f"Warning: {plan.warning}.", err=True)


def _listen(stop: StopSignal) -> None:
    """Turn signals into a clean stop; a second Ctrl-C ends the process at once (what it had is recovered later)."""

    def asked(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGINT and stop.requested:
            os._exit(130)
        if not stop.requested:
            os.write(2, f"\n{name}: finishing what is under way...\n".encode())
        stop.request(f"asked to stop by {name}")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, asked)
