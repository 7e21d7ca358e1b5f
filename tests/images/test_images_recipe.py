"""What comes out: size, quality, format, orientation, colours, limits."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from ctstate.errors import BrokenImageError, UsageError
from ctstate.images import LARGEST_PICTURE, ImageOptions, encode_image, encoder_name, fitted
from tests.builders.image_files import (
    ORIENTATION,
    UNDO,
    corners,
    frame,
    mean_difference,
    opened,
    pairs,
    save,
    saved,
    secret_exif,
)

pytestmark = pytest.mark.usefixtures("encoder")


def quality_table(quality: int) -> dict[int, list[int]]:
    return opened(saved(Image.new("RGB", (16, 16)), quality=quality)).quantization


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((2048, 1536), 1440, (1440, 1080)),
        ((1536, 2048), 1440, (1080, 1440)),
        ((1801, 1203), 1440, (1440, 962)),
        ((2900, 1700), 1440, (1440, 844)),
        ((1440, 900), 1440, (1440, 900)),
        ((640, 480), 1440, (640, 480)),
        ((2048, 1536), None, (2048, 1536)),
        ((1500, 1000), 100, (100, 67)),
        ((2000, 1), 1000, (1000, 1)),
        ((1, 1), 1440, (1, 1)),
    ],
)
def test_longest_side(tmp_path: Path, size: tuple, longest: int, expected: tuple) -> None:
    made = encode_image(save(tmp_path / "a.jpg", frame(*size)), ImageOptions(max_pixels=longest))
    assert (made.width, made.height) == expected
    assert opened(made.data).size == expected
    assert fitted(size, longest) == expected


def test_result_describes_its_bytes(tmp_path: Path) -> None:
    made = encode_image(save(tmp_path / "a.jpg", frame(2048, 1536)), ImageOptions())
    image = opened(made.data)
    assert image.format == "JPEG"
    assert made.mime == "image/jpeg"
    assert made.md5 == hashlib.md5(made.data).hexdigest()
    assert (made.quality, made.note) == (50, "")
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize("quality", [16, 50, 90, 100])
def test_quality_and_subsampling(tmp_path: Path, quality: int) -> None:
    made = encode_image(save(tmp_path / "a.jpg", frame()), ImageOptions(quality=quality))
    image = opened(made.data)
    assert image.quantization == quality_table(quality)
    assert made.quality == quality
    assert [(h, v) for _, h, v, _ in image.layer] == [(2, 2), (1, 1), (1, 1)]


@pytest.mark.parametrize("quality", [15, 0, -1, 101])
def test_quality_out_of_range(quality: int) -> None:
    with pytest.raises(UsageError, match=f"above 15 and at most 100, not {quality}"):
        ImageOptions(quality=quality)


def test_other_options_out_of_range() -> None:
    with pytest.raises(UsageError, match="at least 1 pixel"):
        ImageOptions(max_pixels=0)
    with pytest.raises(UsageError, match="at least 1 byte"):
        ImageOptions(max_bytes=0)


@pytest.mark.parametrize(
    ("kind", "orientation", "size"),
    pairs(["JPEG", "PNG", "WEBP", "TIFF"], range(1, 9), [(640, 480), (800, 500)]),
)
def test_orientation(tmp_path: Path, kind: str, orientation: int, size: tuple) -> None:
    upright = frame(*size)
    undo = UNDO[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    path = save(tmp_path / "a.bin", stored, kind, exif=secret_exif(orientation))
    made = encode_image(path, ImageOptions(max_pixels=720))
    image = opened(made.data)
    assert corners(image) == "rgbw"
    assert image.size == (made.width, made.height) == fitted(size, 720)
    assert mean_difference(image, upright.resize(image.size, Image.Resampling.LANCZOS)) < 7


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_senseless_orientation_is_none(tmp_path: Path, orientation: int) -> None:
    made = encode_image(save(tmp_path / "a.jpg", frame(), exif=secret_exif(orientation)), ImageOptions())
    assert corners(opened(made.data)) == "rgbw"


def test_grey_stays_grey(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", frame(2048, 1536, "L"))
    image = opened(encode_image(path, ImageOptions()).data)
    assert image.mode == "L"
    assert mean_difference(image, frame(2048, 1536, "L").resize(image.size, Image.Resampling.LANCZOS)) < 4


SOURCES = {
    "progressive": lambda: (frame(850, 550), "JPEG", {"progressive": True}),
    "444": lambda: (frame(850, 550), "JPEG", {"subsampling": 0}),
    "422": lambda: (frame(850, 550), "JPEG", {"subsampling": 1}),
    "restarts": lambda: (frame(850, 550), "JPEG", {"restart_marker_rows": 1}),
    "rgb jpeg": lambda: (frame(850, 550), "JPEG", {"keep_rgb": True}),
    "cmyk": lambda: (frame(850, 550).convert("CMYK"), "JPEG", {}),
    "png": lambda: (frame(850, 550), "PNG", {}),
    "lzw tiff": lambda: (frame(850, 550), "TIFF", {"compression": "tiff_lzw"}),
    "tiff": lambda: (frame(850, 550), "TIFF", {}),
    "cmyk tiff": lambda: (frame(850, 550).convert("CMYK"), "TIFF", {}),
    "bmp": lambda: (frame(850, 550), "BMP", {}),
    "webp": lambda: (frame(850, 550), "WEBP", {"quality": 90}),
    "gif": lambda: (frame(850, 550), "GIF", {}),
    "palette png": lambda: (frame(850, 550).quantize(128), "PNG", {}),
}


@pytest.mark.parametrize("name", SOURCES)
def test_formats_show_the_same_picture(tmp_path: Path, name: str) -> None:
    image, kind, options = SOURCES[name]()
    made = encode_image(save(tmp_path / "a.bin", image, kind, **options), ImageOptions(quality=90, max_pixels=720))
    shown = opened(made.data)
    assert (made.mime, shown.format, shown.mode, shown.size) == ("image/jpeg", "JPEG", "RGB", (720, 466))
    assert mean_difference(shown, frame(850, 550).resize((720, 466), Image.Resampling.LANCZOS)) < 7


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparent_becomes_white(tmp_path: Path, kind: str) -> None:
    image = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    image.paste((0, 0, 200, 255), (50, 0, 100, 100))
    image.paste((0, 0, 0, 128), (0, 50, 50, 100))
    shown = opened(encode_image(save(tmp_path / "a", image, kind), ImageOptions(quality=95)).data)
    assert np.allclose(shown.getpixel((20, 20)), (255, 255, 255), atol=4)
    assert np.allclose(shown.getpixel((20, 80)), (127, 127, 127), atol=4)
    assert np.allclose(shown.getpixel((80, 50)), (0, 0, 200), atol=6)


def test_transparent_palette_and_grey_and_key_colour(tmp_path: Path) -> None:
    options = ImageOptions(quality=95)
    grey = Image.new("LA", (32, 32), (10, 0))
    shown = opened(encode_image(save(tmp_path / "la.png", grey, "PNG"), options).data)
    assert shown.mode == "L"
    assert shown.getpixel((16, 16)) >= 253
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    shown = opened(encode_image(save(tmp_path / "p.png", palette, "PNG", transparency=1), options).data)
    assert min(shown.getpixel((16, 16))) >= 253
    plain = Image.new("RGB", (32, 32), (255, 0, 0))
    path = save(tmp_path / "k.png", plain, "PNG", transparency=(255, 0, 0))
    assert min(opened(encode_image(path, options).data).getpixel((16, 16))) >= 253


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.tif", "TIFF")])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, name: str, kind: str) -> None:
    ramp = np.repeat(np.linspace(0, 65535, 256).astype(np.uint16)[None], 64, axis=0)
    path = save(tmp_path / name, Image.fromarray(ramp), kind)
    shown = np.asarray(opened(encode_image(path, ImageOptions(quality=95)).data)).astype(int)
    assert shown.ndim == 2
    assert np.abs(shown - np.arange(256)).max() <= 3
    dark = save(tmp_path / name, Image.fromarray(ramp // 4), kind)  # a dark picture stays dark
    shown = np.asarray(opened(encode_image(dark, ImageOptions(quality=95)).data)).astype(int)
    assert np.abs(shown - np.arange(256) / 4).max() <= 3


def test_big_endian_sixteen_bits(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(0, 65535, 256).astype(">u2")[None], 64, axis=0)
    image = Image.frombytes("I;16B", (256, 64), ramp.tobytes())
    shown = np.asarray(opened(encode_image(save(tmp_path / "a", image, "TIFF"), ImageOptions(quality=95)).data))
    assert np.abs(shown.astype(int) - np.arange(256)).max() <= 3


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_other_depths_go_from_darkest_to_lightest(tmp_path: Path, dtype: type) -> None:
    ramp = np.repeat(np.linspace(-1000, 100_000, 256).astype(dtype)[None], 64, axis=0)
    path = save(tmp_path / "a.tif", Image.fromarray(ramp), "TIFF")
    shown = np.asarray(opened(encode_image(path, ImageOptions(quality=95)).data)).astype(int)
    assert np.abs(shown - np.arange(256)).max() <= 3


def test_one_bit(tmp_path: Path) -> None:
    image = Image.new("1", (64, 64))
    image.paste(1, (32, 0, 64, 64))
    for kind in ("PNG", "TIFF", "BMP"):
        shown = opened(encode_image(save(tmp_path / "a", image, kind), ImageOptions()).data)
        assert shown.getpixel((8, 32)) < 8
        assert shown.getpixel((56, 32)) > 247


def test_type_by_content_not_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "lies.jpg", frame(), "PNG")
    assert encode_image(path, ImageOptions(compress=False)).mime == "image/png"
    path = save(tmp_path / "lies.png", frame(), "JPEG")
    assert encode_image(str(path), ImageOptions(compress=False)).mime == "image/jpeg"


@pytest.mark.parametrize("compress", [True, False])
def test_mpo_is_its_first_picture(tmp_path: Path, compress: bool) -> None:
    first, second = frame(800, 600), Image.new("RGB", (800, 600), "black")
    path = save(tmp_path / "a.jpg", first, "MPO", save_all=True, append_images=[second], exif=secret_exif())
    assert Image.open(path).format == "MPO"
    made = encode_image(path, ImageOptions(compress=compress))
    shown = opened(made.data)
    assert (shown.format, made.mime, made.note) == ("JPEG", "image/jpeg", "first picture of an MPO")
    assert corners(shown) == "rgbw"
    assert b"MPF\0" not in made.data
    assert made.data.count(b"\xff\xd8\xff") == 1
    assert made.data.endswith(b"\xff\xd9")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_first_of_several(tmp_path: Path, kind: str) -> None:
    second = Image.new("RGB", (640, 480), "black")
    path = save(tmp_path / "a", frame(), kind, save_all=True, append_images=[second])
    made = encode_image(path, ImageOptions())
    assert made.note.startswith("first picture of a ")
    assert corners(opened(made.data)) == "rgbw"


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "WEBP", "GIF"])
def test_formats_zooniverse_does_not_take_are_converted(tmp_path: Path, kind: str) -> None:
    made = encode_image(save(tmp_path / "a", frame(850, 550), kind), ImageOptions(compress=False))
    assert made.mime == "image/jpeg"
    assert (made.width, made.height, made.quality) == (850, 550, 95)
    assert made.note.startswith("converted from ")
    assert opened(made.data).format == "JPEG"


def test_colour_profile_is_kept(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for compress in (True, False):
        path = save(tmp_path / "a.jpg", frame(), icc_profile=profile)
        shown = opened(encode_image(path, ImageOptions(compress=compress)).data)
        assert shown.info["icc_profile"] == profile
    for mode in ("L", "CMYK"):  # a profile that does not fit the pixels is no use
        path = save(tmp_path / "a.jpg", frame(mode=mode), icc_profile=profile)
        assert "icc_profile" not in opened(encode_image(path, ImageOptions()).data).info


def test_large_colour_profile(tmp_path: Path) -> None:
    profile = bytes(16) + b"RGB " + bytes(range(256)) * 600
    path = save(tmp_path / "a.jpg", frame(), icc_profile=profile)
    assert opened(encode_image(path, ImageOptions()).data).info["icc_profile"] == profile


def test_over_the_limit_quality_goes_first(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", frame(noise=40), quality=95)
    plain = encode_image(path, ImageOptions(quality=90))
    made = encode_image(path, ImageOptions(quality=90, max_bytes=len(plain.data) // 2))
    assert len(made.data) <= len(plain.data) // 2
    assert made.quality is not None
    assert 20 <= made.quality < 90
    assert (made.width, made.height) == (640, 480)
    assert made.note == f"quality lowered to {made.quality} to fit {len(plain.data) // 2:,} bytes"
    assert opened(made.data).quantization == quality_table(made.quality)
    better = encode_image(path, ImageOptions(quality=made.quality + 5))
    assert len(better.data) > len(plain.data) // 2  # not lowered further than necessary


def test_over_the_limit_size_goes_second(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", frame(2048, 1536, noise=40), quality=95, exif=secret_exif(6))
    floor = encode_image(path, ImageOptions(quality=20))
    made = encode_image(path, ImageOptions(max_bytes=len(floor.data) - 1))
    assert len(made.data) < len(floor.data)
    assert (made.quality, made.width, made.height) == (20, 864, 1152)
    limit = f"{len(floor.data) - 1:,}"
    assert made.note == f"quality lowered to 20 and scaled to 1152 px to fit {limit} bytes"
    assert opened(made.data).size == (864, 1152)


def test_quality_below_the_floor_is_not_raised(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", frame(noise=40))
    size = len(encode_image(path, ImageOptions(quality=16)).data)
    made = encode_image(path, ImageOptions(quality=16, max_bytes=size - 1))
    assert (made.quality, made.note) == (16, f"scaled to 512 px to fit {size - 1:,} bytes")


def test_limit_out_of_reach(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", frame())
    with pytest.raises(BrokenImageError, match="cannot be brought under 100 bytes"):
        encode_image(path, ImageOptions(max_bytes=100))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_uncompressed_over_the_limit_is_compressed(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "a", frame(1500, 1125, noise=40), kind)
    assert path.stat().st_size > 400_000
    made = encode_image(path, ImageOptions(compress=False, max_bytes=400_000))
    assert len(made.data) <= 400_000
    assert (made.mime, made.width) == ("image/jpeg", 1440)
    assert "compressed to fit 400,000 bytes" in made.note


def test_default_limit_is_what_zooniverse_asks_for(tmp_path: Path) -> None:
    assert ImageOptions().max_bytes == 1_000_000
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 255, (1200, 1600, 3), dtype=np.uint8))
    path = save(tmp_path / "a.jpg", image)
    assert len(encode_image(path, ImageOptions(max_pixels=None, quality=90, max_bytes=10**8)).data) > 1_000_000
    made = encode_image(path, ImageOptions(max_pixels=None, quality=90))
    assert len(made.data) <= 1_000_000
    assert " to fit 1,000,000 bytes" in made.note


def test_longer_than_a_jpeg_can_be(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("L", (70_000, 4)), "PNG")
    made = encode_image(path, ImageOptions(max_pixels=None))
    assert (made.width, made.note) == (65_500, "scaled to 65,500 px, the longest a JPEG can be")


def header_only_png(width: int, height: int) -> bytes:
    from ctstate.images.metadata import _png_chunk

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", b"") + _png_chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 100_000])
@pytest.mark.parametrize("compress", [True, False])
def test_decompression_bomb(tmp_path: Path, side: int, compress: bool) -> None:
    assert side**2 > LARGEST_PICTURE
    (tmp_path / "a.png").write_bytes(header_only_png(side, side))
    with pytest.raises(BrokenImageError, match=r"header claims .* pixels; the limit is 89 megapixels"):
        encode_image(tmp_path / "a.png", ImageOptions(compress=compress))


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb_where_warnings_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(header_only_png(9_500, 9_500))
    with pytest.raises(BrokenImageError, match="the limit is 89 megapixels"):
        encode_image(tmp_path / "a.png", ImageOptions())


def test_exif_survives_only_on_request(tmp_path: Path) -> None:
    upright = frame()
    path = save(tmp_path / "a.jpg", upright.transpose(UNDO[6]), exif=secret_exif(6), comment=b"hidden")
    shown = opened(encode_image(path, ImageOptions(keep_exif=True)).data)
    assert corners(shown) == "rgbw"
    assert shown.getexif()[ORIENTATION] == 1
    assert shown.getexif()[0x010F] == "TrapMaker"
    assert shown.getexif().get_ifd(0x8825)[2] == (2.0, 26.0, 48.0)
    assert "comment" not in shown.info


def test_encoder_name_follows_the_environment(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert encoder_name() == {"fast": "simplejpeg+opencv"}.get(encoder, encoder)
    monkeypatch.setenv("CTSTATE_IMAGES", "pillow")
    assert encoder_name() == "pillow"


def test_simplejpeg_without_opencv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.images.conftest import choose

    choose("simplejpeg", monkeypatch)
    for mode in ("RGB", "L"):
        path = save(tmp_path / "a.jpg", frame(2048, 1536, mode), exif=secret_exif(6))
        made = encode_image(path, ImageOptions())
        assert (made.width, made.height, opened(made.data).mode) == (1080, 1440, mode)
        monkeypatch.setenv("CTSTATE_IMAGES", "pillow")
        plain = encode_image(path, ImageOptions())
        monkeypatch.delenv("CTSTATE_IMAGES")
        assert mean_difference(opened(made.data), opened(plain.data)) < 1
