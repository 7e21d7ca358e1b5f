"""What the API's answers look like: resources, paging, errors (API notes, section 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from starlette.responses import Response

from ctstate.sandbox.accounts import Accounts
from ctstate.sandbox.model import (
    Image,
    Member,
    Project,
    Status,
    Subject,
    SubjectSet,
    User,
    Workflow,
    timestamp,
)

Json = dict[str, Any]

API_TYPE = "application/vnd.api+json; version=1; charset=utf-8"
JSON_TYPE = "application/json; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"


class ApiError(Exception):
    """A request that ends with an error reply."""

    def __init__(self, reply: Response) -> None:
        super().__init__(reply.status_code)
        self.reply = reply


def dumps(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def reply(
    status: int, body: Any, headers: Optional[Mapping[str, str]] = None, content_type: str = API_TYPE
) -> Response:
    """A JSON reply."""
    return Response(dumps(body), status, {"content-type": content_type, **(headers or {})})


def empty(status: int, headers: Optional[Mapping[str, str]] = None) -> Response:
    """A reply without a body."""
    return Response(b"", status, headers)


def refusal(status: int, message: str) -> ApiError:
    """The API's usual error."""
    return ApiError(reply(status, {"errors": [{"message": message}]}))


def unauthorized() -> ApiError:
    """401 by a dead token: no body."""
    challenge = 'Bearer realm="Doorkeeper", error="invalid_token", error_description="The access token is invalid"'
    return ApiError(empty(401, {"WWW-Authenticate": challenge}))


def not_logged_in() -> ApiError:
    """401 without a token, or with one that the server does not know."""
    return refusal(401, "You must be logged in to access this resource.")


def not_found(kind: str, ids: Sequence[int]) -> ApiError:
    """404 for what is not there or not yours."""
    many = len(ids) > 1
    name, key = (f"{kind}s", "ids") if many else (kind, "id")
    return refusal(404, f"Could not find {name} with {key}='{','.join(map(str, ids))}'")


_PAGES = {
    404: "The page you were looking for doesn't exist.",
    500: "We're sorry, but something went wrong.",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Time-out",
}


def html_page(status: int, text: Optional[str] = None) -> Response:
    """An error page, as Rails or a proxy in front of it shows it."""
    title = text or _PAGES.get(status, "Error")
    body = (
        f"<!DOCTYPE html>\n<html>\n<head><title>{title} ({status})</title></head>\n"
        f"<body><h1>{status} {title}</h1></body>\n</html>\n"
    )
    return Response(body.encode(), status, {"content-type": HTML_TYPE})


def broken() -> ApiError:
    """The 500 page."""
    return ApiError(html_page(500))


def no_such_route(accept: str) -> Response:
    """404 of a route: a page, or a line of JSON for those who asked for plain JSON."""
    if "application/json" in accept:
        return reply(404, {"status": 404, "error": "Not Found"}, content_type=JSON_TYPE)
    return html_page(404)


# -- paging ---------------------------------------------------------------------------------------------------


def meta(
    resource: str,
    *,
    count: int = 1,
    page: int = 1,
    page_size: int = 20,
    query: str = "",
    size_asked: bool = False,
    sort: str = "",
) -> Json:
    """The `meta` of a reply.

    Args:
        resource: plural name.
        count: how many there are on all pages.
        page: which page this is.
        page_size: how many a page holds.
        query: the filters, as they are shown in the links.
        size_asked: whether the client asked for a page size (only then do the links carry it).
        sort: the order, if one was asked for.
    """
    pages = -(-count // page_size)

    def href(number: int) -> str:
        parts = [f"page={number}"] if number != 1 else []
        if size_asked:
            parts.append(f"page_size={page_size}")
        if sort:
            parts.append(f"sort={sort}")
        if query:
            parts.append(query)
        return f"/{resource}" + (f"?{'&'.join(parts)}" if parts else "")

    following = page + 1 if page < pages else None
    previous = page - 1 if 1 < page <= pages else None
    return {
        resource: {
            "page": page,
            "page_size": page_size,
            "count": count,
            "include": [],
            "page_count": pages,
            "previous_page": previous,
            "next_page": following,
            "first_href": href(1),
            "previous_href": href(previous) if previous else None,
            "next_href": href(following) if following else None,
            "last_href": href(pages),
        }
    }


def status_meta(page: int, page_size: int, query: str, size_asked: bool, more: bool) -> Json:
    """The odd `meta` of subject_workflow_statuses: it counts nothing (API notes, section 5)."""
    resource = "subject_workflow_statuses"
    out: Json = meta(resource, count=0, page=page, page_size=page_size, query=query, size_asked=size_asked)
    tail = (f"&page_size={page_size}" if size_asked else "") + (f"&{query}" if query else "")
    out[resource].update(
        previous_page=page - 1,
        previous_href=f"/{resource}?page={page - 1}{tail}",
        next_page=page + 1 if more else None,
        next_href=f"/{resource}?page={page + 1}{tail}" if more else None,
    )
    return out


def links_of(resource: str) -> Json:
    """The `links` templates of a resource's replies."""
    return {
        f"{resource}.{name}": {
            "href": "/" + kind + "/{" + f"{resource}.{name}" + "}",
            "type": kind,
        }
        for name, kind in _LINKS[resource].items()
    }


_LINKS: dict[str, dict[str, str]] = {
    "subjects": {
        "project": "projects",
        "collections": "collections",
        "subject_sets": "subject_sets",
        "attached_images": "media",
    },
    "subject_sets": {"project": "projects", "workflows": "workflows"},
    "set_member_subjects": {"subject": "subjects", "subject_set": "subject_sets"},
    "subject_workflow_statuses": {"subject": "subjects", "workflow": "workflows"},
    "workflows": {
        "attached_images": "media",
        "classifications_export": "media",
        "project": "projects",
        "published_version": "published_versions",
        "subject_sets": "subject_sets",
        "tutorial_subject": "tutorial_subjects",
    },
    "projects": {
        "active_workflows": "active_workflows",
        "attached_images": "media",
        "avatar": "media",
        "background": "media",
        "classifications_export": "media",
        "organization": "organizations",
        "owner": "owners",
        "pages": "project_pages",
        "project_roles": "project_roles",
        "subject_sets": "subject_sets",
        "subjects_export": "media",
        "workflows": "workflows",
    },
    "project_roles": {"owner": "users", "project": "projects"},
    "users": {
        "avatar": "media",
        "classifications": "classifications",
        "collection_preferences": "collection_preferences",
        "collections": "collections",
        "profile_header": "media",
        "project_preferences": "project_preferences",
        "projects": "projects",
        "recents": "recents",
    },
}
_TEMPLATES: dict[str, Json] = {resource: links_of(resource) for resource in _LINKS}


def document(resource: str, items: list[Json], about: Json) -> Json:
    """A whole reply: the resources with links and meta."""
    return {"links": _TEMPLATES[resource], resource: items, "meta": about}


def one(
    resource: str, item: Json, status: int = 200, tag: Optional[str] = None, query: str = "", location: str = ""
) -> Response:
    """A reply with a single resource."""
    headers: dict[str, str] = {}
    if tag:
        headers["ETag"] = tag
    if location:
        headers["Location"] = location
    return reply(status, document(resource, [item], meta(resource, query=query)), headers)


# -- resources ------------------------------------------------------------------------------------------------


def _media(owner: str, kind: str) -> Json:
    return {"href": f"/{owner}/{kind}", "type": kind}


def user_json(user: User, count: int) -> Json:
    """An account as its owner sees it."""
    return {
        "id": str(user.id),
        "login": user.login,
        "display_name": user.login,
        "credited_name": user.login,
        "email": f"{user.login}@example.com",
        "languages": [],
        "created_at": timestamp(user.created),
        "updated_at": timestamp(user.created),
        "type": "users",
        "global_email_communication": None,
        "project_email_communication": None,
        "beta_email_communication": None,
        "nasa_email_communication": False,
        "ux_testing_email_communication": False,
        "subject_limit": user.subject_limit,
        "uploaded_subjects_count": count,
        "admin": False,
        "href": f"/users/{user.id}",
        "login_prompt": False,
        "private_profile": True,
        "zooniverse_id": None,
        "upload_whitelist": False,
        "avatar_src": None,
        "valid_email": True,
        "banned": user.banned,
        "confirmed_at": timestamp(user.created),
        "intervention_notifications": True,
        "links": {},
    }


def owner_json(accounts: Accounts, number: int) -> Json:
    """A reference to the account that owns something."""
    user = accounts.users[number]
    return {"id": str(number), "display_name": user.login, "type": "users", "href": f"/users/{number}"}


def project_json(project: Project, accounts: Accounts, sets: list[int], workflows: list[Workflow]) -> Json:
    """A project."""
    where = f"projects/{project.id}"
    return {
        "id": str(project.id),
        "display_name": project.display_name,
        "title": project.display_name,
        "slug": project.slug,
        "description": "A project that exists only in this sandbox.",
        "introduction": None,
        "redirect": "",
        "researcher_quote": None,
        "workflow_description": None,
        "available_languages": ["en"],
        "primary_language": "en",
        "configuration": {},
        "experimental_tools": [],
        "tags": [],
        "urls": [],
        "activity": 0,
        "classifications_count": 0,
        "classifiers_count": 0,
        "retired_subjects_count": 0,
        "subjects_count": 0,
        "completeness": 0.0,
        "beta_approved": False,
        "beta_requested": False,
        "featured": False,
        "launch_approved": False,
        "launch_date": None,
        "launch_requested": False,
        "live": False,
        "migrated": False,
        "mobile_friendly": False,
        "private": True,
        "run_subject_set_completion_events": False,
        "state": "development",
        "created_at": timestamp(project.created),
        "updated_at": timestamp(project.updated),
        "href": f"/projects/{project.id}",
        "links": {
            "workflows": [str(w.id) for w in workflows],
            "active_workflows": [str(w.id) for w in workflows if w.active],
            "subject_sets": [str(s) for s in sets],
            "owner": owner_json(accounts, project.owner),
            "organization": None,
            "project_roles": [str(project.id)],
            "pages": [],
            "avatar": _media(where, "avatars"),
            "background": _media(where, "backgrounds"),
            "attached_images": {**_media(where, "attached_images"), "ids": []},
            "classifications_export": _media(where, "classifications_exports"),
            "subjects_export": _media(where, "subjects_exports"),
        },
    }


def workflow_json(workflow: Workflow, subjects: int, retired: int) -> Json:
    """A workflow."""
    where = f"workflows/{workflow.id}"
    return {
        "id": str(workflow.id),
        "display_name": workflow.display_name,
        "tasks": {},
        "steps": [],
        "first_task": "",
        "configuration": {},
        "active": workflow.active,
        "content_language": "en",
        "primary_language": "en",
        "version": "1.1",
        "classifications_count": 0,
        "completeness": retired / subjects if subjects else 0.0,
        "subjects_count": subjects,
        "retired_set_member_subjects_count": retired,
        "retirement": {"criteria": "classification_count", "options": {"count": 15}},
        "finished_at": None,
        "grouped": False,
        "prioritized": False,
        "pairwise": False,
        "public_gold_standard": False,
        "mobile_friendly": False,
        "created_at": timestamp(workflow.created),
        "updated_at": timestamp(workflow.updated),
        "href": f"/workflows/{workflow.id}",
        "links": {
            "project": str(workflow.project),
            "subject_sets": [str(s) for s in workflow.sets],
            "tutorial_subject": None,
            "published_version": None,
            "attached_images": {**_media(where, "attached_images"), "ids": []},
            "classifications_export": _media(where, "classifications_exports"),
        },
    }


def set_json(subject_set: SubjectSet, workflows: list[int]) -> Json:
    """A subject set."""
    return {
        "id": str(subject_set.id),
        "display_name": subject_set.display_name,
        "set_member_subjects_count": subject_set.count,
        "metadata": subject_set.metadata,
        "created_at": timestamp(subject_set.created),
        "updated_at": timestamp(subject_set.updated),
        "href": f"/subject_sets/{subject_set.id}",
        "completeness": {},
        "links": {"project": str(subject_set.project), "workflows": [str(w) for w in workflows]},
    }


def subject_json(subject: Subject, locations: list[dict[str, str]]) -> Json:
    """A subject; `locations` are its images with signed or with public URLs."""
    return {
        "id": str(subject.id),
        "metadata": subject.metadata,
        "locations": locations,
        "zooniverse_id": None,
        "external_id": subject.external_id,
        "created_at": timestamp(subject.created),
        "updated_at": timestamp(subject.updated),
        "href": f"/subjects/{subject.id}",
        "links": {
            "project": str(subject.project),
            "collections": [],
            "subject_sets": [str(s) for s in subject.sets],
            "attached_images": {**_media(f"subjects/{subject.id}", "attached_images"), "ids": []},
        },
    }


def member_json(member: Member) -> Json:
    """A membership."""
    return {
        "id": str(member.id),
        "created_at": timestamp(member.created),
        "updated_at": timestamp(member.created),
        "priority": member.priority,
        "href": f"/set_member_subjects/{member.id}",
        "links": {"subject": str(member.subject), "subject_set": str(member.set)},
    }


def status_json(status: Status) -> Json:
    """What volunteers did with a subject."""
    return {
        "id": str(status.id),
        "classifications_count": status.classifications,
        "created_at": timestamp(status.created),
        "updated_at": timestamp(status.updated),
        "retired_at": timestamp(status.retired) if status.retired else None,
        "retirement_reason": status.reason,
        "href": f"/subject_workflow_statuses/{status.id}",
        "links": {"subject": str(status.subject), "workflow": str(status.workflow)},
    }


def image_state(image: Image) -> Json:
    """An image as the sandbox's own API shows it."""
    return {
        "position": image.position,
        "mime": image.mime,
        "key": image.key or None,
        "url": image.url or None,
        "whole": image.whole,
        "arrived": image.arrived or bool(image.url),
        "bytes": image.size if image.arrived else None,
        "md5": image.md5 or None,
    }
