"""What it costs to make camera-trap images fit for Zooniverse, and what it does to their look.

    python benchmarks/images.py [--repeats 9] [--longest 1440] [--quality 50] [--sizes WxH ...] [FILE ...]

One process, one thread, all ways of doing it in turn and that several times, so that whatever else the machine
does hits all alike; reported is the median of the CPU times (system time included). FILEs are used instead of
the made-up frames. The look is compared before the JPEG encoding takes its toll (saved at quality 100) and after
it, both against the full-size frame scaled down with LANCZOS.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ctstate.images import ImageOptions, encode_image, encoder_name

SIZES = ("2048x1536", "2304x1296", "3264x2448", "4608x3456")
BIG = 10**9


def frame(width: int, height: int, seed: int = 1) -> bytes:
    """A JPEG as a camera trap might take it: soft light, grass, an animal, sensor noise, an info strip."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    light = 95 + 45 * np.sin(x / width * 5 + 1) * np.cos(y / height * 4)
    pixels = np.stack([light + 8, light + 4, light - 18], -1)
    for cell, strength in ((64, 16), (16, 12), (5, 12)):  # ground, bushes, grass
        texture = rng.normal(0, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
        big = Image.fromarray(texture).resize((width, height), Image.Resampling.BICUBIC)
        pixels += strength * np.asarray(big)[..., None] * (0.4 + 0.6 * y / height)[..., None]
    for _ in range(4):
        cx, cy, r = rng.uniform(0.1, 0.9) * width, rng.uniform(0.4, 0.9) * height, rng.uniform(0.03, 0.12) * height
        animal = ((x - cx) / 1.8) ** 2 + (y - cy) ** 2 < r * r
        pixels[animal] = pixels[animal] * 0.3 + rng.uniform(30, 170, 3)
    pixels += rng.normal(0, 4.5, (height, width, 3))
    pixels[-height // 24 :] = 12
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).filter(ImageFilter.UnsharpMask(1, 60, 0))
    saved = io.BytesIO()
    image.save(saved, "JPEG", quality=88, subsampling="4:2:2")
    return saved.getvalue()


def baseline(path: Path, options: ImageOptions) -> bytes:
    """The textbook: decode in full, thumbnail with LANCZOS, save."""
    with Image.open(path) as image:
        image.load()
        longest = max(image.size) if options.max_pixels is None else min(options.max_pixels, max(image.size))
        factor = longest / max(image.size)
        size = round(image.width * factor), round(image.height * factor)
        saved = io.BytesIO()
        image.resize(size, Image.Resampling.LANCZOS).save(saved, "JPEG", quality=options.quality)
        return saved.getvalue()


def over(encoder: str) -> Callable[[Path, ImageOptions], bytes]:
    def run(path: Path, options: ImageOptions) -> bytes:
        os.environ["CTSTATE_IMAGES"] = encoder
        return encode_image(path, options).data

    return run


def grey(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=np.float64)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(((one - other) ** 2).mean(), 1e-9)))


def local_mean(values: np.ndarray, side: int = 8) -> np.ndarray:
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    total = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    mean: np.ndarray = total / side**2
    return mean


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Mean structural similarity (Wang et al. 2004) in windows of 8 x 8 pixels; 1 is the same picture."""
    mean_one, mean_other = local_mean(one), local_mean(other)
    var_one = local_mean(one * one) - mean_one**2
    var_other = local_mean(other * other) - mean_other**2
    both = local_mean(one * other) - mean_one * mean_other
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_one * mean_other + c1) * (2 * both + c2)
    return float((top / ((mean_one**2 + mean_other**2 + c1) * (var_one + var_other + c2))).mean())


def measure(path: Path, options: ImageOptions, repeats: int) -> None:
    """Print the table of one image."""
    os.environ["CTSTATE_IMAGES"] = ""
    fast = encoder_name()
    ways: dict[str, Callable[[Path, ImageOptions], bytes]] = {"LANCZOS": baseline, "pillow": over("pillow")}
    if fast != "pillow":
        ways[fast] = over("")
    times: dict[str, list[float]] = {name: [] for name in ways}
    made = {name: run(path, options) for name, run in ways.items()}  # not timed: imports and warming up
    for _ in range(repeats):
        for name, run in ways.items():
            start = time.process_time()
            run(path, options)
            times[name].append(time.process_time() - start)
    with Image.open(path) as image:
        width, height = image.size
        size = Image.open(io.BytesIO(made["pillow"])).size
        reference = np.asarray(image.convert("L").resize(size, Image.Resampling.LANCZOS), dtype=np.float64)
    print(f"\n{path.name}: {width} x {height}, {path.stat().st_size:,} bytes -> {size[0]} x {size[1]}")
    print(
        f"  {'':<18}{'CPU ms':>8}{'ratio':>8}{'bytes':>10}"
        f"{'SSIM q100':>11}{'PSNR q100':>11}{f'SSIM q{options.quality}':>10}{f'PSNR q{options.quality}':>10}"
    )
    first = statistics.median(times["LANCZOS"])
    best = ImageOptions(max_pixels=options.max_pixels, quality=100, max_bytes=BIG)
    for name, run in ways.items():
        middle = statistics.median(times[name])
        fine, coarse = grey(run(path, best)), grey(made[name])
        print(
            f"  {name:<18}{middle * 1000:>8.1f}{first / middle:>8.2f}{len(made[name]):>10,}"
            f"{ssim(fine, reference):>11.4f}{psnr(fine, reference):>11.1f}"
            f"{ssim(coarse, reference):>10.4f}{psnr(coarse, reference):>10.1f}"
        )


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="images to use")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WxH", help="sizes of made-up frames")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--longest", type=int, default=1440)
    parser.add_argument("--quality", type=int, default=50)
    args = parser.parse_args()
    options = ImageOptions(max_pixels=args.longest, quality=args.quality, max_bytes=BIG)
    with tempfile.TemporaryDirectory() as folder:
        files = list(args.files)
        for size in [] if files else args.sizes:
            width, height = map(int, size.split("x"))
            files.append(Path(folder) / f"{width * height / 1e6:.1f} megapixels {size}.jpg")
            files[-1].write_bytes(frame(width, height))
        for path in files:
            measure(path, options, args.repeats)


if __name__ == "__main__":
    main()
