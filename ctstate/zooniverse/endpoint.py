"""The address of a Zooniverse: one that passwords may go to."""

import ipaddress
import re
from urllib.parse import urlsplit

from ctstate.errors import UsageError
from ctstate.zooniverse.addresses import DEFAULT_ENDPOINT
from ctstate.zooniverse.wording import shown


def checked(endpoint: str, *, insecure_http: bool = False) -> str:
    """Return an endpoint as it is used, without a slash at its end.

    Args:
        endpoint: such as `https://www.zooniverse.org`.
        insecure_http: let the password go to another machine unencrypted.

    Raises:
        UsageError: it is no address of a web server, or the password would go there unencrypted.
    """
    endpoint = endpoint.strip().rstrip("/")
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
        if host is not None and ":" in host:
            ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in ("http", "https") or port == 0 or not re.fullmatch(r"[!-~]+", endpoint):
        raise UsageError(f"--endpoint {shown(endpoint)!r}: not an address such as {DEFAULT_ENDPOINT}")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            f"--endpoint {shown(endpoint)!r}: the address alone, such as {DEFAULT_ENDPOINT}; the account comes "
            "from --password-file or the environment"
        )
    if parts.scheme == "http" and not _is_this_machine(host) and not insecure_http:
        raise UsageError(
            f"--endpoint {shown(endpoint)}: the password would go there unencrypted; use https, or say with "
            "--insecure-http that it may"
        )
    return endpoint


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
