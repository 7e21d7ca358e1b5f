"""Workflows and subject sets: which there are (`ctstate workflows`, `ctstate sets`)."""

from dataclasses import dataclass

from ctstate.errors import NotFoundError, UsageError
from ctstate.ledger import Ledger
from ctstate.ledger.subject_sets import BatchSet, of_project
from ctstate.zooniverse import Zooniverse, rows


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


def workflows(zooniverse: Zooniverse, project_id: int) -> list[Workflow]:
    """Return a project's workflows, by id.

    Raises:
        NotFoundError: no such project.
        ZooniverseError: see `Zooniverse`.
    """
    zooniverse.project(project_id)
    names = {row.id: row.display_name for row in zooniverse.sets(project_id)}
    return sorted((_workflow(row, names) for row in zooniverse.workflows(project_id)), key=lambda w: w.id)


def _workflow(row: rows.Workflow, names: dict[int, str]) -> Workflow:
    return Workflow(
        id=row.id,
        name=row.display_name,
        active=bool(row.active),
        completeness=row.completeness or 0.0,
        subjects=row.subjects_count or 0,
        retired=row.retired_set_member_subjects_count or 0,
        sets=tuple((key, names.get(key, "")) for key in row.sets),
    )


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
    for workflow in zooniverse.workflows(project_id):
        for set_id in workflow.sets:
            linked.setdefault(set_id, []).append(workflow.id)
    known: dict[int, BatchSet] = {}
    if ledger is not None:
        with ledger.read() as connection:
            known = {mine.set_id: mine for mine in of_project(connection, project_id)}
    found = []
    for row in sorted(zooniverse.sets(project_id), key=lambda row: row.id):
        set_id = row.id
        mine = known.pop(set_id, None)
        found.append(
            SubjectSet(
                id=set_id,
                name=row.display_name,
                subjects=zooniverse.count_in_set(set_id),
                workflows=tuple(sorted(linked.get(set_id, ()))),
                season=mine.season if mine is not None else None,
                batch=mine.batch if mine is not None else None,
                uploaded=mine.uploaded if mine is not None else 0,
            )
        )
    for set_id, mine in sorted(known.items()):
        found.append(SubjectSet(set_id, mine.set_name, None, (), mine.season, mine.batch, mine.uploaded))
    return found


def the_workflow(zooniverse: Zooniverse, project_id: int, workflow_id: int) -> rows.Workflow:
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
    if workflow.links.project != project_id:
        raise UsageError(f"workflow {workflow_id} belongs to project {workflow.links.project}, not {project_id}")
    return workflow
