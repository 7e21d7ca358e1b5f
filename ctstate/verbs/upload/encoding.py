"""Encoding in processes of their own: all cores at work, and a decoder that dies takes no upload with it."""

import contextlib
import multiprocessing
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from queue import Empty, SimpleQueue
from typing import NamedTuple

from ctstate.errors import CtstateError, UsageError
from ctstate.images import ImageOptions
from ctstate.images.encoding_process import PRELOAD, SIGNALS, Encoded, work
from ctstate.verbs.upload.story import EncoderDiedError, StopAskedError

END_S = 60.0
"""So long an image may take that is being encoded when the processes are to end."""

NEVER_STARTED = (
    "the encoding processes do not start; a program that calls upload() must do so under"
    " `if __name__ == '__main__':`, as they import its main module"
)

AHEAD = 2
"""Captures that a process has: one that it encodes, and one to go on with at once."""

WhenEncoded = Callable[[list[Encoded] | None, BaseException | None], None]


class _Task(NamedTuple):
    """A capture's images, and who wants them."""

    paths: list[str]
    below: str | None
    when_encoded: WhenEncoded


class _Begun(NamedTuple):
    """A process, and how to talk with it."""

    process: ForkServerProcess
    pipe: Connection


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Let processes that are started meanwhile not hear what asks the run to stop: a scheduler tells them all."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Encoders:
    """Encoding processes, each with a thread here that hands it work and hears what became of it.

    No pool of the standard library: there one process that dies takes with it what all the others are at, and its
    queues and threads take a fifth of the time that an upload of small images has.

    Args:
        processes: how many.
        options: how images are made.
    """

    def __init__(self, processes: int, options: ImageOptions) -> None:
        # Not fork: the run has threads, and a lock one of them holds would stay locked in the child.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        with _unheard():
            # First: where it has to start its own helper, it would let the processes hear what is kept from them.
            resource_tracker.ensure_running()
        self._many = processes
        self._options = options
        self._lock = threading.Lock()  # guards what follows
        self._threads: list[threading.Thread] = []
        self._processes: set[ForkServerProcess] = set()
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._worked = False  # whether any process ever started
        self._closed = self._killed = False

    def warm_up(self) -> None:
        """Start the processes now, while the run still talks to Zooniverse about what there is to do.

        Raises:
            CtstateError: none can be started.
        """
        with self._lock:
            while not self._closed and len(self._threads) < self._many:
                name, begun = f"encoder {len(self._threads)}", self._begin()
                self._threads.append(threading.Thread(target=self._hand_on, args=(begun,), name=name, daemon=True))
                self._threads[-1].start()

    def encode(self, paths: Sequence[str], below: str | None, when_encoded: WhenEncoded) -> None:
        """Encode a capture's images, which are below a folder; `when_encoded` gets the results, or the error.

        The errors: EncoderDiedError where the process that was at it was killed; StopAskedError after `close`.
        """
        self.warm_up()
        self._give(_Task(list(paths), below, when_encoded))

    def close(self) -> None:
        """End the processes; what they have not begun is dropped. May be called again."""
        with self._lock:
            self._closed = True
        self._drop_all()
        for _ in self._threads:
            self._tasks.put(None)
        last = threading.Timer(END_S, self._kill)
        last.daemon = True
        last.start()
        for thread in self._threads:
            thread.join()
        last.cancel()

    def _give(self, task: _Task) -> None:
        self._tasks.put(task)
        if self._closed:  # perhaps only since: nobody else would look
            self._drop_all()

    def _drop_all(self) -> None:
        ends = 0
        with contextlib.suppress(Empty):
            while True:
                task = self._tasks.get_nowait()
                if task is None:
                    ends += 1
                else:
                    task.when_encoded(None, StopAskedError("the run ended"))
        for _ in range(ends):
            self._tasks.put(None)

    def _kill(self) -> None:
        """End processes, whatever they hang on."""
        with self._lock:
            self._killed = True
            for process in self._processes:
                process.kill()

    # -- the threads -------------------------------------------------------------------------------------

    def _hand_on(self, begun: _Begun | None) -> None:
        """Hand captures to a process, and to another one where that has died."""
        while begun is not None:
            with self._lock:
                self._processes.add(begun.process)
                if self._killed:
                    begun.process.kill()
            try:
                self._converse(begun.pipe)
            finally:
                begun.pipe.close()  # with which the process ends
                begun.process.join()
                with self._lock:
                    self._processes.discard(begun.process)
            begun = None
            while begun is None and not self._closed:
                try:
                    begun = self._begin()
                except CtstateError as error:
                    self._tell_one(error)

    def _begin(self) -> _Begun:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs, self._options))
        try:
            with _STARTING, _unheard():
                process.start()
        except RuntimeError as error:
            raise UsageError(NEVER_STARTED) from error
        except OSError as error:
            raise CtstateError(f"no encoding process can be started: {error.strerror or error}") from error
        finally:
            theirs.close()
        return _Begun(process, ours)

    def _converse(self, pipe: Connection) -> None:
        """Talk with a process until it dies, or nothing more is to come."""
        given: deque[_Task] = deque()
        begun = False
        try:
            _hear(pipe)
            begun = self._worked = True
            while self._go_on(pipe, given):
                made: list[Encoded] | Exception = pickle.loads(_hear(pipe))
                task = given.popleft()
                if isinstance(made, Exception):
                    task.when_encoded(None, made)
                else:
                    task.when_encoded(made, None)
        except EncoderDiedError as error:
            if not begun:
                self._tell_one(error if self._worked else UsageError(NEVER_STARTED))
            elif given:
                given.popleft().when_encoded(None, error)
            for task in given:  # they were not begun
                self._give(task)

    def _go_on(self, pipe: Connection, given: deque[_Task]) -> bool:
        """Give a process as much as it should have; return False where nothing more is to come."""
        with contextlib.suppress(Empty):
            while len(given) < AHEAD:
                task = self._tasks.get(block=not given)
                if task is None:
                    self._tasks.put(None)  # for when it has answered what it was given
                    break
                given.append(task)
                with _alive():
                    pipe.send_bytes(pickle.dumps((task.paths, task.below)))
        return bool(given)

    def _tell_one(self, error: BaseException) -> None:
        """No process could be started: say so to whoever wants one next."""
        task = self._tasks.get()
        if task is not None:
            task.when_encoded(None, error)


_STARTING = threading.Lock()
"""The standard library keeps a list of its processes, which is not made for threads that start some at once."""


@contextlib.contextmanager
def _alive() -> Iterator[None]:
    """Talk through a pipe.

    Raises:
        EncoderDiedError: nobody is at its other end.
    """
    try:
        yield
    except (EOFError, OSError) as error:
        raise EncoderDiedError("an encoding process was killed") from error


def _hear(pipe: Connection) -> bytes:
    with _alive():
        return pipe.recv_bytes()
