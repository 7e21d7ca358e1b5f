"""Who comes in: one person, by an address that opens once, and only to look.

A login node is shared, and whoever has an account there can reach 127.0.0.1. So every request needs a cookie, the
cookie is given for a token that opens once, and the token is told to the person who started the page, nobody else.
A page elsewhere that has its name resolved to 127.0.0.1 (DNS rebinding) fails at the Host header.
"""

import secrets
from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ctstate.machine import machine
from ctstate.verbs.serve.visitors import USER, Welcome
from ctstate.web import pages

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every reply, whatever it says."""

ENTRANCE = "/enter"

_LONGEST = 16_384
"""More bytes of an address are not read."""


class Key:
    """The token that opens once, and the cookie that it is exchanged for: of one user, if the machine tells users.

    Args:
        port: by which the page is reached.
        welcome: is told who came in.
    """

    def __init__(self, port: int, welcome: Welcome | None = None) -> None:
        self.token = secrets.token_urlsafe(32)
        self.name = f"ctstate_{port}"  # cookies do not tell ports apart
        self._cookie = secrets.token_urlsafe(32)
        self._guard = machine().condition()
        self._used = False
        self._user: int | None = None
        self._welcome = welcome

    def exchange(self, token: str, user: int | None) -> str | None:
        """Return the cookie for the token, the first time that it is shown."""
        with self._guard:
            if self._used or not _same(token, self.token):
                return None
            self._used = True
            self._user = user
            if self._welcome is not None:
                self._welcome.entered(user)
            return self._cookie

    def opens(self, cookie: str | None, user: int | None) -> bool:
        """Tell whether this is the cookie, shown by the user to whom it was given."""
        if user is not None and self._user is not None and user != self._user:
            return False  # browsers send a cookie to every port: another user's server may have got hold of it
        return cookie is not None and _same(cookie, self._cookie)


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode("utf-8", "replace"), other.encode())


class Door:
    """Lets through what may come in, and puts the headers on every reply.

    Args:
        app: what lies behind.
        key: that opens.
        hosts: what a Host header may say.
    """

    def __init__(self, app: ASGIApp, key: Key, hosts: Collection[str]) -> None:
        self._app = app
        self._key = key
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        inside = self._app
        refused = self._refused(Request(scope))
        await (refused or inside)(scope, receive, with_headers)

    def _refused(self, request: Request) -> Response | None:
        """What is said to who may not come in; None: he may."""
        if request.headers.getlist("host") != [request.headers.get("host")] or (
            request.headers["host"].lower() not in self._hosts
        ):
            return _said("This is not that host.", 400)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("Only to look at.\n", 405, {"Allow": "GET, HEAD"})
        if len(request.scope.get("query_string", b"")) > _LONGEST:
            return _said("That is too long.", 414)
        # Not by `request.url`, which is put together of what others sent, and may be none.
        if request.scope["path"] == ENTRANCE:
            return self._entered(request)
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return _said("Not from the page of another server.", 403)
        if self._key.opens(request.cookies.get(self._key.name), _user(request)):
            return None
        return _said("Open the address that was printed when this was started.", 403)

    def _entered(self, request: Request) -> Response:
        if request.method == "HEAD":  # of a program that looks at addresses before a person does
            return _said("", 403)
        cookie = self._key.exchange(request.query_params.get("token", ""), _user(request))
        if cookie is None:
            return _said("This address opens once, and was opened: start `ctstate serve` again for a new one.", 403)
        # Not a redirect: of a navigation that began elsewhere, a SameSite=Strict cookie would not be sent on.
        reply = HTMLResponse(pages.render("live/entered.html"))
        reply.set_cookie(self._key.name, cookie, httponly=True, samesite="strict", path="/")
        return reply


def _user(request: Request) -> int | None:
    """Return who is behind a request, if the machine tells."""
    found: int | None = request.scope.get("state", {}).get(USER)
    return found


def _said(words: str, status: int) -> Response:
    return PlainTextResponse(f"{words}\n", status)
