"""Upload: captures of a season to Zooniverse, each exactly once (`ctstate upload`).

The protocol, and what each step protects from, is in docs/architecture.md; the work itself is `pipeline`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Optional
from urllib.parse import urlsplit

from sqlalchemy import Row, func, select, update
from sqlalchemy.engine import Connection

from ctstate.batches import COMPLETE, put_rest_into_complete
from ctstate.errors import CtstateError, NotFoundError, UsageError, ZooniverseError
from ctstate.images import ImageOptions
from ctstate.ledger import Ledger, LiveRun, claims
from ctstate.schema import batch, capture, image, run
from ctstate.states import PENDING
from ctstate.subjects import subject_set_name
from ctstate.upload.allowance import AllowanceWatch, shortfall
from ctstate.upload.encoding import Encoders
from ctstate.upload.pipeline import Pipeline, Tally, Work
from ctstate.upload.stop import StopSignal
from ctstate.zooniverse import Account, Zooniverse

__all__ = ["StopSignal", "Tally", "UploadOptions", "UploadPlan", "UploadReport", "plan_upload", "upload"]

SETTLE_S = 80.0
"""The server ends its own work on a request after 65 s (docs/panoptes-api.md, section 1); a margin on top."""


@dataclass(frozen=True)
class UploadOptions:
    """What to upload, and how.

    Attributes:
        project_id: the Zooniverse project.
        season: manifest id; may be None where the ledger holds one season.
        batch: name of one batch; None: all of the season.
        subject_set_id: the set to use; refused if its name is not the one expected. Needs one batch.
        subject_set_name: instead of `SEASON_BATCH`. Needs one batch.
        images_root: instead of the folder given to manifest.
        images: how images are made.
        skip_broken_images: leave a broken image out if another remains, instead of failing the capture.
        processes: encoding at the same time.
        connections: to Zooniverse at the same time.
        link_batch_size: subjects put into their set with one request, at most 1,000.
        limit: claim no more captures than this.
        settle: seconds before a lost create is looked for; see SETTLE_S.
    """

    project_id: int
    season: Optional[str] = None
    batch: Optional[str] = None
    subject_set_id: Optional[int] = None
    subject_set_name: Optional[str] = None
    images_root: Optional[str] = None
    images: ImageOptions = field(default_factory=ImageOptions)
    skip_broken_images: bool = False
    processes: int = 3
    connections: int = 8
    link_batch_size: int = 200
    limit: Optional[int] = None
    settle: float = SETTLE_S

    def __post_init__(self) -> None:
        for name, value, most in (
            ("--n-processes", self.processes, 256),
            ("--connections", self.connections, 64),
            ("--link-batch-size", self.link_batch_size, 1000),
            ("--limit", self.limit, None),
        ):
            if value is not None and (value < 1 or (most is not None and value > most)):
                raise UsageError(f"{name} must be 1 or more" + (f" and at most {most}" if most else ""))
        if not 0 <= self.settle <= 86_400:
            raise UsageError(f"--settle-seconds must be a number of seconds, not {self.settle}")
        if (self.subject_set_id or self.subject_set_name) and self.batch is None:
            raise UsageError("--subject-set-id and --subject-set-name need --batch: one batch is one subject set")
        if self.subject_set_name is not None and "," in self.subject_set_name:
            raise UsageError("a subject set whose name holds a comma is never found again: choose another name")


@dataclass
class PlannedBatch:
    """What an upload would do with a batch."""

    id: int
    name: str
    set_name: str
    set_id: Optional[int]
    pending: int
    images: int


@dataclass
class UploadPlan:
    """What an upload would do."""

    season: str
    season_id: int
    project: str
    account: Account
    root: Optional[str]
    batches: list[PlannedBatch]
    unbatched: int = 0

    @property
    def pending(self) -> int:
        """Captures to upload."""
        return sum(b.pending for b in self.batches)

    @property
    def warning(self) -> str:
        """What to do before a long run; empty where nothing is wrong."""
        return shortfall(self.account, self.pending)


@dataclass
class UploadReport:
    """How an upload ended. `stopped` is empty where it did all there was to do."""

    plan: UploadPlan
    tally: Tally
    stopped: str = ""
    requests: int = 0
    image_requests: int = 0


def plan_upload(ledger: Ledger, zooniverse: Zooniverse, options: UploadOptions) -> UploadPlan:
    """Find out what an upload would do; nothing is written, neither here nor there.

    Raises:
        UsageError: no such season or batch, or a subject set of another name.
        NotFoundError: no such project or subject set.
        ZooniverseError: see `Zooniverse`.
    """
    local = urlsplit(zooniverse.endpoint).hostname in ("127.0.0.1", "localhost", "::1")
    if options.settle < SETTLE_S and not local:
        raise UsageError(
            f"--settle-seconds below {SETTLE_S:.0f} is for a sandbox: Zooniverse may work on a request for 65 s"
        )
    season = ledger.season(options.season)
    batches = ledger.batches(season.id)
    if options.batch is not None and not (options.batch == COMPLETE and not batches):
        batches = ledger.batches(season.id, options.batch)
    account = zooniverse.me()
    if account.banned:
        raise ZooniverseError(f"account {account.login} is banned on {zooniverse.endpoint}; ask Zooniverse why")
    project = zooniverse.project(options.project_id)
    root = options.images_root if options.images_root is not None else season.images_root
    if root is not None and not os.path.isdir(root):
        raise UsageError(f"the images' folder {root} is not there; say where it is with --image-root-path")
    plan = UploadPlan(
        season=season.name,
        season_id=season.id,
        project=str(project.get("display_name", options.project_id)),
        account=account,
        root=os.path.realpath(root) if root is not None else None,
        batches=[],
    )
    with ledger.read() as connection:
        pending, images = _count(connection, season.id, None)
        whole = [row for row in batches if row.name == COMPLETE]
        if pending and not batches:
            # Another worker that began at the same time may have put them all into `complete` since.
            plan.batches.append(_planned(options, season.name, None, COMPLETE, pending, images))
        elif len(batches) == len(whole):
            plan.batches += [_in_ledger(connection, options, season, row, pending, images) for row in whole]
        else:
            plan.batches += [_in_ledger(connection, options, season, row) for row in batches]
            plan.unbatched = pending
    for row in batches:
        if row.project_id is not None and row.project_id != options.project_id:
            raise UsageError(f"batch {row.name} belongs to project {row.project_id}, not to {options.project_id}")
    if options.subject_set_id is not None:
        _check_set(zooniverse, options, plan.batches[0])
    return plan


def _in_ledger(
    connection: Connection, options: UploadOptions, season: Row[Any], row: Row[Any], more: int = 0, images: int = 0
) -> PlannedBatch:
    """Plan a batch that the ledger has; `more` captures with `images` are still to be put into it."""
    pending, own_images = _count(connection, season.id, row.id)
    return _planned(options, season.name, row, row.name, pending + more, own_images + images)


def _planned(
    options: UploadOptions, season: str, row: Optional[Row[Any]], name: str, pending: int, images: int
) -> PlannedBatch:
    set_name = options.subject_set_name or (row.subject_set_name if row is not None else None)
    set_id = row.subject_set_id if row is not None else None
    if options.subject_set_id is not None:
        if set_id is not None and set_id != options.subject_set_id:
            raise UsageError(f"batch {name} has subject set {set_id} in the ledger, not {options.subject_set_id}")
        set_id = options.subject_set_id
    if row is not None and row.subject_set_name and set_name != row.subject_set_name:
        raise UsageError(f"batch {name} has subject set {row.subject_set_name!r} already, not {set_name!r}")
    return PlannedBatch(
        id=row.id if row is not None else 0,
        name=name,
        set_name=set_name or subject_set_name(season, name),
        set_id=set_id,
        pending=pending,
        images=images,
    )


def _count(connection: Connection, season_id: int, batch_id: Optional[int]) -> tuple[int, int]:
    which = (
        (capture.c.season_id == season_id)
        & (capture.c.batch_id.is_(None) if batch_id is None else capture.c.batch_id == batch_id)
        & capture.c.state.in_([state.value for state in PENDING])
        & capture.c.excluded.is_(None)
    )
    captures = connection.execute(select(func.count()).select_from(capture).where(which)).scalar_one()
    images = connection.execute(
        select(func.count())
        .select_from(image.join(capture, capture.c.id == image.c.capture_id))
        .where(which, image.c.problem.is_(None))
    ).scalar_one()
    return int(captures), int(images)


def _check_set(zooniverse: Zooniverse, options: UploadOptions, planned: PlannedBatch) -> None:
    assert options.subject_set_id is not None
    try:
        row = zooniverse.subject_set(options.subject_set_id)
    except NotFoundError:
        raise NotFoundError(f"no subject set {options.subject_set_id} on {zooniverse.endpoint}") from None
    if int(row["links"]["project"]) != options.project_id:
        raise UsageError(
            f"subject set {options.subject_set_id} belongs to project {row['links']['project']}, "
            f"not to {options.project_id}"
        )
    if row["display_name"] != planned.set_name:
        raise UsageError(
            f"subject set {options.subject_set_id} is named {row['display_name']!r}, not {planned.set_name!r}; "
            "if it is the right one all the same, say so with --subject-set-name"
        )


def upload(
    ledger: Ledger,
    zooniverse: Zooniverse,
    options: UploadOptions,
    *,
    stop: Optional[StopSignal] = None,
    log_file: Optional[str] = None,
    on_plan: Callable[[UploadPlan], None] = lambda plan: None,
    on_progress: Callable[[Tally], None] = lambda tally: None,
) -> UploadReport:
    """Upload what is pending of a season or batch; resume what earlier runs began.

    Args:
        ledger: the ledger.
        zooniverse: the connection; its `patience` should be `stop`.
        options: what and how.
        stop: asked for a clean stop: nothing new is claimed, what is under way is finished.
        log_file: where the run's log goes, for the ledger.
        on_plan, on_progress: told what will be done and what was done so far.

    Raises:
        UsageError, NotFoundError: as `plan_upload`.
        FencedError: the run was taken for dead by another.
        LedgerError, ZooniverseError: what ended the run; what it had claimed was given back.
    """
    stop = stop or StopSignal()
    zooniverse.patience = stop
    encoders = Encoders(options.processes, options.images)
    try:
        encoders.warm_up()
        return _upload(ledger, zooniverse, options, stop, encoders, log_file, on_plan, on_progress)
    finally:
        encoders.close()


def _upload(
    ledger: Ledger,
    zooniverse: Zooniverse,
    options: UploadOptions,
    stop: StopSignal,
    encoders: Encoders,
    log_file: Optional[str],
    on_plan: Callable[[UploadPlan], None],
    on_progress: Callable[[Tally], None],
) -> UploadReport:
    plan = plan_upload(ledger, zooniverse, options)
    ledger.bind_endpoint(zooniverse.endpoint)
    on_plan(plan)
    arguments = {
        "project_id": options.project_id,
        "season": plan.season,
        "batch": options.batch,
        "limit": options.limit,
    }
    live = ledger.live_run("upload", arguments, log_file)
    outcome, message, tally = "failed", "", Tally()
    try:
        ledger.recover()
        with ledger.write() as connection:
            put_rest_into_complete(connection, plan.season_id, live.id)
        season = ledger.season(plan.season)
        with ledger.read() as connection:
            # Anew: other runs may have moved captures since the plan was made.
            batches = [
                (row, _in_ledger(connection, options, season, row))
                for row in ledger.batches(plan.season_id, options.batch)
            ]
        sets = {
            row.id: _ensure_set(ledger, live, zooniverse, stop, options, plan, row, planned)
            for row, planned in batches
            if planned.pending
        }
        floor = _write_watermark(ledger, live, zooniverse, options.project_id, plan.account.id)
        work = Work(
            project_id=options.project_id,
            season_id=plan.season_id,
            batches=tuple(sets),
            sets=sets,
            root=plan.root,
            skip_broken=options.skip_broken_images,
            processes=options.processes,
            connections=options.connections,
            link_batch_size=options.link_batch_size,
            limit=options.limit,
            settle=options.settle,
            backoff=zooniverse.backoff,
        )
        pipeline = Pipeline(ledger, live, zooniverse, stop, work, floor, encoders)
        tally = pipeline.tally
        if sets:
            watch = AllowanceWatch(ledger, zooniverse, list(sets), warned=bool(plan.warning))
            try:
                pipeline.carry_out(on_progress)
            finally:
                watch.close()
        outcome = "stopped" if stop.requested else "done"
        message = stop.reason
    except CtstateError as error:
        message = str(error)
        raise
    finally:
        live.end(outcome, message)
    return UploadReport(plan, tally, stop.reason, zooniverse.counts.api, zooniverse.counts.images)


def _write_watermark(
    ledger: Ledger, live: LiveRun, zooniverse: Zooniverse, project_id: int, uploader_id: int
) -> int:
    floor = zooniverse.newest_subject_id(project_id, uploader_id)
    with ledger.write() as connection:
        connection.execute(
            update(run)
            .where(run.c.id == live.id)
            .values(project_id=project_id, uploader_id=uploader_id, watermark=floor)
        )
    return floor


def _ensure_set(
    ledger: Ledger,
    live: LiveRun,
    zooniverse: Zooniverse,
    stop: StopSignal,
    options: UploadOptions,
    plan: UploadPlan,
    row: Row[Any],
    planned: PlannedBatch,
) -> int:
    """Return the id of a batch's subject set; one run makes it, under the batch's lease."""
    while True:
        with ledger.write() as connection:
            token = claims.take_lease(connection, row.id, live.id, 600.0)
            known = connection.execute(select(batch.c.subject_set_id).where(batch.c.id == row.id)).scalar()
        if token is not None:
            break
        if known is not None:
            return int(known)
        if stop.wait(0.5):
            raise ZooniverseError(f"stopped while another run was making subject set {planned.set_name}")
    try:
        set_id = known if known is not None else planned.set_id
        if set_id is not None:
            try:
                zooniverse.subject_set(set_id)
            except NotFoundError:
                raise NotFoundError(
                    f"subject set {set_id} of batch {row.name} is no longer on Zooniverse; "
                    "`ctstate reconcile` shows what became of it"
                ) from None
        else:
            made = zooniverse.ensure_set(
                options.project_id, planned.set_name, {"season": plan.season, "batch": row.name}
            )
            set_id = int(made["id"])
        with ledger.write() as connection:
            claims.note_subject_set(connection, row.id, options.project_id, set_id, planned.set_name)
        return int(set_id)
    finally:
        with ledger.write() as connection:
            claims.drop_lease(connection, row.id, token)
