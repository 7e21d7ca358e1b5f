"""Upload: captures of a season to Zooniverse, each exactly once (`ctstate upload`).

What becomes of one capture is `story`; what carries that out for many is `runner`; what must hold before the first
create is `begin`. The reasons are in docs/architecture.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ctstate.ledger import Ledger, LiveRun, uploads
from ctstate.ledger.batches import put_rest_into_complete
from ctstate.ledger.uploads import Left, count_left
from ctstate.verbs.pages import note_project
from ctstate.verbs.upload import begin
from ctstate.verbs.upload.allowance import AllowanceWatch
from ctstate.verbs.upload.encoding import Encoders
from ctstate.verbs.upload.gauge import Counts, Gauge, Progress
from ctstate.verbs.upload.options import SETTLE_S, UploadOptions
from ctstate.verbs.upload.plan import UploadPlan, in_ledger, plan_upload
from ctstate.verbs.upload.runner import Assignment, Runner
from ctstate.verbs.upload.stop import StopSignal
from ctstate.zooniverse import Zooniverse

__all__ = [
    "SETTLE_S",
    "Counts",
    "Left",
    "Progress",
    "StopSignal",
    "UploadOptions",
    "UploadPlan",
    "UploadReport",
    "plan_upload",
    "upload",
]


@dataclass
class UploadReport:
    """How an upload ended. `stopped` is empty where it did all there was to do."""

    plan: UploadPlan
    counts: Counts
    left: Left
    stopped: str = ""
    requests: int = 0
    image_requests: int = 0


def upload(
    ledger: Ledger,
    zooniverse: Zooniverse,
    options: UploadOptions,
    *,
    stop: StopSignal | None = None,
    log_file: str | None = None,
    on_plan: Callable[[UploadPlan], None] = lambda plan: None,
    on_progress: Callable[[Progress], None] | None = None,
) -> UploadReport:
    """Upload what is pending of a season or batch; resume what earlier runs began.

    Args:
        ledger: the ledger.
        zooniverse: the connection; its `patience` should be `stop`.
        options: what and how.
        stop: asked for a clean stop: nothing new is claimed, what is under way is finished.
        log_file: where the run's log goes, for the ledger.
        on_plan: told what will be done.
        on_progress: told several times a second how far this run and those beside it are.

    Raises:
        UsageError, NotFoundError: as `plan_upload`.
        LedgerBehindError: Zooniverse has subjects that this ledger should know and does not; nothing was uploaded.
        FencedError: the run was taken for dead by another.
        LedgerError, ZooniverseError: what ended the run; what it had claimed was given back.
    """
    stop = stop or StopSignal()
    zooniverse.patience = stop
    encoders = Encoders(options.processes, options.images)
    try:
        encoders.warm_up()
        plan = plan_upload(ledger, zooniverse, options)
        ledger.bind_endpoint(zooniverse.endpoint)
        note_project(ledger, options.project_id, plan.slug)
        on_plan(plan)
        arguments = {
            "project_id": options.project_id,
            "season": plan.season,
            "batch": options.batch,
            "limit": options.limit,
        }
        with ledger.live_run("upload", arguments, log_file, zooniverse.traffic.figures) as live:
            counts = _upload(ledger, live, zooniverse, options, plan, stop, encoders, on_progress)
            left = _left(ledger, plan, options.batch)
            if stop.requested:
                live.stopped(stop.reason)
    finally:
        encoders.close()
    return UploadReport(plan, counts, left, stop.reason, zooniverse.traffic.api, zooniverse.traffic.images)


def _upload(
    ledger: Ledger,
    live: LiveRun,
    zooniverse: Zooniverse,
    options: UploadOptions,
    plan: UploadPlan,
    stop: StopSignal,
    encoders: Encoders,
    on_progress: Callable[[Progress], None] | None,
) -> Counts:
    ledger.recover()
    ledger.do(lambda connection: put_rest_into_complete(connection, plan.season_id, live.id))
    season = ledger.season(plan.season)
    # Anew: other runs may have moved captures since the plan was made.
    rows = ledger.batches(plan.season_id, options.batch)
    with ledger.read() as connection:
        batches = [in_ledger(connection, options, season, row) for row in rows]
        newest = uploads.newest_move(connection)
    # A set that is gone is told also where nothing is left to upload to it.
    for planned in batches:
        if not planned.pending and planned.set_id is not None:
            begin.existing_set(zooniverse, planned.name, planned.set_id)
    pending = [planned for planned in batches if planned.pending]
    if not pending:
        return Counts()
    floor = begin.account_for_newest(ledger, live, zooniverse, options.project_id, plan.account.id)
    begin.check_members(ledger, zooniverse, {planned.set_id for planned in pending if planned.set_id is not None})
    sets = {
        planned.id: begin.ensure_set(ledger, live, zooniverse, stop.wait, options.project_id, plan.season, planned)
        for planned in pending
    }
    assignment = Assignment(
        project_id=options.project_id,
        season_id=plan.season_id,
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
    runner = Runner(ledger, live, zooniverse, stop, assignment, floor, encoders)
    live.figures = lambda: zooniverse.traffic.figures() | runner.waited()
    watch = AllowanceWatch(ledger, zooniverse, list(sets), warned=bool(plan.warning))
    total = sum(planned.pending for planned in pending)
    extent = uploads.Extent(plan.season_id, pending[0].id if options.batch is not None else None)
    alone = options.limit is not None
    gauge = Gauge(ledger, live.id, extent, newest, min(total, options.limit or total), alone=alone)
    try:
        runner.carry_out(lambda counts: on_progress(gauge.read(counts)) if on_progress is not None else None)
    finally:
        watch.close()
    return runner.counts


def _left(ledger: Ledger, plan: UploadPlan, batch_name: str | None) -> Left:
    batches = None
    if batch_name is not None:
        batches = [row.id for row in ledger.batches(plan.season_id, batch_name)]
    with ledger.read() as connection:
        return count_left(connection, plan.season_id, batches)
