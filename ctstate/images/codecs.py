"""Decoding, resizing and encoding: the part that comes in a plain (Pillow) and a fast version.

Whatever is not here (headers, orientation, metadata, size limits, notes) is the same code for both. The fast
version takes 8-bit RGB and greyscale JPEGs that decode without a single complaint; everything else, above all
whatever might be broken, is left to Pillow, so that the two never differ in their verdict.
"""

import functools
import io
import math
import os
import struct
import threading
import zlib
from dataclasses import dataclass
from typing import Any, Protocol, cast

from PIL import Image, ImageOps

from . import metadata

# What Pillow raises for files that are not what they claim to be.
PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
)

# Just above 1: the cheap box reduction (or JPEG scaling) runs whenever it does not go below the wanted size.
# With BICUBIC this halves the cost of a 16-megapixel frame against LANCZOS without it, for no visible change.
_REDUCING_GAP = 1.01

# What a JPEG is decoded at by the fast version, in eighths of its size (Pillow knows 1, 2, 4 and 8). 6 and 7 are
# left out: libjpeg-turbo has no quick way to make them, so that they take longer than all 8 and a blur.
_EIGHTHS = (1, 2, 3, 4, 5, 8)

# Up to here INTER_CUBIC alone is, after JPEG's own loss, as close to LANCZOS as with a blur before it.
_NEEDS_NO_BLUR = 1.2

_LARGEST_SCRATCH = 64 * 1024 * 1024

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# TIFF tags about how the pixels are stored, and the orientation, which decoding has dealt with.
_TIFF_LAYOUT = (
    254,
    255,
    256,
    257,
    258,
    259,
    262,
    266,
    273,
    274,
    277,
    278,
    279,
    284,
    317,
    320,
    322,
    323,
    324,
    325,
    330,
    338,
    339,
    347,
    700,
    33723,
    34377,
    34675,
)

Pixels = Any  # a numpy array, which the plain version does without


@dataclass(frozen=True)
class _Tools:
    """The modules of `ctstate[fast]`, imported at the first picture only."""

    simplejpeg: Any
    numpy: Any
    cv2: Any  # or None


class Picture(Protocol):
    """Decoded pixels, RGB or greyscale, 8 bits."""

    def size(self) -> tuple[int, int]:
        """Width and height."""

    def resized(self, width: int, height: int) -> "Picture":
        """The same picture in another size."""

    def turned(self, orientation: int) -> "Picture":
        """The same picture as EXIF orientation `orientation` wants it shown."""

    def jpeg(self, quality: int) -> bytes:
        """JPEG bytes, colours subsampled 4:2:0, without any metadata."""


class PillowPicture:
    """A picture in Pillow's hands."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image

    def size(self) -> tuple[int, int]:
        """See `Picture`."""
        return self.image.size

    def resized(self, width: int, height: int) -> "PillowPicture":
        """See `Picture`."""
        if (width, height) == self.image.size:
            return self
        return PillowPicture(
            self.image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=_REDUCING_GAP)
        )

    def turned(self, orientation: int) -> "PillowPicture":
        """See `Picture`."""
        turn = _TURNS.get(orientation)
        return self if turn is None else PillowPicture(self.image.transpose(turn))

    def jpeg(self, quality: int) -> bytes:
        """See `Picture`."""
        self.image.info = {}  # Pillow writes the original's comment into the copy otherwise
        made = io.BytesIO()
        self.image.save(made, "JPEG", quality=quality, subsampling="4:2:0")
        return made.getvalue()


class _Scratch(threading.local):
    """Arrays that are used again for the next picture: getting new ones from the system costs a seventh of the
    whole work. One set for each thread, and one picture at a time in it.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, Pixels] = {}

    def array(self, use: str, shape: tuple[int, int, int], numpy: Any) -> Pixels:
        """An array of that shape, which holds anything, until the next call for the same use."""
        size = math.prod(shape)
        if size > _LARGEST_SCRATCH:
            return numpy.empty(shape, numpy.uint8)
        array = self._arrays.get(use)
        if array is None or array.size < size:
            array = self._arrays[use] = numpy.empty(size, numpy.uint8)
        return array[:size].reshape(shape)


_scratch = _Scratch()


class FastPicture:
    """A picture as an array, in the hands of simplejpeg and OpenCV; good until the thread decodes the next."""

    def __init__(self, pixels: Pixels, tools: _Tools) -> None:
        self._pixels = pixels  # height x width x (1 or 3)
        self._tools = tools

    def size(self) -> tuple[int, int]:
        """See `Picture`."""
        return self._pixels.shape[1], self._pixels.shape[0]

    def resized(self, width: int, height: int) -> "FastPicture":
        """See `Picture`."""
        if (width, height) == self.size():
            return self
        cv2, numpy = self._tools.cv2, self._tools.numpy
        if cv2 is None:
            image = Image.fromarray(self._pixels if self._pixels.shape[2] > 1 else self._pixels[:, :, 0])
            pixels = numpy.asarray(PillowPicture(image).resized(width, height).image)
        else:
            pixels = _resized(self._pixels, width, height, cv2, numpy)
        return FastPicture(pixels.reshape(height, width, -1), self._tools)

    def turned(self, orientation: int) -> "FastPicture":
        """See `Picture`."""
        pixels = self._pixels
        if orientation >= 5:
            pixels = pixels.transpose(1, 0, 2)
        if orientation in (3, 4, 7, 8):
            pixels = pixels[::-1]
        if orientation in (2, 3, 6, 7):
            pixels = pixels[:, ::-1]
        return FastPicture(pixels, self._tools)

    def jpeg(self, quality: int) -> bytes:
        """See `Picture`."""
        pixels = self._tools.numpy.ascontiguousarray(self._pixels)
        grey = pixels.shape[2] == 1
        made: bytes = self._tools.simplejpeg.encode_jpeg(
            pixels,
            quality=quality,
            colorspace="GRAY" if grey else "RGB",
            colorsubsampling="Gray" if grey else "420",
        )
        return made


def _resized(pixels: Pixels, width: int, height: int, cv2: Any, numpy: Any) -> Pixels:
    """Scale down with OpenCV.

    INTER_AREA is the filter made for this, but three times as slow as the rest of the work, unless the factor
    is whole. Below a factor of 2, which is all that scaled decoding leaves to be done, INTER_CUBIC costs a third
    and comes closer to LANCZOS. It looks at four pixels only: from some factor on the noise of a night would come
    through (infrared, factor 1.8: SSIM .75 instead of .81), so that a light blur that grows with it goes first.
    """
    factor = max(pixels.shape[1] / width, pixels.shape[0] / height)
    made = _scratch.array("resized", (height, width, pixels.shape[2]), numpy)
    if factor >= 2:
        return cv2.resize(pixels, (width, height), dst=made, interpolation=cv2.INTER_AREA)
    if factor > _NEEDS_NO_BLUR:
        side = min(0.1 * (factor**2 - 1), 0.2)
        kernel = numpy.array([side, 1 - 2 * side, side], numpy.float32)
        pixels = cv2.sepFilter2D(pixels, -1, kernel, kernel, dst=_scratch.array("blurred", pixels.shape, numpy))
    return cv2.resize(pixels, (width, height), dst=made, interpolation=cv2.INTER_CUBIC)


def name() -> str:
    """See `encoder_name` of the package."""
    tools = _tools()
    if tools is None:
        return "pillow"
    return "simplejpeg+opencv" if tools.cv2 else "simplejpeg"


def decode(data: bytes, kind: str, wanted: tuple[int, int]) -> Picture:
    """Decode an image at the size `wanted` or anything larger up to its own size.

    Raises:
        DamagedError: its data end early though the file has an end.
        PILLOW_ERRORS: whatever Pillow finds wrong.
    """
    tools = _tools() if kind == "JPEG" else None
    picture = _decode_fast(data, wanted, tools) if tools else None
    return picture or _decode_with_pillow(data, kind, wanted)


def _tools() -> _Tools | None:
    """What `ctstate[fast]` installs; None without it or where the plain version is forced."""
    return None if os.environ.get("CTSTATE_IMAGES") == "pillow" else _import_tools()


@functools.cache
def _import_tools() -> _Tools | None:
    try:
        import numpy
        import simplejpeg
    except (ImportError, ValueError):  # ValueError: it was built for another numpy
        return None
    try:
        import cv2
    except (ImportError, ValueError):
        return _Tools(simplejpeg, numpy, None)
    cv2.setNumThreads(1)  # several processes encode at once, one for each core
    return _Tools(simplejpeg, numpy, cv2)


def _decode_fast(data: bytes, wanted: tuple[int, int], tools: _Tools) -> FastPicture | None:
    """Decode a plain JPEG without a complaint; None where it has to be left to Pillow."""
    try:
        height, width, colours, _ = tools.simplejpeg.decode_jpeg_header(data)
        if colours not in ("YCbCr", "Gray"):
            return None
        part = next((n for n in _EIGHTHS if width * n >= 8 * wanted[0] and height * n >= 8 * wanted[1]), 8)
        height, width, grey = -(-height * part // 8), -(-width * part // 8), colours == "Gray"
        pixels = tools.simplejpeg.decode_jpeg(
            data,
            "GRAY" if grey else "RGB",
            fastupsample=True,  # colours are not smoothed: they are made coarser again soon
            min_height=height,
            min_width=width,
            min_factor=8 / part,
            buffer=_scratch.array("decoded", (height, width, 1 if grey else 3), tools.numpy),
        )
    except ValueError:
        return None  # its strict mode raises for mere warnings too
    return FastPicture(pixels, tools)


def _decode_with_pillow(data: bytes, kind: str, wanted: tuple[int, int]) -> PillowPicture:
    opened = Image.open(io.BytesIO(data), formats=[kind])
    if kind == "JPEG":
        opened.draft(None, wanted)
    opened.load()
    image: Image.Image = opened
    if kind == "TIFF":
        # Pillow versions differ in whether loading has turned the pixels already; now they are, once.
        image = ImageOps.exif_transpose(image)
    if kind == "JPEG" and _ends_in_grey(image) and _ends_early(data):
        raise metadata.DamagedError(metadata.CUT_SHORT)
    return PillowPicture(_plain(image))


def fits(icc: bytes, mode: str) -> bool:
    """Whether a colour profile still fits once pixels of this mode have become RGB or greyscale."""
    if mode in ("CMYK", "LAB", "YCbCr", "HSV"):
        return False
    grey = mode in ("1", "L", "LA", "La", "I") or mode.startswith("I;16")
    return icc[16:20] == (b"GRAY" if grey else b"RGB ")


def tiff_exif(image: Image.Image) -> bytes | None:
    """The EXIF of a TIFF, whose tags also describe the file itself: those are left out."""
    exif = image.getexif()
    for tag in _TIFF_LAYOUT:
        exif.pop(tag, None)
    return exif.tobytes() if len(exif) else None


def _plain(image: Image.Image) -> Image.Image:
    """Any mode to 8-bit greyscale or RGB; what is transparent becomes white."""
    mode = image.mode
    if mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if mode == "1":
        return image.convert("L")
    if mode == "I" or mode.startswith("I;16"):
        return _eight_bits(image.convert("I"))
    if mode == "F":
        return _eight_bits(image)
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        base = "L" if mode in ("L", "LA", "La") else "RGB"
        clear = image.convert("LA" if mode in ("LA", "La") else "RGBA")
        flat = Image.new(base, image.size, "white")
        flat.paste(clear.convert(base), mask=clear.getchannel("A"))
        return flat
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale greys beyond 8 bits: 16 bits as they are meant, anything else from darkest to lightest."""
    low, high = cast("tuple[float, float]", image.getextrema())
    if image.mode == "I" and low >= 0 and high <= 65535:
        low, high = 0, 65535
    scale = 255 / (high - low) if high > low else 0.0
    offset = 0.5 - low * scale
    return image.point(lambda value: value * scale + offset).convert("L")


def _ends_in_grey(image: Image.Image) -> bool:
    """Whether the last pixel is the mid-grey that libjpeg paints where a picture's data end early."""
    if image.mode not in ("L", "RGB"):
        return False
    last = image.getpixel((image.width - 1, image.height - 1))
    return last in (128, (128, 128, 128))


def _ends_early(data: bytes) -> bool:
    """Whether a JPEG with a proper end has fewer data than pixels.

    libjpeg fills the missing part with grey and merely warns, which Pillow does not pass on. But such a file,
    unlike a whole one, changes when bytes are put in before its end.
    """
    try:
        whole = metadata.first_jpeg(data)
    except metadata.DamagedError:
        return False  # Pillow has the say on this one
    views = []
    for filler in (b"", b"\x5a\xa5\x33" * 400):
        image = Image.open(io.BytesIO(whole[:-2] + filler + whole[-2:]), formats=["JPEG"])
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
        views.append(image.tobytes())
    return views[0] != views[1]
