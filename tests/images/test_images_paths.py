"""The fast and the plain path differ in speed and in nothing that anybody could notice."""

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from ctstate.images import EncodedImage, ImageOptions, codecs, encode_image
from tests.builders.image_files import frame, opened, pairs, save, secret_exif, with_every_secret
from tests.images.conftest import choose

OPTIONS = ImageOptions()
HALF = ImageOptions(max_pixels=720)


def over_both(path: Path, options: ImageOptions, monkeypatch: pytest.MonkeyPatch) -> list[EncodedImage]:
    made = []
    for encoder in ("pillow", "fast"):
        with monkeypatch.context() as context:
            choose(encoder, context)
            made.append(encode_image(path, options))
    return made


def layout(data: bytes) -> list[tuple[int, int]]:
    """Marker and length of every segment before the scan."""
    found, at = [], 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((data[at + 1], length))
        at += 2 + length
    return found


def psnr(one: Image.Image, other: Image.Image) -> float:
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return float(10 * np.log10(255**2 / max(((first - second) ** 2).mean(), 1e-9)))


@pytest.mark.parametrize(
    ("mode", "orientation", "options"),
    pairs(
        ["RGB", "L"],
        [1, 5, 6],
        [
            HALF,
            replace(HALF, keep_exif=True, quality=70),
            replace(HALF, max_pixels=None),
            replace(HALF, max_pixels=333),
            replace(HALF, max_bytes=14_000),
            replace(HALF, max_bytes=5_000),
            replace(HALF, compress=False),
        ],
    ),
)
def test_all_but_the_pixels_is_the_same(
    tmp_path: Path, mode: str, orientation: int, options: ImageOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.jpg", frame(850, 550, mode), exif=secret_exif(orientation), comment="hidden")
    path.write_bytes(with_every_secret(path.read_bytes()))
    plain, fast = over_both(path, options, monkeypatch)
    same = {"data": b"", "md5": ""}
    assert replace(plain, **same) == replace(fast, **same)
    assert opened(plain.data).mode == opened(fast.data).mode
    tables = (0xC4,)
    assert [part for part in layout(plain.data) if part[0] not in tables] == [
        part for part in layout(fast.data) if part[0] not in tables
    ]
    assert opened(plain.data).getexif() == opened(fast.data).getexif()
    assert psnr(opened(plain.data), opened(fast.data)) > 30


@pytest.mark.parametrize(
    ("width", "mode", "longest"),
    [(500, "RGB", 480), (600, "L", 480), (2048, "RGB", 1440), (683, "L", 480), (768, "RGB", 480), (939, "L", 480),
     (1088, "RGB", 480)],
)  # fmt: skip
def test_looks_like_the_reference(tmp_path: Path, encoder: str, width: int, mode: str, longest: int) -> None:
    """Against LANCZOS from the full size, before JPEG takes its much larger toll: by the factors of cameras that
    are made 1440 wide, from 1500 to 3264, and mostly a third of their size."""
    source = save(tmp_path / "a.jpg", frame(width, width * 3 // 4, mode, noise=8), quality=92)
    full = Image.open(source)
    reference = full.resize((longest, longest * 3 // 4), Image.Resampling.LANCZOS)
    made = opened(encode_image(source, ImageOptions(quality=100, max_pixels=longest, max_bytes=10**8)).data)
    assert psnr(made, reference) > 38
    # And after it: no worse than what the reference becomes.
    saved = opened(encode_image(source, ImageOptions(max_pixels=longest)).data)
    path = save(tmp_path / "b.jpg", reference, quality=50, subsampling="4:2:0")
    assert psnr(saved, reference) > psnr(Image.open(path), reference) - 0.5


def test_fine_patterns_do_not_become_coarse_ones(tmp_path: Path, encoder: str) -> None:
    """A fence too fine for the smaller picture mostly turns grey, not into a wider fence.

    Of its contrast INTER_AREA leaves 0.49, plain bilinear or bicubic sampling more than 0.6.
    """
    x = np.arange(2048)
    stripes = np.repeat((128 + 80 * np.sin(2 * np.pi * x * 0.43))[None], 1536, axis=0)
    path = save(tmp_path / "a.jpg", Image.fromarray(stripes.astype(np.uint8)), quality=95)
    made = np.asarray(opened(encode_image(path, ImageOptions(quality=95)).data), dtype=float)
    middle = made[100:-100, 100:-100]
    assert abs(middle.mean() - 128) < 3
    assert middle.std() < 0.5 * stripes.std()


def test_next_picture_leaves_the_last_one_alone(tmp_path: Path, encoder: str) -> None:
    first = save(tmp_path / "a.jpg", frame(2048, 1536, seed=1))
    second = save(tmp_path / "b.jpg", frame(1600, 1200, "L", seed=2))
    alone = [encode_image(path, OPTIONS) for path in (first, second)]
    for _ in range(2):
        assert [encode_image(path, OPTIONS) for path in (second, first)] == alone[::-1]


def test_in_processes_and_threads(tmp_path: Path, encoder: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    paths = [save(tmp_path / f"{n}.jpg", frame(1600, 900, seed=n)) for n in range(3)] * 3
    here = [encode_image(path, OPTIONS) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(encode_image, paths, [OPTIONS] * len(paths))) == here
    with ProcessPoolExecutor(2) as pool:
        assert list(pool.map(encode_image, paths, [OPTIONS] * len(paths))) == here


def test_opencv_keeps_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    choose("fast", monkeypatch)
    import cv2

    assert cv2.getNumThreads() == 1


def test_fast_path_is_taken_where_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose("fast", monkeypatch)
    tools = codecs._import_tools()
    for options, taken in (({}, True), ({"progressive": True}, True), ({"keep_rgb": True}, False)):
        if "keep_rgb" in options and features.version("pil") < "10.2":
            continue  # that Pillow cannot make one
        data = save(tmp_path / "a.jpg", frame(800, 600), **options).read_bytes()
        assert (codecs._decode_fast(data, (100, 75), tools) is not None) is taken
        assert (codecs._decode_fast(data[:-1000] + b"\xff\xd9", (100, 75), tools)) is None
    data = save(tmp_path / "a.jpg", frame(800, 600, "CMYK")).read_bytes()
    assert codecs._decode_fast(data, (100, 75), tools) is None


@pytest.mark.parametrize("part", [1, 2, 4, 8])
def test_both_decode_at_the_same_fraction(tmp_path: Path, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    choose("fast", monkeypatch)
    for size in ((1601, 1203), (800, 7), (9, 900)):
        data = save(tmp_path / "a.jpg", frame(*size)).read_bytes()
        wanted = (max(1, size[0] // part), max(1, size[1] // part))
        fast = codecs._decode_fast(data, wanted, codecs._import_tools())
        assert fast is not None
        assert fast.size() == codecs._decode_with_pillow(data, "JPEG", wanted).size()


@pytest.mark.parametrize("eighths", range(1, 9))
@pytest.mark.parametrize("size", [(1601, 1203), (2304, 1296), (803, 9)])
def test_decoded_at_the_smallest_fraction_that_will_do(
    tmp_path: Path, eighths: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And by simplejpeg, which refuses a buffer that is not of just the size that it makes."""
    choose("fast", monkeypatch)
    data = save(tmp_path / "a.jpg", frame(*size)).read_bytes()
    wanted = (max(1, size[0] * eighths // 8), max(1, size[1] * eighths // 8))
    fast = codecs._decode_fast(data, wanted, codecs._import_tools())
    assert fast is not None
    sizes = [(-(-size[0] * part // 8), -(-size[1] * part // 8)) for part in codecs._EIGHTHS]
    assert fast.size() == next(at for at in sizes if at[0] >= wanted[0] and at[1] >= wanted[1])


@pytest.mark.parametrize(
    ("width", "subsampling", "orientation"), pairs([480, 683, 768], ["4:2:0", "4:2:2", "4:4:4"], [1, 6])
)
def test_colours_survive(tmp_path: Path, encoder: str, width: int, subsampling: str, orientation: int) -> None:
    """However coarse a camera stores colours: what remains is what LANCZOS would leave of them."""
    image = frame(width, width * 3 // 4, noise=0)
    path = save(tmp_path / "a.jpg", image, quality=92, subsampling=subsampling, exif=secret_exif(orientation))
    made = opened(encode_image(path, ImageOptions(quality=100, max_pixels=480, max_bytes=10**8)).data)
    if orientation == 6:
        made = made.transpose(Image.Transpose.ROTATE_90)
    reference = image.resize((480, 360), Image.Resampling.LANCZOS)
    assert psnr(made, reference) > 38


def test_import_is_light() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import ctstate.images, sys; print(*sorted(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout.split()
    assert "PIL.Image" in said
    assert not {"cv2", "numpy", "simplejpeg", "sqlalchemy", "pandas", "requests", "panoptes_client"} & set(said)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codecs._import_tools.cache_clear()
    with monkeypatch.context() as context:
        context.delenv("CTSTATE_IMAGES", raising=False)
        context.setitem(sys.modules, "simplejpeg", None)
        assert codecs.name() == "pillow"
        path = save(tmp_path / "a.jpg", frame(1600, 1200))
        plain = encode_image(path, OPTIONS)
        context.setenv("CTSTATE_IMAGES", "pillow")
        assert encode_image(path, OPTIONS) == plain
        context.delenv("CTSTATE_IMAGES")
        codecs._import_tools.cache_clear()
        context.delitem(sys.modules, "simplejpeg")
        context.setitem(sys.modules, "cv2", None)
        if importlib.util.find_spec("simplejpeg"):
            assert codecs.name() == "simplejpeg"
    codecs._import_tools.cache_clear()
