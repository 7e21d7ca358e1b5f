"""Signing in, tokens, and the account itself (API notes, sections 1 and 2)."""

import hashlib
import hmac
import json
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

from starlette.responses import Response

from ctstate.sandbox.accounts import CLIENT_IDS
from ctstate.sandbox.calls import Call, ids_in
from ctstate.sandbox.listing import page_of
from ctstate.sandbox.model import User
from ctstate.sandbox.replies import JSON_TYPE, Json, document, dumps, meta, not_found, reply, unauthorized
from ctstate.sandbox.shapes import user_json
from ctstate.sandbox.surroundings import random_hex

COOKIE = "_Panoptes_session"
SCOPES = "user project group collection classification subject medium organization translation public"
_INVALID_GRANT = (
    "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI "
    "used in the authorization request, or was issued to another client."
)
_INVALID_CLIENT = (
    "Client authentication failed due to unknown client, no client authentication included, "
    "or unsupported authentication method."
)


def _tagged(body: Any, content_type: str = JSON_TYPE) -> Response:
    tag = f'W/"{hashlib.md5(dumps(body), usedforsecurity=False).hexdigest()}"'
    return reply(200, body, {"ETag": tag}, content_type)


def _cookie(call: Call) -> str:
    morsel = SimpleCookie(call.headers.get("cookie", "")).get(COOKIE)
    return morsel.value if morsel else ""


def _set_cookie(out: Response, cookie: str) -> Response:
    out.headers["Set-Cookie"] = f"{COOKIE}={cookie}; path=/; HttpOnly; SameSite=Lax"
    return out


def _user_document(call: Call, user: User) -> Json:
    return document("users", [user_json(user, call.world.uploaded_count(user))], meta("users"))


async def page(call: Call) -> Response:
    """GET /users/sign_in: a session cookie, and the CSRF token that goes with it."""
    cookie = _cookie(call) or random_hex(16)
    out = _tagged({"login": "/users/sign_in"})
    out.headers["X-CSRF-Token"] = call.world.accounts.csrf(cookie)
    return _set_cookie(out, cookie)


async def sign_in(call: Call) -> Response:
    """POST /users/sign_in: a wrong CSRF token is answered like a right one, but makes no session."""
    accounts = call.world.accounts
    body = call.json()
    given = body.get("user")
    given = given if isinstance(given, dict) else {}
    user = accounts.check(given.get("login"), given.get("password"))
    if user is None:
        return reply(401, {"error": "Invalid email or password."}, content_type=JSON_TYPE)
    out = _tagged(_user_document(call, user))
    csrf = body.get("authenticity_token") or call.headers.get("x-csrf-token")
    cookie = _cookie(call)
    if cookie and isinstance(csrf, str) and hmac.compare_digest(csrf.encode(), accounts.csrf(cookie).encode()):
        _set_cookie(out, accounts.sign_in(user))
    return out


def _form(call: Call) -> dict[str, Any]:
    if "json" in call.headers.get("content-type", ""):
        try:
            value = json.loads(call.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}
    return dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))


def _grant_refused(error: str, description: str) -> Response:
    challenge = f'Bearer realm="Doorkeeper", error="{error}", error_description="{description}"'
    body = {"error": error, "error_description": description}
    return reply(401, body, {"WWW-Authenticate": challenge}, JSON_TYPE)


async def token(call: Call) -> Response:
    """POST /oauth/token: by session, by login and password, or by refresh token."""
    accounts = call.world.accounts
    form = _form(call)
    kind = form.get("grant_type")
    if form.get("client_id") not in CLIENT_IDS:
        return _grant_refused("invalid_client", _INVALID_CLIENT)
    if kind == "refresh_token":
        granted = accounts.refresh(str(form.get("refresh_token", "")))
    elif kind == "password":
        if "login" in form or "username" in form:
            user = accounts.check(form.get("login") or form.get("username"), form.get("password"))
        else:
            user = accounts.session_user(_cookie(call))
        granted = accounts.grant(user) if user else None
    else:
        error = "The authorization grant type is not supported by the authorization server."
        return reply(400, {"error": "unsupported_grant_type", "error_description": error}, content_type=JSON_TYPE)
    if granted is None:
        return _grant_refused("invalid_grant", _INVALID_GRANT)
    return _tagged(
        {
            "access_token": granted.access,
            "token_type": "Bearer",
            "expires_in": round(granted.expires - granted.created),
            "refresh_token": granted.refresh,
            "scope": SCOPES,
            "created_at": int(granted.created),
        }
    )


async def me(call: Call) -> Response:
    """GET /api/me: 401 by any token that is not good, the one honest test of a token."""
    if call.identity.user is None or call.identity.dead:
        raise unauthorized()
    return reply(200, _user_document(call, call.identity.user))


async def users(call: Call) -> Response:
    """GET /api/users: accounts by login or id; the limits are shown to the account itself only."""
    wanted = {login.lower() for login in call.query["login"].split(",")} if "login" in call.query else None
    ids = set(ids_in(call.query["id"])) if "id" in call.query else None
    found = [
        u
        for u in call.world.accounts.users.values()
        if (wanted is None or u.login.lower() in wanted) and (ids is None or u.id in ids)
    ]
    return page_of("users", found, lambda u: _shown(call, u), call.query, ("id", "login"))


async def user(call: Call) -> Response:
    """GET /api/users/ID."""
    found = call.world.accounts.users.get(int(call.params[0]))
    if found is None:
        raise not_found("user", [int(call.params[0])])
    return _tagged(document("users", [_shown(call, found)], meta("users", query=f"id={found.id}")))


def _shown(call: Call, user: User) -> Json:
    if call.user is user:
        return user_json(user, call.world.uploaded_count(user))
    keys = ("id", "login", "display_name", "credited_name", "created_at", "updated_at", "type", "href", "links")
    whole = user_json(user, 0)
    return {key: whole[key] for key in keys}
