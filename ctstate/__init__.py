"""ctstate: camera-trap seasons onto Zooniverse, each capture exactly once.

The public surface is what `__all__` names. Names are imported when first used, so that a process that only
encodes images does not pay for the database.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "CtstateError": "ctstate.errors",
    "Ledger": "ctstate.ledger",
    "Selection": "ctstate.ledger",
    "State": "ctstate.ledger.states",
}

__all__ = ["CtstateError", "Ledger", "Selection", "State", "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ctstate' has no attribute {name!r}")
