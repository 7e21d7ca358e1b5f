"""Connections that every request has a timeout on, and that take no request to another place."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.cookies import extract_cookies_to_jar

from ctstate.errors import StrangeReplyError, WrongAddressError
from ctstate.zooniverse.backoff import Timeouts
from ctstate.zooniverse.bounds import WATCHDOG, WatchedAdapter
from ctstate.zooniverse.wording import one_line, shown

MOST_REDIRECTS = 5
"""How often a GET is sent on, within the same origin, before it is no use."""

MOST_BYTES = 64 << 20
"""No reply is longer once it is unpacked: Zooniverse asks for images below 1 MB; a page of a list is smaller."""

PART_BYTES = 8192
"""So much is unpacked at a time: at worst it is a thousand times as much."""


class Connections(requests.Session):
    """Kept-alive connections that all threads share."""

    def __init__(self, timeouts: Timeouts, connections: int) -> None:
        super().__init__()
        self._timeout = (timeouts.connect, timeouts.read)
        self._whole_s = timeouts.whole
        # No retries down here: a POST must never be sent twice by a layer that does not know what it is.
        adapter = WatchedAdapter(pool_connections=4, pool_maxsize=connections + 4, max_retries=0)
        self.mount("https://", adapter)
        self.mount("http://", adapter)
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

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request and read its reply; only a GET or HEAD is sent on, and only within its origin.

        Raises:
            WrongAddressError: it is sent on to elsewhere, or again and again.
            StrangeReplyError: the reply is longer than any that could be meant.
            requests.RequestException: no reply, or none that was whole in time.
        """
        method, address = str(method).upper(), str(url)
        _check_address(address)
        response = self._whole(method, address, *args, **kwargs)
        if method not in ("GET", "HEAD"):
            return response
        asked, times = response.url, 0
        while (target := _sent_on_to(response)) is not None:
            times += 1
            if times > MOST_REDIRECTS:
                raise WrongAddressError(
                    f"{shown(asked)} is sent on more than {MOST_REDIRECTS} times, at last to {shown(target)}"
                )
            if _origin(target) != _origin(asked):
                raise WrongAddressError(
                    f"{shown(asked)} is sent on to {shown(target)}, which is another address: "
                    "is the endpoint right, and no portal or filter in between?"
                )
            response = self._whole(method, target, *args, **{**kwargs, "params": None})
        return response

    def _whole(
        self,
        method: str,
        url: str,
        params: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        allow_redirects: bool = False,  # requests says so for each method; what is sent on, `request` decides
    ) -> requests.Response:
        """Send a request once, and read its reply to the end.

        By the parts that `requests.Session.request` is made of, without those that would do harm: an entry of
        ~/.netrc would replace the token; a POST that is sent on would be followed as a GET, the password of a
        log-in go to whom it is sent on to, and a malformed Location be an error after the work was done. It takes
        two thirds of the processor time, too.
        """
        request = requests.PreparedRequest()
        request.prepare_method(method)
        request.prepare_url(url, params)
        request.prepare_headers({**self.headers, **(headers or {})})
        request.prepare_cookies(self.cookies)
        request.prepare_body(data, None, json)
        settings = self.merge_environment_settings(request.url, {}, True, None, None)
        with WATCHDOG.watching(self._whole_s) as watch:
            try:
                response = self.get_adapter(str(request.url)).send(request, timeout=self._timeout, **settings)
                with contextlib.closing(response):
                    _read(response)
            except requests.exceptions.RequestException as error:
                if watch.cut_off:
                    text = f"the answer was not whole within {self._whole_s:.0f} s"
                    raise requests.exceptions.ReadTimeout(text, request=error.request) from error
                raise
        if watch.cut_off:  # it may end as if it were whole
            raise requests.exceptions.ReadTimeout(f"the answer was not whole within {self._whole_s:.0f} s")
        if "Set-Cookie" in response.headers:
            extract_cookies_to_jar(self.cookies, request, response.raw)  # type: ignore[no-untyped-call]
        return response


def _read(response: requests.Response) -> None:
    """Read a reply to its end, as `response.content`."""
    what = f"{response.request.method} {shown(str(response.url))}"
    if "," in response.headers.get("Content-Encoding", ""):
        raise StrangeReplyError(f"{what}: an answer that is packed more than once", response.status_code)
    parts, size = [], 0
    for part in response.iter_content(PART_BYTES):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise StrangeReplyError(f"{what}: an answer of more than {MOST_BYTES >> 20} MiB", response.status_code)
    response._content = b"".join(parts)


def _check_address(url: str) -> None:
    """Refuse what is no address before requests and urllib3 do so in half a dozen ways of their own."""
    try:
        urlsplit(url).port  # noqa: B018 - a port out of range is found here only
    except ValueError as error:
        raise requests.exceptions.InvalidURL(f"{shown(url)}: {error}") from None


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
        raise WrongAddressError(f"{shown(response.url)} is sent on to {one_line(location)!r}, no address") from None
    return target


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
