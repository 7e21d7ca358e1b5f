"""A sandbox in a process of its own, and a client that knows the API's manners."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ctstate.sandbox import SandboxProcess, SandboxSettings

CLIENT_ID = "ce310d45f951de68c4cc8ef46ca38cc0a008f607a2026680295757bfef99f43c"
ACCEPT = "application/vnd.api+json; version=1"
JPEG = bytes.fromhex("ffd8ffd9") * 50


class Client:
    """Talks to a sandbox as an account; every reply comes back as it is."""

    def __init__(self, sandbox: SandboxProcess, login: str | None = None, password: str | None = None) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.login, self.password = login or sandbox.login, password or sandbox.password
        self.tokens: dict[str, Any] = {}
        self.log_in()

    def log_in(self) -> None:
        self.tokens = self.token(grant_type="password", login=self.login, password=self.password).json()

    def token(self, **form: str) -> requests.Response:
        form.setdefault("client_id", CLIENT_ID)
        return self.session.post(self.sandbox.url + "/oauth/token", data=form, timeout=20)

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        if_match: str | None = None,
        token: str | None = None,
        timeout: float = 20,
        **headers: str,
    ) -> requests.Response:
        sent = {"Accept": ACCEPT, "Authorization": f"Bearer {token or self.tokens.get('access_token')}", **headers}
        if if_match:
            sent["If-Match"] = if_match
        url = self.sandbox.url + "/api" + path
        return self.session.request(method, url, json=body, headers=sent, timeout=timeout)

    # -- the usual requests -------------------------------------------------------------------------------------

    def new_set(self, name: str, **more: Any) -> str:
        reply = self.post_set(name, **more)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["subject_sets"][0]["id"])

    def post_set(self, name: str, **more: Any) -> requests.Response:
        links = {"project": self.sandbox.project_id}
        return self("POST", "/subject_sets", {"subject_sets": {"display_name": name, "links": links, **more}})

    def post_subject(self, images: int = 1, sets: list[str] | None = None, **more: Any) -> requests.Response:
        links: dict[str, Any] = {"project": self.sandbox.project_id}
        if sets is not None:
            links["subject_sets"] = sets
        given = {"locations": ["image/jpeg"] * images, "metadata": {}, "links": links, **more}
        return self("POST", "/subjects", {"subjects": given})

    def new_subject(self, images: int = 1, whole: bool = True, **more: Any) -> dict[str, Any]:
        reply = self.post_subject(images, **more)
        assert reply.status_code == 201, reply.text
        subject: dict[str, Any] = reply.json()["subjects"][0]
        subject["etag"] = reply.headers["ETag"]
        for location in subject["locations"] if whole else []:
            assert self.put(location["image/jpeg"]).status_code == 201
        return subject

    def put(self, url: str, data: bytes = JPEG, **headers: str) -> requests.Response:
        sent = {"x-ms-blob-type": "BlockBlob", "Content-Type": "image/jpeg", "Content-MD5": md5(data), **headers}
        return requests.put(url, data=data, headers=sent, timeout=20)

    def link(self, subject_set: str, *ids: str) -> requests.Response:
        return self("POST", f"/subject_sets/{subject_set}/links/subjects", {"subjects": list(ids)})

    def link_again(self, subject_set: str, *ids: str) -> requests.Response:
        """Link to a set that was linked to before: its count may be refreshed behind the call, once."""
        first = self.link(subject_set, *ids)
        return self.link(subject_set, *ids) if first.status_code == 409 else first

    def members(self, subject_set: str) -> list[str]:
        return [s["id"] for s in self("GET", f"/subjects?subject_set_id={subject_set}").json()["subjects"]]


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


QUICK = {"link_seconds": 0.0, "link_seconds_per_subject": 0.0, "counter_delay": 0.0}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """A sandbox for all tests of a module."""
    with SandboxProcess(tmp_path_factory.mktemp("sandbox"), SandboxSettings(**QUICK)) as sandbox:
        yield sandbox


@pytest.fixture
def client(shared: SandboxProcess) -> Iterator[Client]:
    """A client of the module's sandbox, which is put right again afterwards."""
    yield Client(shared)
    shared.clear_faults()
    shared.set_account(banned=False, subject_limit=10000, recount=True)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts sandboxes with settings of their own."""
    started: list[SandboxProcess] = []

    def begin(**settings: Any) -> Client:
        sandbox = SandboxProcess(tmp_path / "sandbox", SandboxSettings(**{**QUICK, **settings}))
        started.append(sandbox)
        sandbox.start()
        return Client(sandbox)

    yield begin
    for sandbox in started:
        sandbox.stop()


@pytest.fixture
def client_of() -> type[Client]:
    """To make further clients."""
    return Client
