"""All that talks to Panoptes, the Zooniverse API.

`Zooniverse` is `panoptes_client.Panoptes` (headers, routes, the requests of a log-in) with what an uploader needs
and the official client lacks (docs/panoptes-api.md, section 6): a timeout on every request, kept-alive connections
that all threads share, errors with a status, Retry-After, exponential backoff with jitter, image PUTs whose
results are read, no redirect to anywhere else, and never a second POST of a subject.
"""

import base64
import binascii
import contextlib
import email.utils
import functools
import hashlib
import html
import logging
import os
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from ctstate.errors import (
    AllowanceError,
    LoginError,
    NotFoundError,
    RequestRefusedError,
    UnavailableError,
    WrongAddressError,
    ZooniverseError,
)
from ctstate.machine import machine
from ctstate.zooniverse.credentials import Credentials

# The client configures the root logger when it is imported; a library must not do that to its user.
_root = logging.getLogger()
_handlers, _level = list(_root.handlers), _root.level
from panoptes_client.panoptes import Panoptes  # noqa: E402

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

MOST_REDIRECTS = 5
"""How often a GET is sent on, within the same origin, before it is no use."""

MOST_ASKED_S = 300.0
"""The longest wait that a server's Retry-After is granted: a run is not put to sleep by a mistaken proxy."""

MOST_IMAGE_BYTES = 64 * 1024 * 1024
"""An image is read back up to here; Zooniverse asks for less than 1 MB."""

TOKEN_LIFE_S = 7200.0
"""How long a token lives where the answer does not say (docs/panoptes-api.md, section 1)."""

TOKEN_MARGIN_S = 120.0
"""A token is renewed so long before its end: a request must not outlive it on its way."""

MOST_WORDS = 300
"""How many characters of the server's own words are worth a person's time."""


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

    def wait(self, attempt: int, asked: float | None = None) -> float:
        """Return how long to wait after the failure number `attempt` (from 0)."""
        jittered = random.uniform(0.0, min(self.most, self.first * 2.0 ** min(attempt, 30)))
        return max(jittered, asked or 0.0)


class Patience:
    """Something that can tell a waiting thread to stop waiting; see `upload.StopSignal`."""

    def wait(self, seconds: float) -> bool:
        """Wait; return True where waiting is over for good."""
        machine().sleep(seconds)
        return False


@dataclass(frozen=True)
class Account:
    """What `/me` says of the account that is logged in."""

    id: int
    login: str
    subject_limit: int | None
    uploaded_subjects_count: int
    banned: bool

    @property
    def allowance(self) -> int | None:
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
    """A session whose every request has a timeout, and that never takes a request to another place."""

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
            found: Any = super().merge_environment_settings(url, proxies, stream, verify, cert)
            bundle = found["verify"]
            if isinstance(bundle, str) and not os.path.exists(bundle):
                raise WrongAddressError(
                    f"no certificates at {bundle}, which REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names"
                )
            self._environment[key] = found
        return {**self._environment[key], "stream": bool(stream)}

    def get_redirect_target(self, resp: Any) -> None:
        # requests would follow a POST as a GET, hand the password of a log-in to whom it is sent on to, and fail
        # on a malformed Location after the work was done.
        return None

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request; only a GET or HEAD is sent on, and only within its origin.

        Raises:
            WrongAddressError: it is sent on to elsewhere, or again and again.
        """
        kwargs.setdefault("timeout", self._timeout)
        _check_address(str(url))
        response = super().request(method, url, *args, **kwargs)
        if str(method).upper() not in ("GET", "HEAD"):
            return response
        asked, times = response.url, 0
        while (target := _sent_on_to(response)) is not None:
            times += 1
            if times > MOST_REDIRECTS:
                raise WrongAddressError(
                    f"{_shown(asked)} is sent on more than {MOST_REDIRECTS} times, at last to {_shown(target)}"
                )
            if _origin(target) != _origin(asked):
                raise WrongAddressError(
                    f"{_shown(asked)} is sent on to {_shown(target)}, which is another address: "
                    "is the endpoint right, and no portal or filter in between?"
                )
            response.close()
            response = super().request(method, target, *args, **{**kwargs, "params": None})
        return response


def _check_address(url: str) -> None:
    """Refuse what is no address before requests and urllib3 do so in half a dozen ways of their own."""
    try:
        urlsplit(url).port  # noqa: B018 - a port out of range is found here only
    except ValueError as error:
        raise requests.exceptions.InvalidURL(f"{_shown(url)}: {error}") from None


def _sent_on_to(response: requests.Response) -> str | None:
    """Return the address a reply sends on to, if it does."""
    location = response.headers.get("Location")
    if response.status_code not in (301, 302, 303, 307, 308) or not location:
        return None
    with contextlib.suppress(UnicodeError):  # headers are read as Latin-1, but addresses are sent as UTF-8
        location = location.encode("latin-1").decode("utf-8")
    try:
        target = urljoin(response.url, location)
        _origin(target)
    except ValueError:
        raise WrongAddressError(
            f"{_shown(response.url)} is sent on to {_one_line(location)!r}, no address"
        ) from None
    return target


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _shown(url: str) -> str:
    """Return an address without what is secret in it: a password, a signature."""
    return _one_line(re.sub(r"//[^/@]*@", "//", url.partition("?")[0]))


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

    Every method raises LoginError where the account is refused, WrongAddressError where something else than
    Zooniverse is at that address, UnavailableError after `backoff.give_up` seconds of failing, RequestRefusedError
    for a definite refusal, and what it names itself.
    """

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials,
        *,
        timeouts: Timeouts = Timeouts(),
        backoff: Backoff = Backoff(),
        connections: int = 8,
        patience: Patience | None = None,
    ) -> None:
        self._timeouts = timeouts
        self._connections = connections
        self.backoff = backoff
        self.patience = patience or Patience()
        self.counts = Counts()
        self._lock = machine().condition()  # held while one thread logs in for all
        self.refresh_token: str | None = None
        self._ready = False
        self.bearer_token: str | None = None
        self._token_good_until = 0.0
        super().__init__(endpoint=endpoint.rstrip("/"), username="", password="")
        self.session = self._new_session(timeouts)
        self._images = self._new_session(Timeouts(timeouts.connect, timeouts.blob))
        self.username = credentials.username
        self.password = credentials.password
        self._ready = True

    def _new_session(self, timeouts: Timeouts) -> requests.Session:
        """Return what requests go through: one for the API and one for the store; a simulator has its own."""
        return _Session(timeouts, self._connections)

    # -- log-in and tokens -------------------------------------------------------------------------------

    def login(self, username: str | None = None, password: str | None = None) -> Any:
        """Log in as the official client does, where that was not done yet.

        Raises:
            LoginError: user name or password refused.
            WrongAddressError: what answers is not Zooniverse.
            UnavailableError: no usable answer.
        """
        if not self._ready:
            return None  # the base class logs in while it is built, before its timeouts are in place
        with self._lock:
            self.username, self.password = username or self.username, password or self.password
            return None if self.logged_in else self._sign_in()

    def get_bearer_token(self) -> str | None:
        """Return a token that is good for two more minutes, renewed where needed.

        Raises:
            LoginError, WrongAddressError, UnavailableError: see `login`.
        """
        with self._lock:
            if not self.valid_bearer_token():
                try:
                    self._renew()
                except ZooniverseError:
                    self._drop_token()  # the next one begins with nothing
                    raise
            return self.bearer_token

    def valid_bearer_token(self) -> bool:
        """Tell whether there is a token that will not die on the way."""
        return self.bearer_token is not None and machine().monotonic() < self._token_good_until

    def get_csrf_token(self) -> str:
        """Begin a session with the server; return what a sign-in must bring along."""
        path = "/users/sign_in"
        response = self._ask_for_log_in("GET", path, headers=_LOGIN_HEADERS)
        token = response.headers.get("x-csrf-token")
        if not 200 <= response.status_code < 300 or not token:
            raise self._log_in_refused(response, path)
        return token

    def _sign_in(self) -> requests.Response:
        self.session.cookies.clear()
        user = {"login": self.username, "password": self.password, "remember_me": True}
        body = {"authenticity_token": self.get_csrf_token(), "user": user}
        path = "/users/sign_in"
        response = self._ask_for_log_in("POST", path, json=body, headers=_LOGIN_HEADERS)
        try:
            if response.status_code != 200:
                raise ValueError
            self.logged_in_user_id = int(response.json()["users"][0]["id"])
        except (KeyError, ValueError, IndexError, TypeError):
            raise self._log_in_refused(response, path) from None
        self.logged_in = True
        return response

    def _renew(self) -> None:
        """Get a new token: by the refresh token, by the session there is, or by a new log-in."""
        if self.bearer_token is not None and self.refresh_token:
            form = {"grant_type": "refresh_token", "refresh_token": self.refresh_token}
            if self._grant(form) is None:
                return
        elif self.logged_in and self._grant({"grant_type": "password"}) is None:
            return
        self._drop_token()
        self._sign_in()
        refusal = self._grant({"grant_type": "password"})
        if refusal is not None:
            raise refusal

    def _grant(self, form: dict[str, str]) -> LoginError | None:
        """Ask for a token; return the refusal where what it was to be granted for is no good any more.

        Raises:
            LoginError: refused for anything else.
        """
        path, asked = "/oauth/token", machine().monotonic()
        response = self._ask_for_log_in("POST", path, data={**form, "client_id": self.client_id})
        body = _json_object(response)
        token = body.get("access_token")
        if response.status_code != 200 or not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
            error = self._log_in_refused(response, path)
            if isinstance(error, LoginError) and body.get("error") == "invalid_grant":
                return error
            raise error
        life = body.get("expires_in")
        if isinstance(life, bool) or not isinstance(life, (int, float)) or not 0 < life < 1e9:
            life = TOKEN_LIFE_S
        margin = TOKEN_MARGIN_S if life >= 2 * TOKEN_MARGIN_S else life / 2
        self.bearer_token, self._token_good_until = token, asked + life - margin
        refresh = body.get("refresh_token")
        self.refresh_token = refresh if isinstance(refresh, str) else None
        return None

    def _ask_for_log_in(self, method: str, path: str, **more: Any) -> requests.Response:
        """Send a request of a log-in; return any answer but one that says to come again later."""
        what = f"log-in at {self.endpoint}"
        try:
            with _no_answer(what):
                response = self.session.request(method, f"{self.endpoint}{path}", **more)
        except UnavailableError as error:
            error.maybe_done = False  # of the request that the token was for: it was not sent yet
            raise
        if response.status_code >= 500 or response.status_code in (408, 429):
            refusal = _refusal(response, what)
            assert isinstance(refusal, UnavailableError)
            refusal.maybe_done = False
            raise refusal
        return response

    def _log_in_refused(self, response: requests.Response, path: str) -> ZooniverseError:
        """Return the error that an answer other than the one hoped for stands for.

        Zooniverse refuses in JSON; anything else is the page of a portal, a filter or another site.
        """
        status, request_id = response.status_code, response.headers.get("X-Request-Id")
        body = _json_object(response)
        words = _error_words(body) if "error" in body or "errors" in body else ""
        if status >= 400 and words and status != 407:
            text = f"log-in as {self.username!r} at {self.endpoint} refused: {words}"
            return LoginError(text + _reference(response), status, request_id)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if "json" in kind and not _is_json(response):
            text = f"log-in at {self.endpoint}: the answer to {path} is cut off"
            return UnavailableError(text, status, request_id, maybe_done=False)
        seen = " ".join(filter(None, (str(status), _one_line(kind), repr(_words(response)))))
        return WrongAddressError(
            f"log-in at {self.endpoint}: {path} answers {seen}{_elsewhere(response)}, which is not Zooniverse's: "
            "is the endpoint right, and no portal or filter in between?",
            status,
            request_id,
        )

    def _drop_token(self) -> None:
        self.bearer_token = None
        self.refresh_token = None
        self.logged_in = False
        self.session.cookies.clear()

    def _forget_token(self, token: str | None) -> None:
        """Log in anew before the next request, unless another thread has done so since `token`."""
        with self._lock:
            if token == self.bearer_token:
                self._drop_token()

    # -- requests ----------------------------------------------------------------------------------------

    def http_request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        etag: str | None = None,
        endpoint: str | None = None,
        retry: bool = False,
    ) -> requests.Response:
        """Send one request, as the base class does; with `retry` (or GET) keep trying while no answer comes.

        Raises:
            ZooniverseError: see the class.
        """

        def once() -> requests.Response:
            return self._send(method.upper(), path, params, headers, json, etag, endpoint)[0]

        return self._keep_trying(once) if retry or method.upper() == "GET" else once()

    def json_request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        etag: str | None = None,
        endpoint: str | None = None,
        retry: bool = False,
    ) -> tuple[Any, str | None]:
        """Send one request; return the reply's JSON (None where it has no body) and its ETag."""

        def once() -> tuple[Any, str | None]:
            response, _ = self._send(method.upper(), path, params, headers, json, etag, endpoint)
            return _json_of(response), response.headers.get("ETag")

        return self._keep_trying(once) if retry or method.upper() == "GET" else once()

    def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        json: Any,
        etag: str | None,
        endpoint: str | None,
        before: Callable[[], None] = lambda: None,
    ) -> tuple[requests.Response, str | None]:
        """Send a request once; again only where the server surely did nothing (a dead token).

        `before` is called last, each time: a log-in may have taken long. What it raises keeps the request from
        being sent.

        Returns:
            the reply, and the token that it is a reply to.
        """
        for last in (False, False, True):
            token = self.get_bearer_token()
            sent = {**self._http_headers["default"], **self._http_headers.get(method, {}), **(headers or {})}
            sent["Authorization"] = f"Bearer {token}"
            if etag:
                sent["If-Match"] = etag
            url = f"{endpoint}/{path}" if endpoint else f"{self.endpoint}/api{path}"
            what = f"{method} {path}"
            self.counts.api += 1
            before()
            with _no_answer(what):
                response = self.session.request(method, url, params=params, headers=sent, json=json)
            if 200 <= response.status_code < 300:
                return response, token
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
        began, attempt = machine().monotonic(), 0
        while True:
            try:
                return once()
            except UnavailableError as error:
                wait = self.backoff.wait(attempt, error.retry_after)
                if machine().monotonic() + wait - began > self.backoff.give_up:
                    raise
                level = logging.WARNING if machine().monotonic() - began > SILENCE_S else logging.INFO
                log.log(level, "%s; trying again in %.1f s", error, wait)
                self.counts.retries += 1
                attempt += 1
                if self.patience.wait(wait):
                    raise

    def token_is_alive(self, token: str | None) -> bool:
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

    def server_date(self) -> str | None:
        """Return the `Date` that the server put on a reply just now."""
        found: str | None = self.http_request("GET", "/me").headers.get("Date")
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
        return self.count_in_sets([set_id])

    def count_in_sets(self, set_ids: Sequence[int]) -> int:
        """Return how many active subjects these subject sets have, exact at once; see `count_in_set`.

        One request for up to a hundred sets; a subject in several of them counts once.
        """
        total = 0
        for start in range(0, len(set_ids), PAGE_SIZE):
            ids = ",".join(map(str, set_ids[start : start + PAGE_SIZE]))
            total += self._keep_trying(functools.partial(self._count, "subjects", {"subject_set_id": ids}))
        return total

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
            refused: RequestRefusedError | None = None
            made: dict[str, Any] | None = None
            try:
                made = self.create_set(project_id, name, metadata)
            except RequestRefusedError as error:
                refused = error
            # Somebody else may have made one at the same moment; the lowest id is the one.
            found = self.find_sets(project_id, name)
            if not found:
                raise refused or UnavailableError(f"subject set {name!r} was made, and is not there")
            if made is not None and made["id"] != found[0]["id"]:
                self._delete_empty_set(int(made["id"]))
            return found[0]

        return self._keep_trying(once)

    def _delete_empty_set(self, set_id: int) -> None:
        """Delete a set that was made a moment ago and is one too many; best effort, as it is empty."""
        path = f"/subject_sets/{set_id}"
        if self.count_in_set(set_id) == 0:
            with contextlib.suppress(NotFoundError, RequestRefusedError):
                _, etag = self.get(path)
                self.delete(path, etag=etag)

    def mark_set(self, set_id: int, key: str, value: str) -> dict[str, Any]:
        """Write one key into a subject set's metadata and keep the others; return the set as it then is.

        The server checks nothing, and the last writer wins: whoever marks at the same time may undo this, so look
        at what is returned (docs/panoptes-api.md, section 3).

        Raises:
            NotFoundError: the set is not there.
        """
        path = f"/subject_sets/{set_id}"

        def once() -> dict[str, Any]:
            merged = {**(self.subject_set(set_id).get("metadata") or {}), key: value}
            reply = self._unless_conflict("PUT", path, {"subject_sets": {"metadata": merged}})
            _only(reply, "subject_sets", f"PUT {path}")
            return self.subject_set(set_id)

        return self._keep_trying(once)

    def link_subjects(
        self, set_id: int, subject_ids: Sequence[int], before: Callable[[], None] = lambda: None
    ) -> None:
        """Put subjects into a subject set; those that are in it already are fine.

        A 409 (another links call on this set at the same time) or a lost reply is repeated: both are harmless.

        Raises:
            NotFoundError: the set is not there.
            RequestRefusedError: one of the subjects is not there; none was linked.
        """
        body = {"subjects": [str(key) for key in dict.fromkeys(subject_ids)]}
        path = f"/subject_sets/{set_id}/links/subjects"

        def once() -> None:
            _only(self._unless_conflict("POST", path, body, before), "subject_sets", f"POST {path}")

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

    def _unless_conflict(
        self, method: str, path: str, json: Any = None, before: Callable[[], None] = lambda: None
    ) -> Any:
        """Send what touches a subject set; a 409 did nothing and may be repeated."""
        try:
            return _json_of(self._send(method, path, None, None, json, None, None, before)[0])
        except RequestRefusedError as error:
            if error.status == 409:
                raise UnavailableError(str(error), 409, error.request_id, maybe_done=False) from None
            raise

    # -- subjects ----------------------------------------------------------------------------------------

    def newest_subjects(
        self, project_id: int, uploader_id: int | None = None, *, down_to: int = 0, page_size: int = 1
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
        self,
        project_id: int,
        mimes: Sequence[str],
        metadata: Mapping[str, Any],
        external_id: str,
        before: Callable[[], None] = lambda: None,
    ) -> Created:
        """Make a subject in no set, with one POST that is never repeated.

        Args:
            project_id, mimes, metadata, external_id: of the subject.
            before: called right before the POST is sent; what it raises keeps it from being sent.

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
        response, _ = self._send("POST", "/subjects", None, None, {"subjects": body}, None, None, before)
        etag = response.headers.get("ETag")
        row = _only(_json_of(response), "subjects", "POST /subjects")
        key, urls = _id_of(row), _urls(row)
        if key is None or len(urls) != len(mimes):
            raise UnavailableError(
                f"POST /subjects: no usable answer (subject {_one_line(str(row['id']))!r}, {len(urls)} places for "
                f"{len(mimes)} images)"
            )
        return Created(key, etag or "", urls)

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

    def put_image(self, url: str, data: bytes, mime: str, md5: str) -> bool:
        """Put an image to the store, which compares the MD5; return whether it vouched for it with its own.

        Where it did not (False), something that is not the store may have answered: ask for the image.

        Args:
            url: signed, from `create_subject` or `fresh_urls`.
            data: the image.
            mime: such as `image/jpeg`.
            md5: of `data`, as hex digits.

        Raises:
            RequestRefusedError: status 403: the URL has expired.
            WrongAddressError: it is no URL.
        """
        digest = base64.b64encode(bytes.fromhex(md5)).decode("ascii")
        headers = {"Content-Type": mime, "Content-MD5": digest, "x-ms-blob-type": "BlockBlob"}

        def once() -> bool:
            self.counts.images += 1
            with _no_answer("PUT of an image"):
                response = self._images.put(url, data=data, headers=headers)
            if not 200 <= response.status_code < 300:
                refusal = _refusal(response, "PUT of an image")
                if response.status_code == 400:  # damaged on its way: the store compared the MD5
                    raise UnavailableError(str(refusal), 400, maybe_done=False)
                raise refusal
            stored = response.headers.get("Content-MD5")
            if not stored:
                return False
            if stored.strip() != digest:
                raise UnavailableError(f"PUT of an image: stored as {_one_line(stored)}, sent as {digest}")
            return True

        return self._keep_trying(once)

    def image_md5(self, url: str) -> str | None:
        """Return the MD5 of a stored image as hex digits; None where it never arrived or is empty.

        The store tells it; one that does not is asked for the whole image.

        Raises:
            WrongAddressError: it is no URL, or leads elsewhere.
        """
        public = url.partition("?")[0]

        def once() -> str | None:
            self.counts.images += 1
            with _no_answer("HEAD of an image"):
                response = self._images.head(public)
            if response.status_code == 404:
                return None
            if not 200 <= response.status_code < 300:
                raise _refusal(response, "HEAD of an image")
            if response.headers.get("Content-Length") == "0":
                return None
            return _md5_told(response) or self._md5_of_body(public)

        return self._keep_trying(once)

    def _md5_of_body(self, url: str) -> str | None:
        """Read an image and return its MD5; None where it is not there or empty."""
        what = "GET of an image"
        until = machine().monotonic() + self._timeouts.blob
        digest, size = hashlib.md5(usedforsecurity=False), 0
        self.counts.images += 1
        with _no_answer(what):
            # As it is stored: what a server packs for the way has another MD5.
            response = self._images.get(url, stream=True, headers={"Accept-Encoding": "identity"})
            with contextlib.closing(response):
                if response.status_code == 404:
                    return None
                if not 200 <= response.status_code < 300:
                    raise _refusal(response, what)
                for part in response.iter_content(8192):
                    digest.update(part)
                    size += len(part)
                    if size > MOST_IMAGE_BYTES:
                        raise ZooniverseError(f"{what}: more than {MOST_IMAGE_BYTES >> 20} MiB at {_shown(url)}")
                    if machine().monotonic() > until:
                        raise UnavailableError(f"{what}: not read within {self._timeouts.blob:.0f} s")
        declared = response.headers.get("Content-Length", "")
        whole = not _is_number(declared) or "Content-Encoding" in response.headers
        if not whole and declared.lstrip("0") != str(size or ""):  # not every urllib3 minds a body that ends early
            raise UnavailableError(f"{what}: the answer broke off after {size} of {_one_line(declared)} bytes")
        return digest.hexdigest() if size else None

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

    def _ask_for_list(self, kind: str, params: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        """Return the reply, and the token that it is a reply to."""

        def once() -> tuple[dict[str, Any], str | None]:
            response, token = self._send("GET", f"/{kind}", params, None, None, None, None)
            reply = _json_of(response)
            return reply if isinstance(reply, dict) else {}, token

        return self._keep_trying(once)

    def _page(self, kind: str, params: Mapping[str, Any]) -> tuple[list[dict[str, Any]], bool]:
        for _ in range(3):
            reply, token = self._ask_for_list(kind, params)
            rows = reply.get(kind)
            if not isinstance(rows, list):
                raise UnavailableError(f"GET /{kind}: no usable answer")
            if rows or self.token_is_alive(token):
                return rows, not rows or _meta(reply, kind).get("next_page") is None
            self._forget_token(token)
        raise UnavailableError(f"GET /{kind}: the token dies again and again")

    def _count(self, kind: str, filters: Mapping[str, Any]) -> int:
        """Return how many rows a list has; 0 is believed only of a token that `/me` knows, as in `_page`."""
        for _ in range(3):
            reply, token = self._ask_for_list(kind, {**filters, "page_size": 1})
            count = _meta(reply, kind).get("count")
            if not isinstance(count, int):
                raise UnavailableError(f"GET /{kind}: no usable answer")
            if count or self.token_is_alive(token):
                return count
            self._forget_token(token)
        raise UnavailableError(f"GET /{kind}: the token dies again and again")


_LOGIN_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
"""As the official client has them."""

_NO_ADDRESS = (
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.TooManyRedirects,
    urllib3.exceptions.LocationValueError,
)
"""What requests and urllib3 raise before they send anything, since there is nowhere to send it to."""

_NOT_CONNECTED = (
    requests.exceptions.ConnectTimeout,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.NewConnectionError,
    # Not every urllib3 has it; where it has, it is a NewConnectionError so far.
    getattr(urllib3.exceptions, "NameResolutionError", urllib3.exceptions.NewConnectionError),
)
"""What is raised while a connection is being made, to the server or to a proxy, and never later."""


@contextlib.contextmanager
def _no_answer(what: str) -> Iterator[None]:
    """Turn the ways in which no answer comes into one error, which knows whether the request was sent."""
    try:
        yield
    except _NO_ADDRESS as error:
        raise WrongAddressError(f"{what}: no usable address ({_without_secrets(str(error))})") from error
    except requests.exceptions.InvalidJSONError as error:  # never sent, and will not be any other time
        raise RequestRefusedError(f"{what}: cannot be written as JSON ({_plain(error)})") from error
    except requests.exceptions.RequestException as error:
        refused = _refused_by_proxy(error)
        if refused is not None:
            text = f"{what}: the proxy refused to connect ({refused})"
            raise UnavailableError(text, maybe_done=False) from error
        if _never_connected(error):
            raise UnavailableError(f"{what}: no connection ({_plain(error)})", maybe_done=False) from error
        raise UnavailableError(f"{what}: {_how_it_broke(error)}") from error


def _how_it_broke(error: requests.exceptions.RequestException) -> str:
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, (requests.exceptions.ContentDecodingError, requests.exceptions.ChunkedEncodingError)):
        return f"the answer broke off ({_plain(error)})"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the secure connection failed ({_plain(error)})"
    if isinstance(error, requests.exceptions.ConnectionError):
        return f"the connection broke ({_plain(error)})"
    return _plain(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it names as its causes, in whichever of the ways that urllib3 has had.

    Not `__context__`: that may be an error of an earlier request, which somebody was handling when this one was
    sent.
    """
    waiting, seen = [error], set()
    while waiting:
        this = waiting.pop(0)
        if id(this) in seen:
            continue
        seen.add(id(this))
        yield this
        named = (this.__cause__, getattr(this, "reason", None), getattr(this, "original_error", None), *this.args)
        waiting += [cause for cause in named if isinstance(cause, BaseException)]


def _never_connected(error: BaseException) -> bool:
    """Tell whether there never was a connection that could have carried the request.

    This alone is sure. With a proxy or TLS, a connection that breaks after the request was sent comes as a
    ProxyError or an SSLError too.
    """
    return any(isinstance(cause, _NOT_CONNECTED) for cause in _causes(error))


def _refused_by_proxy(error: BaseException) -> str | None:
    """Return what a proxy answered that would not connect us (CONNECT), if that is what happened."""
    for cause in _causes(error):
        if isinstance(cause, urllib3.exceptions.ProxyError):
            for inner in _causes(cause):
                # http.client has no type of its own for it; this is an OSError without a number.
                if type(inner) is OSError and str(inner).startswith("Tunnel connection failed: "):
                    return _one_line(str(inner).partition(": ")[2])
    return None


def _plain(error: BaseException) -> str:
    """Return the innermost reason, which is what a person can use, without passwords and signatures."""
    reason = error
    while True:
        named = [getattr(reason, "reason", None), *reason.args]
        inner = next((cause for cause in named if isinstance(cause, Exception)), None)
        if inner is None:
            break
        reason = inner
    return _without_secrets(str(reason).rpartition(": ")[2] or type(reason).__name__)


def _without_secrets(text: str) -> str:
    """Take the passwords and signatures out of the addresses in a text."""
    return _one_line(re.sub(r"(//)[^/@\s]*@|\?[^\s'\")]+", r"\1", text))


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
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict) or "id" not in rows[0]:
        raise UnavailableError(f"{what}: an empty answer (an account that is banned gets such)")
    return dict(rows[0])


def _urls(row: Mapping[str, Any]) -> list[str]:
    locations = row.get("locations")
    if not isinstance(locations, list):
        return []
    urls = [url for location in locations if isinstance(location, dict) for url in location.values()]
    return [url for url in urls if url and isinstance(url, str)]


def _id_of(row: Mapping[str, Any]) -> int | None:
    """Return the id of a resource, or None where it is none that a database could hold."""
    key = row.get("id")
    if isinstance(key, str) and _is_number(key) and len(key) < 20:
        key = int(key)
    return key if type(key) is int and 0 < key < 2**63 else None


def _meta(reply: Mapping[str, Any], kind: str) -> dict[str, Any]:
    meta = reply.get("meta")
    found = meta.get(kind) if isinstance(meta, dict) else None
    return found if isinstance(found, dict) else {}


def _md5_told(response: requests.Response) -> str | None:
    """Return the MD5 that a store tells, as hex digits; None for anything that is none."""
    try:
        digest = base64.b64decode(response.headers.get("Content-MD5", "").strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest.hex() if len(digest) == 16 else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()  # `²` is a digit, too, and no number


def _one_line(text: str, most: int = MOST_WORDS) -> str:
    """Return a text of others' as one printable line, not too long."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _is_json(response: requests.Response) -> bool:
    try:
        response.json()
    except ValueError:
        return False
    return True


def _json_object(response: requests.Response) -> dict[str, Any]:
    """Return a reply's JSON object; an empty one where it is anything else."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _error_words(body: Mapping[str, Any]) -> str:
    """Return what the server says of its refusal; all of `errors`, `error` and `error_description` are in use."""
    errors = body.get("errors")
    if isinstance(errors, list) and errors:
        told = [error.get("message") if isinstance(error, dict) else error for error in errors]
        return _one_line("; ".join(str(words) for words in told if words))
    for key in ("error_description", "error", "message"):
        words = body.get(key)
        if words and isinstance(words, str):
            return _one_line(words)
    return ""


def _words(response: requests.Response) -> str:
    """Return the server's own words: of its JSON, or of the page (its title, else how it begins)."""
    told = _error_words(_json_object(response))
    if told:
        return told
    kind = response.headers.get("Content-Type", "text/plain")
    if not re.match(r"text/|application/(\S*\+)?xml|application/xhtml", kind, re.IGNORECASE):
        return ""
    beginning = response.content[:65536]
    try:
        page = beginning.decode(response.encoding or "utf-8", "replace")
    except LookupError:
        page = beginning.decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title", page, re.IGNORECASE | re.DOTALL)
    text = title.group(1) if title else re.sub(r"(?is)<(script|style)\b.*?</\1\s*>|<[^>]*>", " ", page)
    return _one_line(html.unescape(text)).removeprefix(str(response.status_code)).strip(" :-")


def _elsewhere(response: requests.Response) -> str:
    location = response.headers.get("Location") if 300 <= response.status_code < 400 else None
    return f" (sent on to {_shown(location)})" if location else ""


def _reference(response: requests.Response) -> str:
    request_id = response.headers.get("X-Request-Id")
    return f" [request {_one_line(request_id, 80)}]" if request_id else ""


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    if _is_number(value):
        return min(float(value), MOST_ASKED_S)
    try:
        when = email.utils.parsedate_to_datetime(value)
        if when.tzinfo is None:  # "-0000": UTC, of an unknown place
            when = when.replace(tzinfo=UTC)
        return min(max(0.0, when.timestamp() - machine().wall()), MOST_ASKED_S)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _refusal(response: requests.Response, what: str) -> ZooniverseError:
    """Return the error that a reply stands for that is not a good one."""
    status, request_id = response.status_code, response.headers.get("X-Request-Id")
    words = _words(response)
    text = f"{what}: {status}" + (f" {words}" if words else "") + _elsewhere(response) + _reference(response)
    if status < 400:
        # Not followed: who was sent on has not been served, but perhaps the work was done before.
        return UnavailableError(text, status, request_id)
    if status == 407:
        return WrongAddressError(f"{text}: the proxy wants a user name and password", status, request_id)
    if status in (429, 503):
        # 429 was turned away; a 503 may come from a proxy after the server did the work.
        return UnavailableError(
            text, status, request_id, maybe_done=status != 429, retry_after=_retry_after(response)
        )
    if status >= 500 or status == 408:
        return UnavailableError(text, status, request_id, retry_after=_retry_after(response))
    if status == 401:
        return LoginError(text, status, request_id)
    if status == 403 and "has uploaded" in _error_words(_json_object(response)):
        return AllowanceError(words, status, request_id)
    if status == 404:
        return NotFoundError(text, status, request_id)
    return RequestRefusedError(text, status, request_id)
