"""The zooniverse room: all HTTP. What is asked of Zooniverse or of its image store is asked here."""

import importlib
from typing import TYPE_CHECKING, Any

from ctstate.zooniverse.backoff import Backoff, Patience, Timeouts
from ctstate.zooniverse.credentials import DEFAULT_ENDPOINT, Credentials, read_credentials

if TYPE_CHECKING:
    from ctstate.zooniverse.api import MOST_IDS_IN_PATH, PAGE_SIZE, Account, Created, Zooniverse

__all__ = [
    "DEFAULT_ENDPOINT",
    "MOST_IDS_IN_PATH",
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


def __getattr__(name: str) -> Any:
    # Only where somebody asks for it: the official client brings much with it.
    if name in __all__:
        return getattr(importlib.import_module("ctstate.zooniverse.api"), name)
    raise AttributeError(f"module 'ctstate.zooniverse' has no attribute {name!r}")
