"""What an encoding process does. It imports no more than it needs: no database, no HTTP."""

import contextlib
import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

from ctstate.errors import BrokenImageError
from ctstate.images import EncodedImage, ImageOptions, encode_image

__all__ = ["PRELOAD", "SIGNALS", "Encoded", "begin", "encode_all"]

Encoded = EncodedImage | BrokenImageError

PRELOAD = ["ctstate.images.encoding_process", "PIL.JpegImagePlugin", "numpy", "simplejpeg", "cv2"]
"""Imported once, before the encoding processes fork from it; what is not installed is passed over."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""What asks a run to stop. It alone hears them."""


def encode_all(paths: Sequence[str], options: ImageOptions, below: str | None = None) -> list[Encoded]:
    """Encode the images of a capture; a broken one is returned as its error."""
    results: list[Encoded] = []
    for path in paths:
        try:
            results.append(encode_image(path, options, below))
        except BrokenImageError as error:
            results.append(error)
    return results


def begin(alive: Connection) -> None:
    """Begin an encoding process; it ends when nobody holds the other end of `alive` any more."""
    # A Ctrl-C reaches the whole process group, and Slurm may signal every process of a step: only the run
    # itself decides when to stop.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # Encoding takes every core it gets; requests need little, but at once. The upload goes first.
    os.nice(10)

    def watch() -> None:
        # Nothing is ever sent: the pipe ends when the run does, also when it is killed.
        with contextlib.suppress(EOFError, OSError):
            alive.recv()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
