"""Which workflow shows which subject set to volunteers (`ctstate link`, `ctstate unlink`)."""

from contextlib import suppress
from dataclasses import dataclass

from ctstate.errors import NotFoundError, UsageError, ZooniverseError
from ctstate.ledger import Ledger
from ctstate.ledger.subject_sets import still_to_come
from ctstate.verbs.remove import check_account
from ctstate.verbs.workflows import the_workflow
from ctstate.zooniverse import Zooniverse
from ctstate.zooniverse.rows import SubjectSet


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
    before = set_id in workflow.sets
    if before != wanted:
        if wanted:
            zooniverse.link_set(workflow_id, set_id)
        else:
            with suppress(NotFoundError):  # somebody else was faster
                zooniverse.unlink_set(workflow_id, set_id)
        # A good answer is no proof: an account without the right to may be told that all went well.
        if (set_id in zooniverse.workflow(workflow_id).sets) != wanted:
            raise ZooniverseError(f"Zooniverse took the request, but workflow {workflow_id} is as it was")
    arguments = {"project_id": project_id, "workflow_id": workflow_id, "season": row.name, "batch": batch_name}
    verb = "link" if wanted else "unlink"
    with ledger.atomic_run(verb, {**arguments, "changed": before != wanted}) as (connection, _):
        pending = still_to_come(connection, item)
    return LinkReport(
        set_id=set_id,
        set_name=subject_set.display_name,
        workflow=workflow.display_name,
        changed=before != wanted,
        active=bool(workflow.active),
        pending=pending,
    )


def _the_set(zooniverse: Zooniverse, project_id: int, set_id: int) -> SubjectSet:
    try:
        found = zooniverse.subject_set(set_id)
    except NotFoundError:
        raise NotFoundError(
            f"subject set {set_id} is no longer on Zooniverse; `ctstate reconcile` shows what became of it"
        ) from None
    if found.links.project != project_id:
        raise UsageError(
            f"subject set {set_id} belongs to project {found.links.project}, not {project_id}: "
            "Zooniverse would make a copy of it"
        )
    return found
