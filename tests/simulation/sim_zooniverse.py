"""Zooniverse in the simulator: the sandbox's own logic, and a network in front of it that fails in every known way.

A request that was sent is the server's: killing or suspending its sender changes nothing about it. What a client
sees of it are real `requests` replies and errors, built as requests and urllib3 build them, old versions included.
"""

import contextlib
import email.utils
import http.client
import json as jsonlib
import logging
import math
import socket
import ssl
import types
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import requests
import urllib3.exceptions as urllib3_errors
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from starlette.responses import Response

from ctstate.sandbox import control, surroundings
from ctstate.sandbox.app import MAX_URL, Sandbox
from ctstate.sandbox.blobs import Blobs
from ctstate.sandbox.calls import Call
from ctstate.sandbox.model import Image
from ctstate.sandbox.replies import html_page
from ctstate.sandbox.settings import SandboxSettings
from ctstate.sandbox.state import World
from ctstate.sandbox.store import Store
from ctstate.zooniverse import Credentials, Timeouts, Zooniverse
from ctstate.zooniverse.subject import read_mark
from tests.simulation.kernel import Kernel, Killed, Task, Worker
from tests.simulation.sim_machine import EPOCH, SimLock

ENDPOINT = "https://zooniverse.test"

SETTINGS = SandboxSettings(discard_images=True, link_seconds=2.0)
"""Links calls last long enough for two of them to meet, where nothing keeps them apart."""

SERVER_DONE_S = 65.0
"""So long after a request was sent the server may still do its work."""

NEVER_SENT = ("refused", "no such host", "connect timeout", "proxy refused", "tunnel refused", "tls refused")
BEFORE = ("reset before", "proxy error before", "tls error before", "status before", "busy")
AFTER = ("reset after", "proxy error after", "tls error after", "status after", "cut", "short")
LATE = ("late status", "late timeout")
TOKEN = ("token forgotten", "token expired")
WINDOWS = ("outage", "offline")
OF_IMAGES = ("portal", "portal window", "body cut", "url expired", "no md5")

KINDS = (*WINDOWS, *NEVER_SENT, *BEFORE, *LATE, *AFTER, *TOKEN, *OF_IMAGES, "slow")
"""Accidents of a request, in the order in which they are drawn; the first that strikes counts.

`outage`: Zooniverse is away for everybody for a while; `offline`: one worker has no network for a while.
`refused` ... `tls refused`: the request was never sent.
`... before`: it was, but the server never did the work; `status before` is a 502, 503 or 504, `busy` a 429 with
Retry-After.
`... after`: the work was done and the reply is lost.
`late ...`: the client has a 504 or a timeout, and the server does the work later.
`cut`: a whole reply with half its JSON; `short`: the connection ends before the reply does.
`token ...`: the server forgets the request's token, or it has expired.
`portal`: something that is no store answers 200 with a page; `portal window`: to this worker, for a while.
`body cut`: half of an image arrives. `url expired`: 403. `no md5`: the store does not tell its MD5.
`slow`: a reply that takes up to half a minute.
"""

CALM: dict[str, float] = {}
ROUGH = {
    **dict.fromkeys((*NEVER_SENT, *BEFORE, *AFTER, *LATE), 0.004),
    **dict.fromkeys(TOKEN, 0.003), **dict.fromkeys(OF_IMAGES, 0.01), **dict.fromkeys(WINDOWS, 0.001),
    "slow": 0.01, "portal window": 0.002,
}  # fmt: skip
STORM = {kind: 4 * rate for kind, rate in ROUGH.items()}
"""How likely each kind is, per request; a key `kind:route` (such as `cut:create subject`) is about one route."""


class _NoStore(Store):
    """Keeps nothing: a season's world is in memory."""

    def __init__(self) -> None:
        self._nothing = contextlib.nullcontext()

    def rows(self, table: str) -> list[dict[str, Any]]:
        return []

    def save(self, table: str, *items: Any) -> None:
        pass

    def remove(self, table: str, *keys: Any) -> None:
        pass

    def together(self) -> Any:
        return self._nothing

    def close(self) -> None:
        pass


@types.coroutine
def _wait(seconds: float) -> Generator[float, None, None]:
    yield seconds


class _SimSurroundings(surroundings.Surroundings):
    """The sandbox's time and chance are the season's."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._chance = kernel.stream("server")

    def now(self) -> float:
        return EPOCH + self._kernel.time

    async def pause(self, seconds: float) -> None:
        await _wait(seconds)

    def random_hex(self, length: int) -> str:
        return self._chance.randbytes(length).hex()


class _Blobs(Blobs):
    """Keeps images in memory."""

    def __init__(self, world: World) -> None:
        super().__init__(Path("nowhere"), world)
        self._keep = True
        self._bytes: dict[str, bytes] = {}

    def read(self, image: Image) -> bytes | None:
        return self._bytes.get(image.key)

    def _write(self, key: str, body: bytes) -> None:
        self._bytes[key] = body


class _Complaints(logging.Handler):
    """An error of the sandbox's own is one of the simulation."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(logging.ERROR)
        self._kernel = kernel

    def emit(self, record: logging.LogRecord) -> None:
        self._kernel.violation(f"the model of Zooniverse failed: {self.format(record)}")


class ZooniverseModel:
    """One season's Zooniverse, and the network to it. Use it in a `with`.

    Args:
        kernel: the season's.
        settings: of the sandbox.
        rates: how likely each of KINDS is; another mapping may be put in its place at any time.

    Attributes:
        world, sandbox: the sandbox's.
        latency_s: mean of each way.
        outage_s, portal_s: between these lies how long such a window is.
        requests, works: how many of each route were sent, and done.
        accidents: how many of each (kind, route) struck.
        after_work: called with a route's name and the server's reply, in no task, once work was done.
    """

    def __init__(
        self, kernel: Kernel, settings: SandboxSettings = SETTINGS, rates: Mapping[str, float] = CALM
    ) -> None:
        self.kernel = kernel
        self._rates = rates
        self.latency_s = 0.05
        self.outage_s = (2.0, 300.0)
        self.portal_s = (5.0, 600.0)
        self.requests: Counter[str] = Counter()
        self.works: Counter[str] = Counter()
        self.accidents: Counter[tuple[str, str]] = Counter()
        self.after_work: Callable[[str, Response], None] | None = None
        self._surroundings = _SimSurroundings(kernel)
        self._exit = contextlib.ExitStack()
        with surroundings.within(self._surroundings):
            self.world = World(Path("nowhere"), settings, _NoStore())
            self.blobs = _Blobs(self.world)
            self.sandbox = Sandbox(self.world, self.blobs, lambda scope, reset: None)
        self._incomplete = 0
        self._kept_house = 0.0
        self._outage: tuple[float, str] = (0.0, "")
        self._offline: dict[int, float] = {}  # worker's number: until when
        self._portal: dict[int, float] = {}
        self._to_draw: dict[str, list[tuple[str, float, str]]] = {}  # by route: kind, rate, name
        self._date = (-1, "")
        self._number = 0

    def __enter__(self) -> Self:
        self._exit.enter_context(surroundings.within(self._surroundings))
        log, complaints = logging.getLogger("ctstate.sandbox"), _Complaints(self.kernel)
        log.addHandler(complaints)
        self._exit.callback(log.removeHandler, complaints)
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def state(self) -> dict[str, Any]:
        """Return all that there is, as `GET /sandbox/state` does: for `ctstate.verbs.demo.invariant`."""
        self.keep_house()
        call = Call(self.world, self.blobs, ENDPOINT, "GET", "/sandbox/state", (), {}, {})
        found: dict[str, Any] = jsonlib.loads(bytes(_answer_of(control.state(call)).body))
        return found

    def credentials(self) -> Credentials:
        """Return the owner's."""
        return Credentials(self.world.owner.login, self.world.settings.password)

    def keep_house(self) -> None:
        """Do what the background jobs would have done by now."""
        self._kept_house = self.kernel.time
        self.world.refresh_counters()
        self.world.remove_ghosts()
        self.world.delete_doomed()

    # -- the network ---------------------------------------------------------------------------------------

    @property
    def rates(self) -> Mapping[str, float]:
        """How likely each kind of accident is, per request."""
        return self._rates

    @rates.setter
    def rates(self, rates: Mapping[str, float]) -> None:
        self._rates = rates
        self._to_draw.clear()

    def strike(self, route: str) -> list[str]:
        """Draw the accidents of a request; return their kinds."""
        drawn = self._to_draw.get(route)
        if drawn is None:
            drawn = self._to_draw[route] = self._drawn_for(route)
        struck = []
        for kind, rate, name in drawn:
            if self.kernel.accident(name, rate):
                self.accidents[kind, route] += 1
                struck.append(kind)
        return struck

    def _drawn_for(self, route: str) -> list[tuple[str, float, str]]:
        drawn = []
        for kind in KINDS:
            if kind in TOKEN and route in (*_LOG_IN, *_IMAGE_ROUTES):
                continue
            if kind in OF_IMAGES and route not in _IMAGE_ROUTES:
                continue
            if kind in ("body cut", "url expired") and route != "put image":
                continue
            rate = self._rates.get(f"{kind}:{route}", self._rates.get(kind, 0.0))
            if rate > 0.0:
                drawn.append((kind, rate, f"{kind}: {route}"))
        return drawn

    def latency(self) -> float:
        """Return how long a request or a reply is on its way."""
        return 0.005 + self.kernel.latencies.expovariate(1.0 / self.latency_s)

    def between(self, bounds: tuple[float, float]) -> float:
        """Return a length between the two, evenly on a logarithmic scale."""
        low, high = map(math.log, bounds)
        return math.exp(low + self.kernel.latencies.random() * (high - low))

    def in_windows(self, worker: Worker, kinds: list[str], image: bool) -> str:
        """Begin the windows that struck; return what those that are open do to this request."""
        now = self.kernel.time
        if "outage" in kinds and now >= self._outage[0]:
            how = self.kernel.latencies.choice(("refused", "connect timeout", "status before"))
            self._outage = (now + self.between(self.outage_s), how)
        if "offline" in kinds:
            self._offline[worker.pid] = now + self.between(self.outage_s)
        if "portal window" in kinds:
            self._portal[worker.pid] = now + self.between(self.portal_s)
        if now < self._outage[0]:
            return self._outage[1]
        if now < self._offline.get(worker.pid, 0.0):
            return self.kernel.latencies.choice(("no such host", "connect timeout"))
        return "portal" if image and now < self._portal.get(worker.pid, 0.0) else ""

    def stamp(self) -> dict[str, str]:
        """Return the headers that every reply has."""
        self._number += 1
        second = int(self.kernel.time)
        if self._date[0] != second:
            self._date = (second, email.utils.formatdate(EPOCH + second, usegmt=True))
        return {"x-request-id": f"request-{self._number:06d}", "date": self._date[1]}

    def work(self, job: "_Job") -> bool:
        """Let the server go on with a request; return whether it is done, and hold what became of it to account."""
        if self.kernel.time >= self._kept_house + 0.2:
            self.keep_house()
        done = job.step()
        incomplete = self.world.incomplete
        if len(incomplete) != self._incomplete:
            for entry in incomplete[self._incomplete :]:
                self.kernel.violation(f"published before its images were whole: {entry}")
            self._incomplete = len(incomplete)
        if done:
            self.works[job.route] += 1
            if self.after_work is not None:
                assert job.reply is not None
                self.after_work(job.route, job.reply)
        return done


_LOG_IN = ("sign-in page", "sign in", "token")
_IMAGE_ROUTES = ("put image", "get image", "head image")


class _Job:
    """A request that the server has, or will have: from here on it is the server's."""

    def __init__(self, model: ZooniverseModel, route: str, begin: Callable[[], Any]) -> None:
        self._model = model
        self.route = route
        self._begin = begin
        self._coroutine: Any = None
        self._wait = 0.0
        self.reply: Response | None = None
        self.client: tuple[Task, int, float] | None = None  # who waits, with which ticket, how far away

    def step(self) -> bool:
        """Go on to the next pause; return whether it is done."""
        if self._coroutine is None:  # only now: one that never begins would be complained about
            self._coroutine = self._begin()
        try:
            self._wait = self._coroutine.send(None)
        except StopIteration as done:
            self.reply = done.value
            return True
        return False

    def go_on(self) -> None:
        """Called when the request arrives, and after each pause of the server's."""
        kernel = self._model.kernel
        if not self._model.work(self):
            kernel.after(self._wait, self.go_on)
        elif self.client is not None:
            task, ticket, away = self.client
            kernel.after(away, lambda: kernel.wake(task, ticket))

    def at_once(self) -> Response:
        """Do it all now: for who is outside of the simulation."""
        while not self._model.work(self):
            pass
        assert self.reply is not None
        return self.reply


def _answer_of(coroutine: Any) -> Response:
    try:
        coroutine.send(None)
    except StopIteration as done:
        reply: Response = done.value
        return reply
    raise AssertionError("it pauses")


# -- the client's side -----------------------------------------------------------------------------------------


class SimSession(requests.Session):
    """One worker's connections: requests go to the model instead."""

    def __init__(self, model: ZooniverseModel, timeouts: Timeouts) -> None:
        # Without requests' own __init__, whose adapters cost more than all that is done here.
        self._model = model
        self._kernel = model.kernel
        self._worker = self._kernel.current.worker if self._kernel.current is not None else None
        self._timeout = (timeouts.connect, timeouts.read)
        self.headers = CaseInsensitiveDict()
        self.cookies = {}  # type: ignore[assignment]
        self.auth = None
        self.adapters = {}
        self.trust_env = False

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        params: Any = None,
        data: Any = None,
        headers: Mapping[str, Any] | None = None,
        cookies: Any = None,
        files: Any = None,
        auth: Any = None,
        timeout: Any = None,
        allow_redirects: bool = True,
        proxies: Any = None,
        hooks: Any = None,
        stream: bool | None = None,
        verify: Any = None,
        cert: Any = None,
        json: Any = None,
    ) -> requests.Response:
        """Send a request through the network as it is, and return the reply or raise what came instead."""
        kernel = self._kernel
        task = kernel.current
        if self._worker is not None and not self._worker.alive:
            if task is not None and task.worker is self._worker:
                kernel.refuse(task)
            raise Killed
        sent = _Sent(method.upper(), url, params, data, headers, json, self.cookies, self.headers)
        sent.route = self._model.sandbox.name_of(sent.method, sent.path)
        if task is None:
            return self._received(sent, _job_of(self._model, sent).at_once(), bool(stream))
        if timeout is None:
            timeout = self._timeout
        connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        if sent.route == "create subject":
            task.memory["creating"] = _capture_of(sent)
        kernel.pause("send", sent.what)
        task.memory.pop("creating", None)
        try:
            reply = self._exchange(task, sent, connect or math.inf, read or math.inf, bool(stream))
        except requests.RequestException as error:
            kernel.say(f"{sent.what}: {type(error).__name__}")
            kernel.pause("reply", sent.what)
            raise
        kernel.say(f"{sent.what}: {reply.status_code}")
        kernel.pause("reply", sent.what)
        return reply

    def _exchange(self, task: Task, sent: "_Sent", connect: float, read: float, stream: bool) -> requests.Response:
        model, kernel, route = self._model, self._kernel, sent.route
        model.requests[route] += 1
        kinds = model.strike(route)
        there, back = model.latency(), model.latency()
        window = model.in_windows(task.worker, kinds, route in _IMAGE_ROUTES)
        kind = window or next((k for k in kinds if k in _DECIDES), "")
        if sent.host != _HOST:
            kind = "no such host"
        if kind in NEVER_SENT:
            kernel.park(sent.what, kernel.time + (connect if kind == "connect timeout" else there))
            raise _error(kind, sent, connect)
        for spoil in TOKEN:
            if spoil in kinds:
                accounts = model.world.accounts
                (accounts.forget if spoil == "token forgotten" else accounts.expire)(sent.token)
        if kind in _IN_BETWEEN:
            kernel.park(sent.what, kernel.time + there + back)
            return self._received(sent, _in_between(kind, sent, kernel.latencies), stream)
        if kind in BEFORE:
            kernel.park(sent.what, kernel.time + there + back)
            raise _error(kind, sent, read)
        if kind == "body cut":
            sent.body = sent.body[: len(sent.body) // 2]
        job = _job_of(model, sent)
        began = kernel.time
        if kind in LATE:
            until = began + (read if kind == "late timeout" else 1.0 + kernel.latencies.random() * 59.0)
            earliest = min(until, began + SERVER_DONE_S / 2)
            kernel.at(earliest + kernel.latencies.random() * (began + SERVER_DONE_S - earliest), job.go_on)
            kernel.park(sent.what, until)
            if kind == "late timeout":
                raise _error(kind, sent, read)
            return self._received(sent, html_page(504), stream)
        if "slow" in kinds:
            back += 1.0 + kernel.latencies.random() * 29.0
        job.client = (task, task.ticket, back)
        kernel.at(began + there, job.go_on)
        if not kernel.park(sent.what, None if read == math.inf else began + read):
            raise _error("late timeout", sent, read)
        assert job.reply is not None
        if kind == "status after":
            return self._received(sent, html_page(kernel.latencies.choice((502, 503, 504, 504, 504))), stream)
        if kind == "short" and (stream or not job.reply.body):
            return self._received(sent, job.reply, stream, broken=True)
        if kind in AFTER and kind != "cut":
            raise _error(kind, sent, read)
        if "no md5" in kinds and "content-md5" in job.reply.headers:
            del job.reply.headers["content-md5"]
        return self._received(sent, job.reply, stream, cut=kind == "cut")

    def _received(
        self, sent: "_Sent", out: Response, stream: bool, *, cut: bool = False, broken: bool = False
    ) -> requests.Response:
        """Make the reply one of requests'."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in out.raw_headers}
        headers.update(self._model.stamp())
        cookie = headers.get("set-cookie")
        if cookie is not None:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        body = b"" if sent.method == "HEAD" else bytes(out.body)
        if cut and body:
            body = body[: len(body) // 2]
            headers["content-length"] = str(len(body))
        reply = requests.Response()
        reply.status_code = out.status_code
        reply.reason = http.client.responses.get(out.status_code, "")
        reply.headers = CaseInsensitiveDict(headers)
        reply.encoding = get_encoding_from_headers(reply.headers)
        reply.url = sent.url
        request = reply.request = requests.PreparedRequest()
        request.method, request.url, request.body = sent.method, sent.url, sent.body
        request.headers = CaseInsensitiveDict(sent.headers)
        if stream:
            reply.raw = _Raw(body, broken)
        else:
            reply._content = body
            reply._content_consumed = True  # type: ignore[attr-defined]
        return reply

    def close(self) -> None:
        """Nothing to close."""


class _Sent:
    """A request, as it is on the wire."""

    __slots__ = ("body", "headers", "host", "method", "path", "query", "route", "token", "url", "what")

    def __init__(
        self, method: str, url: str, params: Any, data: Any, headers: Any, json: Any, cookies: Any, always: Any
    ) -> None:
        parts = urlsplit(url)
        self.method = method
        self.host = parts.netloc
        self.path = parts.path if "%" not in parts.path else unquote(parts.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True)) if parts.query else {}
        if params:
            asked = {str(key): str(value) for key, value in params.items() if value is not None}
            self.query.update(asked)
            url = f"{url}{'&' if parts.query else '?'}{urlencode(asked)}"
        self.url = url
        sent = {key.lower(): value for key, value in {**always, **(headers or {})}.items() if value is not None}
        if json is not None:
            try:
                self.body = jsonlib.dumps(json, allow_nan=False).encode()
            except ValueError as error:
                raise requests.exceptions.InvalidJSONError(error) from None
            sent.setdefault("content-type", "application/json")
        elif isinstance(data, Mapping):
            self.body = urlencode(data).encode()
            sent.setdefault("content-type", "application/x-www-form-urlencoded")
        elif hasattr(data, "read"):
            self.body = data.read()
        else:
            self.body = data.encode() if isinstance(data, str) else bytes(data or b"")
        if cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        self.headers = sent
        self.token = str(sent.get("authorization", "")).partition(" ")[2].strip()
        self.route = ""
        self.what = f"{method} {self.path}"


class _Raw:
    """The body of a reply that is read piece by piece; it may break off in the middle."""

    def __init__(self, body: bytes, broken: bool) -> None:
        self._body = body
        self._broken = broken

    def stream(self, size: int, decode_content: bool = False) -> Iterator[bytes]:
        end = len(self._body) // 2 if self._broken else len(self._body)
        for start in range(0, end, size):
            yield self._body[start : min(start + size, end)]
        if self._broken:
            raise _broken_off(end, len(self._body) - end)

    def close(self) -> None:
        pass

    def release_conn(self) -> None:
        pass


def _capture_of(sent: "_Sent") -> int:
    mark = read_mark(jsonlib.loads(sent.body)["subjects"].get("external_id"))
    return mark.capture_key if mark is not None else 0


def _job_of(model: ZooniverseModel, sent: _Sent) -> _Job:
    if len(sent.url) - len(ENDPOINT) > MAX_URL:
        return _Job(model, sent.route, _too_long)
    body = sent.body  # as it is now
    answer = model.sandbox.answer
    return _Job(model, sent.route, lambda: answer(sent.method, sent.path, sent.query, sent.headers, body, ENDPOINT))


async def _too_long() -> Response:
    return html_page(414, "Request-URI Too Long")


# -- what comes instead of a reply -----------------------------------------------------------------------------

_HOST = urlsplit(ENDPOINT).netloc
_IN_BETWEEN = ("status before", "busy", "portal", "url expired")
_DECIDES = (*NEVER_SENT, *BEFORE, *LATE, *AFTER, "portal", "url expired", "body cut")


def _in_between(kind: str, sent: _Sent, chance: Any) -> Response:
    """What somebody else than the server answers, or the server without doing anything."""
    if kind == "portal":
        page = b"<!DOCTYPE html><html><head><title>Welcome to the guest network</title></head><body>Log in</body>"
        return Response(page, 200, {"content-type": "text/html; charset=utf-8"})
    if kind == "url expired":
        body = (
            b'<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code>'
            b"<Message>Signature not valid in the specified time frame.</Message></Error>"
        )
        return Response(body, 403, {"content-type": "application/xml", "x-ms-error-code": "AuthenticationFailed"})
    if kind == "busy":
        out = html_page(429, "Too Many Requests")
        out.headers["Retry-After"] = str(chance.randint(0, 120))
        return out
    return html_page(chance.choice((502, 503, 504)))


class _Named:
    """Stands for a connection or pool in the text of an error."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


_POOL: Any = _Named(f"HTTPSConnectionPool(host='{_HOST}', port=443)")
_CONNECTION: Any = _Named(f"HTTPSConnection(host='{_HOST}', port=443)")
_RESET = (104, "Connection reset by peer")


def _error(kind: str, sent: _Sent, seconds: float) -> requests.RequestException:
    """Build what requests raises, around what urllib3 raises, around what the system or OpenSSL does."""
    wrong: Exception
    if kind == "refused":
        wrong = _new_connection("[Errno 111] Connection refused")
        return requests.exceptions.ConnectionError(_given_up(sent, wrong))
    if kind == "no such host":
        resolution = getattr(urllib3_errors, "NameResolutionError", None)  # since urllib3 2
        if resolution is not None:
            wrong = resolution(_HOST, _CONNECTION, socket.gaierror(-2, "Name or service not known"))
        else:
            wrong = _new_connection("[Errno -2] Name or service not known")
        return requests.exceptions.ConnectionError(_given_up(sent, wrong))
    if kind == "connect timeout":
        text = f"Connection to {_HOST} timed out. (connect timeout={seconds})"
        return requests.exceptions.ConnectTimeout(
            _given_up(sent, urllib3_errors.ConnectTimeoutError(_CONNECTION, text))
        )
    if kind in ("proxy refused", "tunnel refused", "proxy error before", "proxy error after"):
        if kind == "proxy refused":
            wrong = _new_connection("[Errno 111] Connection refused")
        elif kind == "tunnel refused":
            wrong = OSError("Tunnel connection failed: 503 Service Unavailable")
        else:
            wrong = ConnectionResetError(*_RESET)
        proxy = urllib3_errors.ProxyError("Unable to connect to proxy", wrong)
        return requests.exceptions.ProxyError(_given_up(sent, proxy))
    if kind in ("tls refused", "tls error before", "tls error after"):
        if kind == "tls refused":
            text = (
                "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)"
            )
            wrong = ssl.SSLCertVerificationError(1, text)
        else:
            wrong = ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:2406)")
        return requests.exceptions.SSLError(_given_up(sent, urllib3_errors.SSLError(wrong)))
    if kind == "late timeout":
        text = f"Read timed out. (read timeout={seconds})"
        return requests.exceptions.ReadTimeout(urllib3_errors.ReadTimeoutError(_POOL, sent.path, text))
    if kind == "short":
        return requests.exceptions.ChunkedEncodingError(_broken_off(200, 300))
    wrong = ConnectionResetError(*_RESET)
    if kind == "reset after":
        wrong = http.client.RemoteDisconnected("Remote end closed connection without response")
    return requests.exceptions.ConnectionError(urllib3_errors.ProtocolError("Connection aborted.", wrong))


def _new_connection(reason: str) -> Exception:
    return urllib3_errors.NewConnectionError(_CONNECTION, f"Failed to establish a new connection: {reason}")


def _given_up(sent: _Sent, reason: Exception) -> urllib3_errors.MaxRetryError:
    return urllib3_errors.MaxRetryError(_POOL, sent.path, reason)


def _broken_off(read: int, missing: int) -> urllib3_errors.ProtocolError:
    incomplete = urllib3_errors.IncompleteRead(read, missing)
    return urllib3_errors.ProtocolError(f"Connection broken: {incomplete!r}", incomplete)


class SimZooniverse(Zooniverse):
    """The real client, as one worker has it; make it in a task of the worker, or outside of the simulation."""

    def __init__(self, model: ZooniverseModel, credentials: Credentials | None = None, **how: Any) -> None:
        self._model = model
        super().__init__(ENDPOINT, credentials or model.credentials(), **how)
        self._lock = SimLock(model.kernel)  # type: ignore[assignment]

    def _new_session(self, timeouts: Timeouts) -> requests.Session:
        return SimSession(self._model, timeouts)
