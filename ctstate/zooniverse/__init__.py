"""The zooniverse room: all HTTP. What is asked of Zooniverse or of its image store is asked here."""

import importlib
from typing import TYPE_CHECKING, Any

from ctstate.zooniverse.addresses import DEFAULT_ENDPOINT

if TYPE_CHECKING:
    from ctstate.zooniverse.api import MOST_IDS_IN_PATH, PAGE_SIZE, PAGES_AT_ONCE, Account, Created, Zooniverse
    from ctstate.zooniverse.backoff import Backoff, Patience, Timeouts
    from ctstate.zooniverse.credentials import Credentials, read_credentials

__all__ = [
    "DEFAULT_ENDPOINT",
    "MOST_IDS_IN_PATH",
    "PAGES_AT_ONCE",
    "PAGE_SIZE",
    "Account",
    "Backoff",
    "Created",
    "Credentials",
    "Patience",
    "Timeouts",
    "Zooniverse",
    "read_credentials",
]


_HOME = {
    **dict.fromkeys(("MOST_IDS_IN_PATH", "PAGE_SIZE", "PAGES_AT_ONCE", "Account", "Created", "Zooniverse"), "api"),
    **dict.fromkeys(("Backoff", "Patience", "Timeouts"), "backoff"),
    **dict.fromkeys(("Credentials", "read_credentials"), "credentials"),
}


def __getattr__(name: str) -> Any:
    # Only where somebody asks for it: the official client brings much with it.
    if name in _HOME:
        return getattr(importlib.import_module(f"ctstate.zooniverse.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ctstate.zooniverse' has no attribute {name!r}")
