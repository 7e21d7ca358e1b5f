"""What is not an image, or not all of one: always an error, the same over every path."""

import os
import pickle
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from ctstate.errors import BrokenImageError
from ctstate.images import ImageOptions, encode_image
from tests.builders.image_files import corners, frame, opened, pairs, save, saved, secret_exif
from tests.images.conftest import choose

AS_IT_IS = ImageOptions(compress=False)


def reason(path: Path, options: ImageOptions = ImageOptions()) -> str:  # noqa: B008 (frozen)
    with pytest.raises(BrokenImageError) as caught:
        encode_image(path, options)
    assert caught.value.path == str(path)
    assert "\n" not in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize("options", [ImageOptions(), AS_IT_IS])
def test_not_an_image(tmp_path: Path, encoder: str, options: ImageOptions) -> None:
    path = tmp_path / "a.jpg"
    assert reason(path, options) == "there is no such file"
    assert reason(tmp_path, options) == "it is a folder"
    path.write_bytes(b"")
    assert reason(path, options) == "the file is empty"
    path.write_bytes(b"<html>no picture</html>")
    assert reason(path, options) == "it is no JPEG, PNG, TIFF, BMP, WebP or GIF"
    path.write_bytes(bytes(100_000))
    assert reason(path, options) == "it is no JPEG, PNG, TIFF, BMP, WebP or GIF"
    for magic in (b"II*\0", b"BM", b"GIF89a", b"RIFF\0\0\0\0WEBP"):
        path.write_bytes(magic + b"junk" * 10)
        assert reason(path, options) == "its header is damaged or cut short"
    for magic in (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"):
        path.write_bytes(magic + b"junk" * 10)
        assert reason(path, options) == "the file is cut short"
    path.write_bytes(b"\xff\xd8\xff\xd9")
    assert reason(path, options) == "there is no picture in it"


@pytest.mark.parametrize("options", [ImageOptions(), AS_IT_IS])
@pytest.mark.parametrize(
    ("brand", "name"),
    [(b"heic", "HEIC"), (b"heix", "HEIC"), (b"hevc", "HEIC"), (b"mif1", "HEIF"), (b"avif", "AVIF")],
)
def test_a_phone_s_image_is_named_and_the_user_told_what_to_do(
    tmp_path: Path, options: ImageOptions, brand: bytes, name: str
) -> None:
    path = tmp_path / "IMG_0001.JPG"  # whatever it is called
    path.write_bytes(b"\0\0\0\x24ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(100))
    assert reason(path, options).startswith(f"it is a {name} image, which is not read here: convert it to JPEG")
    save(path, frame())
    assert encode_image(path, options).mime == "image/jpeg", "under its old name"


def test_a_film_is_named(tmp_path: Path) -> None:
    path = tmp_path / "IMAG0001.AVI"
    for brand in (b"isom", b"mp42", b"qt  "):
        path.write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(100))
        assert reason(path) == "it is a film, no image: exclude it"
    path.write_bytes(b"\0\0\0\x18ftyp")
    assert "film" in reason(path)


def test_not_readable(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", frame())
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # may read everything: be nobody for a moment
        os.seteuid(65534)
    try:
        assert reason(path) == "no permission to read it"
    finally:
        if root:
            os.seteuid(0)


def test_refused_by_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.jpg", frame())

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert reason(path) == "no permission to read it"
    monkeypatch.setattr("builtins.open", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    assert reason(path) == "it cannot be read: Input/output error"


def mpo() -> bytes:
    return saved(frame(160, 120), "MPO", save_all=True, append_images=[frame(160, 120)], exif=secret_exif())


JPEGS = {
    "baseline": lambda: saved(frame(160, 120), quality=70),
    "progressive": lambda: saved(frame(160, 120), quality=70, progressive=True),
    "restarts": lambda: saved(frame(160, 120), quality=70, restart_marker_blocks=4),
    "grey": lambda: saved(frame(160, 120, "L"), quality=70),
    "own tables": lambda: saved(frame(160, 120), quality=70, optimize=True),
    "odd": lambda: saved(frame(157, 119), quality=70),
    "exif": lambda: saved(frame(160, 120), quality=70, exif=secret_exif(6)),
    "large": lambda: saved(frame(1600, 1200, noise=20), quality=90),
    "mpo": mpo,
}
PNGS = {
    "png": lambda: saved(frame(160, 120), "PNG"),
    "grey png": lambda: saved(frame(160, 120, "L"), "PNG"),
}
OTHERS = {
    "tiff": lambda: saved(frame(160, 120), "TIFF"),
    "lzw tiff": lambda: saved(frame(160, 120), "TIFF", compression="tiff_lzw"),
    "bmp": lambda: saved(frame(160, 120), "BMP"),
    "webp": lambda: saved(frame(160, 120), "WEBP"),
    "gif": lambda: saved(frame(160, 120), "GIF"),
}


def verdict(path: Path, options: ImageOptions) -> str:
    try:
        made = encode_image(path, options)
    except BrokenImageError as error:
        return error.reason
    image = opened(made.data)  # what goes up is whole
    return f"fine, {image.size} {made.note}"


TAILS = [b"", bytes(5000), b"\xff\xd9", b"\xff" * 3000, bytes(5000) + b"\xff\xd9"]


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("name", JPEGS)
def test_cut_jpeg_gets_one_verdict_over_all_paths(
    tmp_path: Path, name: str, tail: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = JPEGS[name]()
    path = tmp_path / "a.jpg"
    # With each tail at other places: together they are 60, of a large one 15.
    step = len(data) // (3 if name == "large" else 12)
    first = 3 + TAILS.index(tail) * step // len(TAILS)
    cuts = [*range(first, len(data), step), *range(len(data) - 4, len(data) + 1)]
    verdicts: dict[str, list[str]] = {}
    for encoder in ("pillow", "fast"):
        with monkeypatch.context() as context:
            choose(encoder, context)
            for cut in cuts:
                path.write_bytes(data[:cut] + tail)
                verdicts.setdefault(encoder, []).extend((verdict(path, ImageOptions()), verdict(path, AS_IT_IS)))
    assert verdicts["fast"] == verdicts["pillow"]
    compressed, as_it_is = verdicts["pillow"][::2], verdicts["pillow"][1::2]
    assert [said[:4] == "fine" for said in compressed] == [said[:4] == "fine" for said in as_it_is]
    if not tail.endswith(b"\xff\xd9"):
        # The first picture's own end marker is where the file begins to be whole, not a byte earlier.
        whole = data.index(b"\xff\xd9") + 2
        assert [said[:4] == "fine" for said in compressed] == [cut >= whole for cut in cuts]
        assert whole == len(data) or name == "mpo"


def test_every_cut_of_a_small_jpeg(tmp_path: Path, encoder: str) -> None:
    data = saved(frame(48, 32), quality=50)
    path = tmp_path / "a.jpg"
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        reason(path)
        reason(path, AS_IT_IS)
    path.write_bytes(data)
    encode_image(path, ImageOptions())


def test_verdicts_on_damage_in_the_middle_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of a flipped byte, it becomes of it over both paths."""
    path = tmp_path / "a.jpg"
    for name in ("baseline", "progressive", "restarts"):
        data = JPEGS[name]()
        for place in range(2, len(data), 23):
            path.write_bytes(data[:place] + bytes((data[place] ^ 0x5A,)) + data[place + 1 :])
            said = []
            for encoder in ("pillow", "fast"):
                with monkeypatch.context() as context:
                    choose(encoder, context)
                    said += [verdict(path, ImageOptions())]
            assert said[0] == said[1], (name, place)


@pytest.mark.parametrize("options", [ImageOptions(), AS_IT_IS])
def test_a_block_of_zeros_is_a_lost_block(tmp_path: Path, encoder: str, options: ImageOptions) -> None:
    data = JPEGS["large"]()
    path = tmp_path / "a.jpg"
    for place in (3_000, len(data) // 2, len(data) - 4_098):
        path.write_bytes(data[:place] + bytes(4_096) + data[place + 4_096 :])
        opened(path.read_bytes())  # Pillow alone does not mind
        assert reason(path, options) == "a part of it is missing, with zeros in its place"


def test_zeros_where_they_may_be(tmp_path: Path, encoder: str) -> None:
    """With tables of its own a flat picture is nothing but zeros."""
    data = saved(Image.new("L", (3000, 3000), 128), optimize=True)
    assert bytes(1000) in data
    (tmp_path / "a.jpg").write_bytes(data)
    encode_image(tmp_path / "a.jpg", ImageOptions())
    encode_image(save(tmp_path / "a.jpg", Image.new("RGB", (3000, 3000))), ImageOptions())
    first, second = JPEGS["large"](), saved(frame(160, 120))  # and between the pictures of an MPO
    (tmp_path / "a.jpg").write_bytes(first + bytes(4_096) + second)
    encode_image(tmp_path / "a.jpg", ImageOptions())


@pytest.mark.parametrize(
    ("name", "keep", "options"),
    pairs(
        ["baseline", "restarts", "grey", "odd", "large"],
        [0.5, 0.7, 0.9],
        [ImageOptions(), AS_IT_IS, ImageOptions(max_pixels=70)],
    ),
)
def test_no_grey_bottom_behind_a_proper_end(
    tmp_path: Path, encoder: str, name: str, keep: float, options: ImageOptions
) -> None:
    data = JPEGS[name]()
    cut = data[: int(len(data) * keep)].rstrip(b"\xff")
    (tmp_path / "a.jpg").write_bytes(cut + b"\xff\xd9")
    bottom = opened(cut + b"\xff\xd9")  # Pillow alone does not mind
    assert bottom.getpixel((bottom.width - 1, bottom.height - 1)) in (128, (128, 128, 128))
    assert reason(tmp_path / "a.jpg", options) == "the file is cut short"


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_a_picture_that_ends_in_grey_is_fine(tmp_path: Path, encoder: str, mode: str, options: dict) -> None:
    image = frame(320, 240, mode).copy()
    image.paste("#808080", (0, 100, 320, 240))
    encode_image(save(tmp_path / "a.jpg", image, **options), ImageOptions())
    encode_image(save(tmp_path / "a.jpg", Image.new(mode, (320, 240), "#808080"), **options), AS_IT_IS)


@pytest.mark.parametrize("name", [*PNGS, *OTHERS])
def test_cut_files_of_other_formats(tmp_path: Path, name: str) -> None:
    data = {**PNGS, **OTHERS}[name]()
    path = tmp_path / "a"
    for part in range(1, 20):
        path.write_bytes(data[: len(data) * part // 20])
        reason(path)
        reason(path, AS_IT_IS)
    path.write_bytes(data)
    assert corners(opened(encode_image(path, ImageOptions()).data)) in ("rgbw", "rrrw")  # grey is as red as blue


@pytest.mark.parametrize("name", PNGS)
def test_cut_png_to_its_last_byte(tmp_path: Path, name: str) -> None:
    data = PNGS[name]()
    path = tmp_path / "a.png"
    for cut in range(len(data) - 40, len(data)):
        path.write_bytes(data[:cut])
        assert reason(path) == reason(path, AS_IT_IS) == "the file is cut short"
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(damaged))
    reason(path)
    reason(path, AS_IT_IS)


def test_extraneous_bytes_are_forgiven(tmp_path: Path, encoder: str) -> None:
    """Some cameras pad the scan; libjpeg warns, the picture is whole."""
    data = JPEGS["baseline"]()
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:-2] + bytes(64) + data[-2:])
    assert corners(opened(encode_image(path, ImageOptions()).data)) == "rgbw"
    path.write_bytes(data + bytes(100_000))
    assert corners(opened(encode_image(path, ImageOptions()).data)) == "rgbw"


def test_pillow_is_not_told_to_load_cut_files() -> None:
    import ctstate.images.codecs  # noqa: F401

    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
