"""A server on loopback in a thread of its own: what both of the harness' networks are."""

import asyncio
import socket
import threading
from abc import ABC, abstractmethod


class Loopback(ABC):
    """Listens from when it is made until it is closed.

    Args:
        limit: bytes that a reader may hold.

    Attributes:
        port: where.
    """

    def __init__(self, limit: int = 1 << 22) -> None:
        self._limit = limit
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        serving = asyncio.start_server(self._serve, sock=self._listener, limit=self._limit)
        self._loop.create_task(serving)  # type: ignore[arg-type]
        self._loop.run_forever()
        while left := asyncio.all_tasks(self._loop):  # one that ends may have begun another
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._listener.close()
        self._loop.close()

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
