"""A network between the workers and the sandbox: an HTTP proxy, for plain requests and for CONNECT, that fails.

Every process has a proxy address with its own name in it, so the proxy knows whose request it has, and which step
of an upload that is. It can lose the request or its reply in each known way, and it can strike the process itself
right before the server does the work, or right after. Tunnels of CONNECT end here, under the harness' certificate.
"""

import asyncio
import base64
import contextlib
import random
import re
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from ctstate.sandbox.app import API, Router
from tests.crash.loopback import Loopback
from tests.crash.matrix import Matrix

PROCESS = ("kill", "nap", "sleep through the lease", "stop")
"""What befalls a process: SIGKILL; SIGSTOP for a short or a long time; SIGTERM."""

BEFORE = ("reset before", "closed before", "status before", "busy", "portal", "anonymous")
AFTER = ("reset after", "closed after", "status after", "garbage", "short", "cut", "no md5")
ACCIDENTS = (
    *(f"{kind} before" for kind in PROCESS),
    *BEFORE,
    "late",
    *AFTER,
    "slow",
    *(f"{kind} after" for kind in PROCESS),
)
"""Accidents of a request. `before` and `after`: before and after the server did the work.

`status`: 502, 503 or 504 from something in between; `busy`: 429; `portal`: 200 and a page; `anonymous`: the
token is lost on the way; `late`: the client has a 504, and the server does the work later; `short`: the connection
ends in the middle of the reply; `cut`: a whole reply with half of its body; `no md5`: the store does not say what
it has. Besides, CONNECT is refused at times.
"""

TELL_MD5 = ("put image", "head image")
"""Requests whose replies say what the store has."""

ROUTES = (
    "sign-in page", "sign in", "token", "me", "show project", "find set", "create set", "show set", "list subjects",
    "create subject", "show subject", "change subject", "put image", "head image", "get image", "link subjects",
    "unlink subjects", "delete subject", "list workflows", "list statuses",
)  # fmt: skip
"""Requests of uploads, and of the verbs that change captures."""

_EVERY_RUN = ("sign-in page", "sign in", "token", "me", "show project", "list subjects", "find set")

LATEST_S = 1.2
"""So late at most the server does the work of a request whose sender was told that it is lost."""

_PAGE = b"<!DOCTYPE html><html><head><title>Guest network</title></head><body>Please log in.</body></html>"
_ROUTER = Router(API)


class _Request(NamedTuple):
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def route(self) -> str:
        found = _ROUTER.find(self.method, urlsplit(self.path).path)
        return found[0] if found else "no such route"

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


class _GoneError(Exception):
    """The connection to the client is over."""


class Network(Loopback):
    """The proxy, in a thread of its own.

    Args:
        chance: decides what happens.
        matrix: of ROUTES by ACCIDENTS; what it has not met yet is likelier.
        strike: called with a process' name, the kind of PROCESS and a step; tells whether that befell it.
        certificate: a file with a certificate of 127.0.0.1 and its key.

    Attributes:
        harm: how likely an accident is, per request; 0 for none.
        sweep: routes to look at for what they have not met yet; all others are left alone. Empty: no sweep.
        away_until: until then (monotonic) all that is sent is refused.
        faults: how many accidents there were.
    """

    def __init__(
        self, chance: random.Random, matrix: Matrix, strike: Callable[[str, str, str], bool], certificate: Path
    ) -> None:
        self._chance, self._matrix, self._strike = chance, matrix, strike
        self.harm = 0.0
        self.sweep: frozenset[str] = frozenset()
        self.away_until = 0.0
        self.faults = 0
        self._seen: Counter[str] = Counter()  # of this round
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._late: set[asyncio.Task[None]] = set()
        super().__init__()

    def environment(self, name: str, certificate: Path) -> dict[str, str]:
        """What a process needs to send its requests through here, under its name."""
        url = f"http://{name}:x@127.0.0.1:{self.port}"
        return {
            "http_proxy": url, "https_proxy": url, "no_proxy": "", "NO_PROXY": "",
            "REQUESTS_CA_BUNDLE": str(certificate),
        }  # fmt: skip

    # -- connections ---------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._requests(reader, writer)
        except (OSError, EOFError, ValueError, _GoneError, asyncio.CancelledError):
            pass
        finally:
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, tunnel = "", ""
        while True:
            request = await _read(reader)
            name = _name_in(request.header("proxy-authorization")) or name
            if request.method == "CONNECT":
                if time.monotonic() < self.away_until:
                    raise _GoneError
                if self._chance.random() < self.harm / 2:
                    self.faults += 1
                    await _send(writer, b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                    raise _GoneError
                await _send(writer, b"HTTP/1.1 200 Connection established\r\n\r\n")
                await writer.start_tls(self._tls)
                tunnel = request.path
                continue
            if tunnel:
                host, path = tunnel, request.path
            else:
                parts = urlsplit(request.path)
                host, path = parts.netloc, request.path.partition(parts.netloc)[2]
            await self._answer(writer, request._replace(path=path), name, host, bool(tunnel))

    async def _answer(
        self, writer: asyncio.StreamWriter, request: _Request, name: str, host: str, tls: bool
    ) -> None:
        route = request.route
        if time.monotonic() < self.away_until:
            await _send(writer, _reply(503, _PAGE))
            raise _GoneError
        kind = self._choose(route)
        if kind:
            self.faults += 1
            self._matrix.meet(route, kind)
        for part in PROCESS:
            if kind == f"{part} before":
                self._strike(name, part, route)
                if part == "kill":
                    raise _GoneError
                await asyncio.sleep(self._chance.uniform(0.1, 0.5))
        if kind == "status before":
            await _send(writer, _reply(self._chance.choice((502, 503, 504)), _PAGE))
            return
        if kind == "busy":
            await _send(writer, _reply(429, _PAGE, "Retry-After: 1\r\n"))
            return
        if kind == "portal":
            await _send(writer, _reply(200, _PAGE))
            return
        if kind == "anonymous":
            kept = [pair for pair in request.headers if pair[0].lower() != "authorization"]
            request = request._replace(headers=kept)
        if kind == "reset before":
            _reset(writer)
            raise _GoneError
        if kind == "closed before":
            raise _GoneError
        if kind == "late":
            self._late.add(late := self._loop.create_task(self._later(request, host, tls)))  # else it is forgotten
            late.add_done_callback(self._late.discard)
            await _send(writer, _reply(504, _PAGE))
            return
        head, body = await self._forward(request, host, tls)
        if kind == "slow":
            await asyncio.sleep(self._chance.uniform(0.3, 2.0))
        for part in PROCESS:
            if kind == f"{part} after":
                self._strike(name, part, route)
                if part == "kill":
                    raise _GoneError
        if kind == "reset after":
            _reset(writer)
            raise _GoneError
        if kind == "closed after":
            raise _GoneError
        if kind == "garbage":
            await _send(writer, b"\x00\x16\xff this is no reply of any kind\r\n\r\n")
            raise _GoneError
        if kind == "status after":
            await _send(writer, _reply(self._chance.choice((502, 503, 504)), _PAGE))
            return
        if kind == "short":
            await _send(writer, head + body[: len(body) // 2] if body else head[: len(head) // 2])
            raise _GoneError
        if kind == "cut" and body:
            half = body[: len(body) // 2]
            await _send(writer, head.replace(b"ength: %d\r" % len(body), b"ength: %d\r" % len(half)) + half)
            return
        if kind == "no md5":
            head = re.sub(rb"(?i)\r\ncontent-md5:[^\r]*", b"", head)
        await _send(writer, head + body)

    async def _later(self, request: _Request, host: str, tls: bool) -> None:
        await asyncio.sleep(self._chance.uniform(0.1, LATEST_S))
        with contextlib.suppress(OSError, EOFError):
            await self._forward(request, host, tls)

    async def _forward(self, request: _Request, host: str, tls: bool) -> tuple[bytes, bytes]:
        """Hand a request to the sandbox; return the head of the reply and its body."""
        body = request.body.replace(f"https://{host}".encode(), f"http://{host}".encode()) if tls else request.body
        lines = [f"{request.method} {request.path} HTTP/1.1"]
        lines += [
            f"{key}: {value}"
            for key, value in request.headers
            if key.lower() not in ("connection", "proxy-connection", "proxy-authorization", "content-length")
        ]
        lines += ["Connection: close", f"Content-Length: {len(body)}", "", ""]
        address, _, port = host.partition(":")
        reader, writer = await asyncio.open_connection(address, int(port), limit=1 << 22)
        try:
            writer.write("\r\n".join(lines).encode("latin-1") + body)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            answer = b"" if request.method == "HEAD" else await reader.read()
        finally:
            writer.close()
        if tls:
            # What the sandbox says of itself is told of where it is seen.
            longer = answer.replace(f"http://{host}".encode(), f"https://{host}".encode())
            head = head.replace(b"ength: %d\r" % len(answer), b"ength: %d\r" % len(longer))
            answer = longer
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        return b"\r\n".join(kept), answer

    # -- what goes wrong -----------------------------------------------------------------------------------

    def _choose(self, route: str) -> str:
        """Draw an accident for a request, or none; what a route has not met is likelier."""
        if not self.harm or route not in ROUTES:
            return ""
        kinds = [kind for kind in ACCIDENTS if (route, kind) not in self._matrix.impossible]
        counts = [self._matrix.met(route, kind) for kind in kinds]
        if self.sweep:
            return self._sweep(route, [kind for kind, count in zip(kinds, counts, strict=True) if count == 0])
        self._seen[route] += 1
        likely = self.harm
        if min(counts) < 3:  # not all of them has this route met
            likely = 0.35 if route not in _EVERY_RUN and self._seen[route] < 30 else 3 * self.harm
        if self._chance.random() >= likely:
            return ""
        # Killing is what this is about; being killed again and again at the log-in is not.
        claims = route in ("create subject", "put image", "link subjects", "change subject", "show subject")
        weights = [
            1 / (1 + count) + (0.1 if claims or not kind.startswith("kill") else 0.01)
            for kind, count in zip(kinds, counts, strict=True)
        ]
        return self._chance.choices(kinds, weights)[0]

    def _sweep(self, route: str, unmet: list[str]) -> str:
        """Draw from what a route has not met yet."""
        images = route in TELL_MD5 and "get image" in self.sweep
        if images and self._chance.random() < 0.8:
            return "no md5"  # else nobody asks for a whole image
        likely = 0.0 if not unmet or route not in self.sweep else 0.7 if route not in _EVERY_RUN else 3 * self.harm
        return self._chance.choice(unmet) if self._chance.random() < likely else ""


async def _read(reader: asyncio.StreamReader) -> _Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, path, _ = first.split(" ", 2)
    headers = [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]
    request = _Request(method, path, headers, b"")
    length = request.header("content-length")
    return request._replace(body=await reader.readexactly(int(length))) if length else request


def _name_in(header: str) -> str:
    kind, _, word = header.partition(" ")
    return unquote(base64.b64decode(word).decode().partition(":")[0]) if kind == "Basic" else ""


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _reply(status: int, body: bytes, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Something\r\nContent-Type: text/html\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
