"""Subjects (API notes, section 4)."""

from collections.abc import Collection
from itertools import islice
from typing import Any

from starlette.responses import Response

from ctstate.sandbox.calls import Call, as_id, check_schema, check_type, ids_in, linked_ids
from ctstate.sandbox.listing import Page, filters, page_reply
from ctstate.sandbox.model import SUFFIXES, Location, Subject, SubjectSet, User, etag
from ctstate.sandbox.replies import Json, empty, not_found, one, refusal
from ctstate.sandbox.shapes import subject_json

FILTERS = ("id", "project_id", "subject_set_id", "upload_user_id", "workflow_id")


def _public(call: Call, subject: Subject) -> Json:
    url = call.blobs.public_url
    return subject_json(subject, [{i.mime: url(call.base, i)} for i in subject.images])


def _signed(call: Call, subject: Subject) -> Json:
    url = call.blobs.put_url
    return subject_json(subject, [{i.mime: url(call.base, i)} for i in subject.images])


# -- reading --------------------------------------------------------------------------------------------------


async def show(call: Call) -> Response:
    """GET /api/subjects/ID."""
    subject = call.the_subject()
    tag = etag("subjects", [subject])
    return one("subjects", _public(call, subject), tag=tag, query=f"id={subject.id}")


async def index(call: Call) -> Response:
    """GET /api/subjects: unknown parameters are ignored, so that everything comes."""
    world, query = call.world, call.query
    page = Page.of(query)
    sort = query.get("sort", "")
    if "subject_set_id" in query and not sort:
        sort = "id"
    found = _found(call)
    if "id" in query and not found:
        raise not_found("subject", ids_in(query["id"]))
    first, last = page.bounds
    numbers = reversed(found) if sort == "-id" else found  # type: ignore[call-overload]
    shown = [world.subjects[n] for n in islice(numbers, first, last)]
    return page_reply(
        "subjects", shown, len(found), lambda s: _public(call, s), page, filters(query, FILTERS), sort
    )


def _found(call: Call) -> Collection[int]:
    """Ids of the subjects that the filters leave, ascending: a list, or a dict with such keys."""
    world, query = call.world, call.query
    projects = [p.id for p in world.projects.values() if p.open_to(call.user)]
    if "project_id" in query:
        wanted = ids_in(query["project_id"])
        projects = [p for p in projects if p in wanted]
    uploaders = ids_in(query["upload_user_id"]) if "upload_user_id" in query else None
    sets = _wanted_sets(call)
    if sets is None and "id" not in query:
        if uploaders is None:
            parts = [world.of_project(p) for p in projects]
        else:
            parts = [world.of_uploader(p, u) for p in projects for u in dict.fromkeys(uploaders)]
        return parts[0] if len(parts) == 1 else sorted(n for part in parts for n in part)
    if sets is not None and len(sets) == 1 and len(query.keys() & FILTERS) == 1:
        return sets[0].ids() if sets[0].project in projects else []
    if "id" in query:
        numbers = set(ids_in(query["id"]))
        if sets is not None:
            numbers = {n for n in numbers if any(n in s.members for s in sets)}
    else:
        numbers = {n for s in sets or () for n in s.members}
    subjects = [world.active_subject(n) for n in sorted(numbers)]
    return [
        s.id
        for s in subjects
        if s is not None and s.project in projects and (uploaders is None or s.uploader in uploaders)
    ]


def _wanted_sets(call: Call) -> list[SubjectSet] | None:
    """The sets that the filters name, or None where they name none."""
    world, query = call.world, call.query
    if "subject_set_id" not in query and "workflow_id" not in query:
        return None
    numbers: list[int] | None = None
    if "subject_set_id" in query:
        numbers = ids_in(query["subject_set_id"])
    if "workflow_id" in query:
        workflows = [world.workflows[w] for w in ids_in(query["workflow_id"]) if w in world.workflows]
        of_workflows = [n for w in workflows for n in w.sets]
        numbers = of_workflows if numbers is None else [n for n in numbers if n in of_workflows]
    return [s for s in map(world.live_set, dict.fromkeys(numbers or [])) if s is not None]


# -- writing --------------------------------------------------------------------------------------------------


async def create(call: Call) -> Response:
    """POST /api/subjects: one subject a request, not idempotent."""
    user = call.require_login()
    if user.banned:
        return empty(201)
    world = call.world
    given = call.resource("subjects")
    check_schema(given, ("locations", "metadata", "external_id", "links"), ("locations", "links"))
    locations = given["locations"]
    check_type("locations", locations, "array")
    metadata = given.get("metadata", {})
    check_type("metadata", metadata, "object")
    links = given["links"]
    check_type("links", links, "object")
    check_schema(links, ("project", "subject_sets", "collections"), ("project",), "links")
    external_id = given.get("external_id")
    if external_id is not None:
        check_type("external_id", external_id, "string")
    _check_limit(call, user)
    project = as_id(links["project"])
    if not world.may(user, project):
        raise refusal(422, "Couldn't find linked project for current user")
    sets = _linked_sets(call, links["subject_sets"]) if "subject_sets" in links else []
    subject = world.create_subject(project, user, _locations(locations), _normal(metadata), external_id, sets)
    tag = etag("subjects", [subject])
    where = f"{call.base}/api/subjects/{subject.id}"
    return one("subjects", _signed(call, subject), 201, tag=tag, location=where)


async def change(call: Call) -> Response:
    """PUT /api/subjects/ID: `locations: []` changes nothing and is answered with fresh PUT URLs."""
    user = call.require_login()
    if user.banned:
        return empty(200)
    world = call.world
    subject = call.the_subject()
    call.check_if_match(etag("subjects", [subject]))
    given = call.resource("subjects")
    check_schema(given, ("locations", "metadata", "links"))
    metadata, links = given.get("metadata"), given.get("links", {})
    if "metadata" in given:
        check_type("metadata", metadata, "object")
    check_type("links", links, "object")
    locations = given.get("locations", [])
    check_type("locations", locations, "array")
    sets = _linked_sets(call, links["subject_sets"]) if "subject_sets" in links else None
    with world.store.together():
        world.change_subject(
            subject,
            _normal(metadata) if metadata is not None else None,
            _locations(locations) if locations else None,
        )
        if sets is not None:
            world.replace_sets(subject, sets)
    return one("subjects", _signed(call, subject))


async def delete(call: Call) -> Response:
    """DELETE /api/subjects/ID: deactivates, even where sets hold it."""
    user = call.require_login()
    if user.banned:
        return empty(204)
    subject = call.the_subject()
    call.check_if_match(etag("subjects", [subject]))
    call.world.deactivate(subject)
    return empty(204)


def _check_limit(call: Call, user: User) -> None:
    count = call.world.uploaded_count(user)
    if count >= user.subject_limit:
        raise refusal(403, f"User has uploaded {count} subjects of {user.subject_limit} maximum")


def _linked_sets(call: Call, value: Any) -> list[SubjectSet]:
    """The sets that are there and the user's; unknown ones are dropped silently if one is."""
    ids = linked_ids(value, "links")
    found = [
        s
        for s in map(call.world.live_set, dict.fromkeys(ids))
        if s is not None and call.world.may(call.user, s.project)
    ]
    if ids and not found:
        raise refusal(422, "Couldn't find linked subject_sets for current user")
    return found


def _locations(given: list[Any]) -> list[Location]:
    """What was given, as MIME types with, for images hosted elsewhere, their URLs."""
    out: list[Location] = []
    for item in given:
        if isinstance(item, dict) and len(item) == 1:
            mime, url = next(iter(item.items()))
        else:
            mime, url = item, ""
        if not isinstance(mime, str) or mime not in SUFFIXES or not isinstance(url, str):
            raise refusal(400, "Validation failed: Locations is invalid")
        out.append((mime, url))
    return out


def _normal(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata as the server keeps it: `#Priority` in any case becomes `#priority`."""
    return {"#priority" if k.lower() == "#priority" else k: v for k, v in metadata.items()}
