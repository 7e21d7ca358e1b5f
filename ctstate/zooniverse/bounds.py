"""No reply takes for ever: a connection whose reply is not whole in time is cut off.

The timeouts of requests and urllib3 are about the next byte: whoever sends one now and then is waited for without
end, in the headers as in the body. So a thread of its own looks after all connections that wait for a reply.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

LOOKS_S = 0.5
"""So often the thread looks."""

_here = threading.local()


class Watch:
    """What one thread waits for.

    Attributes:
        whole_s: so many seconds after the request was sent its reply must be whole.
        cut_off: whether it was not.
    """

    def __init__(self, whole_s: float) -> None:
        self.whole_s = whole_s
        self.cut_off = False
        self._until: float | None = None
        self._socket: socket.socket | None = None

    def begin(self, connection: socket.socket | None) -> None:
        """The request was sent through this connection."""
        self._socket, self._until = connection, time.monotonic() + self.whole_s

    def look(self) -> None:
        """Cut the connection off if it is time."""
        if self._socket is None or self._until is None or self.cut_off or time.monotonic() < self._until:
            return
        self.cut_off = True
        with contextlib.suppress(OSError):  # not its own method: that of TLS is not for other threads
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Watchdog:
    """Looks after the threads that wait for a reply."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watching(self, whole_s: float) -> Iterator[Watch]:
        """Watch what this thread asks for."""
        watch = Watch(whole_s)
        with self._condition:
            self._watches.add(watch)
            if self._thread is None or not self._thread.is_alive():  # the latter after a fork
                self._thread = threading.Thread(target=self._work, name="watchdog", daemon=True)
                self._thread.start()
            self._condition.notify()
        _here.watch = watch
        try:
            yield watch
        finally:
            _here.watch = None
            with self._condition:
                self._watches.discard(watch)

    def _work(self) -> None:
        while True:
            with self._condition:
                while not self._watches:
                    self._condition.wait()
                for watch in self._watches:
                    watch.look()
            time.sleep(LOOKS_S)


WATCHDOG = Watchdog()
"""One for all connections of this process."""


class _Watched:
    """Tells the watch of this thread when a request was sent, and through which connection."""

    sock: Any

    def getresponse(self, *given: Any, **more: Any) -> Any:
        watch = getattr(_here, "watch", None)
        if watch is not None:
            watch.begin(self.sock)
        return super().getresponse(*given, **more)  # type: ignore[misc]


class _HTTP(_Watched, HTTPConnection):
    pass


class _HTTPS(_Watched, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPS


class WatchedAdapter(HTTPAdapter):
    """An adapter of requests whose connections are watched; by a SOCKS proxy they have urllib3's timeouts only."""

    def init_poolmanager(self, *given: Any, **more: Any) -> None:
        super().init_poolmanager(*given, **more)
        _watched(self.poolmanager)

    def proxy_manager_for(self, *given: Any, **more: Any) -> Any:
        return _watched(super().proxy_manager_for(*given, **more))


def _watched(manager: Any) -> Any:
    if manager.pool_classes_by_scheme is urllib3.poolmanager.pool_classes_by_scheme:
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return manager
