"""Small pictures of images that the ledger lists: JPEG, without EXIF, never of another file."""

import os
from collections import OrderedDict
from typing import NamedTuple

from ctstate.errors import BrokenImageError
from ctstate.images import ImageOptions, encode_image
from ctstate.ledger.live_captures import Place
from ctstate.machine import machine

_OPTIONS = ImageOptions(max_pixels=360, quality=60, max_bytes=100_000)

_KEPT_S = 300.0
_KEPT_BYTES = 20_000_000

AT_ONCE = 2
"""So many files are read and decoded at the same time: the machine is others', too."""

_PLACEHOLDER = """<svg xmlns="http://www.w3.org/2000/svg" width="360" height="270" viewBox="0 0 360 270">
<rect width="360" height="270" fill="#6b7580"/>
<text x="180" y="141" fill="#fff" font-family="sans-serif" font-size="18" text-anchor="middle">{words}</text></svg>
"""


class Thumbnail(NamedTuple):
    """A picture, and of which type."""

    data: bytes
    mime: str


class Thumbnails:
    """Makes them, and keeps them for a few minutes."""

    def __init__(self) -> None:
        self._turn = machine().condition()
        self._at_work = 0
        self._kept: OrderedDict[Place, tuple[float, Thumbnail]] = OrderedDict()

    def of(self, place: Place | None) -> Thumbnail:
        """Return the picture of an image (None: the ledger lists none); a placeholder where it cannot be shown."""
        if place is None:
            return _placeholder("no such image")
        with self._turn:
            at = machine().monotonic()
            for old in [one for one, (made, _) in self._kept.items() if at - made > _KEPT_S]:
                del self._kept[old]
            if place in self._kept:
                return self._kept[place][1]
            while self._at_work >= AT_ONCE:
                self._turn.wait(60.0)
            self._at_work += 1
        try:
            made = _made(place)
        finally:
            with self._turn:
                self._at_work -= 1
                self._turn.notify_all()
        with self._turn:
            self._kept[place] = (machine().monotonic(), made)
            while sum(len(kept.data) for _, kept in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return made


def _made(place: Place) -> Thumbnail:
    below = None if place.below is None else os.path.realpath(place.below)
    path = place.path if place.below is None else os.path.join(place.below, place.path)
    try:
        image = encode_image(path, _OPTIONS, below)
    except BrokenImageError:  # what is wrong with it, the ledger says beside the picture
        return _placeholder("this file cannot be shown" if os.path.lexists(path) else "the file is not there")
    return Thumbnail(image.data, image.mime)


def _placeholder(words: str) -> Thumbnail:
    return Thumbnail(_PLACEHOLDER.format(words=words).encode(), "image/svg+xml")
