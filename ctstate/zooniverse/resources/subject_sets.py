"""Subject sets and who is in them (docs/panoptes-api.md, section 3)."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ctstate.errors import NotFoundError, RequestRefusedError, UnavailableError
from ctstate.zooniverse.replies import json_of, only
from ctstate.zooniverse.rows import SubjectSet
from ctstate.zooniverse.session import PAGE_SIZE, Session

MOST_IDS_IN_PATH = 400
"""Ids in the path of a DELETE of links: proxies often stop at 8 kB, so the path stays under 4 kB."""


class SubjectSets(Session):
    """What a connection can do with subject sets."""

    def find_sets(self, project_id: int, name: str) -> list[SubjectSet]:
        """Return a project's subject sets of exactly this name, the lowest id first.

        A race on the server can make two; the lowest id is the one (docs/panoptes-api.md, section 3).
        """
        found = [
            row
            for row in self._listed(SubjectSet, {"project_id": project_id, "display_name": name})
            if row.display_name == name
        ]
        return sorted(found, key=lambda row: row.id)

    def sets(self, project_id: int) -> list[SubjectSet]:
        """Return all subject sets of a project."""
        return list(self._listed(SubjectSet, {"project_id": project_id}))

    def subject_set(self, set_id: int) -> SubjectSet:
        """Return a subject set.

        Raises:
            NotFoundError: there is none, or it is not this account's to see.
        """
        reply, _ = self.get(f"/subject_sets/{set_id}")
        return only(reply, SubjectSet, f"GET /subject_sets/{set_id}")

    def count_in_set(self, set_id: int) -> int:
        """Return how many active subjects a subject set has, exact at once.

        The set's own `set_member_subjects_count` is minutes late and counts deactivated ones too
        (docs/panoptes-api.md, section 3).
        """
        return self.count_in_sets([set_id])

    def count_in_sets(self, set_ids: Sequence[int]) -> int:
        """Return how many active subjects these subject sets have, exact at once; see `count_in_set`.

        One request for up to a hundred sets; a subject in several of them counts once.
        """
        total = 0
        for start in range(0, len(set_ids), PAGE_SIZE):
            ids = ",".join(map(str, set_ids[start : start + PAGE_SIZE]))
            total += self._keep_trying(functools.partial(self._count, "subjects", {"subject_set_id": ids}))
        return total

    def create_set(self, project_id: int, name: str, metadata: Mapping[str, Any]) -> SubjectSet:
        """Make a subject set, once; see `ensure_set`."""
        body = {"display_name": name, "metadata": dict(metadata), "links": {"project": str(project_id)}}
        reply, _ = self.post("/subject_sets", json={"subject_sets": body})
        return only(reply, SubjectSet, "POST /subject_sets")

    def ensure_set(self, project_id: int, name: str, metadata: Mapping[str, Any]) -> tuple[SubjectSet, bool]:
        """Return the project's subject set of this name, made where there is none; and whether it surely is new.

        Looks first and looks again after any doubtful answer. Only one worker at a time may call it for a
        name: the server's own check of names has a gap.
        """

        def once() -> tuple[SubjectSet, bool]:
            found = self.find_sets(project_id, name)
            if found:
                return found[0], False
            refused: RequestRefusedError | None = None
            made: SubjectSet | None = None
            try:
                made = self.create_set(project_id, name, metadata)
            except RequestRefusedError as error:
                refused = error
            # Somebody else may have made one at the same moment; the lowest id is the one.
            found = self.find_sets(project_id, name)
            if not found:
                raise refused or UnavailableError(f"subject set {name!r} was made, and is not there")
            if made is not None and made.id != found[0].id:
                self._delete_empty_set(made.id)
            return found[0], made is not None and made.id == found[0].id

        return self._keep_trying(once)

    def _delete_empty_set(self, set_id: int) -> None:
        """Delete a set that was made a moment ago and is one too many; best effort, as it is empty."""
        path = f"/subject_sets/{set_id}"
        if self.count_in_set(set_id) == 0:
            with contextlib.suppress(NotFoundError, RequestRefusedError):
                _, etag = self.get(path)
                self.delete(path, etag=etag)

    def mark_set(self, set_id: int, key: str, value: str) -> SubjectSet:
        """Write one key into a subject set's metadata and keep the others; return the set as it then is.

        The server checks nothing, and the last writer wins: whoever marks at the same time may undo this, so look
        at what is returned (docs/panoptes-api.md, section 3).

        Raises:
            NotFoundError: the set is not there.
        """
        path = f"/subject_sets/{set_id}"

        def once() -> SubjectSet:
            merged = {**self.subject_set(set_id).metadata, key: value}
            reply = self._unless_conflict("PUT", path, {"subject_sets": {"metadata": merged}})
            only(reply, SubjectSet, f"PUT {path}")
            return self.subject_set(set_id)

        return self._keep_trying(once)

    def link_subjects(
        self, set_id: int, subject_ids: Sequence[int], before: Callable[[], None] = lambda: None
    ) -> None:
        """Put subjects into a subject set; those that are in it already are fine.

        A 409 (another links call on this set at the same time) or a lost reply is repeated: both are harmless.

        Raises:
            NotFoundError: the set is not there.
            RequestRefusedError: one of the subjects is not there; none was linked.
        """
        body = {"subjects": [str(key) for key in dict.fromkeys(subject_ids)]}
        path = f"/subject_sets/{set_id}/links/subjects"

        def once() -> None:
            only(self._unless_conflict("POST", path, body, before), SubjectSet, f"POST {path}")

        self._keep_trying(once)

    def unlink_subjects(self, set_id: int, subject_ids: Sequence[int]) -> None:
        """Take subjects out of a subject set; those that are not in it are fine.

        Raises:
            NotFoundError: the set is not there.
        """
        for start in range(0, len(subject_ids), MOST_IDS_IN_PATH):
            ids = ",".join(str(key) for key in subject_ids[start : start + MOST_IDS_IN_PATH])
            path = f"/subject_sets/{set_id}/links/subjects/{ids}"
            self._keep_trying(functools.partial(self._unless_conflict, "DELETE", path))

    def _unless_conflict(
        self, method: str, path: str, json: Any = None, before: Callable[[], None] = lambda: None
    ) -> Any:
        """Send what touches a subject set; a 409 did nothing and may be repeated."""
        try:
            return json_of(self._send(method, path, json=json, before=before)[0])
        except RequestRefusedError as error:
            if error.status == 409:
                raise UnavailableError(str(error), 409, error.request_id, maybe_done=False) from None
            raise
