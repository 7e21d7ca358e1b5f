"""What a picture file carries besides its pixels: finding it, taking it out, putting it in.

Everything here works on bytes and never touches the pixels. Metadata is dropped by naming what may stay, not
what must go: a maker's own segment or chunk can hold a position too.
"""

import re
import struct
import zlib
from collections.abc import Iterator

CUT_SHORT = "the file is cut short"

EXIF_HEADER = b"Exif\0\0"
ICC_HEADER = b"ICC_PROFILE\0"
MPF_HEADER = b"MPF\0"

_ORIENTATION_TAG = 0x0112
_SHORT = 3
_LARGEST_SEGMENT = 65533  # the two length bytes count themselves

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_TEM = 0x01
_END = b"\xff\xd9"
_ALONE = (_SOI, _EOI, _TEM)  # markers without content
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
# How many codes of each length the JPEG standard's example table for luminance has, and its first symbols.
_USUAL_TABLE = bytes.fromhex("0002010303020403050504040000017d0102030004110512")
_LOST = bytes(256)
_STRIDE = len(_LOST) // 2

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Critical chunks stay, and those that change how the pixels look. All text, time, EXIF and private chunks go.
_PNG_KEPT = frozenset(
    b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP cICP mDCV cLLI sBIT bKGD pHYs hIST acTL fcTL fdAT".split()
)


class DamagedError(ValueError):
    """The file does not keep to its own format."""


# --- EXIF ------------------------------------------------------------------------------------------------


def _orientation_entry(exif: bytes) -> tuple[int, str] | None:
    """Where in `exif` the orientation's value is, and its byte order; None without a usable one."""
    start = len(EXIF_HEADER) if exif.startswith(EXIF_HEADER) else 0
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[start : start + 4])
    if order is None:
        return None
    try:
        (ifd,) = struct.unpack_from(order + "I", exif, start + 4)
        (entries,) = struct.unpack_from(order + "H", exif, start + ifd)
        for number in range(entries):
            place = start + ifd + 2 + 12 * number
            tag, kind, count = struct.unpack_from(order + "HHI", exif, place)
            if tag == _ORIENTATION_TAG:
                return (place + 8, order) if kind == _SHORT and count == 1 else None
    except struct.error:
        pass
    return None


def exif_orientation(exif: bytes | None) -> int:
    """The orientation (1 to 8) that an EXIF block asks for; 1 where it says nothing sensible."""
    entry = _orientation_entry(exif) if exif else None
    if not exif or entry is None or entry[0] + 2 > len(exif):
        return 1
    (value,) = struct.unpack_from(entry[1] + "H", exif, entry[0])
    return int(value) if 1 <= value <= 8 else 1


def exif_upright(exif: bytes) -> bytes:
    """The same EXIF block with its orientation set to 1 in place, so that maker notes stay valid."""
    entry = _orientation_entry(exif)
    if entry is None or entry[0] + 2 > len(exif):
        return exif
    place, order = entry
    return exif[:place] + struct.pack(order + "H", 1) + exif[place + 2 :]


def orientation_exif(orientation: int) -> bytes:
    """An EXIF block (without the `Exif` header) that holds the orientation and nothing else."""
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, _ORIENTATION_TAG, _SHORT, 1, orientation, 0, 0)


# --- JPEG ------------------------------------------------------------------------------------------------


def _segment(data: bytes, at: int) -> tuple[int, int, int]:
    """The next segment at or after `at`: its marker, where that begins and where the segment ends."""
    found = _NEXT_MARKER.search(data, at)  # skips what may stand between segments
    if found is None:
        raise DamagedError(CUT_SHORT)
    marker, after = data[found.end() - 1], found.end()
    if marker in _ALONE:
        return marker, after - 2, after
    length = int.from_bytes(data[after : after + 2], "big")
    if length < 2 or after + length > len(data):
        raise DamagedError(CUT_SHORT)
    return marker, after - 2, after + length


def _jpeg_pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, all bytes of it) for the first picture in `data`, scan data going with its marker."""
    yield _SOI, data[:2]
    at = 2
    while True:
        marker, begin, at = _segment(data, at)
        if marker == _SOS:
            scan_end = _NEXT_MARKER.search(data, at)
            if scan_end is None:
                raise DamagedError(CUT_SHORT)
            at = scan_end.start()
        if marker not in (_SOI, _TEM):
            yield marker, data[begin:at]
        if marker == _EOI:
            return


def check_jpeg(data: bytes) -> None:
    """Find what decoders forgive: a picture without its end, or with zeros where a part of it was lost.

    Raises:
        DamagedError: the first picture in `data` is not whole.
    """
    marker, begin, at = _segment(data, 2)
    while marker != _SOS:
        if marker == _EOI:
            raise DamagedError("there is no picture in it")
        marker, begin, at = _segment(data, at)
    end = len(data) - 2 if data.endswith(_END) else data.find(_END, at)  # to look for it is what takes time
    if end < at:
        raise DamagedError(CUT_SHORT)
    # A card or a transfer that loses a block often leaves zeros, which decode to stripes. With the usual tables
    # (cameras use no others) no real picture has more than a few zeros in a row; with others it may.
    # Every such row has two neighbours among every 128th byte: that is where it is looked for.
    sparse = data[at:end:_STRIDE]
    pair = sparse.find(b"\0\0")
    if pair < 0 or _USUAL_TABLE not in data[:begin]:
        return
    while pair >= 0:
        first = at + pair * _STRIDE
        lost = data.find(_LOST, max(at, first - _STRIDE + 1), first + len(_LOST))
        if lost >= 0:
            if lost + len(_LOST) <= data.find(_END, at):  # what fills the gap behind an MPO's first picture is fine
                raise DamagedError("a part of it is missing, with zeros in its place")
            return
        pair = sparse.find(b"\0\0", pair + 1)


def _plain_jpeg_piece(marker: int, piece: bytes) -> bytes:
    """What of a segment goes up: all that the pixels need, and of the rest only what changes their look."""
    content = piece[4:]
    if marker == _APP0:
        # The JFIF header without its thumbnail; JFXX thumbnails and makers' own APP0 go.
        if content.startswith(b"JFIF\0") and len(content) >= 12:
            return b"\xff\xe0\x00\x10" + content[:12] + b"\0\0"
        return b""
    if marker == _APP2:
        return piece if content.startswith(ICC_HEADER) else b""
    if marker == _APP14:
        # Adobe's segment says how colours are stored; without it CMYK and RGB files turn into negatives.
        return b"\xff\xee\x00\x0e" + content[:12] if content.startswith(b"Adobe") and len(content) >= 12 else b""
    if _APP1 <= marker <= _APP15 or marker >= 0xF0:  # comments are 0xFE
        return b""
    return piece


def strip_jpeg(data: bytes, orientation: int = 1) -> bytes:
    """The first picture of a JPEG or MPO, bit for bit the same pixels, without its metadata.

    The colour profile stays. An orientation other than 1 is kept in an EXIF block that holds nothing else, as
    the picture would be shown turned without it.
    """
    pieces = [_plain_jpeg_piece(marker, piece) for marker, piece in _jpeg_pieces(data)]
    plain = b"".join(pieces)
    return add_to_jpeg(plain, orientation_exif(orientation) if orientation != 1 else None, None)


def without_profile(jpeg: bytes) -> bytes:
    """The same JPEG without a colour profile, which may be larger than a small picture."""
    return b"".join(piece for marker, piece in _jpeg_pieces(jpeg) if marker != _APP2)


def first_jpeg(data: bytes) -> bytes:
    """The first picture of a JPEG or MPO, up to its end marker, with all metadata but the index of an MPO."""
    return b"".join(
        piece for marker, piece in _jpeg_pieces(data) if not (marker == _APP2 and piece[4:].startswith(MPF_HEADER))
    )


def _segments(marker: int, header: bytes, content: bytes, numbered: bool) -> bytes:
    room = _LARGEST_SEGMENT - len(header) - (2 if numbered else 0)
    parts = [content[at : at + room] for at in range(0, len(content), room)]
    made = []
    for number, part in enumerate(parts, 1):
        body = header + (bytes((number, len(parts))) if numbered else b"") + part
        made.append(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body)
    return b"".join(made)


def add_to_jpeg(jpeg: bytes, exif: bytes | None, icc: bytes | None) -> bytes:
    """`jpeg` with an EXIF block and a colour profile, where given, behind its JFIF header."""
    new = b""
    if exif:
        content = exif[len(EXIF_HEADER) :] if exif.startswith(EXIF_HEADER) else exif
        new += _segments(_APP1, EXIF_HEADER, content, numbered=False)
    if icc and len(icc) <= 255 * (_LARGEST_SEGMENT - len(ICC_HEADER) - 2):
        new += _segments(_APP2, ICC_HEADER, icc, numbered=True)
    if not new:
        return jpeg
    place = 2
    if jpeg[2:4] == b"\xff\xe0":
        place += 2 + struct.unpack_from(">H", jpeg, 4)[0]
    return jpeg[:place] + new + jpeg[place:]


# --- PNG -------------------------------------------------------------------------------------------------


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, all bytes of it) for every chunk of a PNG, its end included."""
    at, kind = len(_PNG_SIGNATURE), b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise DamagedError(CUT_SHORT)
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise DamagedError(CUT_SHORT)
        yield kind, data[at:end]
        at = end


def check_png(data: bytes) -> None:
    """Find what Pillow forgives: a PNG without its end.

    Raises:
        DamagedError: the file is not whole.
    """
    for _ in _png_chunks(data):
        pass


def strip_png(data: bytes, orientation: int = 1) -> bytes:
    """A PNG, bit for bit the same pixels, without its metadata; see `strip_jpeg` for the orientation."""
    made = [_PNG_SIGNATURE]
    for kind, chunk in _png_chunks(data):
        if kind in _PNG_KEPT:
            made.append(chunk)
        if kind == b"IHDR" and orientation != 1:
            made.append(_png_chunk(b"eXIf", orientation_exif(orientation)))
    return b"".join(made)


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
