"""Image files for the tests, made with Pillow and numpy."""

import functools
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GPS_IFD = 0x8825
ORIENTATION = 0x0112
SECRET = "S 2 26 48 E 34 49 12"  # a position that must not leak

# What has to be done to upright pixels so that a viewer who obeys the orientation shows them upright.
UNDO = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@functools.cache
def frame(width: int = 640, height: int = 480, mode: str = "RGB", noise: float = 6, seed: int = 1) -> Image.Image:
    """A picture with gradients, shapes and noise whose four corners differ: red, green, blue, white."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    red = 110 + 60 * np.sin(x / 41 + y / 67)
    green = 100 + 50 * np.cos(x / 23 - y / 59)
    blue = 90 + 40 * np.sin(y / 31)
    pixels = np.stack([red, green, blue], -1)
    pixels[(x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 5) ** 2] = (180, 120, 60)
    pixels += rng.normal(0, noise, (height, width, 1))
    h, w = max(1, height // 5), max(1, width // 5)
    pixels[:h, :w] = (220, 20, 20)
    pixels[:h, -w:] = (20, 200, 20)
    pixels[-h:, :w] = (20, 20, 220)
    pixels[-h:, -w:] = (240, 240, 240)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert(mode)


def corners(image: Image.Image) -> str:
    """The colours in the four corners, from top left by rows: `rgbw` for an upright frame."""
    names = ""
    width, height = image.size
    for y in (height // 12, height - 1 - height // 12):
        for x in (width // 12, width - 1 - width // 12):
            red, green, blue = image.convert("RGB").getpixel((x, y))
            names += "w" if min(red, green, blue) > 180 else "rgb"[(red, green, blue).index(max(red, green, blue))]
    return names


def secret_exif(orientation: int = 1) -> Image.Exif:
    """EXIF with a position, a maker, a comment and an orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "TrapMaker"
    exif[0x010E] = SECRET
    exif[GPS_IFD] = {1: "S", 2: (2.0, 26.0, 48.0), 3: "E", 4: (34.0, 49.0, 12.0)}
    read = Image.Exif()
    read.load(exif.tobytes())  # as read from a file: the only kind that Pillow writes to a TIFF in full
    return read


def save(path: Path, image: Image.Image, kind: str = "JPEG", **options: object) -> Path:
    image.save(path, kind, **options)
    return path


def saved(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def with_every_secret(jpeg: bytes) -> bytes:
    """A JPEG with the secret in every kind of segment that metadata can be in."""
    secret = SECRET.encode()
    return (
        jpeg[:2]
        + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x>" + secret + b"</x>")
        + segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x14" + secret)
        + segment(0xE0, b"CIFF" + secret)
        + segment(0xE2, b"FPXR\0" + secret)
        + segment(0xE5, b"RMETA\0" + secret)
        + segment(0xEB, b"JP" + secret)
        + segment(0xEC, b"Ducky" + secret)
        + segment(0xEF, secret)
        + segment(0xFE, secret)
        + jpeg[2:]
    )


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    first = np.asarray(one.convert("RGB"), dtype=np.float64)
    second = np.asarray(other.convert("RGB"), dtype=np.float64)
    assert first.shape == second.shape
    return float(np.abs(first - second).mean())


def pairs(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return rows with one value of each axis, such that any two values of two axes meet in some row.

    Most mistakes need two things to come together, hardly one three; so this says as much as the product, with
    far fewer rows (the greedy way of Cohen et al., "The AETG system", IEEE TSE 23(7), 1997).
    """
    columns = list(itertools.combinations(range(len(axes)), 2))
    open_ = {(a, b, i, j) for a, b in columns for i in range(len(axes[a])) for j in range(len(axes[b]))}
    rows = []
    while open_:
        best = max(
            itertools.product(*(range(len(axis)) for axis in axes)),
            key=lambda row: sum((a, b, row[a], row[b]) in open_ for a, b in columns),
        )
        open_ -= {(a, b, best[a], best[b]) for a, b in columns}
        rows.append(tuple(axis[index] for axis, index in zip(axes, best, strict=True)))
    return rows
