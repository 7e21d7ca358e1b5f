"""A Zooniverse that says what it is told to, and a connection to it that is patient for half a second only."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ctstate.zooniverse import Backoff, Credentials, Timeouts, Zooniverse
from tests.zooniverse_http import servers

IMPATIENT = Backoff(first=0.01, most=0.02, give_up=0.4)
SHORT = Timeouts(connect=2.0, read=2.0, blob=2.0)


@pytest.fixture(autouse=True)
def no_proxy_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tests run must not matter."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PANOPTES_CLIENT_ID", "PANOPTES_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def web() -> Iterator[servers.Web]:
    with servers.running(servers.Web()) as server:
        yield server


@pytest.fixture
def other_web() -> Iterator[servers.Web]:
    """Another site, which nothing should be sent to."""
    with servers.running(servers.Web()) as server:
        yield server


@pytest.fixture
def proxy() -> Iterator[servers.Proxy]:
    with servers.running(servers.Proxy()) as server:
        yield server


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    return servers.certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_web(pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[servers.Web]:
    """The same by https, with a certificate that is trusted here."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    with servers.running(servers.Web(pem)) as server:
        yield server


@pytest.fixture
def connect() -> Callable[..., Zooniverse]:
    """`connect(url, login, password, backoff=...)`: a connection that gives up soon."""

    def connection(url: str, login: str = "me", password: str = "secret", **more: Any) -> Zooniverse:
        return Zooniverse(url, Credentials(login, password), **{"backoff": IMPATIENT, "timeouts": SHORT, **more})

    return connection
