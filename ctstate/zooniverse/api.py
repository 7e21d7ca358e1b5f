"""The Zooniverse that the verbs know: one connection with all that can be asked of it."""

from dataclasses import dataclass

from ctstate.errors import NotFoundError
from ctstate.zooniverse.images import Images
from ctstate.zooniverse.replies import only
from ctstate.zooniverse.resources.subject_sets import MOST_IDS_IN_PATH, SubjectSets
from ctstate.zooniverse.resources.subjects import PAGES_AT_ONCE, Created, Subjects
from ctstate.zooniverse.resources.workflows import Workflows
from ctstate.zooniverse.rows import Project, ProjectRole, User
from ctstate.zooniverse.session import PAGE_SIZE

__all__ = ["MOST_IDS_IN_PATH", "PAGES_AT_ONCE", "PAGE_SIZE", "Account", "Created", "Zooniverse"]


@dataclass(frozen=True)
class Account:
    """What `/me` says of the account that is logged in."""

    id: int
    login: str
    subject_limit: int | None
    uploaded_subjects_count: int
    banned: bool

    @property
    def allowance(self) -> int | None:
        """How many more subjects it may upload (the count is up to an hour old); None: no limit known."""
        if self.subject_limit is None:
            return None
        return max(0, self.subject_limit - self.uploaded_subjects_count)


class Zooniverse(SubjectSets, Subjects, Workflows, Images):
    """A connection to one Zooniverse with one account: subject sets, subjects, workflows, images; see `Session`.

    It is `panoptes_client.Panoptes` (headers, routes, the requests of a log-in) with what an uploader needs and the
    official client lacks (docs/panoptes-api.md, section 6): a timeout on every request, kept-alive connections that
    all threads share, errors with a status, Retry-After, exponential backoff with jitter, image PUTs whose results
    are read, no redirect to anywhere else, and never a second POST of a subject.
    """

    def me(self) -> Account:
        """Return the account."""
        reply, _ = self.get("/me")
        user = only(reply, User, "GET /me")
        return Account(
            id=user.id,
            login=user.login,
            subject_limit=user.subject_limit,
            uploaded_subjects_count=user.uploaded_subjects_count or 0,
            banned=bool(user.banned),
        )

    def project(self, project_id: int) -> Project:
        """Return a project.

        Raises:
            NotFoundError: there is none, or it is not this account's to see.
        """
        try:
            reply, _ = self.get(f"/projects/{project_id}")
        except NotFoundError as error:
            raise NotFoundError(
                f"no project {project_id} on {self.endpoint} that {self.username!r} may see", error.status
            ) from None
        return only(reply, Project, f"GET /projects/{project_id}")

    def project_roles(self, project_id: int) -> list[ProjectRole]:
        """Return who has which roles in a project, the owner included."""
        return list(self._listed(ProjectRole, {"project_id": project_id}))

    def server_date(self) -> str | None:
        """Return the `Date` that the server put on a reply just now."""
        found: str | None = self.http_request("GET", "/me").headers.get("Date")
        return found
