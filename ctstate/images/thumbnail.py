"""Small pictures of image files, for a person to look at."""

from typing import NamedTuple

from ctstate.images import ImageOptions, encode_image
from ctstate.images.metadata import without_profile

_QUALITY = 60


class Thumbnail(NamedTuple):
    """A small JPEG, upright, without any metadata."""

    data: bytes
    width: int
    height: int


def thumbnail(path: str, size: int, below: str | None = None) -> Thumbnail:
    """Return an image file made small; it is decoded at a fraction of its size, so that memory is bounded.

    Args:
        path: the file.
        size: of its longest side, in pixels; never enlarged.
        below: folder (its real path) that it must be in, links resolved; None: anywhere.

    Raises:
        BrokenImageError: it cannot be read, is no image, lies elsewhere, is damaged or too large; says why.
    """
    made = encode_image(path, ImageOptions(max_pixels=size, quality=_QUALITY), below)
    return Thumbnail(without_profile(made.data), made.width, made.height)
