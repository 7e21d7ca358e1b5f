"""The server itself: finds the route, orders what goes wrong, and sends the reply.

It is a small ASGI application of its own, as it shares two cores with the client under test: Starlette's replies,
but a router that looks at the method and the pieces of the path only.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.responses import Response

from ctstate.sandbox import control, page
from ctstate.sandbox.accounts import Identity
from ctstate.sandbox.blobs import Blobs
from ctstate.sandbox.calls import Call
from ctstate.sandbox.control import Control
from ctstate.sandbox.faults import NOTHING, Rule
from ctstate.sandbox.replies import ApiError, html_page, no_such_route, refusal
from ctstate.sandbox.routes import projects, sign_in, subject_sets, subjects, workflows
from ctstate.sandbox.state import World
from ctstate.sandbox.surroundings import pause, random_hex
from ctstate.words import whole_number

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Call], Awaitable[Response]]
Hangup = Callable[[Scope, bool], None]

MAX_URL = 10000
"""Longer URLs do not get through (API notes, section 3)."""

log = logging.getLogger("ctstate.sandbox")


class HungUpError(Exception):
    """The client hung up before it had sent its request."""


async def _put_image(call: Call) -> Response:
    query = call.query
    key = call.params[0]
    return call.blobs.put(key, query.get("se", ""), query.get("sig", ""), call.headers, call.body)


async def _get_image(call: Call) -> Response:
    return call.blobs.get(call.params[0], call.method == "HEAD")


API: list[tuple[str, str, str, Handler]] = [
    ("GET", "/users/sign_in", "sign-in page", sign_in.page),
    ("POST", "/users/sign_in", "sign in", sign_in.sign_in),
    ("POST", "/oauth/token", "token", sign_in.token),
    ("GET", "/api/me", "me", sign_in.me),
    ("GET", "/api/users", "list users", sign_in.users),
    ("GET", "/api/users/#", "show user", sign_in.user),
    ("GET", "/api/projects", "list projects", projects.index),
    ("GET", "/api/projects/#", "show project", projects.show),
    ("GET", "/api/project_roles", "list project roles", projects.roles),
    ("GET", "/api/workflows", "list workflows", workflows.index),
    ("GET", "/api/workflows/#", "show workflow", workflows.show),
    ("PUT", "/api/workflows/#", "change workflow", workflows.change),
    ("POST", "/api/workflows/#/links/subject_sets", "link sets", workflows.link_sets),
    ("DELETE", "/api/workflows/#/links/subject_sets/*", "unlink sets", workflows.unlink_sets),
    ("POST", "/api/workflows/#/retired_subjects", "retire subjects", workflows.retire),
    ("POST", "/api/workflows/#/unretire_subjects", "unretire subjects", workflows.unretire),
    ("GET", "/api/subject_workflow_statuses", "list statuses", workflows.statuses),
    ("GET", "/api/subject_sets", "find set", subject_sets.index),
    ("POST", "/api/subject_sets", "create set", subject_sets.create),
    ("GET", "/api/subject_sets/#", "show set", subject_sets.show),
    ("PUT", "/api/subject_sets/#", "change set", subject_sets.change),
    ("DELETE", "/api/subject_sets/#", "delete set", subject_sets.delete),
    ("POST", "/api/subject_sets/#/links/subjects", "link subjects", subject_sets.link),
    ("DELETE", "/api/subject_sets/#/links/subjects/*", "unlink subjects", subject_sets.unlink),
    ("GET", "/api/set_member_subjects", "list members", subject_sets.members),
    ("GET", "/api/subjects", "list subjects", subjects.index),
    ("POST", "/api/subjects", "create subject", subjects.create),
    ("GET", "/api/subjects/#", "show subject", subjects.show),
    ("PUT", "/api/subjects/#", "change subject", subjects.change),
    ("DELETE", "/api/subjects/#", "delete subject", subjects.delete),
    ("PUT", "/blob/*", "put image", _put_image),
    ("GET", "/blob/*", "get image", _get_image),
    ("HEAD", "/blob/*", "head image", _get_image),
]
"""Method, path (`#` is an id, `*` anything but a slash), name, handler."""

Route = tuple[tuple[str, ...], str, Handler]


class Router:
    """Routes by method and number of path pieces."""

    def __init__(self, table: list[tuple[str, str, str, Handler]]) -> None:
        self._routes: dict[tuple[str, int, str], list[Route]] = {}
        for method, path, name, handler in table:
            pieces = tuple(path.split("/"))
            key = (method, len(pieces), pieces[2] if len(pieces) > 2 and pieces[1] == "api" else pieces[1])
            self._routes.setdefault(key, []).append((pieces, name, handler))

    def find(self, method: str, path: str) -> tuple[str, Handler, tuple[str, ...]] | None:
        """Name, handler and parameters of the route that fits."""
        pieces = path.split("/")
        if len(pieces) < 2:
            return None
        key = (method, len(pieces), pieces[2] if len(pieces) > 2 and pieces[1] == "api" else pieces[1])
        for pattern, name, handler in self._routes.get(key, ()):
            params = []
            for wanted, given in zip(pattern, pieces, strict=True):
                if wanted == "#":
                    if whole_number(given) is None:
                        break
                    params.append(given)
                elif wanted == "*":
                    params.append(unquote(given))
                elif wanted != given:
                    break
            else:
                return name, handler, tuple(params)
        return None


class Sandbox:
    """The ASGI application.

    Args:
        world: the state to serve.
        blobs: the image store.
        hangup: drops a request's connection at once (true: as a reset) or after what was sent (false).
    """

    def __init__(self, world: World, blobs: Blobs, hangup: Hangup) -> None:
        self.world = world
        self.blobs = blobs
        self.control = Control()
        self._hangup = hangup
        self._api = Router(API)
        self._own = Router(
            [
                ("GET", "/", "page", page.overview),
                ("GET", "/sets/#", "page", page.subject_set),
                ("GET", "/orphans/#", "page", page.orphans),
                ("GET", "/projects/*/*/talk/subjects/#", "page", page.subject),
                ("GET", "/sandbox/state", "state", control.state),
                ("GET", "/sandbox/requests", "requests", self.control.show_requests),
                ("DELETE", "/sandbox/requests", "requests", self.control.reset_requests),
                ("GET", "/sandbox/faults", "faults", self.control.show_faults),
                ("PUT", "/sandbox/faults", "faults", self.control.put_faults),
                ("DELETE", "/sandbox/faults", "faults", self.control.delete_faults),
                ("PUT", "/sandbox/account", "account", control.account),
                ("POST", "/sandbox/classify", "classify", control.classify),
                ("POST", "/sandbox/workflows", "workflow", control.workflow),
            ]
        )

    def name_of(self, method: str, path: str) -> str:
        """What the route of such a request is called, in counts and fault plans."""
        route = self._api.find(method, path)
        return route[0] if route else "no such route"

    async def answer(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes = b"",
        base: str = "http://127.0.0.1",
    ) -> Response:
        """Answer one request to the API with no HTTP in between, and nothing going wrong.

        Args:
            method, path, query, body: of the request, decoded.
            headers: with names in lower case.
            base: what the URLs in the reply begin with.
        """
        call = Call(self.world, self.blobs, base, method, path, (), query, headers, body)
        return await self._answer(call, self._api.find(method, path))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            call = await self._read(scope, receive)
        except HungUpError:
            return
        own = self._own.find(call.method, call.path)
        if own is not None:
            await _send(await self._run(call, own), scope, send)
            return
        route = self._api.find(call.method, call.path)
        name = route[0] if route else "no such route"
        self.control.requests[name] += 1
        plan = self.control.plan
        verdict = plan.decide(name, call.method, call.path) if plan.rules or plan.latency else NOTHING
        if verdict.delay:
            await pause(verdict.delay)
        if verdict.slowed:
            self.control.faults["latency"] += 1
        if verdict.token:
            self._spoil_token(call, verdict.token)
        if verdict.before:
            await self._fail(verdict.before, None, scope, send)
            return
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL:
            out = html_page(414, "Request-URI Too Long")
        else:
            out = await self._answer(call, route)
        if verdict.after:
            await self._fail(verdict.after, out, scope, send)
            return
        self.control.statuses[out.status_code] += 1
        await _send(out, scope, send)

    # -- the request ----------------------------------------------------------------------------------------

    async def _read(self, scope: Scope, receive: Receive) -> Call:
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            parts = [body]
            while message.get("more_body"):
                message = await receive()
                parts.append(message.get("body", b""))
            body = b"".join(parts)
        if message["type"] == "http.disconnect":
            raise HungUpError
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        query: dict[str, str] = {}
        raw = scope["query_string"]
        if raw:
            query = dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True))
        host, port = scope["server"]
        return Call(
            self.world,
            self.blobs,
            f"http://{host}:{port}",
            scope["method"],
            scope["path"],
            (),
            query,
            headers,
            body,
        )

    async def _answer(self, call: Call, route: tuple[str, Handler, tuple[str, ...]] | None) -> Response:
        accept = call.headers.get("accept", "")
        is_api = call.path.startswith("/api/")
        if route is None or (is_api and not _accepts(accept)):
            return no_such_route(accept)
        if is_api:
            call.identity = self._identify(call)
        return await self._run(call, route)

    async def _run(self, call: Call, route: tuple[str, Handler, tuple[str, ...]]) -> Response:
        _, handler, call.params = route
        try:
            return await handler(call)
        except ApiError as e:
            return e.reply
        except Exception:
            log.exception("%s %s", call.method, call.path)
            return html_page(500)

    def _identify(self, call: Call) -> Identity:
        return self.world.accounts.identify(_bearer(call))

    # -- what goes wrong ------------------------------------------------------------------------------------

    def _spoil_token(self, call: Call, rule: Rule) -> None:
        self.control.faults[rule.kind] += 1
        if rule.kind == "expired_token":
            self.world.accounts.expire(_bearer(call))
        else:
            self.world.accounts.forget(_bearer(call))

    async def _fail(self, rule: Rule, done: Response | None, scope: Scope, send: Send) -> None:
        """Carry out a rule; `done` is the reply that would have been sent, where the work was done."""
        self.control.faults[rule.kind] += 1
        kind = rule.kind
        if kind == "hang":
            await pause(rule.seconds)
        if kind in ("hang", "reset_before", "reset_after"):
            self._hangup(scope, True)
            await asyncio.sleep(0.01)
            return
        if kind == "truncated" and done is not None:
            await self._truncate(rule, done, scope, send)
            return
        if rule.proxies_html:
            out = html_page(rule.status)
        else:
            out = refusal(rule.status, "A failure that was ordered").reply
        if kind == "retry_after":
            out.headers["Retry-After"] = str(int(rule.seconds))
        self.control.statuses[out.status_code] += 1
        await _send(out, scope, send)

    async def _truncate(self, rule: Rule, done: Response, scope: Scope, send: Send) -> None:
        body = bytes(done.body)
        half = body[: len(body) // 2]
        if rule.how == "cut" or not body:
            done.body = half
            done.headers["content-length"] = str(len(half))
            await _send(done, scope, send)
            return
        _stamp(done)
        await send({"type": "http.response.start", "status": done.status_code, "headers": done.raw_headers})
        await send({"type": "http.response.body", "body": half, "more_body": True})
        self._hangup(scope, False)
        await asyncio.sleep(0.01)


def _accepts(accept: str) -> bool:
    return "application/vnd.api+json" in accept and "version=1" in accept.replace(" ", "")


def _bearer(call: Call) -> str:
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _stamp(out: Response) -> None:
    out.raw_headers.append((b"x-request-id", random_hex(16).encode()))


async def _send(out: Response, scope: Scope, send: Send) -> None:
    _stamp(out)
    await send({"type": "http.response.start", "status": out.status_code, "headers": out.raw_headers})
    body = b"" if scope["method"] == "HEAD" else out.body
    await send({"type": "http.response.body", "body": body})
