"""Small servers that misbehave to order: a Zooniverse that says what it is told to, and proxies that break."""

import contextlib
import json
import re
import select
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

JSON = {"Content-Type": "application/json"}
PAGE = (
    b"<!DOCTYPE html><html><head><title>Welcome to\n the Lodge&#39;s Wi-Fi</title></head><body>Log in</body></html>"
)


class Request(NamedTuple):
    """A request that arrived."""

    method: str
    path: str
    headers: Any
    body: bytes


class Reply(NamedTuple):
    """What to answer; a status of 0 drops the connection instead, one of -1 leaves all that is sent to the body."""

    status: int
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes | Callable[[Any], None] = b""


def says(status: int, body: Any, **headers: str) -> Reply:
    return Reply(status, {**JSON, **headers}, json.dumps(body).encode())


def portal(status: int = 200) -> Reply:
    """The page of a portal in between."""
    return Reply(status, {"Content-Type": "text/html; charset=utf-8"}, PAGE)


Answer = Reply | Callable[[Request], Reply]


class Web:
    """A web server that knows how to log somebody in, and else says what `answers` tells it to.

    Attributes:
        answers: by method and path (without the query).
        requests: that arrived, in their order.
        tls: a file with its certificate and key, for https.
    """

    def __init__(self, tls: Path | None = None) -> None:
        self.answers: dict[str, Answer] = {
            "GET /users/sign_in": says(200, {}, **{"x-csrf-token": "csrf", "Set-Cookie": "_session=a; path=/"}),
            "POST /users/sign_in": says(200, {"users": [{"id": "7"}]}),
            "POST /oauth/token": says(200, {"access_token": "token", "refresh_token": "again", "expires_in": 7200}),
            "GET /api/me": says(200, {"users": [{"id": "7", "login": "me"}]}),
        }
        self.requests: list[Request] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, self.headers, body)
                web.requests.append(request)
                answer = web.answers.get(f"{self.command} {self.path.partition('?')[0]}", portal(404))
                reply = answer(request) if callable(answer) else answer
                if not reply.status:
                    self.close_connection = True
                    return
                length = {}
                if isinstance(reply.body, bytes) and reply.status != 204:
                    length = {"Content-Length": str(len(reply.body))}
                if reply.status > 0:
                    self.send_response(reply.status)
                    for name, value in {**length, **reply.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                if callable(reply.body):
                    self.close_connection = True
                    with contextlib.suppress(OSError):
                        reply.body(self.wfile)
                elif self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def asked(self, method: str, path: str) -> list[Request]:
        return [r for r in self.requests if r.method == method and r.path.partition("?")[0] == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def reset(connection: socket.socket) -> None:
    """Close so that the other side gets a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def garbage(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(b"\x00\x16\xff this is no reply of any kind\r\n\r\n")
    close(connection)


BREAKS = {"closes": close, "resets": reset, "sends garbage": garbage}


class Proxy:
    """An HTTP proxy for plain requests and for CONNECT.

    Attributes:
        breaks: what to do to a client's connection once the create was answered; None: hand on the answer.
        refuses: the status line with which CONNECT is refused.
        creates: POSTs of subjects that went through to the server.
    """

    def __init__(self) -> None:
        self.breaks: Callable[[socket.socket], None] | None = None
        self.refuses = ""
        self.creates = 0
        self._tunnels: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while head := _head(client):
                method, target = head.split(b" ", 2)[:2]
                if method == b"CONNECT":
                    self._tunnel(client, target.decode())
                    return
                body = _exactly(client, _length(head))
                address, path = re.fullmatch(rb"http://([^/]+)(/.*)", target).groups()  # type: ignore[union-attr]
                host, _, port = address.decode().partition(":")
                with socket.create_connection((host, int(port))) as server:
                    once = head.replace(target, path, 1).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
                    server.sendall(once.replace(b"Connection: keep-alive\r\n", b"") + body)
                    answer = b"".join(iter(lambda: server.recv(65536), b""))
                if method == b"POST" and path == b"/api/subjects":
                    self.creates += 1
                    if self.breaks:
                        self.breaks(client)
                        return
                client.sendall(answer)
                close(client)
                return

    def _tunnel(self, client: socket.socket, target: str) -> None:
        if self.refuses:
            client.sendall(f"HTTP/1.1 {self.refuses}\r\nContent-Length: 0\r\n\r\n".encode())
            close(client)
            return
        host, _, port = target.partition(":")
        with socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._tunnels.append(client)
            back = threading.Thread(target=_relay, args=(server, client), daemon=True)
            back.start()
            _relay(client, server)
            back.join(5)

    def cut(self, how: Callable[[socket.socket], None]) -> None:
        """Break all tunnels, towards the client."""
        for client in self._tunnels:
            how(client)

    def close(self) -> None:
        self._listener.close()


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        # Never long in a call on the socket: the kernel keeps one that is closed open until the call is over.
        while True:
            if not select.select([source], [], [], 0.02)[0]:
                continue
            if not (data := source.recv(65536)):
                break
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\nContent-Length: *(\d+)", head)
    return int(found[1]) if found else 0


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data


def certificate(folder: Path) -> Path:
    """Make a certificate of 127.0.0.1 that nobody else signed; return a file with it and its key."""
    key, both = folder / "key.pem", folder / "server.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", both,
            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    both.write_text(both.read_text() + key.read_text())
    return both


@contextlib.contextmanager
def running(server: Any) -> Iterator[Any]:
    try:
        yield server
    finally:
        server.close()
