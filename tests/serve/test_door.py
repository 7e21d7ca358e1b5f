"""Who comes in: one person, by an address that opens once, and only to look."""

import re
import socket
import subprocess
import sys

import pytest
import requests

from tests.builders.ledgers import of_files
from tests.builders.live_page import Served, serving

PAGES = ("/", "/sites", "/captures", "/capture/1", "/runs", "/runs/1", "/failures", "/sql", "/static/htmx.js")


def test_the_address_opens_once_and_ctrl_c_ends_it_well(hostile: str) -> None:
    with serving(hostile) as page:
        wrong = page.entrance[:-4] + "AAAA"
        assert requests.get(wrong, timeout=30).status_code == 403
        assert requests.head(page.entrance, timeout=30).status_code == 403  # a program that looks at addresses
        first = requests.get(page.entrance, timeout=30)
        assert first.status_code == 200
        cookie = first.headers["Set-Cookie"]
        assert re.fullmatch(r"ctstate_\d+=[\w-]{43}; HttpOnly; Path=/; SameSite=strict", cookie)
        assert page.entrance.partition("token=")[2] not in cookie + first.text
        second = requests.get(page.entrance, timeout=30)
        assert second.status_code == 403
        assert "Set-Cookie" not in second.headers
        code, said = page.stop()
        assert code == 0
        assert said.endswith("Stopped.\n")


@pytest.mark.parametrize("path", [*PAGES, "/capture/1/1", "/no/such/page", "/sql.csv?q=SELECT+1"])
def test_without_the_cookie_nothing_is_told(served: Served, hostile: str, path: str) -> None:
    for cookies in ({}, {served.cookie.partition("=")[0]: "x" * 43}, {"ctstate_1": "x"}):
        reply = requests.get(served.url + path, cookies=cookies, timeout=30)
        assert reply.status_code == 403
        assert reply.text == "Open the address that was printed when this was started.\n"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:PORT", "127.0.0.1", "127.0.0.1:1", "localhost:1", ""]
)
def test_another_host_is_refused(served: Served, host: str) -> None:
    port = served.url.rpartition(":")[2]
    reply = served.get("/", Host=host.replace("PORT", port))
    assert (reply.status_code, reply.text) == (400, "This is not that host.\n")


def test_the_names_of_this_machine_are_taken(served: Served) -> None:
    port = served.url.rpartition(":")[2]
    for name in ("127.0.0.1", "localhost", "LocalHost", "[::1]"):
        assert served.get("/", Host=f"{name}:{port}").status_code == 200


def test_the_port_of_a_tunnel_is_taken(hostile: str) -> None:
    with serving(hostile, "--tunnel-port", "9") as page:
        assert page.url == "http://127.0.0.1:9"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_looking_is_allowed(served: Served, method: str) -> None:
    for path in ("/", "/sql?q=SELECT+1", "/enter?token=x"):
        reply = served.get(path, method)
        assert reply.status_code == 405
        assert reply.headers["Allow"] == "GET, HEAD"


def test_every_reply_has_the_policy(served: Served) -> None:
    replies = [served.get(path) for path in (*PAGES, "/capture/1/1", "/nothing", "/runs/99", "/sql.csv?q=SELECT+1")]
    replies += [
        served.get("/", Host="evil.example"),
        served.get("/", "POST"),
        requests.get(served.url, timeout=30),
        requests.get(served.entrance, timeout=30),
        served.get("/sql?q=" + "x" * 20_000),
    ]
    assert {reply.status_code for reply in replies} == {200, 400, 403, 404, 405, 414}
    for reply in replies:
        policy = reply.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert reply.headers["Cache-Control"] == "no-store"
        assert "Server" not in reply.headers


@of_files
def test_a_port_that_is_taken_is_one_line(hostile: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "ctstate", "--ledger", hostile, "serve", "--no-open", "--port", port],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == (
        f"Error: cannot listen on 127.0.0.1:{port} (Address already in use); --port names another, 0 a free one\n"
    )
