"""Subjects: made once, found again, changed, deleted (docs/panoptes-api.md, sections 2 and 4)."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ctstate.errors import NotFoundError, RequestRefusedError, StrangeReplyError, UnavailableError
from ctstate.words import counted
from ctstate.zooniverse.replies import json_of, only
from ctstate.zooniverse.rows import Placed, Subject
from ctstate.zooniverse.session import PAGE_SIZE, Session

MOST_NEWEST = 1000
"""So many of an account's newest subjects are looked at: where it uploaded other seasons since, those of a ledger
lie below them. What is in the ledger's sets is counted besides."""


PAGES_AT_ONCE = 8
"""So many pages of a long list are asked for side by side: a page takes the server a second or more."""


@dataclass(frozen=True)
class Created:
    """A subject just made: its id, and where to put its images, in their order."""

    id: int
    urls: list[str] = field(default_factory=list)


class Subjects(Session):
    """What a connection can do with subjects."""

    def newest_subjects(
        self,
        project_id: int,
        uploader_id: int | None = None,
        *,
        down_to: int = 0,
        page_size: int = 1,
        at_once: int = 1,
    ) -> Iterator[Subject]:
        """Yield an uploader's (or everybody's) subjects in a project, newest first, above the id `down_to`.

        What it does not yield may still be there if subjects were deleted meanwhile; see `subjects_above`.
        """
        filters: dict[str, Any] = {"project_id": project_id, "sort": "-id"}
        if uploader_id is not None:
            filters["upload_user_id"] = uploader_id
        for row in self._listed(Subject, filters, page_size, at_once):
            if row.id <= down_to:
                return
            yield row

    def newest_to_account_for(self, project_id: int, uploader_id: int, watermark: int | None) -> Iterator[Subject]:
        """Yield the newest subjects of an account that a ledger must know of, if it made them.

        Args:
            project_id, uploader_id: where, and by which account.
            watermark: up to which id the ledger was held against them before; None: never yet.
        """
        rows = self.newest_subjects(project_id, uploader_id, down_to=watermark or 0, page_size=PAGE_SIZE)
        return itertools.islice(rows, PAGE_SIZE if watermark is None else MOST_NEWEST)

    def subjects_above(
        self, project_id: int, uploader_id: int, floor: int, *, surely: bool = True
    ) -> list[Subject]:
        """Return all of an uploader's subjects in a project with an id above `floor`, newest first.

        A subject that is deleted while the pages are read moves those after it one place up, so that one can
        slip past between two pages. Therefore more than one page is read twice, and what either reading saw
        counts; unless it need not be sure.
        """
        seen: dict[int, Subject] = {}
        for _ in range(2):
            rows = list(self.newest_subjects(project_id, uploader_id, down_to=floor, page_size=PAGE_SIZE))
            seen.update((row.id, row) for row in rows)
            if len(rows) < PAGE_SIZE or not surely:
                break
        return [seen[key] for key in sorted(seen, reverse=True)]

    def subjects_in_set(self, set_id: int) -> Iterator[Subject]:
        """Yield the subjects of a subject set, by id."""
        return self._listed(Subject, {"subject_set_id": set_id, "sort": "id"}, at_once=PAGES_AT_ONCE)

    def subjects_by_id(self, subject_ids: Sequence[int]) -> dict[int, Subject]:
        """Return those of these subjects that are active, by id."""
        found: dict[int, Subject] = {}
        for start in range(0, len(subject_ids), PAGE_SIZE):
            ids = subject_ids[start : start + PAGE_SIZE]
            # A 404 means that none of them is there; the token was checked before it is believed.
            with contextlib.suppress(NotFoundError):
                for row in self._listed(Subject, {"id": ",".join(map(str, ids))}):
                    found[row.id] = row
        return found

    def create_subject(
        self,
        project_id: int,
        mimes: Sequence[str],
        metadata: Mapping[str, Any],
        external_id: str,
        before: Callable[[], None] = lambda: None,
    ) -> Created:
        """Make a subject in no set, with one POST that is never repeated.

        Args:
            project_id, mimes, metadata, external_id: of the subject.
            before: called right before the POST is sent; what it raises keeps it from being sent.

        Raises:
            UnavailableError: its `maybe_done` says whether the subject may have been made all the same.
            AllowanceError: the account's subject limit is reached.
            RequestRefusedError: refused for good; no subject was made.
        """
        body = {
            "locations": list(mimes),
            "metadata": dict(metadata),
            "external_id": external_id,
            "links": {"project": str(project_id)},
        }
        response, _ = self._send("POST", "/subjects", json={"subjects": body}, before=before)
        row = only(json_of(response), Placed, "POST /subjects")
        if len(row.urls) != len(mimes):
            raise StrangeReplyError(
                f"POST /subjects: subject {row.id} has {counted(len(row.urls), 'place')} for "
                f"{counted(len(mimes), 'image')}"
            )
        return Created(row.id, row.urls)

    def subject(self, subject_id: int) -> tuple[Subject, str]:
        """Return a subject and its ETag.

        Raises:
            NotFoundError: it is deleted, was never there, or is not this account's to see.
        """
        reply, etag = self.get(f"/subjects/{subject_id}")
        return only(reply, Subject, f"GET /subjects/{subject_id}"), etag or ""

    def fresh_urls(self, subject_id: int, etag: str, mimes: Sequence[str] = ()) -> list[str]:
        """Return new URLs to put a subject's images to (docs/panoptes-api.md, section 4).

        Args:
            subject_id, etag: from `subject`.
            mimes: empty keeps the images the subject has; otherwise new images take their place.
        """
        body = {"subjects": {"locations": list(mimes)}}
        reply, _ = self.put(f"/subjects/{subject_id}", json=body, etag=etag, retry=True)
        return only(reply, Placed, f"PUT /subjects/{subject_id}").urls

    def update_metadata(self, subject_id: int, changes: Mapping[str, Any], drop: Sequence[str] = ()) -> None:
        """Change keys of a subject's metadata and keep the others; repeated when somebody else was faster.

        Raises:
            NotFoundError: the subject is not there.
        """

        def once() -> None:
            subject, etag = self.subject(subject_id)
            merged = {key: value for key, value in subject.metadata.items() if key not in drop}
            merged.update(changes)
            path = f"/subjects/{subject_id}"
            try:
                reply, _ = self.put(path, json={"subjects": {"metadata": merged}}, etag=etag)
            except RequestRefusedError as error:
                if error.status == 412:
                    raise UnavailableError(str(error), 412, error.request_id) from None
                raise
            only(reply, Subject, f"PUT {path}")

        self._keep_trying(once)

    def delete_subject(self, subject_id: int) -> bool:
        """Delete a subject, for good; return False where it was gone already."""

        def once() -> bool:
            try:
                _, etag = self.subject(subject_id)
                self.delete(f"/subjects/{subject_id}", etag=etag)
            except NotFoundError:
                return False
            except RequestRefusedError as error:
                if error.status == 412:
                    raise UnavailableError(str(error), 412, error.request_id) from None
                raise
            return True

        return self._keep_trying(once)
