"""What a reply says: its resource, its rows, the error that it stands for, and how long it asks to wait."""

import email.utils
import html
import json
import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any

import requests

from ctstate.errors import (
    AllowanceError,
    LoginError,
    NotFoundError,
    RequestRefusedError,
    UnavailableError,
    WrongAddressError,
    ZooniverseError,
)
from ctstate.machine import machine
from ctstate.zooniverse.rows import KIND, R, read_row
from ctstate.zooniverse.wording import is_number, one_line, shown

MOST_ASKED_S = 300.0
"""The longest wait that a server's Retry-After is granted: a run is not put to sleep by a mistaken proxy."""


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

MOST_OF_A_PAGE = 8192
"""So much of a page is read for what it says: looking for tags takes the square of it."""


def json_of(response: requests.Response) -> Any:
    """Return a good reply's JSON, or None where it has no body.

    Raises:
        UnavailableError: the body is no JSON (cut off, or a proxy's page).
    """
    if response.status_code == 204 or not response.content:
        return None
    try:
        found = json.loads(response.content)
        if _SURROGATE.search(response.content):
            # Half of a character, perhaps, which no database takes: JSON can say it, the server never does.
            found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
        return found
    except (ValueError, RecursionError):
        raise UnavailableError(
            f"{response.request.method} {response.request.path_url.partition('?')[0]}: cut off, or no JSON",
            response.status_code,
            response.headers.get("X-Request-Id"),
        ) from None


def only(reply: Any, kind: type[R], what: str) -> R:
    """Return the one resource of a reply, checked.

    A banned account gets a good status with an empty body, and nothing is done (docs/panoptes-api.md, section 1).

    Raises:
        UnavailableError: the reply shows none.
        StrangeReplyError: what it shows is not what Panoptes says.
    """
    rows = reply.get(KIND[kind]) if isinstance(reply, dict) else None
    if not rows:
        raise UnavailableError(f"{what}: an empty answer (an account that is banned gets such)")
    return read_row(kind, rows[0] if isinstance(rows, list) else rows, what)


def rows_of(reply: Mapping[str, Any], kind: str) -> list[Any] | None:
    """Return the rows that a list's reply shows; None where it is of no use."""
    rows = reply.get(kind)
    return rows if isinstance(rows, list) else None


def count_of(reply: Mapping[str, Any], kind: str) -> int | None:
    """Return how many rows a list has by its reply; None where it does not say."""
    count = meta_of(reply, kind).get("count")
    return count if type(count) is int and 0 <= count < 2**63 else None


def meta_of(reply: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return what a list's reply says of the list itself."""
    meta = reply.get("meta")
    found = meta.get(kind) if isinstance(meta, dict) else None
    return found if isinstance(found, dict) else {}


def is_json(response: requests.Response) -> bool:
    """Tell whether a reply is JSON at all."""
    try:
        json.loads(response.content)
    except (ValueError, RecursionError):
        return False
    return True


def json_object(response: requests.Response) -> dict[str, Any]:
    """Return a reply's JSON object; an empty one where it is anything else."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def error_words(body: Mapping[str, Any]) -> str:
    """Return what the server says of its refusal; all of `errors`, `error` and `error_description` are in use."""
    errors = body.get("errors")
    if isinstance(errors, list) and errors:
        told = [error.get("message") if isinstance(error, dict) else error for error in errors]
        return one_line("; ".join(str(words) for words in told if words))
    for key in ("error_description", "error", "message"):
        words = body.get(key)
        if words and isinstance(words, str):
            return one_line(words)
    return ""


def words_of(response: requests.Response) -> str:
    """Return the server's own words: of its JSON, or of the page (its title, else how it begins)."""
    told = error_words(json_object(response))
    if told:
        return told
    kind = response.headers.get("Content-Type", "text/plain")
    if not re.match(r"text/|application/(\S*\+)?xml|application/xhtml", kind, re.IGNORECASE):
        return ""
    beginning = response.content[:MOST_OF_A_PAGE]
    try:
        page = beginning.decode(response.encoding or "utf-8", "replace")
    except LookupError:
        page = beginning.decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title", page, re.IGNORECASE | re.DOTALL)
    text = title.group(1) if title else re.sub(r"(?is)<(script|style)\b.*?</\1\s*>|<[^>]*>", " ", page)
    return one_line(html.unescape(text)).removeprefix(str(response.status_code)).strip(" :-")


def elsewhere(response: requests.Response) -> str:
    """Return where a reply sends on to, as the end of a message."""
    location = response.headers.get("Location") if 300 <= response.status_code < 400 else None
    return f" (sent on to {shown(location)})" if location else ""


def reference(response: requests.Response) -> str:
    """Return the number of a request that Zooniverse's support can use, as the end of a message."""
    request_id = response.headers.get("X-Request-Id")
    return f" [request {one_line(request_id, 80)}]" if request_id else ""


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    if is_number(value):
        return min(float(value), MOST_ASKED_S)
    try:
        when = email.utils.parsedate_to_datetime(value)
        if when.tzinfo is None:  # "-0000": UTC, of an unknown place
            when = when.replace(tzinfo=UTC)
        return min(max(0.0, when.timestamp() - machine().wall()), MOST_ASKED_S)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def refusal_of(response: requests.Response, what: str) -> ZooniverseError:
    """Return the error that a reply stands for that is not a good one."""
    status, request_id = response.status_code, response.headers.get("X-Request-Id")
    words = words_of(response)
    text = f"{what}: {status}" + (f" {words}" if words else "") + elsewhere(response) + reference(response)
    if status < 400:
        # Not followed: who was sent on has not been served, but perhaps the work was done before.
        return UnavailableError(text, status, request_id)
    if status == 407:
        return WrongAddressError(f"{text}: the proxy wants a user name and password", status, request_id)
    if status in (429, 503):
        # 429 was turned away; a 503 may come from a proxy after the server did the work.
        return UnavailableError(
            text, status, request_id, maybe_done=status != 429, retry_after=_retry_after(response)
        )
    if status >= 500 or status == 408:
        return UnavailableError(text, status, request_id, retry_after=_retry_after(response))
    if status == 401:
        return LoginError(text, status, request_id)
    if status == 403 and "has uploaded" in error_words(json_object(response)):
        return AllowanceError(words, status, request_id)
    if status == 404:
        return NotFoundError(text, status, request_id)
    return RequestRefusedError(text, status, request_id)
