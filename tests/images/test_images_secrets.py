"""What must not go up: positions and all other metadata."""

import re
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from ctstate.images import ImageOptions, encode_image, metadata
from tests.builders.image_files import (
    ORIENTATION,
    SECRET,
    UNDO,
    corners,
    frame,
    mean_difference,
    opened,
    save,
    saved,
    secret_exif,
    segment,
    with_every_secret,
)

pytestmark = pytest.mark.usefixtures("encoder")

LEAKS = re.compile(rb"Exif|GPS|xap|Photoshop|8BIM|CIFF|FPXR|RMETA|Ducky|TrapMaker|MPF\0|" + SECRET.encode())


def markers(data: bytes) -> list[int]:
    """The markers of a JPEG up to its first scan."""
    found, at = [], 2
    while True:
        assert data[at] == 0xFF
        found.append(data[at + 1])
        if data[at + 1] == 0xDA:
            return found
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]


def secret_jpeg(**options: object) -> bytes:
    return with_every_secret(saved(frame(800, 600), exif=secret_exif(), comment=SECRET, **options))


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("progressive", [True, False])
def test_nothing_but_the_picture_in_a_jpeg(tmp_path: Path, compress: bool, progressive: bool) -> None:
    data = secret_jpeg(progressive=progressive)
    assert len(set(LEAKS.findall(data))) >= 10
    (tmp_path / "a.jpg").write_bytes(data)
    made = encode_image(tmp_path / "a.jpg", ImageOptions(compress=compress))
    assert LEAKS.findall(made.data) == []
    assert set(markers(made.data)) <= {0xE0, 0xDB, 0xC0, 0xC2, 0xC4, 0xDA}
    assert mean_difference(opened(made.data), frame(800, 600)) < 6


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "GIF", "BMP", "MPO"])
@pytest.mark.parametrize("compress", [True, False])
def test_nothing_but_the_picture_from_other_formats(tmp_path: Path, kind: str, compress: bool) -> None:
    options: dict[str, object] = {} if kind in ("GIF", "BMP") else {"exif": secret_exif()}
    if kind == "MPO":
        options |= {"save_all": True, "append_images": [frame(400, 300)]}
    if kind == "GIF":
        options["comment"] = SECRET.encode()
    if kind == "PNG":
        options["pnginfo"] = png_secrets()
    path = save(tmp_path / "a", frame(400, 300), kind, **options)
    if kind != "BMP":
        assert LEAKS.search(path.read_bytes())
    made = encode_image(path, ImageOptions(compress=compress))
    assert LEAKS.findall(made.data) == []


def png_secrets() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", SECRET)
    info.add_text("Zipped", SECRET, zip=True)
    info.add_itxt("XML:com.adobe.xmp", SECRET)
    info.add(b"tIME", b"\x07\xea\x01\x01\x00\x00\x00")
    info.add(b"prVt", SECRET.encode())
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    return info


def chunks(data: bytes) -> list[bytes]:
    found, at = [], 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 4 : at + 8 + length]
        assert zlib.crc32(body) == struct.unpack_from(">I", data, at + 8 + length)[0]
        found.append(kind)
        at += 12 + length
    return found


def test_png_as_it_is_keeps_its_look_and_nothing_else(tmp_path: Path) -> None:
    image = frame(640, 480)
    path = save(tmp_path / "a.png", image, "PNG", pnginfo=png_secrets(), exif=secret_exif(), dpi=(72, 72))
    made = encode_image(path, ImageOptions(compress=False))
    assert (made.mime, made.quality, made.note) == ("image/png", None, "")
    assert set(chunks(path.read_bytes())) > {b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"prVt"}
    assert set(chunks(made.data)) == {b"IHDR", b"gAMA", b"pHYs", b"IDAT", b"IEND"}
    assert opened(made.data).tobytes() == image.tobytes()


def test_sixteen_bit_png_as_it_is(tmp_path: Path) -> None:
    image = Image.linear_gradient("L").convert("I").point(lambda value: value * 257).convert("I;16")
    path = save(tmp_path / "a.png", image, "PNG", pnginfo=png_secrets())
    shown = opened(encode_image(path, ImageOptions(compress=False)).data)
    assert shown.convert("I").tobytes() == image.convert("I").tobytes()


JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "grey": {"mode": "L"},
    "444": {"subsampling": 0},
    "restarts": {"restart_marker_blocks": 3},
    "cmyk": {"mode": "CMYK"},
    "rgb": {"keep_rgb": True},
    "icc": {"icc_profile": bytes(16) + b"RGB " + bytes(200_000)},
}


@pytest.mark.parametrize("name", JPEGS)
def test_jpeg_as_it_is_is_lossless(tmp_path: Path, name: str) -> None:
    options = dict(JPEGS[name])
    image = frame(640, 480, str(options.pop("mode", "RGB")))
    data = with_every_secret(saved(image, quality=88, exif=secret_exif(), **options))
    (tmp_path / "a.jpg").write_bytes(data + b"trailing junk \xff\xd9 " + SECRET.encode())
    made = encode_image(tmp_path / "a.jpg", ImageOptions(compress=False))
    assert (made.mime, made.quality, made.note) == ("image/jpeg", None, "")
    assert LEAKS.findall(made.data) == []
    before, after = opened(data), opened(made.data)
    assert after.mode == before.mode
    assert after.tobytes() == before.tobytes()
    assert after.info.get("icc_profile") == options.get("icc_profile")
    assert after.info.get("adobe_transform") == before.info.get("adobe_transform")
    assert made.data == metadata.strip_jpeg(made.data)  # nothing left to strip


@pytest.mark.parametrize(
    ("kind", "orientation"), [*(("JPEG", number) for number in range(2, 9)), ("PNG", 3), ("PNG", 6)]
)
def test_orientation_stays_alone_in_the_exif(tmp_path: Path, kind: str, orientation: int) -> None:
    stored = frame(640, 480).transpose(UNDO[orientation])
    path = save(tmp_path / "a", stored, kind, exif=secret_exif(orientation))
    made = encode_image(path, ImageOptions(compress=False))
    shown = opened(made.data)
    assert dict(shown.getexif()) == {ORIENTATION: orientation}
    assert LEAKS.findall(made.data) in ([], [b"Exif"])
    assert shown.tobytes() == opened(path.read_bytes()).tobytes()
    assert (made.width, made.height) == (640, 480)
    from PIL import ImageOps

    assert corners(ImageOps.exif_transpose(shown)) == "rgbw"


def test_jfif_thumbnail_goes(tmp_path: Path) -> None:
    data = saved(frame(640, 480))
    assert data[2:4] == b"\xff\xe0"
    thumbnail = b"JFIF\0\x01\x02\0\0\x01\0\x01\x02\x01" + b"leak!!"
    data = data[:2] + segment(0xE0, thumbnail) + segment(0xE0, b"JFXX\0\x10leak!!") + data[20:]
    (tmp_path / "a.jpg").write_bytes(data)
    made = encode_image(tmp_path / "a.jpg", ImageOptions(compress=False))
    assert b"leak!!" not in made.data
    assert b"JFIF\0\x01\x02\0\0\x01\0\x01\0\0" in made.data


def test_segments_between_scans_go(tmp_path: Path) -> None:
    data = saved(frame(640, 480), progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    assert data[:second].count(b"\xff\xda") == 1
    (tmp_path / "a.jpg").write_bytes(data[:second] + segment(0xFE, SECRET.encode()) + data[second:])
    made = encode_image(tmp_path / "a.jpg", ImageOptions(compress=False))
    assert LEAKS.findall(made.data) == []
    assert opened(made.data).tobytes() == opened(data).tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_as_it_is_with_exif_is_the_file_itself(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "a", frame(640, 480), kind, exif=secret_exif(6))
    made = encode_image(path, ImageOptions(compress=False, keep_exif=True))
    assert made.data == path.read_bytes()
    assert (made.width, made.height) == (480, 640)


def test_first_of_an_mpo_with_exif(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a", frame(640, 480), "MPO", save_all=True, append_images=[frame(640, 480)], exif=secret_exif()
    )
    made = encode_image(path, ImageOptions(compress=False, keep_exif=True))
    shown = opened(made.data)
    assert shown.format == "JPEG"
    assert shown.getexif()[0x010E] == SECRET
    assert b"MPF\0" not in made.data


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_exif_of_other_formats_on_request(tmp_path: Path, kind: str, orientation: int) -> None:
    path = save(tmp_path / "a", frame(640, 480), kind, exif=secret_exif(orientation))
    exif = opened(encode_image(path, ImageOptions(keep_exif=True)).data).getexif()
    assert exif.get(ORIENTATION, 1) == 1
    assert exif[0x010E] == SECRET
    assert exif.get_ifd(0x8825)[1] == "S"
    assert not set(exif) & {0x0100, 0x0101, 0x0111, 0x0117}  # how the TIFF was laid out


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_reset_in_place(order: str) -> None:
    mark = {"<": b"II", ">": b"MM"}[order]
    exif = b"Exif\0\0" + struct.pack(
        order + "2sHIHHHIHHHHI4sI", mark, 42, 8, 2, ORIENTATION, 3, 1, 8, 0, 0x927C, 7, 4, b"note", 0
    )
    assert metadata.exif_orientation(exif) == metadata.exif_orientation(exif[6:]) == 8
    upright = metadata.exif_upright(exif)
    assert metadata.exif_orientation(upright) == 1
    assert [a != b for a, b in zip(exif, upright, strict=False)].count(True) == 1
    for cut in range(len(exif)):
        assert metadata.exif_orientation(exif[:cut]) in (1, 8)
        assert len(metadata.exif_upright(exif[:cut])) == cut


def test_exif_larger_than_a_segment_on_request() -> None:
    block = b"Exif\0\0" + bytes(range(256)) * 400
    jpeg = metadata.add_to_jpeg(saved(frame(64, 64)), block, None)
    opened(jpeg)
    parts = [piece[4:] for marker, piece in metadata._jpeg_pieces(jpeg) if marker == 0xE1]
    assert len(parts) == 2
    assert all(part.startswith(b"Exif\0\0") for part in parts)
    assert b"".join(part[6:] for part in parts) == block[6:]
