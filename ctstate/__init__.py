"""ctstate: camera-trap seasons onto Zooniverse, each capture exactly once.

The public surface is what `__all__` names; docs/library.md shows a season with it. Names are imported when first
used, so that a process that only encodes images does not pay for the database.
"""

import importlib
from typing import Any

__version__ = "0.2.0.dev0"

_ERRORS = (
    "AllowanceError", "BrokenImageError", "CtstateError", "FencedError", "IllegalMoveError", "InputError",
    "LedgerBehindError", "LedgerError", "LedgerLostError", "LedgerMissingError", "LedgerVersionError", "LoginError",
    "MissingImageError", "NotFoundError", "RequestRefusedError", "StrangeReplyError", "UnavailableError",
    "UsageError", "WrongAddressError", "ZooniverseError",
)  # fmt: skip

_HOME = {
    **dict.fromkeys(_ERRORS, "errors"),
    **dict.fromkeys(("Batch", "Capture", "Season"), "capture"),
    **dict.fromkeys(("Ledger", "Selection", "State"), "ledger"),
    **dict.fromkeys(("Backoff", "Credentials", "Zooniverse", "read_credentials"), "zooniverse"),
    "ImageOptions": "images",
    "manifest": "verbs.manifest",
    **dict.fromkeys(("import_manifest", "import_tracker"), "verbs.import_"),
    **dict.fromkeys(("PredictionFile", "predict"), "verbs.predict"),
    **dict.fromkeys(("exclude", "include"), "verbs.exclude"),
    "batch": "verbs.batch",
    **dict.fromkeys(("StopSignal", "UploadOptions", "plan_upload", "upload"), "verbs.upload"),
    "survey": "verbs.survey",
    **dict.fromkeys(("accept", "reconcile"), "verbs.reconcile"),
    "verify": "verbs.verify",
    "adopt": "verbs.adopt",
    **dict.fromkeys(("plan_removal", "remove"), "verbs.remove"),
    **dict.fromkeys(("delete", "plan_deletion"), "verbs.delete"),
    "retry": "verbs.retry",
    "sample": "verbs.sample",
    "update_metadata": "verbs.update_metadata",
    **dict.fromkeys(("link", "unlink"), "verbs.link"),
    "status": "verbs.status",
    "history": "verbs.history",
    **dict.fromkeys(("export_captures", "export_manifest", "export_tracker"), "verbs.export"),
}
"""Where each public name is at home."""

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"ctstate.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ctstate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
