"""No answer came: what that means, and above all whether the request was ever sent.

A wrong "never sent" makes a subject twice, as its create is then sent again.
"""

import contextlib
from collections.abc import Iterator

import requests
import urllib3.exceptions

from ctstate.errors import RequestRefusedError, UnavailableError, WrongAddressError
from ctstate.zooniverse.wording import one_line, plain, without_secrets

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
def no_answer(what: str) -> Iterator[None]:
    """Turn the ways in which no answer comes into one error, which knows whether the request was sent."""
    try:
        yield
    except _NO_ADDRESS as error:
        raise WrongAddressError(f"{what}: no usable address ({without_secrets(str(error))})") from error
    except requests.exceptions.InvalidJSONError as error:  # never sent, and will not be any other time
        raise RequestRefusedError(f"{what}: cannot be written as JSON ({plain(error)})") from error
    except requests.exceptions.RequestException as error:
        refused = _refused_by_proxy(error)
        if refused is not None:
            text = f"{what}: the proxy refused to connect ({refused})"
            raise UnavailableError(text, maybe_done=False) from error
        if never_connected(error):
            raise UnavailableError(f"{what}: no connection ({plain(error)})", maybe_done=False) from error
        raise UnavailableError(f"{what}: {_how_it_broke(error)}") from error


def _how_it_broke(error: requests.exceptions.RequestException) -> str:
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, (requests.exceptions.ContentDecodingError, requests.exceptions.ChunkedEncodingError)):
        return f"the answer broke off ({plain(error)})"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the secure connection failed ({plain(error)})"
    if isinstance(error, requests.exceptions.ConnectionError):
        return f"the connection broke ({plain(error)})"
    return plain(error)


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


def never_connected(error: BaseException) -> bool:
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
                    return one_line(str(inner).partition(": ")[2])
    return None
