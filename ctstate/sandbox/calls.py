"""One request to the API, with the checks that all routes share."""

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from ctstate.sandbox.accounts import NOBODY, Identity
from ctstate.sandbox.blobs import Blobs
from ctstate.sandbox.model import Project, Subject, SubjectSet, User, Workflow
from ctstate.sandbox.replies import broken, not_found, not_logged_in, refusal, unauthorized
from ctstate.sandbox.settings import SandboxSettings
from ctstate.sandbox.state import World
from ctstate.words import whole_number

BODY_TYPES = ("application/json", "application/vnd.api+json")


def ids_in(text: str) -> list[int]:
    """The ids in `1,2,3`; what is no id is left out."""
    return [number for part in text.split(",") if (number := whole_number(part.strip())) is not None]


@dataclass
class Call:
    """A request as the routes see it."""

    world: World
    blobs: Blobs
    base: str
    method: str
    path: str
    params: tuple[str, ...]
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""
    identity: Identity = NOBODY

    @property
    def settings(self) -> SandboxSettings:
        """The sandbox's settings."""
        return self.world.settings

    @property
    def user(self) -> User | None:
        """Who asks, a dead token being good enough: lists, single GETs and links (API notes, section 1)."""
        return self.identity.user

    def require_login(self) -> User:
        """Who asks, where a dead token is not good enough: creating, changing, deleting."""
        if self.identity.user is None:
            raise not_logged_in()
        if self.identity.dead:
            raise unauthorized()
        return self.identity.user

    # -- the body -------------------------------------------------------------------------------------------

    def json(self) -> dict[str, Any]:
        """The JSON object in the body."""
        content_type = self.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() not in BODY_TYPES:
            raise refusal(
                415, "Only requests with Content-Type: application/json or application/vnd.api+json are allowed"
            )
        try:
            value = json.loads(self.body, parse_constant=_no_constant) if self.body.strip() else {}
        except (ValueError, RecursionError):
            raise refusal(400, "There was a problem in the JSON you submitted") from None
        if b"\\u" in self.body and not _storable(value):
            raise broken()
        return value if isinstance(value, dict) else {}

    def resource(self, name: str) -> dict[str, Any]:
        """The object under `name` in the body."""
        value = self.json().get(name)
        if isinstance(value, list):
            raise broken()
        if not isinstance(value, dict) or not value:
            raise refusal(
                422,
                f"param is missing or the value is empty: {name}\nDid you mean?  controller\n               action",
            )
        return value

    def link_value(self, name: str) -> Any:
        """The ids of a links call."""
        body = self.json()
        if name not in body:
            raise refusal(422, f"Link relation {name} must match body key")
        return body[name]

    def check_if_match(self, tag: str) -> None:
        """428 without If-Match, 412 where it does not match."""
        wanted = self.headers.get("if-match")
        if not wanted:
            raise refusal(428, "Request requires If-Match header to be present")
        if tag not in [part.strip() for part in wanted.split(",")]:
            raise refusal(412, "JsonApiController::PreconditionFailed")

    # -- what the path names --------------------------------------------------------------------------------

    def the_project(self) -> Project:
        """The project of the path, if the user may see it."""
        number = int(self.params[0])
        project = self.world.projects.get(number)
        if project is None or not project.open_to(self.user):
            raise not_found("project", [number])
        return project

    def the_workflow(self) -> Workflow:
        """The workflow of the path."""
        number = int(self.params[0])
        workflow = self.world.workflows.get(number)
        if workflow is None or not self.world.may(self.user, workflow.project):
            raise not_found("workflow", [number])
        return workflow

    def the_set(self) -> SubjectSet:
        """The subject set of the path."""
        number = int(self.params[0])
        subject_set = self.world.live_set(number)
        if subject_set is None or not self.world.may(self.user, subject_set.project):
            raise not_found("subject_set", [number])
        return subject_set

    def the_subject(self) -> Subject:
        """The subject of the path."""
        number = int(self.params[0])
        subject = self.world.active_subject(number)
        if subject is None or not self.world.may(self.user, subject.project):
            raise not_found("subject", [number])
        return subject


# -- schemas --------------------------------------------------------------------------------------------------


def check_schema(
    given: dict[str, Any], allowed: tuple[str, ...], required: tuple[str, ...] = (), where: str = "schema"
) -> None:
    """422 with the real server's words where keys are missing or too many."""
    for name in required:
        if name not in given:
            wrong(where, f"did not contain a required property of '{name}'")
    extra = [k for k in given if k not in allowed]
    if extra:
        names = ", ".join(f'\\"{k}\\"' for k in extra)
        wrong(where, f"contains additional properties [{names}] outside of the schema when none are allowed")


def check_type(where: str, value: Any, *kinds: str) -> None:
    """422 where a value is of another JSON type."""
    kind = _kind(value)
    if kind not in kinds:
        what = "the following type" if len(kinds) == 1 else "one or more of the following types"
        wrong(where, f"of type {kind} did not match {what}: {', '.join(kinds)}")


def wrong(where: str, what: str) -> NoReturn:
    """422 in the words of the schema validator, a Ruby hash."""
    raise refusal(422, f'{{"{where}"=>"{what}"}}')


def linked_ids(value: Any, where: str) -> list[int]:
    """Ids in a list, as strings or integers; -1 for what cannot be one."""
    check_type(where, value, "array")
    return [as_id(v) for v in value]


def as_id(value: Any) -> int:
    """An id given as a string or an integer; -1 for what cannot be one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = whole_number(value) if isinstance(value, str) else None
    return -1 if number is None else number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _storable(value: Any) -> bool:
    """Whether the real server's database could hold a JSON value: no NUL, and no half characters."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return not has_nul(value)


def has_nul(value: Any) -> bool:
    """Whether a NUL character is anywhere in a JSON value."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, list):
        return any(map(has_nul, value))
    if isinstance(value, dict):
        return any(has_nul(k) or has_nul(v) for k, v in value.items())
    return False


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    for kind, types in _KINDS:
        if isinstance(value, types):
            return kind
    return "object"


_KINDS: list[tuple[str, tuple[type, ...]]] = [
    ("boolean", (bool,)),
    ("string", (str,)),
    ("integer", (int,)),
    ("number", (float,)),
    ("array", (list,)),
]
