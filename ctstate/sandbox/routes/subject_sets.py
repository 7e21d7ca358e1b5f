"""Subject sets and what is in them (API notes, section 3)."""

from typing import Any

from starlette.responses import Response

from ctstate.sandbox.calls import Call, as_id, check_schema, check_type, ids_in, linked_ids
from ctstate.sandbox.listing import Page, filters, page_of, page_reply
from ctstate.sandbox.model import Member, Subject, SubjectSet, etag
from ctstate.sandbox.replies import Json, empty, not_found, one, refusal
from ctstate.sandbox.shapes import member_json, set_json
from ctstate.sandbox.surroundings import pause

_NAME_TAKEN = "Validation failed: Display name has already been taken"
_STALE = "Attempted to update a stale object: SubjectSet."
_BAD_LINK = "Error: check the subject set and all the subjects exist."


def _shape(call: Call, subject_set: SubjectSet) -> Json:
    workflows = [w.id for w in call.world.workflows.values() if subject_set.id in w.sets]
    return set_json(subject_set, workflows)


async def index(call: Call) -> Response:
    """GET /api/subject_sets: by project, workflow, name (commas separate alternatives) and metadata."""
    world, query = call.world, call.query
    found = [s for s in world.live_sets() if world.may(call.user, s.project)]
    if "id" in query:
        wanted = ids_in(query["id"])
        found = [s for s in found if s.id in wanted]
        if not found:
            raise not_found("subject_set", wanted)
    if "project_id" in query:
        projects = ids_in(query["project_id"])
        found = [s for s in found if s.project in projects]
    if "workflow_id" in query:
        workflows = [world.workflows[w] for w in ids_in(query["workflow_id"]) if w in world.workflows]
        sets = {n for w in workflows if world.may(call.user, w.project) for n in w.sets}
        found = [s for s in found if s.id in sets]
    if "display_name" in query:
        names = query["display_name"].split(",")
        found = [s for s in found if s.display_name in names]
    for key, value in query.items():
        if key.startswith("metadata."):
            found = [s for s in found if s.metadata.get(key[9:]) == value]
    if query.get("sort") in ("-id", "display_name", "-display_name"):
        key = query["sort"].lstrip("-")
        found.sort(key=lambda s: getattr(s, key), reverse=query["sort"].startswith("-"))
    names_of = ("display_name", "id", "project_id", "workflow_id")
    sort = query.get("sort", "")
    return page_of("subject_sets", found, lambda s: _shape(call, s), query, names_of, sort=sort)


async def show(call: Call) -> Response:
    """GET /api/subject_sets/ID."""
    subject_set = call.the_set()
    tag = etag("subject_sets", [subject_set])
    return one("subject_sets", _shape(call, subject_set), tag=tag, query=f"id={subject_set.id}")


async def create(call: Call) -> Response:
    """POST /api/subject_sets. The name's check has no index behind it: creates at the same moment pass it all."""
    user = call.require_login()
    if user.banned:
        return empty(201)
    world = call.world
    given = call.resource("subject_sets")
    check_schema(given, ("display_name", "metadata", "links"), ("display_name", "links"))
    check_type("display_name", given["display_name"], "string")
    metadata = given.get("metadata", {})
    check_type("metadata", metadata, "object")
    links = given["links"]
    check_type("links", links, "object")
    check_schema(links, ("project", "workflows", "subjects"), ("project",), "links")
    project = as_id(links["project"])
    if not world.may(user, project):
        raise refusal(422, "Couldn't find linked project for current user")
    name = given["display_name"]
    if not name:
        raise refusal(400, "Validation failed: Display name can't be blank")
    if world.name_taken(project, name):
        raise refusal(400, _NAME_TAKEN)
    await pause(call.settings.name_check_gap)
    subject_set = world.create_set(project, name, metadata)
    if links.get("subjects"):
        world.link(subject_set, _subjects(call, linked_ids(links["subjects"], "links")), "create")
    where = f"{call.base}/api/subject_sets/{subject_set.id}"
    tag = etag("subject_sets", [subject_set])
    return one("subject_sets", _shape(call, subject_set), 201, tag=tag, location=where)


async def change(call: Call) -> Response:
    """PUT /api/subject_sets/ID: checks no If-Match; `links.subjects` replaces the whole membership."""
    user = call.require_login()
    if user.banned:
        return empty(200)
    world = call.world
    subject_set = call.the_set()
    given = call.resource("subject_sets")
    check_schema(given, ("display_name", "metadata", "links"))
    name, metadata = given.get("display_name"), given.get("metadata")
    if name is not None:
        check_type("display_name", name, "string")
        if world.name_taken(subject_set.project, name, subject_set.id):
            raise refusal(400, _NAME_TAKEN)
    if metadata is not None:
        check_type("metadata", metadata, "object")
    links: dict[str, Any] = given.get("links", {})
    check_type("links", links, "object")
    subjects = _subjects(call, linked_ids(links["subjects"], "links")) if "subjects" in links else None
    with world.store.together():
        if name is not None or metadata is not None:
            world.change_set(subject_set, name, metadata)
        if subjects is not None:
            world.replace_members(subject_set, subjects)
    return one("subject_sets", _shape(call, subject_set))


async def delete(call: Call) -> Response:
    """DELETE /api/subject_sets/ID."""
    user = call.require_login()
    if user.banned:
        return empty(204)
    subject_set = call.the_set()
    call.check_if_match(etag("subject_sets", [subject_set]))
    call.world.delete_set(subject_set)
    return empty(204)


def _subjects(call: Call, ids: list[int]) -> list[Subject]:
    """The subjects to link: all of them, or 422."""
    world = call.world
    found = [s for s in map(world.active_subject, ids) if s is not None and world.may(call.user, s.project)]
    if ids and not found:
        raise refusal(422, "Couldn't find linked subjects for current user")
    if len({s.id for s in found}) < len(ids):
        raise refusal(422, _BAD_LINK)
    return found


async def link(call: Call) -> Response:
    """POST /api/subject_sets/ID/links/subjects.

    The set's row has an optimistic lock: of calls that overlap in time the first to end wins, and the others are
    409 and have linked nothing.
    """
    world, settings = call.world, call.settings
    subject_set = call.the_set()
    if call.user is not None and call.user.banned:
        return empty(200)
    value = call.link_value("subjects")
    ids = [as_id(v) for v in (value if isinstance(value, list) else [value])]
    _subjects(call, ids)
    before = subject_set.version
    await pause(settings.link_seconds + settings.link_seconds_per_subject * len(ids))
    if subject_set.deleted:
        raise not_found("subject_set", [subject_set.id])
    if subject_set.version != before:
        raise refusal(409, _STALE)
    subjects = _subjects(call, ids)
    if isinstance(value, list):
        world.link(subject_set, subjects, "link", priority=True)
    else:
        world.replace_members(subject_set, subjects)
    return one("subject_sets", _shape(call, subject_set))


async def unlink(call: Call) -> Response:
    """DELETE /api/subject_sets/ID/links/subjects/1,2,3: what is not linked is ignored."""
    subject_set = call.the_set()
    if call.user is not None and call.user.banned:
        return empty(204)
    call.world.unlink(subject_set, ids_in(call.params[1]))
    return empty(204)


async def members(call: Call) -> Response:
    """GET /api/set_member_subjects: memberships by set and subject."""
    world, query = call.world, call.query
    found: list[Member]
    names = ("id", "subject_id", "subject_set_id")
    if "subject_set_id" in query:
        sets = [s for s in map(world.live_set, ids_in(query["subject_set_id"])) if s is not None]
    else:
        sets = list(world.live_sets())
    sets = [s for s in sets if world.may(call.user, s.project)]
    if "subject_id" in query:
        wanted = ids_in(query["subject_id"])
        found = [s.members[n] for s in sets for n in wanted if n in s.members]
    else:
        found = [m for s in sets for m in s.members.values()]
    if len(sets) != 1:
        found.sort(key=lambda m: m.id)
    page = Page.of(query)
    first, last = page.bounds
    return page_reply(
        "set_member_subjects", found[first:last], len(found), member_json, page, filters(query, names)
    )
