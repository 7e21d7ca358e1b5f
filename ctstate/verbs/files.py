"""Files that verbs write: beside their place, and moved there when they are whole."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ctstate.errors import UsageError


@contextlib.contextmanager
def written(file: Path, *, private: bool = False) -> Iterator[IO[str]]:
    """A file to write, which is in its place only when all of it is; one that is replaced keeps who may read it.

    Args:
        file: its place.
        private: a new one is for its owner alone.

    Raises:
        UsageError: it can be in no such place.
        OSError: it cannot be written; names the file.
    """
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file}: the folder {file.absolute().parent} does not exist")
    if file.is_dir():
        raise UsageError(f"{file}: that is a folder; name a file in it")
    bits = 0o600 if private else 0o666
    with contextlib.suppress(FileNotFoundError):
        bits = stat.S_IMODE(file.stat().st_mode) & 0o666
    # A name that nobody foresees, and a file that was not there: else it could be a link of another user's.
    beside = file.with_name(f".{file.name[:200]}.{secrets.token_hex(8)}.part")
    try:
        if file.exists() and not file.is_file():  # /dev/stdout
            with open(file, "w", encoding="utf-8", newline="") as stream:
                yield stream
            return
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, bits)
        with open(descriptor, "w", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, file)
    except OSError as error:
        if error.filename in (None, str(beside), str(file)):  # what the person named, not what lies beside it
            raise OSError(error.errno, error.strerror, str(file)) from None
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
