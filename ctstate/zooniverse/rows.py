"""What Panoptes' resources look like: every row of a reply is checked against one of these types before it is used.

docs/panoptes-api.md. The server writes ids as text; here they are numbers that a database can hold. msgspec reads
them: pydantic does the same in twice the time, to import and to check, and a reader by hand is the sum of all the
checks that were once forgotten.
"""

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from ctstate.errors import StrangeReplyError
from ctstate.zooniverse.wording import is_number, one_line

if TYPE_CHECKING:
    Id = int
else:

    class Id(int):
        """A number of the server's that a database can hold: positive, 63 bits. Panoptes writes text."""


Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Row(Struct, frozen=True, kw_only=True):
    """A resource; keys that are not named here are left out."""


class Links(Row, frozen=True, kw_only=True):
    """The project that something belongs to, and its subject sets where it has some."""

    project: Id
    subject_sets: tuple[Id, ...] | None = ()


class Described(Row, frozen=True, kw_only=True):
    """What somebody wrote about a resource."""

    written: dict[str, Any] | None = field(name="metadata", default=None)

    @property
    def metadata(self) -> dict[str, Any]:
        """Its metadata; empty where it has none."""
        return self.written or {}


class Subject(Described, frozen=True, kw_only=True):
    """A subject: its images' addresses by type, in order; its metadata; the mark of who made it."""

    id: Id
    links: Links
    locations: tuple[dict[str, str], ...] = ()
    external_id: Any = None
    created_at: str = ""

    @property
    def sets(self) -> tuple[int, ...]:
        """The subject sets that it is in."""
        return self.links.subject_sets or ()

    @property
    def urls(self) -> list[str]:
        """The addresses of its images, in their order."""
        return [url for location in self.locations for url in location.values() if url]

    @property
    def mimes(self) -> tuple[str, ...]:
        """The types of its images, in their order."""
        return tuple(mime for location in self.locations for mime in location)


class Placed(Row, frozen=True, kw_only=True):
    """A subject as the answer to a create or to new places shows it: what counts is where to put its images."""

    id: Id
    locations: tuple[dict[str, str], ...]

    @property
    def urls(self) -> list[str]:
        """Where to put its images, in their order."""
        return [url for location in self.locations for url in location.values() if url]


class SubjectSet(Described, frozen=True, kw_only=True):
    """A subject set."""

    id: Id
    links: Links
    display_name: str = ""
    created_at: str = ""


class Workflow(Row, frozen=True, kw_only=True):
    """A workflow, with the subject sets that it shows, and how far it is (from 0 to 1)."""

    id: Id
    links: Links
    display_name: str = ""
    active: bool | None = None
    completeness: float | None = None
    subjects_count: Count | None = None
    retired_set_member_subjects_count: Count | None = None

    @property
    def sets(self) -> tuple[int, ...]:
        """The subject sets in it."""
        return self.links.subject_sets or ()


class StatusLinks(Row, frozen=True, kw_only=True):
    """The subject that a status is of."""

    subject: Id


class Status(Row, frozen=True, kw_only=True):
    """What a workflow knows of a subject."""

    links: StatusLinks
    classifications_count: Count | None = None
    retired_at: str | None = None
    retirement_reason: str | None = None


class Project(Row, frozen=True, kw_only=True):
    """A project; its slug, `owner/project`, is part of the addresses of its pages."""

    id: Id
    display_name: str = ""
    slug: str = ""


class OwnerLink(Row, frozen=True, kw_only=True):
    """An account, as a link shows it."""

    id: Id


class RoleLinks(Row, frozen=True, kw_only=True):
    """Whose roles they are."""

    owner: OwnerLink


class ProjectRole(Row, frozen=True, kw_only=True):
    """What an account may do in a project."""

    links: RoleLinks
    roles: tuple[str, ...] = ()


class User(Row, frozen=True, kw_only=True):
    """An account."""

    id: Id
    login: str = ""
    subject_limit: Count | None = None
    uploaded_subjects_count: Count | None = None
    banned: bool | None = None


KIND: dict[type[Row], str] = {
    Subject: "subjects",
    Placed: "subjects",
    SubjectSet: "subject_sets",
    Workflow: "workflows",
    Status: "subject_workflow_statuses",
    Project: "projects",
    ProjectRole: "project_roles",
    User: "users",
}
"""Under which name a reply shows them."""

R = TypeVar("R", bound=Row)


def _id(kind: type[Any], value: Any) -> Id:
    """Return an id that came as text, or by some routes as a number."""
    assert kind is Id
    if isinstance(value, str) and is_number(value) and len(value) < 20:
        value = int(value)
    if type(value) is not int or not 0 < value < 2**63:
        raise ValueError("not an id")
    return Id(value)


def read_row(row: type[R], value: Any, what: str) -> R:
    """Return a row of a reply, checked.

    Raises:
        StrangeReplyError: it is not what Panoptes says; `what` says of which request.
    """
    try:
        return msgspec.convert(value, row, dec_hook=_id)
    except (msgspec.ValidationError, RecursionError, UnicodeError) as error:
        raise StrangeReplyError(
            f"{what}: an answer that Zooniverse does not give ({one_line(str(error))})"
        ) from None
