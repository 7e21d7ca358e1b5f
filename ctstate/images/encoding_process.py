"""What an encoding process does. It imports no more than it needs: no database, no HTTP."""

import contextlib
import os
import pickle
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from queue import SimpleQueue

from ctstate.errors import BrokenImageError
from ctstate.images import EncodedImage, ImageOptions, encode_image

__all__ = ["PRELOAD", "SIGNALS", "Encoded", "encode_all", "sendable", "work"]

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


def sendable(error: Exception) -> Exception:
    """Return an error that arrives at the other end of a pipe, which not every class of errors does."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its class does
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def work(pipe: Connection, options: ImageOptions) -> None:
    """Encode captures as a pipe says, in their order, until nobody holds its other end any more.

    What comes is what `encode_all` takes, pickled; what goes is what it returns, or the exception. An empty word
    goes first: the process has begun.
    """
    # A Ctrl-C reaches the whole process group, and Slurm may signal every process of a step: only the run
    # itself decides when to stop.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # Encoding takes every core it gets; requests need little, but at once. The upload goes first.
    os.nice(10)
    told: SimpleQueue[tuple[list[str], str | None]] = SimpleQueue()

    def listen() -> None:
        # Whatever the other thread is at: the pipe ends when the run does, also when it is killed.
        with contextlib.suppress(EOFError, OSError):
            while True:
                told.put(pickle.loads(pipe.recv_bytes()))
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    pipe.send_bytes(b"")
    while True:
        paths, below = told.get()
        made: list[Encoded] | Exception
        try:
            made = encode_all(paths, options, below)
        except Exception as error:  # noqa: BLE001 - the run's to deal with
            made = sendable(error)
        with contextlib.suppress(BrokenPipeError):
            pipe.send_bytes(pickle.dumps(made))
