"""Changed predictions and metadata to subjects that are on Zooniverse already (`ctstate update-metadata`).

A capture whose predictions changed after its upload has `metadata_pending` set to when that was. Its mark goes
away once its subject was seen to carry what the ledger has, and only if nothing changed meanwhile.

Keys that the subject has and the ledger does not know stay, as others may have put them there; except the machine
keys of predictions that the ledger itself has replaced (`replaced_prediction`).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.engine import Connection

from ctstate.capture import Capture
from ctstate.errors import FencedError, NotFoundError
from ctstate.ledger import Ledger, LiveRun, Selection, claims
from ctstate.ledger.schema import batch, capture, replaced_prediction
from ctstate.ledger.states import State
from ctstate.machine import machine
from ctstate.verbs.remove import check_account
from ctstate.zooniverse.api import PAGE_SIZE, Zooniverse
from ctstate.zooniverse.subject import subject_metadata

MACHINE = "#machine_"
"""How the keys of predictions begin (docs/legacy-formats.md, section 4)."""

ON_ZOONIVERSE = (State.UPLOADED.value, State.REMOVED.value)


class _Pending(NamedTuple):
    """A capture with what its subject is to carry, read in one transaction."""

    row: Capture
    subject_id: int
    mark: str | None
    replaced: tuple[str, ...]
    last_replaced: int


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
    with nullcontext() if dry_run else ledger.live_run("update-metadata", arguments) as live:
        for page in _pages(ledger, project_id, season, batch_name, everything):
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


def _pages(
    ledger: Ledger, project_id: int, season: str | None, batch_name: str | None, everything: bool
) -> Iterator[list[_Pending]]:
    last = 0
    clause = Selection(states=ON_ZOONIVERSE, season=season, batch=batch_name).clause()
    if not everything:
        clause = clause & capture.c.metadata_pending.is_not(None)
    ours = select(batch.c.id).where(batch.c.project_id == project_id)
    while True:
        with ledger.read() as connection:
            found = connection.execute(
                select(capture.c.id, capture.c.subject_id, capture.c.metadata_pending)
                .where(capture.c.id > last, clause, capture.c.subject_id.is_not(None), capture.c.batch_id.in_(ours))
                .order_by(capture.c.id)
                .limit(PAGE_SIZE)
            ).all()
            page = _read(connection, found)
        if not found:
            return
        yield page
        last = found[-1].id


def _read(connection: Connection, found: Sequence[Any]) -> list[_Pending]:
    keys = [row.id for row in found]
    rows = {row.id: row for row in claims.read_captures(connection, keys)}
    replaced: dict[int, set[str]] = {}
    last: dict[int, int] = {}
    for row in connection.execute(
        select(replaced_prediction)
        .where(replaced_prediction.c.capture_id.in_(keys))
        .order_by(replaced_prediction.c.id)
    ):
        replaced.setdefault(row.capture_id, set()).update(json.loads(row.metadata))
        last[row.capture_id] = row.id
    return [
        _Pending(
            row=rows[row.id],
            subject_id=row.subject_id,
            mark=row.metadata_pending,
            replaced=tuple(sorted(key for key in replaced.get(row.id, ()) if key.startswith(MACHINE))),
            last_replaced=last.get(row.id, 0),
        )
        for row in found
    ]


def _bring(
    ledger: Ledger,
    zooniverse: Zooniverse,
    page: Sequence[_Pending],
    report: UpdateReport,
    connections: int,
    dry_run: bool,
) -> None:
    """Compare a page with Zooniverse, update what differs, and write down what then agrees."""
    there = zooniverse.subjects_by_id([item.subject_id for item in page])
    report.looked_at += len(page)
    settled: list[_Pending] = []
    work: list[tuple[_Pending, dict[str, Any], list[str]]] = []
    for item in page:
        subject = there.get(item.subject_id)
        if subject is None:
            report.gone.append(item.row.capture_id)
            continue
        changes, drop = difference(subject["metadata"], item.row, item.replaced)
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

    def update(task: tuple[_Pending, dict[str, Any], list[str]]) -> bool:
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
    _settle(ledger, settled)


def difference(has: Mapping[str, Any], row: Capture, replaced: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return what to change and which keys to take off so that a subject carries what the ledger has.

    Args:
        has: the subject's metadata.
        row: its capture.
        replaced: machine keys of predictions that the ledger has replaced.
    """
    wanted = subject_metadata(row)
    changes = {key: value for key, value in wanted.items() if key not in has or has[key] != value}
    return changes, [key for key in replaced if key in has and key not in wanted]


def _settle(ledger: Ledger, settled: Sequence[_Pending]) -> None:
    """Take the marks off, where nothing changed since they were read."""
    marked = [item for item in settled if item.mark is not None]
    replaced = [item for item in settled if item.last_replaced]
    if not marked and not replaced:
        return
    with ledger.write() as connection:
        if marked:
            connection.execute(
                text(
                    "UPDATE capture SET metadata_pending = NULL"
                    " WHERE id = :id AND metadata_pending = :mark AND subject_id = :subject"
                ),
                [{"id": item.row.id, "mark": item.mark, "subject": item.subject_id} for item in marked],
            )
        if replaced:
            connection.execute(
                text("DELETE FROM replaced_prediction WHERE capture_id = :id AND id <= :last"),
                [{"id": item.row.id, "last": item.last_replaced} for item in replaced],
            )
