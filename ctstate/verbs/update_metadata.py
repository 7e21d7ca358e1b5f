"""Changed predictions and metadata to subjects that are on Zooniverse already (`ctstate update-metadata`).

A capture whose predictions changed after its upload has `metadata_pending` set to when that was. Its mark goes
away once its subject was seen to carry what the ledger has, and only if nothing changed meanwhile.

Keys that the subject has and the ledger does not know stay, as others may have put them there; except the machine
keys of predictions that the ledger itself has replaced (`replaced_prediction`).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from ctstate.capture import CaptureContent
from ctstate.errors import FencedError, NotFoundError
from ctstate.ledger import Ledger, LiveRun, pending_metadata
from ctstate.ledger.pending_metadata import SubjectToUpdate
from ctstate.machine import machine
from ctstate.verbs.remove import check_account
from ctstate.zooniverse import PAGE_SIZE, Zooniverse
from ctstate.zooniverse.subject import subject_metadata

MACHINE = "#machine_"
"""How the keys of predictions begin (docs/legacy-formats.md, section 4)."""


@dataclass
class UpdateReport:
    """What was done.

    Attributes:
        looked_at: captures whose subjects were compared.
        updated: of these, changed on Zooniverse (or, in a dry run, to be changed).
        same: carried what the ledger has already.
        gone: capture ids whose subjects are no longer on Zooniverse; they stay marked.
        examples: (capture id, subject id, keys) of the first that differed.
        stopped: asked to stop before all was done.
    """

    looked_at: int = 0
    updated: int = 0
    same: int = 0
    gone: list[str] = field(default_factory=list)
    examples: list[tuple[str, int, str]] = field(default_factory=list)
    stopped: bool = False


def update_metadata(
    ledger: Ledger,
    zooniverse: Zooniverse,
    project_id: int,
    *,
    season: str | None = None,
    batch_name: str | None = None,
    everything: bool = False,
    dry_run: bool = False,
    connections: int = 4,
    on_progress: Callable[[int], None] = lambda looked_at: None,
) -> UpdateReport:
    """Bring the metadata of subjects to what the ledger has. A run that is killed is simply run again.

    Args:
        ledger, zooniverse, project_id: from where to where.
        season, batch_name: only these.
        everything: compare every subject, not only those marked.
        dry_run: compare, and change nothing.
        connections: updates at the same time.
        on_progress: told how many subjects were compared so far.

    Raises:
        UsageError: no such season or batch, or another Zooniverse than the ledger's.
        NotFoundError: no such project.
        FencedError: the run was taken for dead by another.
        ZooniverseError: see `Zooniverse`; what was done until then is written down.
    """
    ledger.check_endpoint(zooniverse.endpoint)
    if season is not None:
        ledger.season(season)
    if batch_name is not None:
        ledger.batches(ledger.season(season).id, batch_name)
    check_account(zooniverse)
    zooniverse.project(project_id)
    report = UpdateReport()
    arguments = {"project_id": project_id, "season": season, "batch": batch_name, "all": everything}
    with (
        nullcontext()
        if dry_run
        else ledger.live_run("update-metadata", arguments, figures=zooniverse.traffic.figures) as live
    ):
        for page in pending_metadata.subjects_to_update(
            ledger.read, project_id, season, batch_name, everything=everything, size=PAGE_SIZE
        ):
            if live is not None and _asked_to_stop(live):
                report.stopped = True
                live.stopped("asked to stop by `ctstate stop`")
                break
            _bring(ledger, zooniverse, page, report, connections, dry_run)
            on_progress(report.looked_at)
    return report


def _asked_to_stop(live: LiveRun) -> bool:
    if live.lost.is_set():
        raise FencedError("this run was silent for so long that another took it for dead; run it again")
    return live.stop_requested.is_set()


def _bring(
    ledger: Ledger,
    zooniverse: Zooniverse,
    page: Sequence[SubjectToUpdate],
    report: UpdateReport,
    connections: int,
    dry_run: bool,
) -> None:
    """Compare a page with Zooniverse, update what differs, and write down what then agrees."""
    there = zooniverse.subjects_by_id([item.subject_id for item in page])
    report.looked_at += len(page)
    settled: list[SubjectToUpdate] = []
    work: list[tuple[SubjectToUpdate, dict[str, Any], list[str]]] = []
    for item in page:
        subject = there.get(item.subject_id)
        if subject is None:
            report.gone.append(item.row.capture_id)
            continue
        replaced = [key for key in item.replaced if key.startswith(MACHINE)]
        changes, drop = difference(subject.metadata, item.row, replaced)
        if changes or drop:
            work.append((item, changes, drop))
            if len(report.examples) < 10:
                report.examples.append((item.row.capture_id, item.subject_id, ", ".join([*changes, *drop])))
        else:
            report.same += 1
            settled.append(item)
    if dry_run:
        report.updated += len(work)
        return

    def update(task: tuple[SubjectToUpdate, dict[str, Any], list[str]]) -> bool:
        item, changes, drop = task
        try:
            zooniverse.update_metadata(item.subject_id, changes, drop)
        except NotFoundError:
            return False
        return True

    for (item, _, _), done in zip(work, machine().each(update, work, connections), strict=True):
        if done:
            report.updated += 1
            settled.append(item)
        else:
            report.gone.append(item.row.capture_id)
    if any(item.waits for item in settled):
        with ledger.write() as connection:
            pending_metadata.note_up_to_date(connection, settled)


def difference(
    has: Mapping[str, Any], row: CaptureContent, replaced: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return what to change and which keys to take off so that a subject carries what the ledger has.

    Args:
        has: the subject's metadata.
        row: its capture.
        replaced: machine keys of predictions that the ledger has replaced.
    """
    wanted = subject_metadata(row)
    changes = {key: value for key, value in wanted.items() if key not in has or has[key] != value}
    return changes, [key for key in replaced if key in has and key not in wanted]
