"""What it costs to make camera-trap images fit for Zooniverse, and what it does to their look.

    python benchmarks/images.py [--repeats 15] [--sizes WxH ...] [--each 9] [FILE ...]

Of every image is made a JPEG of 1440 px: by the textbook (decode in full, LANCZOS), by ctstate over Pillow alone
and with `ctstate[fast]`, and by the floor (benchmarks/floors/images.py).

Cost: one process, one thread, all ways in turn and that several times, so that whatever else the machine does hits
all alike; reported is the median of the CPU times (system time included). FILEs are used instead of made-up
frames.

Look: structural similarity to the full-size frame scaled down with LANCZOS, of `--each` made-up frames of every
kind (benchmarks/frames.py): before JPEG's own loss (saved at quality 100) and after it.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from floors.images import small
from frames import KINDS, photograph, photographs
from PIL import Image

from ctstate.images import ImageOptions, encode_image, encoder_name

SIZES = ("2048x1536", "2304x1296", "3264x2448", "4608x3456")
LONGEST = 1440
QUALITIES = (100, 50, 80)  # 100 stands for what the picture is before JPEG's own loss

Way = Callable[[Path, int], bytes]


def textbook(path: Path, quality: int) -> bytes:
    """Decode in full, scale down with LANCZOS, save."""
    saved = io.BytesIO()
    _reference(path).save(saved, "JPEG", quality=quality)
    return saved.getvalue()


def ctstate(encoder: str) -> Way:
    """`encode_image` with one of its encoders; the empty name is for the fast one."""

    def run(path: Path, quality: int) -> bytes:
        os.environ["CTSTATE_IMAGES"] = encoder
        return encode_image(path, ImageOptions(max_pixels=LONGEST, quality=quality, max_bytes=10**9)).data

    return run


def floor(path: Path, quality: int) -> bytes:
    return small(path, LONGEST, quality)


WAYS: dict[str, Way] = {"LANCZOS": textbook, "plain": ctstate("pillow"), "fast": ctstate(""), "floor": floor}


def _reference(path: Path) -> Image.Image:
    with Image.open(path) as image:
        factor = min(1.0, LONGEST / max(image.size))
        return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Mean structural similarity (Wang et al. 2004) in windows of 8 x 8 pixels; 1 is the same picture."""

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (8, 8))

    mean_one, mean_other = mean(one), mean(other)
    var_one, var_other = mean(one * one) - mean_one**2, mean(other * other) - mean_other**2
    both = mean(one * other) - mean_one * mean_other
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_one * mean_other + c1) * (2 * both + c2)
    return float((top / ((mean_one**2 + mean_other**2 + c1) * (var_one + var_other + c2))).mean())


def grey(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), dtype=np.float64)


def measure(path: Path, repeats: int) -> None:
    """Print what one image costs."""
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(repeats + 1):  # the first is not counted: imports and warming up
        for name, run in WAYS.items():
            start = time.process_time()
            run(path, 50)
            if turn:
                times[name].append(time.process_time() - start)
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    cells = "".join(f"{middle[name] * 1000:>9.1f}{middle[name] / middle['floor']:>6.2f}" for name in WAYS)
    print(f"  {path.stem:<12}{path.stat().st_size:>11,}{cells}", flush=True)


def compare(folder: Path, each: int) -> None:
    """Print what becomes of the look of many images, and how large they get."""
    seen: dict[tuple[str, str], list[list[float]]] = {}
    for kind, data in photographs(each):
        path = folder / "frame.jpg"
        path.write_bytes(data)
        reference = _reference(path)
        for name, run in WAYS.items():
            figures: list[float] = []
            for quality in QUALITIES:
                made = run(path, quality)
                image: Image.Image = Image.open(io.BytesIO(made))
                if image.size != reference.size:  # ctstate turned it as its orientation says
                    image = image.transpose(Image.Transpose.ROTATE_90)
                figures += (ssim(grey(image), grey(reference)), len(made) / 1000)
            seen.setdefault((kind, name), []).append(figures)
    print(f"\nSSIM against LANCZOS and kB, {each * len(KINDS)} images: median / worst\n")
    print(
        f"  {'':<18}{'SSIM before JPEG':<18}"
        + "".join(f"{f'SSIM q{q}':<18}{f'kB q{q}':<14}" for q in QUALITIES[1:])
    )
    for kind in ("all", *KINDS):
        for name in WAYS:
            rows = [
                row for (of, way), found in seen.items() if way == name and kind in ("all", of) for row in found
            ]
            before, _, *after = map(spread, zip(*rows, strict=True), (min, max) * len(QUALITIES))
            cells = "".join(f"{cell:<{18 if at % 2 == 0 else 14}}" for at, cell in enumerate(after))
            print(f"  {kind:<10}{name:<8}{before:<18}{cells}")


def spread(values: Sequence[float], worst: Callable[[Sequence[float]], float]) -> str:
    digits = 4 if worst is min else 0
    return f"{statistics.median(values):.{digits}f} / {worst(values):.{digits}f}"


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="images whose cost is measured")
    parser.add_argument("--sizes", nargs="*", default=SIZES, metavar="WxH", help="of made-up frames, if any")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--each", type=int, default=9, help="made-up frames of every kind; 0: no look at looks")
    args = parser.parse_args()
    os.environ["CTSTATE_IMAGES"] = ""
    print(f"CPU ms and ratio to the floor; fast is {encoder_name()}\n")
    print(f"  {'':<12}{'bytes':>11}" + "".join(f"{name:>9}{'':>6}" for name in WAYS))
    with tempfile.TemporaryDirectory() as name:
        folder, files = Path(name), list(args.files)
        for size in [] if files else args.sizes:
            width, height = map(int, size.split("x"))
            files.append(folder / f"{size}.jpg")
            files[-1].write_bytes(photograph("foliage", (width, height), "4:2:2", 1))
        for path in files:
            measure(path, args.repeats)
        if args.each:
            compare(folder, args.each)


if __name__ == "__main__":
    main()
