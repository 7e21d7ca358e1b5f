"""What went over the network: requests by kind, tries, bytes, and how long replies took."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ctstate.machine import machine

_ID = re.compile(r"/\d+(?:,\d+)*(?=/|$)")


class Traffic:
    """Counts what a connection sends; its methods may be called from many threads.

    Attributes:
        retries: how often something was tried again.
        bytes_sent: of images.
        seconds: how long all replies took together; of requests beside each other each counts.
    """

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._guard = threading.Lock()
        self.retries = 0
        self.bytes_sent = 0
        self.seconds = 0.0

    @contextmanager
    def request(self, method: str, path: str, size: int = 0) -> Iterator[None]:
        """Count a request that is sent within; also one that fails.

        Args:
            method: such as GET.
            path: of Zooniverse's API, or what an image is called: `image`.
            size: bytes of the image that it carries.
        """
        kind = f"{method} {_ID.sub('/ID', path)}"
        began = machine().monotonic()
        with self._guard:
            self._requests[kind] += 1
            self.bytes_sent += size
        try:
            yield
        finally:
            with self._guard:
                self.seconds += machine().monotonic() - began

    def again(self) -> None:
        """Count a try after one that failed."""
        with self._guard:
            self.retries += 1

    @property
    def api(self) -> int:
        """Requests to the API."""
        with self._guard:
            return sum(number for kind, number in self._requests.items() if not kind.endswith(" image"))

    @property
    def images(self) -> int:
        """Requests to the store of images."""
        with self._guard:
            return sum(number for kind, number in self._requests.items() if kind.endswith(" image"))

    def figures(self) -> dict[str, float]:
        """Return all of it by name, as `run_figure` keeps it."""
        with self._guard:
            found: dict[str, float] = {f"requests: {kind}": number for kind, number in self._requests.items()}
            found |= {"retries": self.retries, "bytes sent": self.bytes_sent, "seconds: network": self.seconds}
        return found
