"""Workflows, their subject sets, and what volunteers did (API notes, section 5)."""

from typing import Any

from starlette.responses import Response

from ctstate.sandbox.calls import Call, as_id, check_schema, check_type, ids_in, linked_ids, wrong
from ctstate.sandbox.listing import Page, filters, page_of
from ctstate.sandbox.model import Subject, SubjectSet, Workflow, etag
from ctstate.sandbox.replies import Json, document, empty, not_found, one, refusal, reply, status_meta
from ctstate.sandbox.shapes import status_json, workflow_json

PAGE = 25
"""Workflows come 25 a page, and no more."""

REASONS = ("classification_count", "flagged", "blank", "nothing_here", "consensus", "other", "human")


def _shape(call: Call, workflow: Workflow) -> Json:
    world = call.world
    members = {n for s in workflow.sets for n in world.sets[s].members}
    retired = sum(1 for s in world.statuses.values() if s.workflow == workflow.id and s.retired)
    return workflow_json(workflow, len(members), retired)


def _sets(call: Call, ids: list[int]) -> list[SubjectSet]:
    found = [s for s in map(call.world.live_set, ids) if s is not None and call.world.may(call.user, s.project)]
    if ids and not found:
        raise refusal(422, "Couldn't find linked subject_sets for current user")
    return found


async def index(call: Call) -> Response:
    """GET /api/workflows."""
    query, world = call.query, call.world
    found = [w for w in world.workflows.values() if world.may(call.user, w.project)]
    if "id" in query:
        wanted = ids_in(query["id"])
        found = [w for w in found if w.id in wanted]
        if not found:
            raise not_found("workflow", wanted)
    if "project_id" in query:
        projects = ids_in(query["project_id"])
        found = [w for w in found if w.project in projects]
    if "active" in query:
        found = [w for w in found if w.active == (query["active"].lower() == "true")]
    names = ("active", "id", "project_id")
    return page_of("workflows", found, lambda w: _shape(call, w), query, names, PAGE, PAGE)


async def show(call: Call) -> Response:
    """GET /api/workflows/ID."""
    workflow = call.the_workflow()
    tag = etag("workflows", [workflow])
    return one("workflows", _shape(call, workflow), tag=tag, query=f"id={workflow.id}")


async def change(call: Call) -> Response:
    """PUT /api/workflows/ID: name, activity, and (replacing them all) its sets."""
    user = call.require_login()
    if user.banned:
        return empty(200)
    workflow = call.the_workflow()
    call.check_if_match(etag("workflows", [workflow]))
    given = call.resource("workflows")
    check_schema(given, ("display_name", "active", "links", "retirement", "configuration", "tasks", "first_task"))
    name, active, links = given.get("display_name"), given.get("active"), given.get("links", {})
    if name is not None:
        check_type("display_name", name, "string")
    if active is not None:
        check_type("active", active, "boolean")
    sets = None
    if "subject_sets" in links:
        sets = [_own(call, workflow, s).id for s in _sets(call, linked_ids(links["subject_sets"], "links"))]
    call.world.change_workflow(workflow, display_name=name, active=active, sets=sets)
    return one("workflows", _shape(call, workflow))


def _own(call: Call, workflow: Workflow, subject_set: SubjectSet) -> SubjectSet:
    """The set, or its copy in the workflow's project where it is from another one."""
    if subject_set.project == workflow.project:
        return subject_set
    world = call.world
    copy = world.create_set(workflow.project, subject_set.display_name, dict(subject_set.metadata))
    world.link(copy, [world.subjects[n] for n in subject_set.ids()], "set copied")
    return copy


async def link_sets(call: Call) -> Response:
    """POST /api/workflows/ID/links/subject_sets; a bare string in place of a list replaces all sets."""
    workflow = call.the_workflow()
    if call.user is not None and call.user.banned:
        return empty(200)
    value = call.link_value("subject_sets")
    sets = [_own(call, workflow, s) for s in _sets(call, [as_id(v) for v in _listed(value)])]
    if isinstance(value, list):
        if any(s.id in workflow.sets for s in sets):
            raise refusal(400, "Validation failed: Workflow has already been taken")
        numbers = workflow.sets + [s.id for s in sets]
    else:
        numbers = [s.id for s in sets]
    call.world.change_workflow(workflow, sets=numbers)
    return one("workflows", _shape(call, workflow))


async def unlink_sets(call: Call) -> Response:
    """DELETE /api/workflows/ID/links/subject_sets/S."""
    workflow = call.the_workflow()
    if call.user is not None and call.user.banned:
        return empty(204)
    numbers = ids_in(call.params[1])
    for number in numbers:
        if number not in workflow.sets:
            raise refusal(
                404,
                f"Couldn't find SubjectSet with 'id'={number} "
                '[WHERE "subject_sets_workflows"."workflow_id" = $1]',
            )
    call.world.change_workflow(workflow, sets=[s for s in workflow.sets if s not in numbers])
    return empty(204)


def _subjects(call: Call, given: Json) -> list[Subject]:
    ids = [as_id(v) for v in _listed(given.get("subject_ids", given.get("subject_id", [])))]
    return [s for s in map(call.world.active_subject, ids) if s is not None]


async def retire(call: Call) -> Response:
    """POST /api/workflows/ID/retired_subjects."""
    workflow = call.the_workflow()
    if call.user is not None and call.user.banned:
        return empty(201)
    given = call.json()
    reason = given.get("retirement_reason") or "other"
    if reason not in REASONS:
        wrong("retirement_reason", "is not a known reason")
    shown = "nothing_here" if reason == "blank" else reason
    with call.world.store.together():
        for subject in _subjects(call, given):
            call.world.classify(workflow.id, subject.id, 0, True, shown)
    return empty(204)


async def unretire(call: Call) -> Response:
    """POST /api/workflows/ID/unretire_subjects."""
    workflow = call.the_workflow()
    if call.user is not None and call.user.banned:
        return empty(201)
    with call.world.store.together():
        for subject in _subjects(call, call.json()):
            if (workflow.id, subject.id) in call.world.statuses:
                call.world.classify(workflow.id, subject.id, 0, False, None)
    return empty(204)


async def statuses(call: Call) -> Response:
    """GET /api/subject_workflow_statuses: no row for a subject nobody touched, and a `meta` that counts nothing."""
    world, query = call.world, call.query
    workflows = [w.id for w in world.workflows.values() if world.may(call.user, w.project)]
    if "workflow_id" in query:
        wanted = ids_in(query["workflow_id"])
        workflows = [w for w in workflows if w in wanted]
    if "subject_id" in query:
        subjects = ids_in(query["subject_id"])
        found = [world.statuses[(w, s)] for w in workflows for s in subjects if (w, s) in world.statuses]
    else:
        found = [s for s in world.statuses.values() if s.workflow in workflows]
    if "id" in query:
        ids = ids_in(query["id"])
        found = [s for s in found if s.id in ids]
    found = sorted({s.id: s for s in found}.values(), key=lambda s: s.id)
    page = Page.of(query)
    first, last = page.bounds
    shown = [status_json(s) for s in found[first:last]]
    names = filters(query, ("id", "subject_id", "workflow_id"))
    about = status_meta(page.number, page.size, names, page.asked, bool(shown))
    body = document("subject_workflow_statuses", shown, about)
    stamp = f'W/"{hash(tuple((s.id, s.updated) for s in found[first:last])) & 0xFFFFFFFFFFFF:032x}"'
    return reply(200, body, {"ETag": stamp})


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
