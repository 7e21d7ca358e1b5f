"""The sandbox's own API below `/sandbox/`, which Panoptes does not have: looking behind the scenes, and orders."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from ctstate.errors import InputError
from ctstate.sandbox.calls import Call, as_id
from ctstate.sandbox.faults import Plan
from ctstate.sandbox.model import Subject, User, timestamp
from ctstate.sandbox.replies import JSON_TYPE, ApiError, Json, empty, reply
from ctstate.sandbox.shapes import image_state


@dataclass
class Control:
    """What is counted, and the fault plan in force."""

    plan: Plan = field(default_factory=Plan)
    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def forget(self) -> None:
        """Count from zero."""
        self.requests.clear()
        self.statuses.clear()
        self.faults.clear()

    # -- handlers -------------------------------------------------------------------------------------------

    async def show_requests(self, call: Call) -> Response:
        """GET /sandbox/requests."""
        return _json(
            {
                "total": sum(self.requests.values()),
                "routes": dict(self.requests),
                "statuses": {str(k): v for k, v in self.statuses.items()},
                "faults": dict(self.faults),
            }
        )

    async def reset_requests(self, call: Call) -> Response:
        """DELETE /sandbox/requests."""
        self.forget()
        return empty(204)

    async def show_faults(self, call: Call) -> Response:
        """GET /sandbox/faults."""
        return _json({"plan": self.plan.source, "rules": self.plan.struck()})

    async def put_faults(self, call: Call) -> Response:
        """PUT /sandbox/faults."""
        try:
            self.plan = Plan.parse(_body(call))
        except InputError as e:
            return _json({"error": str(e)}, 400)
        return _json({"plan": self.plan.source, "rules": self.plan.struck()})

    async def delete_faults(self, call: Call) -> Response:
        """DELETE /sandbox/faults."""
        self.plan = Plan()
        return empty(204)


def _json(body: Any, status: int = 200) -> Response:
    return reply(status, body, content_type=JSON_TYPE)


def _body(call: Call) -> Any:
    try:
        return json.loads(call.body)
    except (ValueError, RecursionError) as e:
        raise ApiError(_json({"error": f"the body is not JSON: {e}"}, 400)) from None


def _fields(call: Call) -> Json:
    body = _body(call)
    if not isinstance(body, dict):
        raise ApiError(_json({"error": "the body must be a JSON object"}, 400))
    return body


def _bad(message: str) -> ApiError:
    return ApiError(_json({"error": message}, 400))


def _subject(call: Call, subject: Subject) -> Json:
    return {
        "id": str(subject.id),
        "project": str(subject.project),
        "uploader": call.world.accounts.users[subject.uploader].login,
        "active": subject.active,
        "external_id": subject.external_id,
        "metadata": subject.metadata,
        "created_at": timestamp(subject.created),
        "subject_sets": [str(s) for s in subject.sets],
        "images": [image_state(i) for i in subject.images],
    }


def _account(user: User, count: int) -> Json:
    return {
        "id": str(user.id),
        "login": user.login,
        "subject_limit": user.subject_limit,
        "uploaded_subjects_count": count,
        "banned": user.banned,
    }


async def state(call: Call) -> Response:
    """GET /sandbox/state: everything there is."""
    world = call.world
    return _json(
        {
            "accounts": [_account(u, world.uploaded_count(u)) for u in world.accounts.users.values()],
            "projects": [
                {"id": str(p.id), "display_name": p.display_name, "owner": str(p.owner)}
                for p in world.projects.values()
            ],
            "workflows": [
                {"id": str(w.id), "project": str(w.project), "subject_sets": [str(s) for s in w.sets]}
                for w in world.workflows.values()
            ],
            "subject_sets": [
                {
                    "id": str(s.id),
                    "project": str(s.project),
                    "display_name": s.display_name,
                    "metadata": s.metadata,
                    "deleted": s.deleted,
                    "subjects": [str(n) for n in s.ids()],
                    "priorities": {str(n): m.priority for n, m in s.members.items() if m.priority is not None},
                }
                for s in world.sets.values()
            ],
            "subjects": [_subject(call, s) for s in world.subjects.values()],
            "published_incomplete": [
                {
                    "at": e["at"],
                    "subject": str(e["subject"]),
                    "set": str(e["set"]),
                    "how": e["how"],
                    "missing_images": e["missing"],
                }
                for e in world.incomplete
            ],
        }
    )


async def account(call: Call) -> Response:
    """PUT /sandbox/account: change the account, or the one named by `login` (made if there is none).

    Keys: login, password, subject_limit, banned, collaborator (a project id to work on), recount (forget the cached
    count of uploaded subjects).
    """
    world = call.world
    given = _fields(call)
    known = {"login", "password", "subject_limit", "banned", "collaborator", "recount"}
    if set(given) - known:
        raise _bad(f"unknown: {', '.join(sorted(set(given) - known))}")
    limit, banned, password = given.get("subject_limit"), given.get("banned"), given.get("password")
    if not isinstance(limit, (int, type(None))) or not isinstance(banned, (bool, type(None))):
        raise _bad("subject_limit must be a number, banned true or false")
    login = str(given.get("login", world.owner.login))
    user = world.accounts.by_login(login)
    if user is None:
        if not isinstance(password, str):
            raise _bad(f"there is no account {login!r}; a password is needed to make it")
        user = world.accounts.create(login, password, world.settings.subject_limit)
        password = None
    world.accounts.change(user, password=password, subject_limit=limit, banned=banned)
    if "collaborator" in given:
        project = world.projects.get(as_id(given["collaborator"]))
        if project is None:
            raise _bad("no such project")
        world.add_collaborator(project, user)
    if given.get("recount"):
        world.forget_count(user)
    return _json(_account(user, world.uploaded_count(user)))


async def classify(call: Call) -> Response:
    """POST /sandbox/classify: let volunteers classify a subject.

    Keys: subject_id, workflow_id, classifications (1), retired (true, false, or left as it is), reason.
    """
    world = call.world
    given = _fields(call)
    subject = world.active_subject(as_id(given.get("subject_id")))
    workflow = world.workflows.get(as_id(given.get("workflow_id")))
    if subject is None or workflow is None:
        raise _bad("no such subject or workflow")
    count, retired = given.get("classifications", 1), given.get("retired")
    if not isinstance(count, int) or not isinstance(retired, (bool, type(None))):
        raise _bad("classifications must be a number, retired true or false")
    reason = str(given.get("reason", "classification_count"))
    status = world.classify(workflow.id, subject.id, count, retired, reason)
    return _json({"classifications": status.classifications, "retired": bool(status.retired)})


async def workflow(call: Call) -> Response:
    """POST /sandbox/workflows: a further workflow (project_id, display_name, active)."""
    given = _fields(call)
    project = call.world.projects.get(as_id(given.get("project_id", call.world.project.id)))
    if project is None:
        raise _bad("no such project")
    name, active = str(given.get("display_name", "Another workflow")), bool(given.get("active", True))
    made = call.world.create_workflow(project, name, active)
    return _json({"id": str(made.id)}, 201)
