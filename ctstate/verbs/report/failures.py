"""Failed captures by what went wrong: what that means, a few to look at, and the command that mends them."""

import base64
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from ctstate.errors import BrokenImageError
from ctstate.images import ImageOptions, encode_image
from ctstate.ledger import Ledger, overview
from ctstate.ledger.scans import UNKNOWN, CapturesSeen, Example

SMALL = ImageOptions(max_pixels=160, quality=60)


@dataclass(frozen=True)
class Shown:
    """A failed capture.

    Attributes:
        capture_id, site, reason: which, and why.
        picture: of its image, as a `data:` address; None: it has none that can be shown.
        instead: why there is no picture.
    """

    capture_id: str
    site: str
    reason: str
    picture: str | None
    instead: str


@dataclass(frozen=True)
class Failures:
    """Captures that failed for the same reason.

    Attributes:
        kind: see docs/views.md.
        means: the same in words.
        captures: how many.
        first: a few of them.
        advice: what to do before the command.
        command: that gives them another try.
    """

    kind: str
    means: str
    captures: int
    first: Sequence[Shown]
    advice: str
    command: str


_REPAIR = "put whole files in the place of the broken ones, or exclude the captures; then"
_MEANING = {
    "image_broken": ("an image cannot be decoded, or not brought under the size limit", _REPAIR),
    "image_missing": (
        "an image's file is not there, or cannot be read",
        "bring the files back to where the captures CSV says they are; then",
    ),
    "no_image": (
        "none of its images is usable",
        "bring images back and read the captures CSV again (`ctstate manifest`), or exclude the captures; then",
    ),
    "encoder": (
        "encoding its images ended the process, three times",
        "give the upload more memory, or fewer processes (`--n-processes`); then",
    ),
    "no_answer": ("five creates in a row got no usable answer and made nothing", "once Zooniverse answers again"),
    "refused": (
        "Zooniverse refused the subject, an image of it, or its link",
        "do what the reason says: Zooniverse refuses the same again; then",
    ),
    "subject_gone": (
        "its subject is no longer on Zooniverse",
        "if it was not deleted on purpose, a new subject is made by",
    ),
    UNKNOWN: ("the ledger does not say of which kind the failure is", "read the reasons; then"),
}


def failures(ledger: Ledger, seen: CapturesSeen, season: str, root: str | None) -> list[Failures]:
    """Group what failed, the most first.

    Args:
        ledger: tells which images they have.
        seen: what was seen of all captures.
        season: manifest id.
        root: of the images; None: their paths are absolute.
    """
    retry = f"ctstate retry --season {shlex.quote(season)}"
    real = os.path.realpath(root) if root is not None else None
    found = []
    for kind, captures in seen.failures.most_common():
        means, advice = _MEANING.get(kind, _MEANING[UNKNOWN])
        first = [_shown(ledger, example, root, real) for example in seen.examples.get(kind, ())]
        found.append(Failures(kind, means, captures, first, advice, retry))
    return found


def _shown(ledger: Ledger, example: Example, root: str | None, real: str | None) -> Shown:
    with ledger.read() as connection:
        image = overview.image_to_see(connection, example.key)
    picture, instead = None, "it has no image"
    if image is not None:
        path = os.path.join(root or "", image.path)
        try:
            made = encode_image(path, SMALL, below=real)
        except BrokenImageError as error:
            instead = error.reason
        else:
            picture = f"data:{made.mime};base64,{base64.b64encode(made.data).decode('ascii')}"
    return Shown(example.capture_id, example.site, example.reason or "no reason was written down", picture, instead)
