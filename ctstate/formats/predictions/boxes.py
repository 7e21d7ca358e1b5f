"""Where in an image a detector saw something: boxes as they are kept, compact JSON text of an image each.

A box is for a person's eye, and nothing is decided by it: one that is none is left out and counted, while a score
that is none stops the reading. Detectors report down to 0.005, mostly leaves: kept is what may lie around a
threshold that a person sets, from `LEAST` on, or from half of the file's own typical threshold where that is lower.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

LEAST = 0.1
"""Boxes below this confidence are not kept, whatever the file says of its threshold."""

MOST = 100
"""Of an image so many are kept, the surest: more are a detector gone wild, and no picture shows them."""

ROUNDING = 0.01
"""So far beyond the image's edge a box may lie: programs round its corner and its size each by themselves."""

_LONGEST_NAME = 80
_DIGITS = 4  # of an image of 10,000 pixels, one
_LONG = 52  # characters a box: its numbers have more digits than that

_encoded = msgspec.json.Encoder().encode


class Boxes:
    """Makes of detections what is kept of them.

    Args:
        threshold: the file's own, where it says one.

    Attributes:
        least: the confidence from which on boxes are kept.
        bad: so many were none.
        example: a line about the first of these.
    """

    def __init__(self, threshold: float | None = None) -> None:
        self.least = LEAST if threshold is None else min(LEAST, max(threshold, 0) / 2)
        self.bad = 0
        self.example = ""

    def text(self, what: str, detections: Sequence[tuple[str, float, Any]]) -> str | None:
        """Return the boxes of an image: `[[category, confidence, x, y, width, height], ...]`, None without any.

        Args:
            what: which image, for `example`.
            detections: category, confidence, and the box as the file has it; those below `least` left out.
        """
        kept: list[tuple[Any, ...]] = []
        for category, confidence, box in detections:
            if type(box) is list and len(box) == 4:
                x, y, width, height = box
                if (
                    (type(x) is type(y) is type(width) is type(height) is float)
                    and (x >= 0 and y >= 0 and width > 0 and height > 0)
                    and (x + width <= 1 and y + height <= 1)
                ):  # as nearly all are
                    kept.append((category, confidence, x, y, width, height))
                    continue
            if box is None:
                continue
            usable = _within(box)
            if usable is None:
                self.bad += 1
                self.example = self.example or f"{what}: the box {box!r:.60} is not four fractions of the image"
            elif usable[2] and usable[3]:
                kept.append((category, confidence, *usable))
        if not kept:
            return None
        if len(kept) > MOST:
            kept = sorted(kept, key=lambda each: -each[1])[:MOST]
        made = _encoded(kept)
        if len(made) > _LONG * len(kept):
            made = _encoded([(name[:_LONGEST_NAME], *(round(n, _DIGITS) for n in of)) for name, *of in kept])
        return made.decode()


def _within(box: Any) -> tuple[float, float, float, float] | None:
    """Return a box that lies within the image but for rounding, cut at its edge; None: it is none."""
    if type(box) is not list or len(box) != 4 or any(type(n) is not float and type(n) is not int for n in box):
        return None
    x, y, width, height = box
    if not (min(x, y) >= -ROUNDING and min(width, height) >= 0):
        return None
    if not (x + width <= 1 + ROUNDING and y + height <= 1 + ROUNDING):
        return None
    left, top, right, bottom = (min(max(float(n), 0.0), 1.0) for n in (x, y, x + width, y + height))
    return left, top, round(right - left, 6), round(bottom - top, 6)
