"""What an upload would do: found out before anything is changed."""

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from ctstate.capture import COMPLETE, Batch, Season
from ctstate.errors import NotFoundError, UsageError, ZooniverseError
from ctstate.ledger import Ledger, Transaction, uploads
from ctstate.verbs.upload.allowance import shortfall
from ctstate.verbs.upload.options import SETTLE_S, UploadOptions
from ctstate.zooniverse import Account, Zooniverse
from ctstate.zooniverse.subject import subject_set_name


@dataclass
class PlannedBatch:
    """What an upload would do with a batch."""

    id: int
    name: str
    set_name: str
    set_id: int | None
    pending: int
    images: int

    now: int = 0  # how many of them this run takes: --limit may leave some for later


@dataclass
class UploadPlan:
    """What an upload would do."""

    season: str
    season_id: int
    project: str
    slug: str  # of the project, as Zooniverse says it
    account: Account
    root: str | None
    batches: list[PlannedBatch]
    unbatched: int = 0

    @property
    def pending(self) -> int:
        """Captures to upload."""
        return sum(b.pending for b in self.batches)

    @property
    def now(self) -> int:
        """How many of them this run takes."""
        return sum(b.now for b in self.batches)

    @property
    def warning(self) -> str:
        """What to do before a long run; empty where nothing is wrong."""
        return shortfall(self.account, self.pending)


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
    ledger.check_endpoint(zooniverse.endpoint)
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
        project=project.display_name or str(options.project_id),
        slug=project.slug,
        account=account,
        root=os.path.realpath(root) if root is not None else None,
        batches=[],
    )
    with ledger.read() as connection:
        pending, images = uploads.count_pending(connection, season.id, None)
        whole = [row for row in batches if row.name == COMPLETE]
        if pending and not batches:
            # Another worker that began at the same time may have put them all into `complete` since.
            plan.batches.append(_planned(options, season.name, None, COMPLETE, pending, images))
        elif len(batches) == len(whole):
            plan.batches += [in_ledger(connection, options, season, row, pending, images) for row in whole]
        else:
            plan.batches += [in_ledger(connection, options, season, row) for row in batches]
            plan.unbatched = pending
    for row in batches:
        if row.project_id is not None and row.project_id != options.project_id:
            raise UsageError(f"batch {row.name} belongs to project {row.project_id}, not to {options.project_id}")
    if options.subject_set_id is not None:
        _check_set(zooniverse, options, plan.batches[0])
    room = options.limit if options.limit is not None else plan.pending
    for planned in plan.batches:  # in the order in which the run claims
        planned.now = min(room, planned.pending)
        room -= planned.now
    return plan


def in_ledger(
    connection: Transaction, options: UploadOptions, season: Season, row: Batch, more: int = 0, images: int = 0
) -> PlannedBatch:
    """Plan a batch that the ledger has; `more` captures with `images` are still to be put into it."""
    pending, own_images = uploads.count_pending(connection, season.id, row.id)
    return _planned(options, season.name, row, row.name, pending + more, own_images + images)


def _planned(
    options: UploadOptions, season: str, row: Batch | None, name: str, pending: int, images: int
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


def _check_set(zooniverse: Zooniverse, options: UploadOptions, planned: PlannedBatch) -> None:
    assert options.subject_set_id is not None
    try:
        row = zooniverse.subject_set(options.subject_set_id)
    except NotFoundError:
        raise NotFoundError(f"no subject set {options.subject_set_id} on {zooniverse.endpoint}") from None
    if row.links.project != options.project_id:
        raise UsageError(
            f"subject set {options.subject_set_id} belongs to project {row.links.project}, "
            f"not to {options.project_id}"
        )
    if row.display_name != planned.set_name:
        raise UsageError(
            f"subject set {options.subject_set_id} is named {row.display_name!r}, not {planned.set_name!r}; "
            "if it is the right one all the same, say so with --subject-set-name"
        )
