"""Encoding in processes of their own: all cores at work, and a decoder that dies takes no upload with it."""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess

from ctstate.errors import UsageError
from ctstate.images import ImageOptions
from ctstate.images.encoding_process import PRELOAD, SIGNALS, Encoded, begin, encode_all
from ctstate.verbs.upload.story import EncoderDiedError, StopAskedError

END_S = 60.0
"""So long an image may take that is being encoded when the processes are to end."""

NEVER_STARTED = (
    "the encoding processes do not start; a program that calls upload() must do so under"
    " `if __name__ == '__main__':`, as they import its main module"
)

WhenEncoded = Callable[[list[Encoded] | None, BaseException | None], None]


def _kill(processes: Sequence[BaseProcess]) -> None:
    """End processes, whatever they hang on."""
    for process in processes:
        process.kill()


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Let processes that are started meanwhile not hear what asks the run to stop: a scheduler tells them all."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Encoders:
    """A pool of encoding processes.

    Args:
        processes: how many.
        options: how images are made.
    """

    def __init__(self, processes: int, options: ImageOptions) -> None:
        self._processes = processes
        self._options = options
        self._lock = threading.Lock()
        self._worked = False  # whether any process ever started
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        # Not fork: the run has threads, and a lock one of them holds would stay locked in the child.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        reader, self._alive = context.Pipe(duplex=False)
        return ProcessPoolExecutor(self._processes, mp_context=context, initializer=begin, initargs=(reader,))

    def warm_up(self) -> None:
        """Start the processes now, while the run still talks to Zooniverse about what there is to do."""
        with self._lock, _unheard():
            for _ in range(self._processes):
                self._pool.submit(encode_all, [], self._options).add_done_callback(self._warm)

    def _warm(self, future: Future[list[Encoded]]) -> None:
        self._worked = self._worked or (not future.cancelled() and future.exception() is None)

    def encode(self, paths: Sequence[str], below: str | None, when_encoded: WhenEncoded) -> None:
        """Encode a capture's images, which are below a folder; `when_encoded` gets the results, or the error.

        The errors: EncoderDiedError where a process of the pool was killed; StopAskedError after `close`.
        """

        def done(future: Future[list[Encoded]]) -> None:
            if future.cancelled():
                when_encoded(None, StopAskedError("the run ended"))
                return
            error = future.exception()
            if isinstance(error, BrokenProcessPool) and not self._worked:
                # No capture is to blame.
                when_encoded(None, UsageError(NEVER_STARTED))
            elif isinstance(error, BrokenProcessPool):
                when_encoded(None, EncoderDiedError("an encoding process was killed"))
            else:
                when_encoded(None if error is not None else future.result(), error)

        with self._lock, _unheard():
            try:
                future = self._pool.submit(encode_all, list(paths), self._options, below)
            except BrokenProcessPool:
                # A process of the pool was killed (out of memory?); the next ones get a new pool.
                self._pool.shutdown(wait=False)
                self._pool = self._new_pool()
                future = self._pool.submit(encode_all, list(paths), self._options, below)
        future.add_done_callback(done)

    def close(self) -> None:
        """End the processes; what they have not begun is dropped. May be called again."""
        # Without the lock: whoever is answered now may want it.
        pool = self._pool
        processes = list((pool._processes or {}).values())  # asked before: it forgets them
        last = threading.Timer(END_S, _kill, [processes])
        last.daemon = True
        last.start()
        pool.shutdown(wait=True, cancel_futures=True)
        last.cancel()
