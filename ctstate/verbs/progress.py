"""What volunteers have done so far (`ctstate progress`): from Zooniverse into the ledger.

Every uploaded subject gets a row of `classification_status` for each workflow that shows it. Zooniverse has no row
for a subject that nobody classified; the ledger's then says 0, and when that was seen. What was seen is committed a
page at a time: a killed run goes on where it was.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ctstate.capture import Batch
from ctstate.ledger import Ledger, classification, history
from ctstate.ledger.classification import Classification, Total, UploadedSubject
from ctstate.ledger.clock import age
from ctstate.verbs.workflows import the_workflow
from ctstate.zooniverse import PAGE_SIZE, Zooniverse
from ctstate.zooniverse.rows import Workflow

RESUME_S = 24 * 3600.0
"""A run that was killed longer ago than this is not resumed: what it saw is old news."""


@dataclass(frozen=True)
class Done:
    """How far a workflow is with a batch, by the ledger.

    Attributes:
        season, batch, workflow_id: what with what.
        workflow, completeness: its name and what Zooniverse says of all of its subjects, 0 to 1 (minutes late).
        subjects: uploaded subjects that were looked at.
        classified: of these, classified at least once.
        classifications: of all of them together.
        retired: of these, retired.
    """

    season: str
    batch: str
    workflow_id: int
    workflow: str
    completeness: float
    subjects: int
    classified: int
    classifications: int
    retired: int


def read_progress(
    ledger: Ledger,
    zooniverse: Zooniverse,
    project_id: int,
    *,
    workflow_id: int | None = None,
    season: str | None = None,
    batch: str | None = None,
    on_progress: Callable[[int], None] = lambda subjects: None,
) -> list[Done]:
    """Read what volunteers did with the uploaded subjects into the ledger; return it by batch and workflow.

    Args:
        ledger, zooniverse, project_id: from where to where.
        workflow_id: this workflow, whether it shows the batches or not; None: all that show them.
        season, batch: only these; None: all of the project.
        on_progress: told how many subjects were looked at so far.

    Raises:
        UsageError: no such season or batch, or a workflow of another project.
        NotFoundError: no such project or workflow.
        ZooniverseError: see `Zooniverse`; what was seen until then is in the ledger.
    """
    ledger.check_endpoint(zooniverse.endpoint)
    zooniverse.project(project_id)
    batches = _batches(ledger, project_id, season, batch)
    if workflow_id is not None:
        flows = [the_workflow(zooniverse, project_id, workflow_id)]
    else:
        flows = zooniverse.workflows(project_id)
    wanted = {"project_id": project_id, "workflow_id": workflow_id, "season": season, "batch": batch}
    since = _unfinished_since(ledger, wanted) or ledger.moment()
    seen = 0
    with ledger.live_run("progress", {**wanted, "since": since}, figures=zooniverse.traffic.figures) as live:
        for item in batches:
            for flow in flows:
                if workflow_id is None and item.subject_set_id not in flow.sets:
                    continue
                flow_id = flow.id
                for page in classification.not_seen_since(ledger.read, item, flow_id, since, PAGE_SIZE):
                    _read(ledger, zooniverse, flow_id, page)
                    seen += len(page)
                    on_progress(seen)
        by_id = {flow.id: flow for flow in flows}
        totals = _totals(ledger, {row.id for row in batches}, by_id)
        with ledger.write() as connection:
            history.note_polls(
                connection, live.id, [(total, by_id[total.workflow_id].display_name) for total in totals]
            )
    return [_done(total, by_id[total.workflow_id]) for total in totals]


def _batches(ledger: Ledger, project_id: int, season: str | None, batch: str | None) -> Sequence[Batch]:
    named = season is not None or batch is not None
    rows = ledger.batches(ledger.season(season).id if named else None, batch)
    return [row for row in rows if row.project_id == project_id]


def _unfinished_since(ledger: Ledger, wanted: Mapping[str, Any]) -> str | None:
    """Return when the last run of this kind began what it did not finish; None where there is nothing to resume."""
    ledger.recover()  # declares dead runs lost
    with ledger.read() as connection:
        rounds = classification.ended_rounds(connection)
    for last in rounds:
        since = last.arguments.get("since")
        if {key: last.arguments.get(key) for key in wanted} == wanted:
            return since if not last.done and since and age(since) < RESUME_S else None
    return None


def _read(ledger: Ledger, zooniverse: Zooniverse, workflow_id: int, page: Sequence[UploadedSubject]) -> None:
    moment = ledger.moment()  # before Zooniverse is asked: what happens after it was not seen
    statuses = {
        status.links.subject: status
        for status in zooniverse.statuses(workflow_id, [item.subject_id for item in page])
    }
    found = []
    for item in page:
        status = statuses.get(item.subject_id)
        found.append(
            Classification(
                of=item,
                classifications=(status.classifications_count or 0) if status is not None else 0,
                retired_at=status.retired_at if status is not None else None,
                retirement_reason=status.retirement_reason if status is not None else None,
            )
        )
    with ledger.write() as connection:
        classification.see(connection, workflow_id, found, moment)


def _totals(ledger: Ledger, batch_ids: set[int], flows: Collection[int]) -> list[Total]:
    with ledger.read() as connection:
        rows = classification.totals(connection)
    return [row for row in rows if row.batch_id in batch_ids and row.workflow_id in flows]


def _done(total: Total, flow: Workflow) -> Done:
    return Done(
        season=total.season,
        batch=total.batch,
        workflow_id=total.workflow_id,
        workflow=flow.display_name,
        completeness=flow.completeness or 0.0,
        subjects=total.subjects,
        classified=total.classified,
        classifications=total.classifications,
        retired=total.retired,
    )
