"""Reading projects and who works on them."""

from typing import Any

from starlette.responses import Response

from ctstate.sandbox.calls import Call, ids_in
from ctstate.sandbox.listing import page_of
from ctstate.sandbox.model import Project, etag
from ctstate.sandbox.replies import Json, one
from ctstate.sandbox.shapes import owner_json, project_json


def _shape(call: Call, project: Project) -> Json:
    world = call.world
    sets = [s.id for s in world.live_sets() if s.project == project.id]
    workflows = [w for w in world.workflows.values() if w.project == project.id]
    return project_json(project, world.accounts, sets, workflows)


def _visible(call: Call) -> list[Project]:
    return [p for p in call.world.projects.values() if p.open_to(call.user)]


async def index(call: Call) -> Response:
    """GET /api/projects: the ones the user may see."""
    query = call.query
    found = _visible(call)
    if "id" in query:
        wanted = set(ids_in(query["id"]))
        found = [p for p in found if p.id in wanted]
    for name in ("slug", "display_name"):
        if query.get(name):
            found = [p for p in found if getattr(p, name) in query[name].split(",")]
    for word in query.get("search", "").lower().split():
        found = [p for p in found if word in p.display_name.lower()]
    return page_of("projects", found, lambda p: _shape(call, p), query, ("display_name", "id", "slug"))


async def show(call: Call) -> Response:
    """GET /api/projects/ID."""
    project = call.the_project()
    return one("projects", _shape(call, project), tag=etag("projects", [project]), query=f"id={project.id}")


async def roles(call: Call) -> Response:
    """GET /api/project_roles: the owner and the collaborators."""
    wanted = ids_in(call.query["project_id"]) if "project_id" in call.query else None
    people: list[Any] = []
    for project in _visible(call):
        if wanted is None or project.id in wanted:
            people.append((project, project.owner, "owner"))
            people += [(project, user, "collaborator") for user in sorted(project.collaborators)]

    def shape(person: Any) -> Json:
        project, user, role = person
        number = f"{project.id}{user:04d}"
        return {
            "id": number,
            "roles": [role],
            "href": f"/project_roles/{number}",
            "links": {"project": str(project.id), "owner": owner_json(call.world.accounts, user)},
        }

    return page_of("project_roles", people, shape, call.query, ("project_id", "user_id"))
