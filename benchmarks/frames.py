"""Made-up camera-trap pictures, six kinds of them, as the JPEG files that cameras write.

Leaves on leaves (random ellipses, large to small, each over those before it) have the edges and the spectrum of
real scenes; over them come grass, an animal, a lens's softness, sensor noise, a camera's sharpening, an info strip.
"""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZES = ((2048, 1536), (2304, 1296), (2592, 1944), (3264, 2448), (4608, 3456))
SUBSAMPLINGS = ("4:2:0", "4:2:2", "4:4:4")
KINDS = ("foliage", "infrared", "night", "snow", "MPO", "portrait")
_ORIENTATION = 0x0112
_TURN_RIGHT = 6


def scene(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A picture in daylight, before any camera."""
    width, height = size
    image = Image.new("RGB", size, (88, 96, 62))
    draw = ImageDraw.Draw(image)
    for radius in np.sort(width * 0.002 * (1 + rng.pareto(1.5, 15_000)).clip(max=30))[::-1]:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        light = rng.uniform(30, 150) * (0.7 + 0.5 * y / height)
        leaf = int(light * rng.uniform(0.8, 1.2)), int(light * 1.1), int(light * rng.uniform(0.4, 0.9))
        draw.ellipse((x - radius * 1.6, y - radius, x + radius * 1.6, y + radius), fill=leaf)
    for x, y, length in rng.uniform(
        (0, height * 0.55, height * 0.02), (width, height * 1.1, height * 0.12), (2500, 3)
    ):
        shade = int(rng.uniform(60, 190))
        blade = (x, y, x + rng.normal(0, length / 3), y - length)
        draw.line(blade, fill=(shade, shade, shade // 2), width=max(1, width // 1000))
    x, y, r = width * rng.uniform(0.2, 0.8), height * rng.uniform(0.5, 0.7), height * rng.uniform(0.08, 0.2)
    draw.ellipse((x - 1.8 * r, y - r, x + 1.8 * r, y + r), fill=(118, 92, 64))
    for stripe in np.arange(-1.5, 1.5, 0.25):
        draw.line(
            (x + stripe * r, y - r * 0.6, x + stripe * r + r / 6, y + r * 0.6), fill=(46, 38, 32), width=int(r / 16)
        )
    return image.filter(ImageFilter.GaussianBlur(width / 3000))


def photograph(kind: str, size: tuple[int, int], subsampling: str, seed: int) -> bytes:
    """A file of one of KINDS; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    width, height = size
    pixels: np.ndarray = np.asarray(scene(size, rng), np.float32)
    noise, quality = 3.0, 90
    if kind in ("infrared", "night"):
        noise = 8.0
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        pixels = pixels * (1.5 / (1 + 4 * (x * x + y * y)) ** 1.2)[..., None].astype(np.float32) + 6
    if kind == "snow":
        pixels = 195 + pixels * 0.3
    if kind == "infrared":  # grey, but stored in three channels
        pixels = np.repeat(pixels.mean(-1, keepdims=True) + noise * _normal(rng, (height, width, 1)), 3, -1)
    else:
        pixels = pixels + noise * _normal(rng, (height, width, 3))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).filter(ImageFilter.UnsharpMask(1, 60, 0))
    strip = ImageDraw.Draw(image)
    strip.rectangle((0, height - height // 24, width, height), fill="black")
    strip.text(
        (width // 40, height - height // 26),
        f"2026-10-{seed % 28 + 1:02} 06:14  17C  TRAP {seed}",
        "white",
        font_size=height // 30,
    )
    saved = io.BytesIO()
    if kind == "MPO":
        small = image.resize((width // 4, height // 4))
        image.save(saved, "MPO", save_all=True, append_images=[small], quality=quality, subsampling=subsampling)
        return saved.getvalue()
    exif = Image.Exif()
    exif[_ORIENTATION] = _TURN_RIGHT if kind == "portrait" else 1
    image.save(saved, "JPEG", quality=quality, subsampling=subsampling, exif=exif)
    return saved.getvalue()


def photographs(each: int) -> Iterator[tuple[str, bytes]]:
    """Yield `each` files of every kind, with the kind: all sizes and all subsamplings in turn."""
    for kind in KINDS:
        for number in range(each):
            size, subsampling = SIZES[number % len(SIZES)], SUBSAMPLINGS[number % len(SUBSAMPLINGS)]
            yield kind, photograph(kind, size, subsampling, KINDS.index(kind) * each + number)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)
