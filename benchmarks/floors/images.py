"""Floor of `ctstate.images.encode_image`: decode at n/8, one cubic pass, encode. Nothing is checked, nothing kept.

python benchmarks/floors/images.py FILE.jpg SMALL.jpg

It is the quickest of the recipes that come as close to LANCZOS, after quality 50, as ctstate does: 6/8 and 7/8 take
longer than 8/8 with a blur, without the blur noise comes through, INTER_LINEAR is too soft. simplejpeg encodes from
YUV planes but does not decode to them, so that pixels go through RGB.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

EIGHTHS = (1, 2, 3, 4, 5, 8)

cv2.setNumThreads(1)
_decoded, _blurred, _resized = np.empty((3, 2**26), np.uint8)  # new memory for each picture would cost a seventh


def small(path: str | Path, longest: int = 1440, quality: int = 50) -> bytes:
    data = Path(path).read_bytes()
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    scale = longest / max(width, height)
    eighths = next(n for n in EIGHTHS if n >= 8 * scale)
    shape = -(-height * eighths // 8), -(-width * eighths // 8), 3
    pixels = simplejpeg.decode_jpeg(
        data,
        "RGB",
        fastupsample=True,
        min_height=shape[0],
        min_width=shape[1],
        min_factor=8 / eighths,
        buffer=_decoded[: np.prod(shape)].reshape(shape),
    )
    factor = eighths / 8 / scale
    if factor > 1.2:
        side = min(0.1 * (factor**2 - 1), 0.2)
        kernel = np.array([side, 1 - 2 * side, side], np.float32)
        pixels = cv2.sepFilter2D(pixels, -1, kernel, kernel, dst=_blurred[: pixels.size].reshape(shape))
    height, width = round(height * scale), round(width * scale)
    resized = _resized[: height * width * 3].reshape(height, width, 3)
    cv2.resize(pixels, (width, height), dst=resized, interpolation=cv2.INTER_CUBIC)
    made: bytes = simplejpeg.encode_jpeg(resized, quality=quality, colorspace="RGB", colorsubsampling="420")
    return made


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(small(sys.argv[1]))
