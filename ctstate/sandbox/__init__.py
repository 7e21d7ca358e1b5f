"""A Zooniverse of one's own: the Panoptes API over HTTP on 127.0.0.1, as the API notes describe it.

It answers like the real server (the recorded replies in the tests hold it to that), keeps its world in a
directory, survives being killed, and can be told to fail in every way that a network fails.

From the outside only three names matter: `SandboxSettings`, `serve` (in this process, blocking) and
`SandboxProcess` (in a process of its own).
"""

import importlib
from typing import Any

_HOME = {
    "SandboxProcess": "ctstate.sandbox.process",
    "SandboxSettings": "ctstate.sandbox.settings",
    "serve": "ctstate.sandbox.server",
}

__all__ = ["SandboxProcess", "SandboxSettings", "serve"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ctstate.sandbox' has no attribute {name!r}")
