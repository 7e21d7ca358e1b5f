"""Workflows and subject sets: which there are, and which workflow shows which set to volunteers."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from ctstate.errors import NotFoundError, UsageError, ZooniverseError
from ctstate.ledger import Ledger
from ctstate.ledger.schema import batch, capture, season
from ctstate.ledger.states import State
from ctstate.verbs.remove import check_account
from ctstate.zooniverse.api import Zooniverse


@dataclass(frozen=True)
class Workflow:
    """A workflow of a project.

    Attributes:
        id, name, active: as on Zooniverse.
        completeness: share that is done, 0 to 1; Zooniverse refreshes it minutes later.
        subjects, retired: counts, as late.
        sets: (id, name) of its subject sets; the name is empty where the set is not the project's.
    """

    id: int
    name: str
    active: bool
    completeness: float
    subjects: int
    retired: int
    sets: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class SubjectSet:
    """A subject set, on Zooniverse and in the ledger.

    Attributes:
        id, name: as on Zooniverse; for a set that is gone from there, as in the ledger.
        subjects: how many it has, counted now; None: it is no longer there.
        workflows: ids of the workflows that have it.
        season, batch: whose set it is; None: no batch of the ledger knows it.
        uploaded: captures of that batch that the ledger says are uploaded.
    """

    id: int
    name: str
    subjects: int | None
    workflows: tuple[int, ...] = ()
    season: str | None = None
    batch: str | None = None
    uploaded: int = 0

    @property
    def verdict(self) -> str:
        """What the ledger thinks of it; begins with `ok` where the two agree."""
        if self.batch is None:
            return "no batch of this ledger knows it"
        if self.subjects is None:
            return "no longer on Zooniverse: see `ctstate reconcile`"
        if self.subjects == self.uploaded:
            return "ok"
        return "counts differ: see `ctstate reconcile`"


@dataclass(frozen=True)
class LinkReport:
    """What `link` or `unlink` did.

    Attributes:
        set_id, set_name, workflow: what was linked with what.
        changed: False where it was so already.
        active: volunteers see the workflow.
        pending: captures of the batch that are not uploaded yet.
    """

    set_id: int
    set_name: str
    workflow: str
    changed: bool
    active: bool
    pending: int


def workflows(zooniverse: Zooniverse, project_id: int) -> list[Workflow]:
    """Return a project's workflows, by id.

    Raises:
        NotFoundError: no such project.
        ZooniverseError: see `Zooniverse`.
    """
    zooniverse.project(project_id)
    names = {int(row["id"]): str(row["display_name"]) for row in zooniverse.sets(project_id)}
    return sorted((_workflow(row, names) for row in zooniverse.workflows(project_id)), key=lambda w: w.id)


def _workflow(row: dict[str, Any], names: dict[int, str]) -> Workflow:
    ids = set_ids(row)
    return Workflow(
        id=int(row["id"]),
        name=str(row["display_name"]),
        active=bool(row.get("active")),
        completeness=float(row.get("completeness") or 0.0),
        subjects=int(row.get("subjects_count") or 0),
        retired=int(row.get("retired_set_member_subjects_count") or 0),
        sets=tuple((key, names.get(key, "")) for key in ids),
    )


def set_ids(workflow: dict[str, Any]) -> list[int]:
    """Return the subject sets of a workflow as Zooniverse shows it."""
    return [int(key) for key in workflow["links"].get("subject_sets") or ()]


def subject_sets(ledger: Ledger | None, zooniverse: Zooniverse, project_id: int) -> list[SubjectSet]:
    """Return a project's subject sets with their true counts and what the ledger knows of each, by id.

    Sets that the ledger knows and Zooniverse does not come last.

    Args:
        ledger: None where there is none.
        zooniverse, project_id: the project.

    Raises:
        UsageError: the ledger belongs to another Zooniverse.
        NotFoundError: no such project.
    """
    if ledger is not None:
        ledger.check_endpoint(zooniverse.endpoint)
    zooniverse.project(project_id)
    linked: dict[int, list[int]] = {}
    for row in zooniverse.workflows(project_id):
        for set_id in set_ids(row):
            linked.setdefault(set_id, []).append(int(row["id"]))
    known = {row.subject_set_id: row for row in _batches(ledger, project_id)} if ledger is not None else {}
    found = []
    for row in sorted(zooniverse.sets(project_id), key=lambda row: int(row["id"])):
        set_id = int(row["id"])
        mine = known.pop(set_id, None)
        found.append(
            SubjectSet(
                id=set_id,
                name=str(row["display_name"]),
                subjects=zooniverse.count_in_set(set_id),
                workflows=tuple(sorted(linked.get(set_id, ()))),
                season=mine.season if mine is not None else None,
                batch=mine.name if mine is not None else None,
                uploaded=mine.uploaded if mine is not None else 0,
            )
        )
    for set_id, mine in sorted(known.items()):
        name = mine.subject_set_name or ""
        found.append(SubjectSet(set_id, name, None, (), mine.season, mine.name, mine.uploaded))
    return found


def _batches(ledger: Ledger, project_id: int) -> Sequence[Any]:
    uploaded = (
        select(func.count())
        .select_from(capture)
        .where(capture.c.batch_id == batch.c.id, capture.c.state == State.UPLOADED.value)
        .where(capture.c.season_id == batch.c.season_id)
        .scalar_subquery()
    )
    with ledger.read() as connection:
        return connection.execute(
            select(
                batch.c.name,
                batch.c.subject_set_id,
                batch.c.subject_set_name,
                season.c.name.label("season"),
                uploaded.label("uploaded"),
            )
            .join(season, season.c.id == batch.c.season_id)
            .where(batch.c.project_id == project_id, batch.c.subject_set_id.is_not(None))
        ).all()


def link(
    ledger: Ledger,
    zooniverse: Zooniverse,
    project_id: int,
    workflow_id: int,
    batch_name: str,
    season_name: str | None = None,
) -> LinkReport:
    """Put a batch's subject set into a workflow; one that is in it already is fine.

    Raises:
        UsageError: no such season or batch, a batch without a subject set, or a set or workflow of another project
            (Zooniverse would make a copy of the set).
        NotFoundError: no such project, workflow or set.
        ZooniverseError: see `Zooniverse`.
    """
    return _change(ledger, zooniverse, project_id, workflow_id, batch_name, season_name, wanted=True)


def unlink(
    ledger: Ledger,
    zooniverse: Zooniverse,
    project_id: int,
    workflow_id: int,
    batch_name: str,
    season_name: str | None = None,
) -> LinkReport:
    """Take a batch's subject set out of a workflow; one that is not in it is fine.

    Raises:
        UsageError, NotFoundError, ZooniverseError: as `link`.
    """
    return _change(ledger, zooniverse, project_id, workflow_id, batch_name, season_name, wanted=False)


def _change(
    ledger: Ledger,
    zooniverse: Zooniverse,
    project_id: int,
    workflow_id: int,
    batch_name: str,
    season_name: str | None,
    *,
    wanted: bool,
) -> LinkReport:
    ledger.check_endpoint(zooniverse.endpoint)
    row = ledger.season(season_name)
    item = ledger.batches(row.id, batch_name)[0]
    if item.subject_set_id is None:
        raise UsageError(f"batch {batch_name} has no subject set yet: `ctstate upload` makes it")
    set_id = int(item.subject_set_id)
    check_account(zooniverse)
    zooniverse.project(project_id)
    workflow = the_workflow(zooniverse, project_id, workflow_id)
    subject_set = _the_set(zooniverse, project_id, set_id)
    before = set_id in set_ids(workflow)
    if before != wanted:
        if wanted:
            zooniverse.link_set(workflow_id, set_id)
        else:
            with suppress(NotFoundError):  # somebody else was faster
                zooniverse.unlink_set(workflow_id, set_id)
        # A good answer is no proof: an account without the right to may be told that all went well.
        if (set_id in set_ids(zooniverse.workflow(workflow_id))) != wanted:
            raise ZooniverseError(f"Zooniverse took the request, but workflow {workflow_id} is as it was")
    arguments = {"project_id": project_id, "workflow_id": workflow_id, "season": row.name, "batch": batch_name}
    with ledger.atomic_run("link" if wanted else "unlink", {**arguments, "changed": before != wanted}) as (
        connection,
        _,
    ):
        pending = connection.execute(
            select(func.count())
            .select_from(capture)
            .where(
                capture.c.season_id == row.id,
                capture.c.batch_id == item.id,
                capture.c.state.in_((State.BATCHED.value, State.UPLOADING.value)),
                capture.c.excluded.is_(None),
            )
        ).scalar_one()
    return LinkReport(
        set_id=set_id,
        set_name=str(subject_set["display_name"]),
        workflow=str(workflow["display_name"]),
        changed=before != wanted,
        active=bool(workflow.get("active")),
        pending=int(pending),
    )


def the_workflow(zooniverse: Zooniverse, project_id: int, workflow_id: int) -> dict[str, Any]:
    """Return a workflow of a project.

    Raises:
        NotFoundError: there is none.
        UsageError: it is another project's.
    """
    try:
        workflow = zooniverse.workflow(workflow_id)
    except NotFoundError:
        raise NotFoundError(
            f"no workflow {workflow_id} on {zooniverse.endpoint}; `ctstate workflows` lists them"
        ) from None
    if int(workflow["links"]["project"]) != project_id:
        raise UsageError(
            f"workflow {workflow_id} belongs to project {workflow['links']['project']}, not {project_id}"
        )
    return workflow


def _the_set(zooniverse: Zooniverse, project_id: int, set_id: int) -> dict[str, Any]:
    try:
        found = zooniverse.subject_set(set_id)
    except NotFoundError:
        raise NotFoundError(
            f"subject set {set_id} is no longer on Zooniverse; `ctstate reconcile` shows what became of it"
        ) from None
    if int(found["links"]["project"]) != project_id:
        raise UsageError(
            f"subject set {set_id} belongs to project {found['links']['project']}, not {project_id}: "
            "Zooniverse would make a copy of it"
        )
    return found
