"""What volunteers have done so far (`ctstate progress`): from Zooniverse into the ledger.

Every uploaded subject gets a row of `classification_status` for each workflow that shows it. Zooniverse has no row
for a subject that nobody classified; the ledger's then says 0, and when that was seen. What was seen is committed a
page at a time: a killed run goes on where it was.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text

from ctstate.capture import Batch
from ctstate.ledger import Ledger
from ctstate.ledger.clock import age, now
from ctstate.verbs.workflows import set_ids, the_workflow
from ctstate.zooniverse.api import PAGE_SIZE, Zooniverse

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
    since = _unfinished_since(ledger, wanted) or now()
    seen = 0
    with ledger.live_run("progress", {**wanted, "since": since}):
        for item in batches:
            for flow in flows:
                if workflow_id is None and item.subject_set_id not in set_ids(flow):
                    continue
                for page in _pages(ledger, item.id, int(flow["id"]), since):
                    _read(ledger, zooniverse, int(flow["id"]), page)
                    seen += len(page)
                    on_progress(seen)
    return _summary(ledger, {row.id for row in batches}, {int(flow["id"]): flow for flow in flows})


def _batches(ledger: Ledger, project_id: int, season: str | None, batch: str | None) -> Sequence[Batch]:
    named = season is not None or batch is not None
    rows = ledger.batches(ledger.season(season).id if named else None, batch)
    return [row for row in rows if row.project_id == project_id]


def _unfinished_since(ledger: Ledger, wanted: Mapping[str, Any]) -> str | None:
    """Return when the last run of this kind began what it did not finish; None where there is nothing to resume."""
    ledger.recover()  # declares dead runs lost
    with ledger.read() as connection:
        rows = connection.execute(
            text(
                "SELECT arguments, outcome FROM run WHERE verb = 'progress' AND ended_at IS NOT NULL"
                " ORDER BY id DESC LIMIT 100"
            )
        ).all()
    for row in rows:
        arguments = json.loads(row.arguments)
        since = arguments.get("since")
        if {key: arguments.get(key) for key in wanted} == wanted:
            return since if row.outcome != "done" and since and age(since) < RESUME_S else None
    return None


def _pages(ledger: Ledger, batch_id: int, workflow_id: int, since: str) -> Iterator[list[Row[Any]]]:
    """Yield the uploaded captures of a batch that were not looked at since then."""
    last = 0
    while True:
        with ledger.read() as connection:
            rows = connection.execute(
                text(
                    "SELECT c.id, c.subject_id FROM capture c"
                    " LEFT JOIN classification_status k ON k.capture_id = c.id AND k.workflow_id = :workflow"
                    "   AND k.subject_id = c.subject_id AND k.seen_at >= :since"
                    " WHERE c.season_id = (SELECT season_id FROM batch WHERE id = :batch) AND c.batch_id = :batch"
                    " AND c.state = 'uploaded' AND c.id > :last AND k.seen_at IS NULL ORDER BY c.id LIMIT :page"
                ),
                {"batch": batch_id, "workflow": workflow_id, "since": since, "last": last, "page": PAGE_SIZE},
            ).all()
        if not rows:
            return
        yield list(rows)
        last = rows[-1].id


_SEE = text(
    "INSERT OR REPLACE INTO classification_status"
    " (capture_id, workflow_id, subject_id, classifications_count, retired_at, retirement_reason, seen_at)"
    " VALUES (:capture, :workflow, :subject, :count, :retired_at, :reason, :at)"
)


def _read(ledger: Ledger, zooniverse: Zooniverse, workflow_id: int, page: Sequence[Row[Any]]) -> None:
    moment = now()  # before Zooniverse is asked: what happens after it was not seen
    statuses = {
        int(status["links"]["subject"]): status
        for status in zooniverse.statuses(workflow_id, [row.subject_id for row in page])
    }
    rows = []
    for row in page:
        status = statuses.get(row.subject_id, {})
        rows.append(
            {
                "capture": row.id,
                "workflow": workflow_id,
                "subject": row.subject_id,
                "count": int(status.get("classifications_count") or 0),
                "retired_at": status.get("retired_at"),
                "reason": status.get("retirement_reason"),
                "at": moment,
            }
        )
    with ledger.write() as connection:
        connection.execute(_SEE, rows)


def _summary(ledger: Ledger, batch_ids: set[int], flows: Mapping[int, Mapping[str, Any]]) -> list[Done]:
    with ledger.read() as connection:
        rows = connection.execute(
            text(
                "SELECT s.name AS season, b.name AS batch, b.id AS batch_id, k.workflow_id, count(*) AS subjects,"
                " sum(CASE WHEN k.classifications_count > 0 THEN 1 ELSE 0 END) AS classified,"
                " sum(k.classifications_count) AS classifications,"
                " sum(CASE WHEN k.retired_at IS NOT NULL THEN 1 ELSE 0 END) AS retired"
                " FROM classification_status k"
                " JOIN capture c ON c.id = k.capture_id AND c.subject_id = k.subject_id AND c.state = 'uploaded'"
                " JOIN batch b ON b.id = c.batch_id JOIN season s ON s.id = b.season_id"
                " GROUP BY s.name, b.name, b.id, k.workflow_id ORDER BY s.name, b.id, k.workflow_id"
            )
        ).all()
    return [
        Done(
            season=row.season,
            batch=row.batch,
            workflow_id=row.workflow_id,
            workflow=str(flows[row.workflow_id]["display_name"]),
            completeness=float(flows[row.workflow_id].get("completeness") or 0.0),
            subjects=row.subjects,
            classified=row.classified,
            classifications=row.classifications,
            retired=row.retired,
        )
        for row in rows
        if row.batch_id in batch_ids and row.workflow_id in flows
    ]
