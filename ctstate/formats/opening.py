"""Other people's files, opened: whatever is wrong with one becomes one line that names the file and the place.

Every reader opens its file here. What is read is bounded (a line, a text), so that a file that is no such file at
all (a device, gigabytes of zeros) is refused before it fills the memory.
"""

import contextlib
import csv
import gzip
import io
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from ctstate.errors import InputError

LONGEST_LINE = 1 << 26
"""A text file with a longer line is none."""

LONGEST_TEXT = 1 << 22
"""In JSON, a text or number of more bytes is none that anybody meant; each byte of it costs more than the last."""

_BUFFER = 1 << 18
_BOM = b"\xef\xbb\xbf"


@contextlib.contextmanager
def one_line(
    name: str, place: Callable[[], str] = lambda: "", *, encoding: str = "utf-8", hint: str = ""
) -> Iterator[None]:
    """Turn whatever reading a file can end in into one line.

    Args:
        name: of the file.
        place: where in the file it is being read, such as `, row 5`.
        encoding: of its text.
        hint: what to do where it is not in that encoding.

    Raises:
        InputError: instead of what was raised.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: that is a folder; name a file") from None
    except PermissionError:
        raise InputError(f"{name}: no permission to read it") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name}: {getattr(error, 'strerror', None) or error}; is the file whole?") from None
    except (KeyError, IndexError):
        raise  # no text's fault
    except LookupError:
        raise InputError(f"{name}: no such encoding: {encoding}{hint}") from None
    except UnicodeDecodeError as error:
        shown = encoding.upper().removesuffix("-SIG")
        raise InputError(f"{name}{place()}: not text in {shown} ({_brief(error)}){hint}") from None
    except UnicodeEncodeError as error:
        text = f"{error.object!a} cannot be a file's name in this system's encoding; set LANG=C.UTF-8"
        raise InputError(f"{name}{place()}: {text}") from None
    except csv.Error as error:
        raise InputError(f"{name}{place()}: not a readable CSV ({error}); nothing was changed") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{name}: not readable as JSON ({brief(error.msg)}); is the file whole?") from None
    except RecursionError:
        raise InputError(f"{name}{place()}: nested too deeply; nothing was changed") from None
    except (ValueError, OverflowError) as error:
        raise InputError(f"{name}{place()}: not what it should be ({_brief(error)}); nothing was changed") from None


def _brief(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):  # its own words would print what stands there
        return f"byte {error.start:,} of what was read is {error.object[error.start]:#04x}"
    return brief(str(error))


def brief(text: str) -> str:
    """Return a text for a message, its middle left out where it is long."""
    return text if len(text) <= 200 else f"{text[:120]}...{text[-60:]}"


def open_bytes(name: str, *, mark: bytes, most: int) -> IO[bytes]:
    """Open a file (also `.gz`, told by its content), in which the byte `mark` comes at least every `most` bytes.

    Raises:
        InputError: it is a device.
        OSError: see `one_line`.
    """
    if "\0" in name:
        raise InputError(f"{name!r}: no file's name holds a NUL")
    raw: Any = open(name, "rb", buffering=0)  # noqa: SIM115 - closed by whoever closes what is returned
    try:
        mode = os.fstat(raw.fileno()).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise InputError(f"{name}: that is a device; name a file")
        if stat.S_ISREG(mode):
            if raw.read(2) == b"\x1f\x8b":
                raw.seek(0)
                raw = _Packed(raw)
            else:
                raw.seek(0)
        return io.BufferedReader(_Bounded(raw, name, mark, most), _BUFFER)
    except BaseException:
        raw.close()
        raise


@contextlib.contextmanager
def text(
    file: str | os.PathLike[str], encoding: str = "utf-8-sig", place: Callable[[], str] = lambda: "", hint: str = ""
) -> Iterator[IO[str]]:
    """Open a text file for the `csv` module.

    Raises:
        InputError: it cannot be read, or what is read from it is no such text, or no CSV.
    """
    name = os.fspath(file)
    with (
        one_line(name, place, encoding=encoding, hint=hint),
        open_bytes(name, mark=b"\n", most=LONGEST_LINE) as stream,
    ):
        yield io.TextIOWrapper(stream, encoding=encoding, newline="")


def numbered(stream: IO[str], delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV by its header, numbered as a spreadsheet numbers them.

    The header itself comes first, as row 1 whose values are its keys. Empty rows are passed over, cells that are
    not there are left out.
    """
    reader = csv.reader(stream, delimiter=delimiter)
    header = [cell.strip() for cell in next(reader, [])]
    yield 1, dict(zip(header, header, strict=True))
    for number, cells in enumerate(reader, start=2):
        if any(cells):
            yield number, dict(zip(header, cells, strict=False))


@contextlib.contextmanager
def json_bytes(file: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a JSON file past its byte order mark.

    Raises:
        InputError: it cannot be read, or what is read from it is not JSON.
    """
    name = os.fspath(file)
    with one_line(name), open_bytes(name, mark=b'"', most=LONGEST_TEXT) as stream:
        if stream.peek(3)[:3] == _BOM:  # type: ignore[attr-defined]
            stream.read(3)
        yield stream


class _Packed(gzip.GzipFile):
    """A packed file that closes what it reads from."""

    def __init__(self, raw: Any) -> None:
        super().__init__(fileobj=raw)
        self._raw_file = raw

    def close(self) -> None:
        super().close()
        self._raw_file.close()


class _Bounded(io.RawIOBase):
    """Bytes in which a mark must come again and again."""

    def __init__(self, raw: Any, name: str, mark: bytes, most: int) -> None:
        self._raw = raw
        self._name = name
        self._mark = mark
        self._most = most
        self._since = 0  # bytes since the last mark

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._raw.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._since = 0
        return int(self._raw.seek(offset, whence))

    def tell(self) -> int:
        return int(self._raw.tell())

    def readinto(self, buffer: Any) -> int:
        count = int(self._raw.readinto(buffer) or 0)
        at = _last(bytes(memoryview(buffer)[:count]), self._mark)
        self._since = count - at - 1 if at >= 0 else self._since + count
        if self._since > self._most:
            what = "line" if self._mark == b"\n" else "text or number"
            raise InputError(
                f"{self._name}: holds a {what} of more than {self._most >> 20} MiB: what file is that?"
            )
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _last(data: bytes, mark: bytes) -> int:
    """Return where the last mark stands, -1 where none does; a quote behind a backslash is none."""
    at = data.rfind(mark)
    while at > 0 and mark == b'"' and data[at - 1 : at] == b"\\":
        # In a text of such quotes alone there is no other; so not each of them is looked at.
        start = max(0, at - 4096)
        found = data.rfind(b'"', start, at)
        while found > start and data[found - 1 : found] == b"\\":
            found = data.rfind(b'"', start, found)
        return found if found > start else -1
    return at
