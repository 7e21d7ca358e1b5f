"""Other users of the same machine, and pages of other servers on it, towards a live page."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import requests

from ctstate.verbs.serve.door import Key
from ctstate.verbs.serve.visitors import user_behind
from tests.builders.live_page import Served, serving

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")


def _port(page: Served) -> int:
    return int(page.url.rpartition(":")[2])


def said_to(page: Served, request: bytes, seconds: float = 20.0) -> bytes:
    """Send bytes as they are; return all that is answered until it hangs up."""
    with socket.create_connection(("127.0.0.1", _port(page)), timeout=seconds) as plug:
        with contextlib.suppress(ConnectionError):
            plug.sendall(request)
            plug.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := plug.recv(65_536):
                answer += piece
        return answer


def as_somebody_else(program: str, *arguments: str) -> str:
    """Run a few lines of Python as another user."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


ASK = """
import encodings.idna, http.client, os, sys
os.setgid(12345)
os.setuid(12345)
asked = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
try:
    asked.request("GET", sys.argv[2], headers={"Cookie": sys.argv[3]})
    print(asked.getresponse().status)
except (ConnectionError, http.client.HTTPException):
    print("hung up")
"""


def test_no_address_makes_it_fall_over(hostile: str) -> None:
    targets = (
        b"]x", b"http://127.0.0.1/", b"%E2%84%80", b"//", b"/%2e%2e/%2e%2e/etc/passwd", b"/%00",
        b"/enter%3ftoken=x", b"*", b"/static/..%2f..%2flook.css",
    )  # fmt: skip
    with serving(hostile) as page:
        host = b"Host: 127.0.0.1:%d\r\n" % _port(page)
        for target in targets:
            for more in (b"", b"Cookie: ctstate_%d=x\r\n" % _port(page)):
                request = b"GET %s HTTP/1.1\r\n%s%sConnection: close\r\n\r\n" % (target, host, more)
                answer = said_to(page, request)
                assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")), (target, answer)
        page.enter()
        cookie = b"Cookie: %s\r\n" % page.cookie.encode()
        for target in targets:
            answer = said_to(page, b"GET %s HTTP/1.1\r\n%s%sConnection: close\r\n\r\n" % (target, host, cookie))
            assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 404")), (target, answer)
        assert "Traceback" not in page.stop()[1]


def test_requests_that_are_none_are_refused(served: Served) -> None:
    host = b"Host: 127.0.0.1:%d\r\n" % _port(served)
    for request in (
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n%sHost: evil.example\r\n\r\n" % host,
        b"GET / HTTP/1.1\r\n%s%s\r\n" % (host, host),
        b"\0" * 1000,
    ):
        assert said_to(served, request).startswith(b"HTTP/1.1 400"), request


def test_headers_without_end_fill_no_memory(served: Served) -> None:
    answer = said_to(served, b"GET / HTTP/1.1\r\nX: " + b"x" * 8_000_000)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    with open(f"/proc/{served.process.pid}/status", encoding="ascii") as status:
        (peak,) = (int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert said_to(served, b"GET / HTTP/1.1\r\n" + b"X: %s\r\n" % (b"x" * 1000) * 100_000)[:12] in (
        b"", b"HTTP/1.1 400",
    )  # fmt: skip
    with open(f"/proc/{served.process.pid}/status", encoding="ascii") as status:
        (after,) = (int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert after - peak < 20_000


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_a_page_of_another_server_asks_nothing_through_the_browser(served: Served, site: str) -> None:
    # 127.0.0.1:9999 is the same site as 127.0.0.1:8765 to a browser, and may be somebody else's.
    reply = served.get("/sql?q=SELECT+1", **{"Sec-Fetch-Site": site})
    assert reply.status_code == 403
    for own in ("same-origin", "none"):
        assert served.get("/sql?q=SELECT+1", **{"Sec-Fetch-Site": own}).status_code == 200


def test_a_cookie_is_of_one_user() -> None:
    key = Key(1)
    cookie = key.exchange(key.token, 1000)
    assert key.opens(cookie, 1000)
    assert key.opens(cookie, None)  # where the machine does not say who it is
    assert not key.opens(cookie, 1001)
    other = Key(1)
    assert other.opens(other.exchange(other.token, None), 1000)


def test_who_is_behind_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()) as plug:
            accepted, peer = listening.accept()
            with accepted:
                assert user_behind(peer, accepted.getsockname()) in (os.getuid(), None)
        assert user_behind(("127.0.0.1", 9), ("127.0.0.1", 9)) is None
        assert plug.fileno() == -1


@as_root
def test_a_stolen_cookie_opens_nothing_for_another_user(hostile: str) -> None:
    with serving(hostile) as page:
        assert as_somebody_else(ASK, str(_port(page)), "/", "").strip() == "403"
        page.enter()
        assert page.get("/").status_code == 200
        assert as_somebody_else(ASK, str(_port(page)), "/", page.cookie).strip() == "hung up"


@as_root
def test_who_lets_the_page_run_as_another_user_can_look(hostile: str) -> None:
    with serving(hostile) as page:
        path = page.entrance.partition(f":{_port(page)}")[2]
        assert as_somebody_else(ASK, str(_port(page)), path, "").strip() == "200"


HOLD = """
import encodings.idna, os, socket, sys, time
os.setgid(12345)
os.setuid(12345)
held = []
for _ in range(300):
    try:
        plug = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
        plug.sendall(b"GET / HTTP/1.1\\r\\nX: ")
        held.append(plug)
    except OSError:
        pass
print(len(held), flush=True)
time.sleep(60)
"""


@pytest.fixture
def crowd(hostile: str) -> Iterator[Served]:
    """A page to which another user holds as many connections as he gets."""
    with serving(hostile) as page:
        held = subprocess.Popen(
            [sys.executable, "-I", "-c", HOLD, str(_port(page))], stdout=subprocess.PIPE, text=True
        )
        try:
            assert held.stdout is not None
            assert int(held.stdout.readline()) > 100
            yield page
        finally:
            held.kill()
            held.communicate()


@as_root
def test_connections_of_another_user_keep_nobody_out(crowd: Served) -> None:
    crowd.enter()
    assert crowd.get("/").status_code == 200


def test_who_never_asks_is_hung_up_on(served: Served) -> None:
    began = time.monotonic()
    beginnings = (b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n")
    with contextlib.ExitStack() as plugs:
        listened = {}
        for first in beginnings:
            plug = plugs.enter_context(socket.create_connection(("127.0.0.1", _port(served)), timeout=20))
            plug.settimeout(0.3)
            plug.sendall(first)
            listened[first] = plug
        while listened and time.monotonic() - began < 40:
            for first, plug in list(listened.items()):
                try:
                    plug.sendall(b"X" if first else b"")
                    if plug.recv(65_536) == b"":
                        del listened[first]
                except TimeoutError:
                    continue
                except ConnectionError:
                    del listened[first]
    assert list(listened) == [], "it still listens"
    assert requests.get(served.url, timeout=30).status_code == 403
