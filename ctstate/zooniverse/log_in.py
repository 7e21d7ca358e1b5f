"""Log-in and tokens: the official client's requests, with answers that are looked at."""

import logging
import re
from typing import Any

import requests

from ctstate.errors import LoginError, UnavailableError, WrongAddressError, ZooniverseError
from ctstate.machine import machine
from ctstate.zooniverse.credentials import Credentials
from ctstate.zooniverse.failures import no_answer
from ctstate.zooniverse.replies import (
    elsewhere,
    error_words,
    is_json,
    json_object,
    reference,
    refusal_of,
    words_of,
)
from ctstate.zooniverse.wording import one_line

# The client configures the root logger when it is imported; a library must not do that to its user.
_root = logging.getLogger()
_handlers, _level = list(_root.handlers), _root.level
from panoptes_client.panoptes import Panoptes  # noqa: E402

for _handler in [h for h in _root.handlers if h not in _handlers]:
    _root.removeHandler(_handler)
_root.setLevel(_level)

TOKEN_LIFE_S = 7200.0
"""How long a token lives where the answer does not say (docs/panoptes-api.md, section 1)."""

TOKEN_MARGIN_S = 120.0
"""A token is renewed so long before its end: a request must not outlive it on its way."""

_LOGIN_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
"""As the official client has them."""


class LogIn(Panoptes):  # type: ignore[misc]
    """Somebody who is logged in, or will be when the first request needs a token.

    Args:
        endpoint: such as `https://www.zooniverse.org`.
        credentials: the account.
    """

    session: requests.Session

    def __init__(self, endpoint: str, credentials: Credentials) -> None:
        self._lock = machine().condition()  # held while one thread logs in for all
        self.bearer_token: str | None = None
        self.refresh_token: str | None = None
        self._token_good_until = 0.0
        super().__init__(endpoint=endpoint, username="", password="")
        self.username = credentials.username
        self.password = credentials.password

    def login(self, username: str | None = None, password: str | None = None) -> Any:
        """Log in as the official client does, where that was not done yet.

        Raises:
            LoginError: user name or password refused.
            WrongAddressError: what answers is not Zooniverse.
            UnavailableError: no usable answer.
        """
        if not (username or self.username):
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
        body = json_object(response)
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
            with no_answer(what):
                response = self.session.request(method, f"{self.endpoint}{path}", **more)
        except UnavailableError as error:
            error.maybe_done = False  # of the request that the token was for: it was not sent yet
            raise
        if response.status_code >= 500 or response.status_code in (408, 429):
            refusal = refusal_of(response, what)
            assert isinstance(refusal, UnavailableError)
            refusal.maybe_done = False
            raise refusal
        return response

    def _log_in_refused(self, response: requests.Response, path: str) -> ZooniverseError:
        """Return the error that an answer other than the one hoped for stands for.

        Zooniverse refuses in JSON; anything else is the page of a portal, a filter or another site.
        """
        status, request_id = response.status_code, response.headers.get("X-Request-Id")
        body = json_object(response)
        words = error_words(body) if "error" in body or "errors" in body else ""
        if status >= 400 and words and status != 407:
            text = f"log-in as {self.username!r} at {self.endpoint} refused: {words}"
            return LoginError(text + reference(response), status, request_id)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if "json" in kind and not is_json(response):
            text = f"log-in at {self.endpoint}: the answer to {path} is cut off"
            return UnavailableError(text, status, request_id, maybe_done=False)
        seen = " ".join(filter(None, (str(status), one_line(kind), repr(words_of(response)))))
        return WrongAddressError(
            f"log-in at {self.endpoint}: {path} answers {seen}{elsewhere(response)}, which is not Zooniverse's: "
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
