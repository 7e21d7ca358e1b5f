"""Workflows: which subject sets they show, and what volunteers did in them (docs/panoptes-api.md, section 5)."""

from collections.abc import Iterator, Sequence

from ctstate.errors import RequestRefusedError
from ctstate.zooniverse.replies import only
from ctstate.zooniverse.rows import Status, Workflow
from ctstate.zooniverse.session import PAGE_SIZE, Session


class Workflows(Session):
    """What a connection can do with workflows."""

    def workflows(self, project_id: int) -> list[Workflow]:
        """Return a project's workflows."""
        return list(self._listed(Workflow, {"project_id": project_id}))

    def workflow(self, workflow_id: int) -> Workflow:
        """Return a workflow.

        Raises:
            NotFoundError: there is none, or it is not this account's to see.
        """
        reply, _ = self.get(f"/workflows/{workflow_id}")
        return only(reply, Workflow, f"GET /workflows/{workflow_id}")

    def link_set(self, workflow_id: int, set_id: int) -> None:
        """Put a subject set into a workflow; one that is in it already is fine.

        Raises:
            NotFoundError: the workflow is not there.
            RequestRefusedError: the set is not there.
        """
        path = f"/workflows/{workflow_id}/links/subject_sets"
        # Always a list: a bare string replaces all the workflow's sets (docs/panoptes-api.md, section 5).
        body = {"subject_sets": [str(set_id)]}

        def once() -> None:
            try:
                reply, _ = self.post(path, json=body)
            except RequestRefusedError as error:
                if error.status == 400 and "already been taken" in str(error):
                    return
                raise
            only(reply, Workflow, f"POST {path}")

        self._keep_trying(once)

    def unlink_set(self, workflow_id: int, set_id: int) -> None:
        """Take a subject set out of a workflow.

        Raises:
            NotFoundError: the set is not in the workflow, or there is no such workflow.
        """
        self.json_request("DELETE", f"/workflows/{workflow_id}/links/subject_sets/{set_id}", retry=True)

    def statuses(self, workflow_id: int, subject_ids: Sequence[int]) -> Iterator[Status]:
        """Yield what a workflow knows of these subjects; one that nobody classified has no row."""
        for start in range(0, len(subject_ids), PAGE_SIZE):
            ids = ",".join(map(str, subject_ids[start : start + PAGE_SIZE]))
            # Its count is always 0 and next_page always there: only an empty page is the end.
            filters = {"workflow_id": workflow_id, "subject_id": ids}
            yield from self._listed(Status, filters)

    def classified(self, project_id: int, subject_ids: Sequence[int]) -> set[int]:
        """Return those of these subjects that volunteers have classified, or that are retired, in any workflow."""
        found = set()
        if subject_ids:
            for workflow in self.workflows(project_id):
                for row in self.statuses(workflow.id, subject_ids):
                    if row.classifications_count or row.retired_at:
                        found.add(row.links.subject)
        return found
