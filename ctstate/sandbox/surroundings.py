"""What the sandbox takes from outside of itself: the time, waiting, and chance.

A simulator may put surroundings of its own in this place, in which time is virtual and chance has a seed.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Surroundings:
    """The real ones."""

    def now(self) -> float:
        """Seconds since 1970, UTC."""
        return time.time()

    async def pause(self, seconds: float) -> None:
        """Let other requests in for so long."""
        await asyncio.sleep(seconds)

    def random_hex(self, length: int) -> str:
        """So many random bytes, as hex digits, that nobody can guess."""
        return os.urandom(length).hex()


_current: list[Surroundings] = [Surroundings()]


def now() -> float:
    """Seconds since 1970, UTC."""
    return _current[-1].now()


async def pause(seconds: float) -> None:
    """Let other requests in for so long."""
    await _current[-1].pause(seconds)


def random_hex(length: int) -> str:
    """So many random bytes, as hex digits, that nobody can guess."""
    return _current[-1].random_hex(length)


@contextmanager
def within(other: Surroundings) -> Iterator[None]:
    """Let everything of the sandbox be in other surroundings for a while."""
    _current.append(other)
    try:
        yield
    finally:
        _current.pop()
