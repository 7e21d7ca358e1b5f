"""Which failures of a create are sure to have made nothing: only those of a connection that never was.

A wrong "never sent" makes a subject twice, as the caller then sends the create again.
"""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from ctstate.errors import UnavailableError
from ctstate.sandbox import SandboxProcess
from ctstate.zooniverse import Timeouts, Zooniverse
from ctstate.zooniverse.failures import no_answer
from tests.zooniverse_http.servers import BREAKS, Proxy, Reply, Web, reset

Connect = Callable[..., Zooniverse]


def create(z: Zooniverse, project: str = "1") -> UnavailableError:
    """Fail to make a subject; return how."""
    with pytest.raises(UnavailableError) as caught:
        z.create_subject(int(project), ["image/jpeg"], {"#capture_id": "a"}, "mark")
    return caught.value


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("how", BREAKS)
def test_a_proxy_that_breaks_after_the_create_leaves_a_doubt(
    how: str, sandbox: SandboxProcess, proxy: Proxy, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    z = connect(sandbox.url, sandbox.login, sandbox.password)
    proxy.breaks = BREAKS[how]
    assert create(z, sandbox.project_id).maybe_done
    assert proxy.creates == 1
    assert len(sandbox.state()["subjects"]) == 1


@pytest.mark.parametrize("how", BREAKS)
def test_a_tunnel_that_breaks_after_the_create_leaves_a_doubt(
    how: str, tls_web: Web, proxy: Proxy, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy.url)
    z = connect(tls_web.url)
    assert z.me().id == 7  # through the tunnel
    tls_web.answers["POST /api/subjects"] = lambda _: (proxy.cut(BREAKS[how]), Reply(0))[1]
    error = create(z)
    assert error.maybe_done
    assert "no answer in time" not in str(error)  # it broke, and that at once
    assert len(tls_web.asked("POST", "/api/subjects")) == 1


def test_a_secure_connection_that_breaks_after_the_create_leaves_a_doubt(tls_web: Web, connect: Connect) -> None:
    tls_web.answers["POST /api/subjects"] = Reply(0)  # the server closes without the end that TLS has
    assert create(connect(tls_web.url)).maybe_done
    assert len(tls_web.asked("POST", "/api/subjects")) == 1


def test_a_create_without_an_answer_in_time_leaves_a_doubt(web: Web, connect: Connect) -> None:
    z = connect(web.url, timeouts=Timeouts(2.0, 0.3, 2.0))
    z.me()
    given_up = threading.Event()
    web.answers["POST /api/subjects"] = lambda _: (given_up.wait(1.0), Reply(0))[1]
    error = create(z)
    given_up.set()
    assert error.maybe_done
    assert "no answer in time" in str(error)


def test_a_create_tried_while_an_earlier_failure_is_handled_is_judged_by_itself(web: Web, connect: Connect) -> None:
    """Python hangs what was being handled onto a new error; that one was never sent, this one was."""
    web.answers["POST /api/subjects"] = Reply(0)
    z, nobody = connect(web.url), connect(f"http://127.0.0.1:{closed_port()}")
    z.me()
    maybe_done = None
    try:
        nobody.me()
    except UnavailableError:
        maybe_done = create(z).maybe_done
    assert maybe_done is True


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"])
def test_a_proxy_that_refuses_to_connect_has_sent_nothing(
    status: str, tls_web: Web, proxy: Proxy, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = connect(tls_web.url)
    z.me()
    # The log-in was good: it is the create itself that meets the proxy.
    monkeypatch.setenv("https_proxy", proxy.url)
    proxy.refuses = status
    z.session = z._new_session(z._timeouts)
    error = create(z)
    assert not error.maybe_done
    assert f"the proxy refused to connect ({status})" in str(error)
    assert tls_web.asked("POST", "/api/subjects") == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_has_sent_nothing(
    scheme: str, web: Web, tls_web: Web, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = web if scheme == "http" else tls_web
    z = connect(server.url)
    z.me()
    monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{closed_port()}")
    z.session = z._new_session(z._timeouts)
    assert not create(z).maybe_done
    monkeypatch.setenv(f"{scheme}_proxy", "http://no-such-host.invalid:3128")
    z.session = z._new_session(z._timeouts)
    assert not create(z).maybe_done
    assert server.asked("POST", "/api/subjects") == []


def test_a_server_that_is_not_there_has_got_nothing(connect: Connect) -> None:
    assert not create(connect(f"http://127.0.0.1:{closed_port()}")).maybe_done
    assert not create(connect("http://no-such-host.invalid", insecure_http=True)).maybe_done


def test_a_log_in_that_breaks_has_sent_no_create(web: Web, connect: Connect) -> None:
    for path in ("GET /users/sign_in", "POST /users/sign_in", "POST /oauth/token"):
        web.answers[path], good = Reply(0), web.answers[path]
        assert not create(connect(web.url)).maybe_done
        web.answers[path] = good


POOL = urllib3.HTTPConnectionPool("127.0.0.1")
CONNECTION = urllib3.connection.HTTPConnection("127.0.0.1")
URL = "/api/subjects"


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    error.__cause__ = cause
    return error


def given_up(reason: Exception) -> MaxRetryError:
    return MaxRetryError(POOL, URL, reason)


OTHER = OSError("Tunnel connection failed: 403 Forbidden")
RESET = ConnectionResetError(104, "Connection reset by peer")
NEVER: dict[str, Any] = {
    "refused": requests.ConnectionError(given_up(NewConnectionError(CONNECTION, "refused"))),
    "timed out": requests.ConnectTimeout(given_up(ConnectTimeoutError(CONNECTION, "timed out"))),
    "timed out, without a cause": requests.ConnectTimeout(),
    "CONNECT refused, urllib3 2": requests.exceptions.ProxyError(
        given_up(raised(ProxyError("Unable to connect to proxy", OTHER), OTHER))  # type: ignore[arg-type]
    ),
    "CONNECT refused, urllib3 1": requests.exceptions.ProxyError(
        given_up(ProxyError("Cannot connect to proxy.", OTHER))
    ),
    "no proxy": requests.exceptions.ProxyError(
        given_up(ProxyError("Unable to connect to proxy", NewConnectionError(CONNECTION, "refused")))
    ),
    "no proxy in time": requests.exceptions.ProxyError(
        given_up(ProxyError("Unable to connect to proxy", ConnectTimeoutError(CONNECTION, "timed out")))
    ),
}
PERHAPS: dict[str, Any] = {
    "reset through a proxy, urllib3 2": requests.exceptions.ProxyError(
        given_up(raised(ProxyError("Unable to connect to proxy", RESET), RESET))  # type: ignore[arg-type]
    ),
    "reset through a proxy, urllib3 1": requests.exceptions.ProxyError(
        given_up(ProxyError("Cannot connect to proxy.", RESET))
    ),
    "a proxy's error without a cause": requests.exceptions.ProxyError(),
    "TLS": requests.exceptions.SSLError(given_up(SSLError(OSError(0, "Error")))),
    "TLS through a proxy": requests.exceptions.ProxyError(given_up(ProxyError("x", SSLError("bad record mac")))),
    "reset": requests.ConnectionError(ProtocolError("Connection aborted.", RESET)),
    "a reply that speaks of NewConnectionError": requests.ConnectionError(
        ProtocolError("Connection aborted.", Exception("BadStatusLine('<NewConnectionError>')"))
    ),
    "a reply that speaks of tunnels": requests.ConnectionError(
        ProtocolError("Connection aborted.", OSError("Tunnel connection failed: 403 Forbidden"))
    ),
    "too late": requests.ReadTimeout(ReadTimeoutError(POOL, URL, "Read timed out.")),
    "cut off": requests.exceptions.ChunkedEncodingError(ProtocolError("broken")),
    "not to be unpacked": requests.exceptions.ContentDecodingError(),
    "anything": requests.RequestException("anything"),
}


@pytest.mark.parametrize("error", [pytest.param(error, id=name) for name, error in NEVER.items()])
def test_no_connection_sends_nothing(error: Exception) -> None:
    with pytest.raises(UnavailableError) as caught, no_answer("POST /subjects"):
        raise error
    assert not caught.value.maybe_done


@pytest.mark.parametrize("error", [pytest.param(error, id=name) for name, error in PERHAPS.items()])
def test_a_broken_connection_may_have_sent_it(error: Exception) -> None:
    with pytest.raises(UnavailableError) as caught, no_answer("POST /subjects"):
        raise error
    assert caught.value.maybe_done


def test_an_untrusted_certificate_is_named(tls_web: Web, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert "secure connection failed" in str(create(connect(tls_web.url)))


def test_a_reset_is_told_in_plain_words(
    sandbox: SandboxProcess, proxy: Proxy, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    z = connect(sandbox.url, sandbox.login, sandbox.password)
    proxy.breaks = reset
    message = str(create(z, sandbox.project_id))
    assert message.startswith("POST /subjects: ")
    assert "Caused by" not in message
