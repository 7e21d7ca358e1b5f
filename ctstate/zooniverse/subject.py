"""What a subject carries: its metadata, and the mark by which this ledger knows its own.

docs/legacy-formats.md, section 5, and docs/formats-ml-and-exchange.md, section 5 (keys that begin with `#` or
`//` are hidden from volunteers, but not secret).
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ctstate.capture import CaptureContent

CAPTURE_ID = "#capture_id"
ORIGINAL_IMAGES = "#original_images"
ANONYMIZED = "capture_id_anonymized"

LEDGER_KEY = "ctstate_ledger"
"""Key of a subject set's metadata that says which ledger feeds it."""

_EXTERNAL_ID = re.compile(r"ctstate:([0-9a-f]{12}):(\d+):(\d+)")


class Mark(NamedTuple):
    """What a subject's external_id says: which ledger, capture (its key there) and claim made it."""

    ledger_id: str
    capture_key: int
    claim: int


def external_id(ledger_id: str, capture_key: int, claim: int) -> str:
    """Return the external_id of the subject that this claim of a capture makes."""
    return f"ctstate:{ledger_id}:{capture_key}:{claim}"


def read_mark(text: Any) -> Mark | None:
    """Return what an external_id says, or None where no ctstate made the subject."""
    found = _EXTERNAL_ID.fullmatch(text) if isinstance(text, str) else None
    return Mark(found[1], int(found[2]), int(found[3])) if found else None


def upload_metadata(row: CaptureContent) -> dict[str, Any]:
    """Return the part of the metadata that the legacy manifest calls `upload_metadata`, in its order."""
    return {
        CAPTURE_ID: row.capture_id,
        "#site": row.site,
        "#roll": row.roll,
        "#season": row.season,
        "#capture": row.capture,
        "attribution": row.attribution,
        "license": row.license,
        **row.extra,
        **_in_old_order(row.predictions),
    }


_TOP = ("#machine_topprediction_", "#machine_topconfidence_")


def _in_old_order(predictions: Mapping[str, Any]) -> dict[str, Any]:
    """Return predictions as the old scripts order them: of those at the top, all labels before all confidences."""
    tops = [key for key in predictions if key.startswith(_TOP)]
    ordered = iter(sorted(tops, key=lambda key: key.startswith(_TOP[1])))
    return {
        key: predictions[key] for key in (next(ordered) if key.startswith(_TOP) else key for key in predictions)
    }


def subject_metadata(row: CaptureContent) -> dict[str, Any]:
    """Return the metadata of a capture's subject."""
    return {
        **upload_metadata(row),
        ORIGINAL_IMAGES: [image.path for image in row.images],
        ANONYMIZED: anonymized(row.capture_id),
    }


def anonymized(capture_id: str) -> str:
    """Return the SHA-1 of a capture id in UTF-8, as hex digits."""
    return hashlib.sha1(capture_id.encode("utf-8"), usedforsecurity=False).hexdigest()


def subject_set_name(season: str, batch: str) -> str:
    """Return the name of a batch's subject set, such as `WLD_S6_batch_2`."""
    return f"{season}_{batch}"
