"""A camera-trap image file in, bytes fit for Zooniverse out.

`encode_image` is the whole of it. Picture, in order:

1. The format is told by content, never by file name. JPEG and MPO (what many camera traps call a JPEG: two
   pictures in one file, of which the first goes up), PNG, TIFF, BMP, WebP and GIF are read.
2. The picture is turned as its EXIF orientation says, made no longer than `max_pixels` on its longest side
   (never enlarged) and saved as a JPEG of the wanted quality. What is transparent becomes white; 16-bit greys
   are scaled to 8 bits; greyscale stays greyscale; a colour profile is kept.
3. No metadata goes up: EXIF, XMP, IPTC, comments and makers' own segments may hold where an animal lives.
   `keep_exif` keeps the EXIF block (only that), its orientation set to 1.
4. What is over `max_bytes` loses quality first and size second, and the result's `note` says so.

With `compress=False` a JPEG or PNG goes up bit for bit as it is, less its metadata (no re-encoding; an
orientation other than 1 stays, alone, in the EXIF block, as the picture would be shown turned without it).
The exceptions are named in the note: the second picture of an MPO is left behind, formats that Zooniverse
does not take become JPEGs of quality 95, and what is over `max_bytes` is compressed after all. With
`keep_exif` too, the file's bytes are not touched.

A file that cannot be decoded to its end is a `BrokenImageError`, never a picture with a grey bottom. What
cannot be told is damage in the middle of a JPEG that happens to decode.

Two sets of decoders and encoders do the work: Pillow, or with `ctstate[fast]` installed simplejpeg and OpenCV
for plain JPEGs. Everything but the speed is the same. The environment variable `CTSTATE_IMAGES=pillow` forces
the plain one.
"""

import hashlib
import io
import os
import stat
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from ctstate.errors import BrokenImageError, MissingImageError, UsageError

from . import codecs, metadata

__all__ = ["EncodedImage", "ImageOptions", "encode_image", "encoder_name"]

LOWEST_QUALITY = 15  # a valid quality is above this
# 256 MiB of pixels as RGB. The largest camera-trap pictures, 48 megapixels interpolated, need half of that.
LARGEST_PICTURE = 89_478_485

_FLOOR_QUALITY = 20  # below this it is better to make the picture smaller
_QUALITY_STEP = 5
_SIZE_STEP = 0.8
_SMALLEST_SIDE = 64
_CONVERTED_QUALITY = 95  # formats Zooniverse does not take, where no compression was asked for

_LONGEST_JPEG = 65_500  # libjpeg's limit
_HEAD = 16
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
)
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"),
    **dict.fromkeys((b"mif1", b"msf1"), "HEIF"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
"""What an ISO media file says that it is (bytes 8 to 12, after `ftyp`): images among all those films."""

_NAMES = {"PNG": "PNG", "TIFF": "TIFF", "BMP": "BMP", "WEBP": "WebP", "GIF": "GIF"}


@dataclass(frozen=True)
class ImageOptions:
    """What is done to every image of an upload.

    Attributes:
        max_pixels: longest side at most this, never enlarged; None keeps the size.
        quality: JPEG quality, above 15 and up to 100.
        compress: False sends the file as it is, less its metadata.
        keep_exif: True keeps the EXIF block, positions included.
        max_bytes: no file is larger. 1,000,000 bytes is what Zooniverse asks for ("under 1 MB"; its web
            uploader refuses over 1,000 kB, its command line over 1,048,576 bytes).

    Raises:
        UsageError: a value out of its range.
    """

    max_pixels: int | None = 1440
    quality: int = 50
    compress: bool = True
    keep_exif: bool = False
    max_bytes: int = 1_000_000

    def __post_init__(self) -> None:
        if not LOWEST_QUALITY < self.quality <= 100:
            raise UsageError(f"image quality must be above {LOWEST_QUALITY} and at most 100, not {self.quality}")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise UsageError(f"the longest side of an image must be at least 1 pixel, not {self.max_pixels}")
        if self.max_bytes < 1:
            raise UsageError(f"the size limit of an image must be at least 1 byte, not {self.max_bytes}")


@dataclass(frozen=True)
class EncodedImage:
    """An image ready to go up.

    Attributes:
        data: the bytes.
        mime: `image/jpeg` or `image/png`.
        md5: hex digest of `data`.
        width: in pixels, as shown (after any orientation that is still to be applied).
        height: likewise.
        quality: the JPEG quality it was saved with; None where the pixels went up as they were.
        note: what was done beyond the plain recipe, or an empty string.
    """

    data: bytes
    mime: str
    md5: str
    width: int
    height: int
    quality: int | None
    note: str


@dataclass(frozen=True)
class _Source:
    """A file's bytes and what its header says."""

    path: str
    data: bytes
    kind: str  # the format by content: JPEG (an MPO too), PNG, TIFF, BMP, WEBP or GIF
    size: tuple[int, int]  # as stored
    orientation: int  # what decoding leaves to be done
    exif: bytes | None
    icc: bytes | None
    extra_pictures: bool

    def decoded(self, longest: int | None) -> codecs.Picture:
        """The pixels, at the size that fits `longest` or anything larger."""
        try:
            return codecs.decode(self.data, self.kind, fitted(self.size, longest))
        except Image.DecompressionBombError as error:
            raise _too_large(self.path, self.size) from error
        except codecs.PILLOW_ERRORS as error:
            raise BrokenImageError(self.path, _reason(error)) from error


def encode_image(path: str | Path, options: ImageOptions, below: str | None = None) -> EncodedImage:
    """Make an image file fit for Zooniverse.

    Args:
        path: the file.
        options: what to do to it.
        below: folder (its real path) that it must be in, links resolved; None: anywhere.

    Raises:
        BrokenImageError: the file cannot be read, is no image, lies elsewhere, is damaged or too large.
    """
    source = _open(str(path), below)
    if options.compress:
        return _compressed(source, options, ())
    return _as_it_is(source, options)


def encoder_name() -> str:
    """Which decoders and encoders are in use: `pillow`, `simplejpeg` or `simplejpeg+opencv`."""
    return codecs.name()


def fitted(size: tuple[int, int], longest: int | None) -> tuple[int, int]:
    """`size` scaled down, never up, to `longest` on its longest side."""
    side = max(size)
    if longest is None or side <= longest:
        return size
    return max(1, round(size[0] * longest / side)), max(1, round(size[1] * longest / side))


def _compressed(source: _Source, options: ImageOptions, notes: tuple[str, ...]) -> EncodedImage:
    """The plain recipe, and what it takes beyond it to keep to the size limit."""
    longest = min(options.max_pixels or _LONGEST_JPEG, _LONGEST_JPEG)
    if longest < max(source.size) and options.max_pixels is None:
        notes += (f"scaled to {longest:,} px, the longest a JPEG can be",)
    decoded = source.decoded(longest)
    # A JPEG is decoded at a fraction of its size where that will do, and the fraction is rounded: what is
    # wanted follows from the size in its header. A TIFF may have been turned by decoding.
    size = source.size if source.kind == "JPEG" else decoded.size()
    width, height = fitted(size, longest)
    exif = source.exif if options.keep_exif else None
    quality = options.quality
    fit: list[str] = []
    while True:
        picture = decoded.resized(width, height).turned(source.orientation)
        while True:
            data = metadata.add_to_jpeg(picture.jpeg(quality), exif, source.icc)
            if len(data) <= options.max_bytes or quality <= _FLOOR_QUALITY:
                break
            quality = max(_FLOOR_QUALITY, quality - _QUALITY_STEP)
        if len(data) <= options.max_bytes:
            break
        side = max(width, height)
        if side <= _SMALLEST_SIDE:
            raise BrokenImageError(source.path, f"cannot be brought under {options.max_bytes:,} bytes")
        width, height = fitted((width, height), max(_SMALLEST_SIDE, round(side * _SIZE_STEP)))
        fit = [f"scaled to {max(width, height)} px"]
    if quality < options.quality:
        fit.insert(0, f"quality lowered to {quality}")
    if fit:
        notes += (f"{' and '.join(fit)} to fit {options.max_bytes:,} bytes",)
    if source.extra_pictures:
        notes = (_first_of(source), *notes)
    return _result(data, "image/jpeg", picture.size(), quality, notes)


def _as_it_is(source: _Source, options: ImageOptions) -> EncodedImage:
    """No compression: the same pixels, if Zooniverse takes the format and the file is not too large."""
    if source.kind not in ("JPEG", "PNG"):
        return _compressed_anew(source, options)
    source.decoded(1)  # at whatever small size is cheapest: only to know that it can be decoded to its end
    try:
        if source.kind == "PNG":
            data = source.data if options.keep_exif else metadata.strip_png(source.data, source.orientation)
        elif not options.keep_exif:
            data = metadata.strip_jpeg(source.data, source.orientation)
        else:
            data = metadata.first_jpeg(source.data) if source.extra_pictures else source.data
    except metadata.DamagedError as error:
        raise BrokenImageError(source.path, _reason(error)) from error
    if len(data) > options.max_bytes:
        return _compressed(source, options, (f"compressed to fit {options.max_bytes:,} bytes",))
    width, height = source.size if source.orientation < 5 else source.size[::-1]
    notes = (_first_of(source),) if source.extra_pictures and source.kind == "JPEG" else ()
    return _result(data, f"image/{source.kind.lower()}", (width, height), None, notes)


def _compressed_anew(source: _Source, options: ImageOptions) -> EncodedImage:
    """No compression asked for, but not a format that Zooniverse takes: a JPEG of full size, high quality."""
    converted = f"converted from {_NAMES[source.kind]}"
    gentle = replace(options, max_pixels=None, quality=_CONVERTED_QUALITY, max_bytes=sys.maxsize)
    made = _compressed(source, gentle, (converted,))
    if len(made.data) <= options.max_bytes:
        return made
    return _compressed(source, options, (converted, f"compressed to fit {options.max_bytes:,} bytes"))


def _result(
    data: bytes, mime: str, size: tuple[int, int], quality: int | None, notes: tuple[str, ...]
) -> EncodedImage:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return EncodedImage(data, mime, md5, size[0], size[1], quality, "; ".join(notes))


def _first_of(source: _Source) -> str:
    name = "MPO" if source.kind == "JPEG" else _NAMES[source.kind]
    return f"first picture of {'an' if name == 'MPO' else 'a'} {name}"


def _open(path: str, below: str | None) -> _Source:
    data, kind = _read(path, below)
    try:
        if kind == "JPEG":
            metadata.check_jpeg(data)
        elif kind == "PNG":
            metadata.check_png(data)
        image = Image.open(io.BytesIO(data), formats=[kind])
        if image.width * image.height > LARGEST_PICTURE:
            raise _too_large(path, image.size)
        extra_pictures = bool(getattr(image, "is_animated", False))
        exif = codecs.tiff_exif(image) if kind == "TIFF" else image.info.get("exif")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, None) from error
    except metadata.DamagedError as error:
        raise BrokenImageError(path, str(error)) from error
    except codecs.PILLOW_ERRORS as error:
        raise BrokenImageError(path, "its header is damaged or cut short") from error
    icc = image.info.get("icc_profile")
    return _Source(
        path=path,
        data=data,
        kind=kind,
        size=image.size,
        orientation=1 if kind == "TIFF" else metadata.exif_orientation(exif),  # TIFFs are turned while decoding
        exif=metadata.exif_upright(exif) if exif else None,
        icc=icc if icc and codecs.fits(icc, image.mode) else None,
        extra_pictures=extra_pictures,
    )


def _read(path: str, below: str | None) -> tuple[bytes, str]:
    """A file's bytes and its format by content.

    What is looked at is the file that was opened: its name may have become a link, or a pipe, since the manifest.
    """
    try:
        # Unbuffered: a buffer would make the whole file be copied once more.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", 0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise MissingImageError(path, "it is no regular file")
            if below is not None and not _is_below(_place_of(file.fileno(), path), below):
                raise MissingImageError(path, f"it is a link that leads out of {below}")
            head = file.read(_HEAD)
            kind = _kind(head)
            # The rest only now: cameras make films too, of gigabytes.
            file.seek(0)
            data = file.read() if kind else b""
    except FileNotFoundError as error:
        raise MissingImageError(path, "there is no such file") from error
    except IsADirectoryError as error:
        raise MissingImageError(path, "it is a folder") from error
    except ValueError as error:
        raise MissingImageError(path, "no file has such a name here") from error
    except PermissionError as error:
        raise MissingImageError(path, "no permission to read it") from error
    except OSError as error:
        raise MissingImageError(path, f"it cannot be read: {error.strerror or error}") from error
    if not head:
        raise MissingImageError(path, "the file is empty")
    if kind is None:
        raise BrokenImageError(path, _what_it_is(head))
    return data, kind


def _place_of(descriptor: int, path: str) -> str:
    """Where an open file is, links resolved."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:  # a machine that shows no /proc
        return os.path.realpath(path)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _kind(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def _what_it_is(head: bytes) -> str:
    """What a file of no known kind is, and what to do about those that cameras and phones do make."""
    if head[4:8] != b"ftyp":
        return "it is no JPEG, PNG, TIFF, BMP, WebP or GIF"
    name = _BRANDS.get(head[8:12])
    if name is None:
        return "it is a film, no image: exclude it"
    return (
        f"it is a {name} image, which is not read here: convert it to JPEG under the same name (heif-convert, or "
        "ImageMagick), then `ctstate retry`"
    )


def _too_large(path: str, size: tuple[int, int] | None) -> BrokenImageError:
    said = f"its header claims {size[0]} x {size[1]} pixels" if size else "its header claims too many pixels"
    return BrokenImageError(path, f"{said}; the limit is {LARGEST_PICTURE // 1_000_000} megapixels")


def _reason(error: BaseException) -> str:
    """What a decoder said, on one line and for people."""
    said = " ".join(str(error).split())
    if "truncated" in said.lower() or "cut short" in said:
        return metadata.CUT_SHORT
    return said or "it cannot be decoded"
