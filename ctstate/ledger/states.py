"""The state machine of a capture, as data.

`TRANSITIONS` is the one place that says which moves exist. The migrations copy it into the ledger's
`transition` table, where triggers refuse every other UPDATE of `capture.state`, raw SQL included.
Nothing here knows of a database.
"""

import enum
from typing import NamedTuple


class State(enum.StrEnum):
    """What is known of a capture. The comment above each state names its way in."""

    # A row of a captures CSV (or a subject found on Zooniverse) made it known.
    MANIFESTED = "manifested"
    # manifested -> predicted: machine-learning predictions were attached.
    PREDICTED = "predicted"
    # -> batched: it has a batch (one batch = one subject set) and may be claimed.
    BATCHED = "batched"
    # batched -> uploading: claimed by exactly one live run; a subject may or may not exist yet.
    UPLOADING = "uploading"
    # uploading -> uploaded: its subject exists, every image arrived whole, it is in its batch's subject set.
    UPLOADED = "uploaded"
    # uploading -> failed: given up, with the reason.
    FAILED = "failed"
    # uploaded -> removed: the subject exists but was taken out of its subject set on purpose.
    REMOVED = "removed"
    # uploaded, removed -> deleted: the subject was deleted on Zooniverse on purpose.
    DELETED = "deleted"

    def __str__(self) -> str:
        return self.value


class FailureKind(enum.StrEnum):
    """Of what kind a failure is, so that failures can be grouped; docs/views.md tells users the same."""

    # An image that cannot be decoded, or not be brought under the size limit.
    IMAGE_BROKEN = "image_broken"
    # An image file that is not there, or cannot be read.
    IMAGE_MISSING = "image_missing"
    # No image that may go up.
    NO_IMAGE = "no_image"
    # The process that encoded its images was killed, again and again.
    ENCODER = "encoder"
    # Creates got no usable answer, and made nothing.
    NO_ANSWER = "no_answer"
    # Zooniverse does not take the subject, an image of it, or its link.
    REFUSED = "refused"
    # Its subject is no longer on Zooniverse.
    SUBJECT_GONE = "subject_gone"

    def __str__(self) -> str:
        return self.value


class Transition(NamedTuple):
    """One legal move; `source` is None for the first state of a new capture."""

    source: State | None
    target: State
    meaning: str


_S = State
TRANSITIONS: tuple[Transition, ...] = (
    Transition(None, _S.MANIFESTED, "manifest or adopt made the capture known"),
    Transition(_S.MANIFESTED, _S.PREDICTED, "predict attached predictions"),
    Transition(_S.MANIFESTED, _S.BATCHED, "batch put it into a batch"),
    Transition(_S.PREDICTED, _S.BATCHED, "batch put it into a batch"),
    Transition(_S.BATCHED, _S.UPLOADING, "a run claimed it"),
    Transition(_S.UPLOADING, _S.BATCHED, "the run released it, or was gone and it was recovered"),
    Transition(_S.UPLOADING, _S.UPLOADED, "subject created, images whole, linked to the subject set"),
    Transition(_S.UPLOADING, _S.FAILED, "given up, with the reason"),
    Transition(_S.FAILED, _S.BATCHED, "retry"),
    Transition(_S.REMOVED, _S.BATCHED, "retry"),
    Transition(_S.DELETED, _S.BATCHED, "retry"),
    Transition(_S.UPLOADED, _S.REMOVED, "remove, or reconcile found it unlinked"),
    Transition(_S.UPLOADED, _S.DELETED, "delete, or reconcile found its subject gone"),
    Transition(_S.REMOVED, _S.DELETED, "delete, or reconcile found its subject gone"),
    Transition(_S.FAILED, _S.DELETED, "delete of a subject that a failed upload left behind"),
    Transition(_S.UPLOADED, _S.BATCHED, "reconcile found images missing: to be put again"),
    Transition(_S.MANIFESTED, _S.UPLOADED, "reconcile or adopt found it on Zooniverse"),
    Transition(_S.PREDICTED, _S.UPLOADED, "reconcile or adopt found it on Zooniverse"),
    Transition(_S.BATCHED, _S.UPLOADED, "reconcile or adopt found it on Zooniverse"),
    Transition(_S.FAILED, _S.UPLOADED, "reconcile found it on Zooniverse"),
    Transition(_S.REMOVED, _S.UPLOADED, "reconcile found it linked again"),
)

PENDING: tuple[State, ...] = (_S.MANIFESTED, _S.PREDICTED, _S.BATCHED, _S.UPLOADING)
"""States of captures that an upload has still to bring to Zooniverse."""

REBATCHABLE: tuple[State, ...] = (_S.MANIFESTED, _S.PREDICTED, _S.BATCHED)
"""States in which a capture may be put into a batch; from `uploading` on it keeps the batch it has."""

RETRYABLE: tuple[State, ...] = (_S.FAILED, _S.REMOVED, _S.DELETED)
"""States that `retry` sends back to batched."""
