"""One connection to Zooniverse with one account: requests that are sent once, tried again, or read page by page."""

from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import replace
from typing import Any, TypeVar

import requests

from ctstate.errors import StrangeReplyError, UnavailableError
from ctstate.machine import machine
from ctstate.zooniverse.backoff import Backoff, Patience, Timeouts, keep_trying
from ctstate.zooniverse.connections import Connections
from ctstate.zooniverse.credentials import Credentials
from ctstate.zooniverse.endpoint import checked
from ctstate.zooniverse.failures import no_answer
from ctstate.zooniverse.log_in import LogIn
from ctstate.zooniverse.replies import count_of, json_of, meta_of, refusal_of, rows_of
from ctstate.zooniverse.rows import KIND, R, read_row
from ctstate.zooniverse.traffic import Traffic

T = TypeVar("T")

PAGE_SIZE = 100
"""The most a page holds; the server cuts more to it (docs/panoptes-api.md, section 1)."""

MOST_PAGES = 20_000
"""No list is longer: twice the largest season."""

SPARE_PAGES = 100
"""So many more pages than its count says may a list have: rows are added while it is read."""

MOST_REPEATED = 3
"""So many pages may begin with a row that an earlier one began with: what is added moves the rest on."""

_TIMEOUTS, _BACKOFF = Timeouts(), Backoff()


class Session(LogIn):
    """A connection to one Zooniverse with one account; its methods may be called from many threads.

    Args:
        endpoint: such as `https://www.zooniverse.org`.
        credentials: the account.
        timeouts, backoff: how long to wait, and to keep trying.
        insecure_http: let the password go to another machine unencrypted.
        connections: how many are kept alive.
        patience: told when waiting is over (a run that is to stop).

    Raises:
        UsageError: `endpoint` is no address, or the password would go there unencrypted.

    Every method raises LoginError where the account is refused, WrongAddressError where something else than
    Zooniverse is at that address, UnavailableError after `backoff.give_up` seconds of failing, RequestRefusedError
    for a definite refusal, and what it names itself.
    """

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials,
        *,
        timeouts: Timeouts = _TIMEOUTS,
        backoff: Backoff = _BACKOFF,
        connections: int = 8,
        patience: Patience | None = None,
        insecure_http: bool = False,
    ) -> None:
        self._timeouts = timeouts
        self._connections = connections
        self.backoff = backoff
        self.patience = patience or Patience()
        self.traffic = Traffic()
        super().__init__(checked(endpoint, insecure_http=insecure_http), credentials)
        self.session = self._new_session(timeouts)
        self._images = self._new_session(replace(timeouts, read=timeouts.blob))

    def _new_session(self, timeouts: Timeouts) -> requests.Session:
        """Return what requests go through: one for the API and one for the store; a simulator has its own."""
        return Connections(timeouts, self._connections)

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
            return self._send(
                method.upper(), path, params=params, headers=headers, json=json, etag=etag, endpoint=endpoint
            )[0]

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
            response, _ = self._send(
                method.upper(), path, params=params, headers=headers, json=json, etag=etag, endpoint=endpoint
            )
            return json_of(response), response.headers.get("ETag")

        return self._keep_trying(once) if retry or method.upper() == "GET" else once()

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        etag: str | None = None,
        endpoint: str | None = None,
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
            before()
            with self.traffic.request(method, path), no_answer(what):
                response = self.session.request(method, url, params=params, headers=sent, json=json)
            if 200 <= response.status_code < 300:
                return response, token
            if response.status_code == 401 and not last:
                self._forget_token(token)
                continue
            # To the server an unknown token is nobody: it answers 404 for what is there, the last time as well.
            if response.status_code == 404 and not self.token_is_alive(token):
                self._forget_token(token)
                if not last:
                    continue
                raise UnavailableError(f"{what}: the token dies again and again", maybe_done=False)
            raise refusal_of(response, what)
        raise AssertionError("not reached")

    def _keep_trying(self, once: Callable[[], T]) -> T:
        """Repeat a call that may be repeated; see `keep_trying`."""
        return keep_trying(once, self.backoff, self.patience, self.traffic.again)

    def token_is_alive(self, token: str | None) -> bool:
        """Ask `/me` whether the server still knows this very token.

        Raises:
            UnavailableError: no usable answer.
        """
        if token is None:
            return False
        with self.traffic.request("GET", "/me"), no_answer("GET /me"):
            response = self.session.get(
                f"{self.endpoint}/api/me",
                headers={**self._http_headers["default"], "Authorization": f"Bearer {token}"},
            )
        if response.status_code == 200 and isinstance(json_of(response), dict):
            return True
        if response.status_code == 401:
            return False
        raise refusal_of(response, "GET /me")

    def _listed(
        self, row: type[R], filters: Mapping[str, Any], page_size: int = PAGE_SIZE, at_once: int = 1
    ) -> Iterator[R]:
        """Yield the rows of a list, page by page, in their order.

        A list asked for with a token that the server no longer knows is empty and looks like a true one: each
        page is believed only if `/me` knows its token, unless it shows rows (nobody is shown them).

        Args:
            row, filters, page_size: what is listed.
            at_once: so many pages are asked for side by side, as far as the list's count goes.

        Raises:
            StrangeReplyError: the list has no end, or its rows are not what Panoptes says.
        """
        begun: set[str] = set()
        repeated = asked = 0
        width = 1  # how long the list is, the first page tells
        while asked < MOST_PAGES:
            numbers = range(asked + 1, asked + 1 + width)
            asked += width
            counted = 0
            ends = False
            for rows, more in machine().each(
                lambda page: self._numbered(row, filters, page_size, page), numbers, width
            ):
                yield from rows
                if more is None:
                    ends = True
                    continue
                counted = max(counted, more)
                first = str(rows[0])
                repeated += first in begun
                begun.add(first)
            if ends:
                return
            if repeated >= MOST_REPEATED or asked > counted // page_size + SPARE_PAGES:
                break
            width = max(1, min(at_once, -(-counted // page_size) - asked))
        raise StrangeReplyError(f"GET /{KIND[row]}: a list without end, {asked:,} pages so far")

    def _numbered(
        self, row: type[R], filters: Mapping[str, Any], page_size: int, page: int
    ) -> tuple[list[R], int | None]:
        params = {**filters, "page": page, "page_size": page_size}
        return self._keep_trying(lambda: self._page(row, params))

    def _page(self, row: type[R], params: Mapping[str, Any]) -> tuple[list[R], int | None]:
        """Return the rows of a page; and how many there are in all by its word, or None where it is the last."""
        kind = KIND[row]
        reply = self._ask_for_list(kind, params, rows_of)
        rows = [read_row(row, value, f"GET /{kind}") for value in rows_of(reply, kind) or ()]
        if not rows or meta_of(reply, kind).get("next_page") is None:
            return rows, None
        return rows, count_of(reply, kind) or 0

    def _count(self, kind: str, filters: Mapping[str, Any]) -> int:
        """Return how many rows a list has; 0 is believed as an empty page is."""
        return count_of(self._ask_for_list(kind, {**filters, "page_size": 1}, count_of), kind) or 0

    def _ask_for_list(
        self, kind: str, params: Mapping[str, Any], shown_by: Callable[[dict[str, Any], str], Sized | int | None]
    ) -> dict[str, Any]:
        """Return a reply that shows something, or nothing to a token that `/me` knows.

        Raises:
            UnavailableError: `shown_by` finds nothing in the reply, not even that it is empty (None).
        """

        def once() -> tuple[dict[str, Any], str | None]:
            response, token = self._send("GET", f"/{kind}", params=params)
            reply = json_of(response)
            return reply if isinstance(reply, dict) else {}, token

        for _ in range(3):
            reply, token = self._keep_trying(once)
            shown = shown_by(reply, kind)
            if shown is None:
                raise UnavailableError(f"GET /{kind}: no usable answer")
            if shown or self.token_is_alive(token):
                return reply
            self._forget_token(token)
        raise UnavailableError(f"GET /{kind}: the token dies again and again")
