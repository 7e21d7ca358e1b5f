"""JSON files larger than memory, read as streams; their errors as one line."""

import contextlib
import gzip
import os
from collections.abc import Iterator
from typing import IO, Any

import ijson

from ctstate.errors import InputError

_BUFFER = 1 << 18
_BOM = b"\xef\xbb\xbf"


@contextlib.contextmanager
def opened(file: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a JSON file (also `.gz`, told by its content) past its byte order mark.

    Raises:
        InputError: it cannot be read, or what is read from it is not JSON.
    """
    name = os.fspath(file)
    try:
        with contextlib.ExitStack() as stack:
            stream: Any = stack.enter_context(open(name, "rb"))
            packed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            if packed:
                stream = stack.enter_context(gzip.open(stream))
            if stream.read(3) != _BOM:
                stream.seek(0)
            yield stream
    except (OSError, EOFError) as error:
        raise InputError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    except (ijson.JSONError, UnicodeError) as error:
        reason = " ".join(str(error).split("\n")[0].split()) or "it ends too early"
        raise InputError(f"{name}: not readable as JSON ({reason}); is the file whole?") from None


def items(file: str | os.PathLike[str], prefix: str) -> Iterator[Any]:
    """Yield the elements below a prefix (`item`: of the list that the file is; `images.item`: of that list).

    Raises:
        InputError: see `opened`.
    """
    with opened(file) as stream:
        yield from ijson.items(stream, prefix, use_float=True, buf_size=_BUFFER)


def pairs(file: str | os.PathLike[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of the object at a prefix ('': the object that the file is).

    Raises:
        InputError: see `opened`.
    """
    with opened(file) as stream:
        yield from ijson.kvitems(stream, prefix, use_float=True, buf_size=_BUFFER)
