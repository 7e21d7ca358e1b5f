"""All that talks to Panoptes, the Zooniverse API.

`Zooniverse` is `panoptes_client.Panoptes` (log-in, tokens, headers, routes) with what an uploader needs and
the official client lacks (docs/panoptes-api.md, section 6): a timeout on every request, kept-alive connections
that all threads share, errors with a status, Retry-After, exponential backoff with jitter, image PUTs whose
results are read, and never a second POST of a subject.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import functools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from ctstate.credentials import Credentials
from ctstate.errors import (
    AllowanceError,
    LoginError,
    NotFoundError,
    RequestRefusedError,
    UnavailableError,
    ZooniverseError,
)

# The client configures the root logger when it is imported; a library must not do that to its user.
_root = logging.getLogger()
_handlers, _level = list(_root.handlers), _root.level
from panoptes_client.panoptes import Panoptes, PanoptesAPIException  # noqa: E402

for _handler in [h for h in _root.handlers if h not in _handlers]:
    _root.removeHandler(_handler)
_root.setLevel(_level)

log = logging.getLogger(__name__)

T = TypeVar("T")

PAGE_SIZE = 100
"""The most a page holds; the server cuts more to it (docs/panoptes-api.md, section 1)."""

SILENCE_S = 5.0
"""A call that fails for longer is worth a warning: somebody may sit and wait."""

MOST_IDS_IN_PATH = 400
"""Ids in the path of a DELETE of links: proxies often stop at 8 kB, so the path stays under 4 kB."""


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds.

    Attributes:
        connect: for a connection.
        read: for the next byte of a reply; the server ends its own work after 65 s.
        blob: for the next byte when an image is put.
    """

    connect: float = 15.0
    read: float = 90.0
    blob: float = 120.0


@dataclass(frozen=True)
class Backoff:
    """How long to wait between tries: exponential, with full jitter.

    Attributes:
        first: upper bound of the first wait, in seconds; doubles with each try.
        most: upper bound of any wait.
        give_up: seconds of one call failing after which it is given up.
    """

    first: float = 1.0
    most: float = 60.0
    give_up: float = 1800.0

    def wait(self, attempt: int, asked: Optional[float] = None) -> float:
        """Return how long to wait after the failure number `attempt` (from 0)."""
        jittered = random.uniform(0.0, min(self.most, self.first * 2.0 ** min(attempt, 30)))
        return max(jittered, asked or 0.0)


class Patience:
    """Something that can tell a waiting thread to stop waiting; see `upload.StopSignal`."""

    def wait(self, seconds: float) -> bool:
        """Wait; return True where waiting is over for good."""
        time.sleep(seconds)
        return False


@dataclass(frozen=True)
class Account:
    """What `/me` says of the account that is logged in."""

    id: int
    login: str
    subject_limit: Optional[int]
    uploaded_subjects_count: int
    banned: bool

    @property
    def allowance(self) -> Optional[int]:
        """How many more subjects it may upload (the count is up to an hour old); None: no limit known."""
        if self.subject_limit is None:
            return None
        return max(0, self.subject_limit - self.uploaded_subjects_count)


@dataclass(frozen=True)
class Created:
    """A subject just made: its id, its ETag, and where to put its images, in their order."""

    id: int
    etag: str
    urls: list[str] = field(default_factory=list)


@dataclass
class Counts:
    """Requests sent, by kind."""

    api: int = 0
    images: int = 0
    retries: int = 0


class _Session(requests.Session):
    """A session whose every request has a timeout, the client's own included."""

    def __init__(self, timeouts: Timeouts, connections: int) -> None:
        super().__init__()
        self._timeout = (timeouts.connect, timeouts.read)
        # No retries down here: a POST must never be sent twice by a layer that does not know what it is.
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections + 4, max_retries=0)
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        # With an auth of its own, requests looks into no ~/.netrc: an entry there would replace the token.
        self.auth = _as_it_is
        self._environment: dict[tuple[str, str], Any] = {}

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        # Proxies and certificates by the environment, looked up once per host and not at every request.
        parts = urlsplit(str(url))
        key = (parts.scheme, parts.netloc)
        if key not in self._environment:
            self._environment[key] = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return self._environment[key]

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("timeout", self._timeout)
        return super().request(method, url, *args, **kwargs)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class Zooniverse(Panoptes):  # type: ignore[misc]
    """A connection to one Zooniverse with one account; its methods may be called from many threads.

    Args:
        endpoint: such as `https://www.zooniverse.org`.
        credentials: the account.
        timeouts, backoff: how long to wait, and to keep trying.
        connections: how many are kept alive.
        patience: told when waiting is over (a run that is to stop).

    Every method raises LoginError where the account is refused, UnavailableError after `backoff.give_up`
    seconds of failing, RequestRefusedError for a definite refusal, and what it names itself.
    """

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials,
        *,
        timeouts: Timeouts = Timeouts(),
        backoff: Backoff = Backoff(),
        connections: int = 8,
        patience: Optional[Patience] = None,
    ) -> None:
        self._timeouts = timeouts
        self.backoff = backoff
        self.patience = patience or Patience()
        self.counts = Counts()
        self._lock = threading.RLock()
        self._used = threading.local()  # .token: the one that this thread's last request carried
        self.refresh_token: Optional[str] = None
        self._ready = False
        self.bearer_token: Optional[str] = None
        super().__init__(endpoint=endpoint.rstrip("/"), username="", password="")
        self.session = _Session(timeouts, connections)
        self._images = _Session(Timeouts(timeouts.connect, timeouts.blob), connections)
        self.username = credentials.username
        self.password = credentials.password
        self._ready = True

    # -- log-in and tokens -------------------------------------------------------------------------------

    def login(self, username: Optional[str] = None, password: Optional[str] = None) -> Any:
        """Log in as the official client does, where that was not done yet.

        Raises:
            LoginError: user name or password refused.
            UnavailableError: no usable answer.
        """
        if not self._ready:
            return None  # the base class logs in while it is built, before its timeouts are in place
        with self._lock:
            try:
                with _no_answer(f"log-in at {self.endpoint}"):
                    return super().login(username, password)
            except PanoptesAPIException as error:
                raise LoginError(f"log-in as {self.username!r} at {self.endpoint} refused: {error}") from None
            except (KeyError, ValueError, IndexError, TypeError):
                # No x-csrf-token, or a page of a proxy where JSON was expected.
                raise UnavailableError(f"log-in at {self.endpoint}: no usable answer", maybe_done=False) from None

    def get_bearer_token(self) -> Optional[str]:
        """Return a token that is good for two more minutes, renewed where needed.

        Raises:
            LoginError, UnavailableError: see `login`.
        """
        with self._lock:
            if self.valid_bearer_token():
                return self.bearer_token
            try:
                return self._renewed()
            except UnavailableError as error:
                error.maybe_done = False  # of the request that the token was for: it was not sent yet
                self._forget_token()
                raise

    def _renewed(self) -> Optional[str]:
        for refresh in (True, False):
            if not refresh:
                self._forget_token()  # a refresh token that is refused: log in anew
            try:
                with _no_answer(f"token of {self.endpoint}"):
                    super().get_bearer_token()
                return self.bearer_token
            except (KeyError, ValueError, TypeError, PanoptesAPIException):
                if not refresh:
                    raise UnavailableError(
                        f"log-in at {self.endpoint}: no token in the answer", maybe_done=False
                    ) from None
        return None

    def _forget_token(self, token: Optional[str] = None) -> None:
        """Log in anew before the next request, unless another thread has done so since `token`."""
        with self._lock:
            if token is None or token == self.bearer_token:
                self.bearer_token = None
                self.refresh_token = None
                self.logged_in = False
                self.session.cookies.clear()

    # -- requests ----------------------------------------------------------------------------------------

    def http_request(
        self,
        method: str,
        path: str,
        params: Optional[Mapping[str, Any]] = None,
        headers: Optional[Mapping[str, str]] = None,
        json: Any = None,
        etag: Optional[str] = None,
        endpoint: Optional[str] = None,
        retry: bool = False,
    ) -> requests.Response:
        """Send one request, as the base class does; with `retry` (or GET) keep trying while no answer comes.

        Raises:
            ZooniverseError: see the class.
        """

        def once() -> requests.Response:
            return self._send(method.upper(), path, params, headers, json, etag, endpoint)

        return self._keep_trying(once) if retry or method.upper() == "GET" else once()

    def json_request(
        self,
        method: str,
        path: str,
        params: Optional[Mapping[str, Any]] = None,
        headers: Optional[Mapping[str, str]] = None,
        json: Any = None,
        etag: Optional[str] = None,
        endpoint: Optional[str] = None,
        retry: bool = False,
    ) -> tuple[Any, Optional[str]]:
        """Send one request; return the reply's JSON (None where it has no body) and its ETag."""

        def once() -> tuple[Any, Optional[str]]:
            response = self._send(method.upper(), path, params, headers, json, etag, endpoint)
            return _json_of(response), response.headers.get("ETag")

        return self._keep_trying(once) if retry or method.upper() == "GET" else once()

    def _send(
        self,
        method: str,
        path: str,
        params: Optional[Mapping[str, Any]],
        headers: Optional[Mapping[str, str]],
        json: Any,
        etag: Optional[str],
        endpoint: Optional[str],
    ) -> requests.Response:
        """Send a request once; again only where the server surely did nothing (a dead token)."""
        for last in (False, False, True):
            token = self._used.token = self.get_bearer_token()
            sent = {**self._http_headers["default"], **self._http_headers.get(method, {}), **(headers or {})}
            sent["Authorization"] = f"Bearer {token}"
            if etag:
                sent["If-Match"] = etag
            url = f"{endpoint}/{path}" if endpoint else f"{self.endpoint}/api{path}"
            what = f"{method} {path}"
            self.counts.api += 1
            with _no_answer(what):
                response = self.session.request(method, url, params=params, headers=sent, json=json)
            if response.status_code < 400:
                return response
            if response.status_code == 401 and not last:
                self._forget_token(token)
                continue
            # To the server an unknown token is nobody: it answers 404 for what is there.
            if response.status_code == 404 and not last and not self.token_is_alive(token):
                self._forget_token(token)
                continue
            raise _refusal(response, what)
        raise AssertionError("not reached")

    def _keep_trying(self, once: Callable[[], T]) -> T:
        """Repeat a call that may be repeated until it answers, or `backoff.give_up` seconds have gone."""
        began, attempt = time.monotonic(), 0
        while True:
            try:
                return once()
            except UnavailableError as error:
                wait = self.backoff.wait(attempt, error.retry_after)
                if time.monotonic() + wait - began > self.backoff.give_up:
                    raise
                level = logging.WARNING if time.monotonic() - began > SILENCE_S else logging.INFO
                log.log(level, "%s; trying again in %.1f s", error, wait)
                self.counts.retries += 1
                attempt += 1
                if self.patience.wait(wait):
                    raise

    def token_is_alive(self, token: Optional[str]) -> bool:
        """Ask `/me` whether the server still knows this very token.

        Raises:
            UnavailableError: no usable answer.
        """
        if token is None:
            return False
        with _no_answer("GET /me"):
            self.counts.api += 1
            response = self.session.get(
                f"{self.endpoint}/api/me",
                headers={**self._http_headers["default"], "Authorization": f"Bearer {token}"},
            )
        if response.status_code == 200 and isinstance(_json_of(response), dict):
            return True
        if response.status_code == 401:
            return False
        raise _refusal(response, "GET /me")

    # -- the account and the project ---------------------------------------------------------------------

    def me(self) -> Account:
        """Return the account."""
        reply, _ = self.get("/me")
        user = _only(reply, "users", "GET /me")
        limit = user.get("subject_limit")
        return Account(
            id=int(user["id"]),
            login=str(user.get("login", "")),
            subject_limit=None if limit is None else int(limit),
            uploaded_subjects_count=int(user.get("uploaded_subjects_count") or 0),
            banned=bool(user.get("banned")),
        )

    def project(self, project_id: int) -> dict[str, Any]:
        """Return a project.

        Raises:
            NotFoundError: there is none, or it is not this account's to see.
        """
        try:
            reply, _ = self.get(f"/projects/{project_id}")
        except NotFoundError as error:
            raise NotFoundError(
                f"no project {project_id} on {self.endpoint} that {self.username!r} may see", error.status
            ) from None
        return _only(reply, "projects", f"GET /projects/{project_id}")

    def project_roles(self, project_id: int) -> list[dict[str, Any]]:
        """Return who has which roles in a project, the owner included."""
        return list(self._listed("project_roles", {"project_id": project_id}))

    def server_date(self) -> Optional[str]:
        """Return the `Date` that the server put on a reply just now."""
        found: Optional[str] = self.http_request("GET", "/me").headers.get("Date")
        return found

    # -- subject sets ------------------------------------------------------------------------------------

    def find_sets(self, project_id: int, name: str) -> list[dict[str, Any]]:
        """Return a project's subject sets of exactly this name, the lowest id first.

        A race on the server can make two; the lowest id is the one (docs/panoptes-api.md, section 3).
        """
        found = [
            row
            for row in self._listed("subject_sets", {"project_id": project_id, "display_name": name})
            if row["display_name"] == name
        ]
        return sorted(found, key=lambda row: int(row["id"]))

    def sets(self, project_id: int) -> list[dict[str, Any]]:
        """Return all subject sets of a project."""
        return list(self._listed("subject_sets", {"project_id": project_id}))

    def subject_set(self, set_id: int) -> dict[str, Any]:
        """Return a subject set.

        Raises:
            NotFoundError: there is none, or it is not this account's to see.
        """
        reply, _ = self.get(f"/subject_sets/{set_id}")
        return _only(reply, "subject_sets", f"GET /subject_sets/{set_id}")

    def count_in_set(self, set_id: int) -> int:
        """Return how many active subjects a subject set has, exact at once.

        The set's own `set_member_subjects_count` is minutes late and counts deactivated ones too
        (docs/panoptes-api.md, section 3).
        """
        return self._keep_trying(lambda: self._count("subjects", {"subject_set_id": set_id}))

    def create_set(self, project_id: int, name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Make a subject set, once; see `ensure_set`."""
        body = {"display_name": name, "metadata": dict(metadata), "links": {"project": str(project_id)}}
        reply, _ = self.post("/subject_sets", json={"subject_sets": body})
        return _only(reply, "subject_sets", "POST /subject_sets")

    def ensure_set(self, project_id: int, name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the project's subject set of this name, made where there is none.

        Looks first and looks again after any doubtful answer. Only one worker at a time may call it for a
        name: the server's own check of names has a gap.
        """

        def once() -> dict[str, Any]:
            found = self.find_sets(project_id, name)
            if found:
                return found[0]
            try:
                return self.create_set(project_id, name, metadata)
            except RequestRefusedError:
                found = self.find_sets(project_id, name)
                if found:
                    return found[0]
                raise

        return self._keep_trying(once)

    def link_subjects(self, set_id: int, subject_ids: Sequence[int]) -> None:
        """Put subjects into a subject set; those that are in it already are fine.

        A 409 (another links call on this set at the same time) or a lost reply is repeated: both are harmless.

        Raises:
            NotFoundError: the set is not there.
            RequestRefusedError: one of the subjects is not there; none was linked.
        """
        body = {"subjects": [str(key) for key in dict.fromkeys(subject_ids)]}
        path = f"/subject_sets/{set_id}/links/subjects"

        def once() -> None:
            _only(self._unless_conflict("POST", path, body), "subject_sets", f"POST {path}")

        self._keep_trying(once)

    def unlink_subjects(self, set_id: int, subject_ids: Sequence[int]) -> None:
        """Take subjects out of a subject set; those that are not in it are fine.

        Raises:
            NotFoundError: the set is not there.
        """
        for start in range(0, len(subject_ids), MOST_IDS_IN_PATH):
            ids = ",".join(str(key) for key in subject_ids[start : start + MOST_IDS_IN_PATH])
            path = f"/subject_sets/{set_id}/links/subjects/{ids}"
            self._keep_trying(functools.partial(self._unless_conflict, "DELETE", path))

    def _unless_conflict(self, method: str, path: str, json: Any = None) -> Any:
        """Send a links call; a 409 did nothing and may be repeated."""
        try:
            return self.json_request(method, path, json=json)[0]
        except RequestRefusedError as error:
            if error.status == 409:
                raise UnavailableError(str(error), 409, error.request_id, maybe_done=False) from None
            raise

    # -- subjects ----------------------------------------------------------------------------------------

    def newest_subject_id(self, project_id: int, uploader_id: int) -> int:
        """Return the highest subject id of an uploader in a project; 0 where there is none."""
        for row in self.newest_subjects(project_id, uploader_id):
            return int(row["id"])
        return 0

    def newest_subjects(
        self, project_id: int, uploader_id: Optional[int] = None, *, down_to: int = 0, page_size: int = 1
    ) -> Iterator[dict[str, Any]]:
        """Yield an uploader's (or everybody's) subjects in a project, newest first, above the id `down_to`.

        What it does not yield may still be there if subjects were deleted meanwhile; see `subjects_above`.
        """
        filters: dict[str, Any] = {"project_id": project_id, "sort": "-id"}
        if uploader_id is not None:
            filters["upload_user_id"] = uploader_id
        for row in self._listed("subjects", filters, page_size):
            if int(row["id"]) <= down_to:
                return
            yield row

    def subjects_above(self, project_id: int, uploader_id: int, floor: int) -> list[dict[str, Any]]:
        """Return all of an uploader's subjects in a project with an id above `floor`, newest first.

        A subject that is deleted while the pages are read moves those after it one place up, so that one can
        slip past between two pages. Therefore more than one page is read twice, and what either reading saw
        counts.
        """
        seen: dict[int, dict[str, Any]] = {}
        for _ in range(2):
            rows = list(self.newest_subjects(project_id, uploader_id, down_to=floor, page_size=PAGE_SIZE))
            seen.update((int(row["id"]), row) for row in rows)
            if len(rows) < PAGE_SIZE:
                break
        return [seen[key] for key in sorted(seen, reverse=True)]

    def subjects_in_set(self, set_id: int) -> Iterator[dict[str, Any]]:
        """Yield the subjects of a subject set, by id."""
        return self._listed("subjects", {"subject_set_id": set_id, "sort": "id"})

    def subjects_by_id(self, subject_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return those of these subjects that are active, by id."""
        found: dict[int, dict[str, Any]] = {}
        for start in range(0, len(subject_ids), PAGE_SIZE):
            ids = subject_ids[start : start + PAGE_SIZE]
            # A 404 means that none of them is there; the token was checked before it is believed.
            with contextlib.suppress(NotFoundError):
                for row in self._listed("subjects", {"id": ",".join(map(str, ids))}):
                    found[int(row["id"])] = row
        return found

    def create_subject(
        self, project_id: int, mimes: Sequence[str], metadata: Mapping[str, Any], external_id: str
    ) -> Created:
        """Make a subject in no set, with one POST that is never repeated.

        Raises:
            UnavailableError: its `maybe_done` says whether the subject may have been made all the same.
            AllowanceError: the account's subject limit is reached.
            RequestRefusedError: refused for good; no subject was made.
        """
        body = {
            "locations": list(mimes),
            "metadata": dict(metadata),
            "external_id": external_id,
            "links": {"project": str(project_id)},
        }
        reply, etag = self.post("/subjects", json={"subjects": body})
        row = _only(reply, "subjects", "POST /subjects")
        return Created(int(row["id"]), etag or "", _urls(row))

    def subject(self, subject_id: int) -> tuple[dict[str, Any], str]:
        """Return a subject and its ETag.

        Raises:
            NotFoundError: it is deleted, was never there, or is not this account's to see.
        """
        reply, etag = self.get(f"/subjects/{subject_id}")
        return _only(reply, "subjects", f"GET /subjects/{subject_id}"), etag or ""

    def fresh_urls(self, subject_id: int, etag: str, mimes: Sequence[str] = ()) -> list[str]:
        """Return new URLs to put a subject's images to (docs/panoptes-api.md, section 4).

        Args:
            subject_id, etag: from `subject`.
            mimes: empty keeps the images the subject has; otherwise new images take their place.
        """
        body = {"subjects": {"locations": list(mimes)}}
        reply, _ = self.put(f"/subjects/{subject_id}", json=body, etag=etag, retry=True)
        return _urls(_only(reply, "subjects", f"PUT /subjects/{subject_id}"))

    def update_metadata(self, subject_id: int, changes: Mapping[str, Any], drop: Sequence[str] = ()) -> None:
        """Change keys of a subject's metadata and keep the others; repeated when somebody else was faster.

        Raises:
            NotFoundError: the subject is not there.
        """

        def once() -> None:
            subject, etag = self.subject(subject_id)
            merged = {key: value for key, value in subject["metadata"].items() if key not in drop}
            merged.update(changes)
            path = f"/subjects/{subject_id}"
            try:
                reply, _ = self.put(path, json={"subjects": {"metadata": merged}}, etag=etag)
            except RequestRefusedError as error:
                if error.status == 412:
                    raise UnavailableError(str(error), 412, error.request_id) from None
                raise
            _only(reply, "subjects", f"PUT {path}")

        self._keep_trying(once)

    def delete_subject(self, subject_id: int) -> bool:
        """Delete a subject, for good; return False where it was gone already."""

        def once() -> bool:
            try:
                _, etag = self.subject(subject_id)
                self.delete(f"/subjects/{subject_id}", etag=etag)
            except NotFoundError:
                return False
            except RequestRefusedError as error:
                if error.status == 412:
                    raise UnavailableError(str(error), 412, error.request_id) from None
                raise
            return True

        return self._keep_trying(once)

    def workflows(self, project_id: int) -> list[dict[str, Any]]:
        """Return a project's workflows."""
        return list(self._listed("workflows", {"project_id": project_id}))

    def workflow(self, workflow_id: int) -> dict[str, Any]:
        """Return a workflow.

        Raises:
            NotFoundError: there is none, or it is not this account's to see.
        """
        reply, _ = self.get(f"/workflows/{workflow_id}")
        return _only(reply, "workflows", f"GET /workflows/{workflow_id}")

    def link_set(self, workflow_id: int, set_id: int) -> None:
        """Put a subject set into a workflow; one that is in it already is fine.

        Raises:
            NotFoundError: the workflow is not there.
            RequestRefusedError: the set is not there.
        """
        path = f"/workflows/{workflow_id}/links/subject_sets"
        # Always a list: a bare string replaces all the workflow's sets (docs/panoptes-api.md, section 5).
        body = {"subject_sets": [str(set_id)]}

        def once() -> None:
            try:
                reply, _ = self.post(path, json=body)
            except RequestRefusedError as error:
                if error.status == 400 and "already been taken" in str(error):
                    return
                raise
            _only(reply, "workflows", f"POST {path}")

        self._keep_trying(once)

    def unlink_set(self, workflow_id: int, set_id: int) -> None:
        """Take a subject set out of a workflow.

        Raises:
            NotFoundError: the set is not in the workflow, or there is no such workflow.
        """
        self.json_request("DELETE", f"/workflows/{workflow_id}/links/subject_sets/{set_id}", retry=True)

    def statuses(self, workflow_id: int, subject_ids: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yield what a workflow knows of these subjects; one that nobody classified has no row."""
        for start in range(0, len(subject_ids), PAGE_SIZE):
            ids = ",".join(map(str, subject_ids[start : start + PAGE_SIZE]))
            # Its count is always 0 and next_page always there: only an empty page is the end.
            filters = {"workflow_id": workflow_id, "subject_id": ids}
            yield from self._listed("subject_workflow_statuses", filters)

    def classified(self, project_id: int, subject_ids: Sequence[int]) -> set[int]:
        """Return those of these subjects that volunteers have classified, or that are retired, in any workflow."""
        found = set()
        if subject_ids:
            for workflow in self.workflows(project_id):
                for row in self.statuses(int(workflow["id"]), subject_ids):
                    if row.get("classifications_count") or row.get("retired_at"):
                        found.add(int(row["links"]["subject"]))
        return found

    # -- images ------------------------------------------------------------------------------------------

    def put_image(self, url: str, data: bytes, mime: str, md5: str) -> None:
        """Put an image to the store, which vouches for it: it compares the MD5 and returns its own.

        Args:
            url: signed, from `create_subject` or `fresh_urls`.
            data: the image.
            mime: such as `image/jpeg`.
            md5: of `data`, as hex digits.

        Raises:
            RequestRefusedError: status 403: the URL has expired.
        """
        digest = base64.b64encode(bytes.fromhex(md5)).decode("ascii")
        headers = {"Content-Type": mime, "Content-MD5": digest, "x-ms-blob-type": "BlockBlob"}

        def once() -> None:
            self.counts.images += 1
            with _no_answer("PUT of an image"):
                response = self._images.put(url, data=data, headers=headers)
            if response.status_code >= 400:
                refusal = _refusal(response, "PUT of an image")
                if response.status_code == 400:  # damaged on its way: the store compared the MD5
                    raise UnavailableError(str(refusal), 400, maybe_done=False)
                raise refusal
            stored = response.headers.get("Content-MD5")
            if stored and stored != digest:
                raise UnavailableError(f"PUT of an image: stored as {stored}, sent as {digest}")

        self._keep_trying(once)

    def image_md5(self, url: str) -> Optional[str]:
        """Return the MD5 of a stored image as hex digits; None where it never arrived or is empty.

        An empty text means that the store has the image but does not tell its MD5.
        """

        def once() -> Optional[str]:
            self.counts.images += 1
            with _no_answer("HEAD of an image"):
                response = self._images.head(url.partition("?")[0], allow_redirects=True)
            if response.status_code == 404 or response.headers.get("Content-Length") == "0":
                return None
            if response.status_code >= 400:
                raise _refusal(response, "HEAD of an image")
            told = response.headers.get("Content-MD5")
            return base64.b64decode(told).hex() if told else ""

        return self._keep_trying(once)

    # -- lists -------------------------------------------------------------------------------------------

    def _listed(
        self, kind: str, filters: Mapping[str, Any], page_size: int = PAGE_SIZE
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of a list, page by page.

        A list asked for with a token that the server no longer knows is empty and looks like a true one: each
        page is believed only if `/me` knows its token, unless it shows rows (nobody is shown them).
        """
        page = 1
        while True:
            params = {**filters, "page": page, "page_size": page_size}
            rows, last = self._keep_trying(lambda p=params: self._page(kind, p))  # type: ignore[misc]
            yield from rows
            if last:
                return
            page += 1

    def _page(self, kind: str, params: Mapping[str, Any]) -> tuple[list[dict[str, Any]], bool]:
        for _ in range(3):
            reply, _etag = self.json_request("GET", f"/{kind}", params=params)
            token = self._used.token
            if not isinstance(reply, dict) or kind not in reply:
                raise UnavailableError(f"GET /{kind}: no usable answer")
            rows = list(reply[kind])
            if rows or self.token_is_alive(token):
                meta = reply.get("meta", {}).get(kind, {})
                return rows, not rows or meta.get("next_page") is None
            self._forget_token(token)
        raise UnavailableError(f"GET /{kind}: the token dies again and again")

    def _count(self, kind: str, filters: Mapping[str, Any]) -> int:
        """Return how many rows a list has; 0 is believed only of a token that `/me` knows, as in `_page`."""
        for _ in range(3):
            reply, _etag = self.json_request("GET", f"/{kind}", params={**filters, "page_size": 1})
            token = self._used.token
            if not isinstance(reply, dict) or "count" not in reply.get("meta", {}).get(kind, {}):
                raise UnavailableError(f"GET /{kind}: no usable answer")
            count = int(reply["meta"][kind]["count"])
            if count or self.token_is_alive(token):
                return count
            self._forget_token(token)
        raise UnavailableError(f"GET /{kind}: the token dies again and again")


@contextlib.contextmanager
def _no_answer(what: str) -> Iterator[None]:
    """Turn the ways in which no answer comes into one error, which knows whether the request was sent."""
    try:
        yield
    except (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError) as error:
        raise UnavailableError(f"{what}: no connection ({_plain(error)})", maybe_done=False) from error
    except requests.exceptions.SSLError as error:
        raise UnavailableError(f"{what}: no secure connection ({_plain(error)})", maybe_done=False) from error
    except requests.exceptions.ConnectionError as error:
        # Only a connection that was never made is sure not to have carried the request.
        never_sent = "NewConnectionError" in repr(error) or "NameResolutionError" in repr(error)
        message = "no connection" if never_sent else "the connection broke"
        raise UnavailableError(f"{what}: {message} ({_plain(error)})", maybe_done=not never_sent) from error
    except requests.exceptions.Timeout as error:
        raise UnavailableError(f"{what}: no answer in time") from error
    except (requests.exceptions.ContentDecodingError, requests.exceptions.ChunkedEncodingError) as error:
        raise UnavailableError(f"{what}: the answer broke off ({_plain(error)})") from error
    except requests.exceptions.RequestException as error:
        raise UnavailableError(f"{what}: {_plain(error)}") from error


def _plain(error: BaseException) -> str:
    """Return the innermost reason, which is what a person can use."""
    reason: Any = error
    while True:
        inner = getattr(reason, "reason", None) or next((a for a in reason.args if isinstance(a, Exception)), None)
        if not isinstance(inner, Exception):
            break
        reason = inner
    return str(reason).rpartition(": ")[2] or type(reason).__name__


def _json_of(response: requests.Response) -> Any:
    """Return a good reply's JSON, or None where it has no body.

    Raises:
        UnavailableError: the body is no JSON (cut off, or a proxy's page).
    """
    if response.status_code == 204 or not response.content:
        return None
    try:
        return response.json()
    except ValueError:
        raise UnavailableError(
            f"{response.request.method} {response.request.path_url.partition('?')[0]}: cut off, or no JSON",
            response.status_code,
            response.headers.get("X-Request-Id"),
        ) from None


def _only(reply: Any, kind: str, what: str) -> dict[str, Any]:
    """Return the one resource of a reply.

    A banned account gets a good status with an empty body, and nothing is done (docs/panoptes-api.md, section 1).
    """
    rows = reply.get(kind) if isinstance(reply, dict) else None
    if not rows or not isinstance(rows[0], dict) or "id" not in rows[0]:
        raise UnavailableError(f"{what}: an empty answer (an account that is banned gets such)")
    return dict(rows[0])


def _urls(row: Mapping[str, Any]) -> list[str]:
    return [str(url) for location in row["locations"] for url in location.values()]


def _message(response: requests.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    errors: Iterable[Any] = body.get("errors") or [{"message": body.get("error", "")}]
    return "; ".join(str(e.get("message", "")) for e in errors if isinstance(e, dict)).replace("\n", " ")


def _retry_after(response: requests.Response) -> Optional[float]:
    value = response.headers.get("Retry-After", "")
    if value.isdigit():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return None
    return max(0.0, when.timestamp() - time.time())


def _refusal(response: requests.Response, what: str) -> ZooniverseError:
    """Return the error that a reply with status 400 or more stands for."""
    status, request_id = response.status_code, response.headers.get("X-Request-Id")
    message = _message(response)
    text = (
        f"{what}: {status}"
        + (f" {message}" if message else "")
        + (f" [request {request_id}]" if request_id else "")
    )
    if status in (429, 503):
        # 429 was turned away; a 503 may come from a proxy after the server did the work.
        return UnavailableError(
            text, status, request_id, maybe_done=status != 429, retry_after=_retry_after(response)
        )
    if status >= 500 or status == 408:
        return UnavailableError(text, status, request_id, retry_after=_retry_after(response))
    if status == 401:
        return LoginError(text, status, request_id)
    if status == 403 and "has uploaded" in message:
        return AllowanceError(message, status, request_id)
    if status == 404:
        return NotFoundError(text, status, request_id)
    return RequestRefusedError(text, status, request_id)
