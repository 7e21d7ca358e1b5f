"""What all answers of the API have in common: documents, paging, errors (API notes, section 1)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

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
    status: int, body: Any, headers: Mapping[str, str] | None = None, content_type: str = API_TYPE
) -> Response:
    """A JSON reply."""
    return Response(dumps(body), status, {"content-type": content_type, **(headers or {})})


def empty(status: int, headers: Mapping[str, str] | None = None) -> Response:
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


def html_page(status: int, text: str | None = None) -> Response:
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
    resource: str, item: Json, status: int = 200, tag: str | None = None, query: str = "", location: str = ""
) -> Response:
    """A reply with a single resource."""
    headers: dict[str, str] = {}
    if tag:
        headers["ETag"] = tag
    if location:
        headers["Location"] = location
    return reply(status, document(resource, [item], meta(resource, query=query)), headers)
