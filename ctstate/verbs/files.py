"""Files that verbs write: beside their place, and moved there when they are whole."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ctstate.errors import UsageError


@contextlib.contextmanager
def written(file: Path) -> Iterator[IO[str]]:
    """A file to write, which is in its place only when all of it is.

    Raises:
        UsageError: it can be in no such place.
        OSError: it cannot be written; names the file.
    """
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file}: the folder {file.absolute().parent} does not exist")
    if file.is_dir():
        raise UsageError(f"{file}: that is a folder; name a file in it")
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        if file.exists() and not file.is_file():  # /dev/stdout
            with open(file, "w", encoding="utf-8", newline="") as stream:
                yield stream
            return
        with open(beside, "w", encoding="utf-8", newline="") as stream:
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
