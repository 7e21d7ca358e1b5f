"""How long to wait for an answer, and how long to keep trying where none comes.

By hand: tenacity and stamina wait and measure by the process's own clock, and each of the rules here (the server's
Retry-After, giving up before a wait that is too long, a wait that a stop ends) would be a hook as long as its line.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ctstate.errors import StrangeReplyError, UnavailableError
from ctstate.machine import machine

log = logging.getLogger(__name__)

T = TypeVar("T")

SILENCE_S = 5.0
"""A call that fails for longer is worth a warning: somebody may sit and wait."""


MOST_STRANGE = 5
"""So often an answer that Zooniverse does not give may come before a call is given up."""


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds.

    Attributes:
        connect: for a connection.
        read: for the next byte of a reply; the server ends its own work after 65 s.
        blob: for the next byte when an image is put.
        whole: for the whole of a reply, once the request was sent.
    """

    connect: float = 15.0
    read: float = 90.0
    blob: float = 120.0
    whole: float = 300.0


@dataclass(frozen=True)
class Backoff:
    """How long to wait between tries: exponential, with full jitter.

    Attributes:
        first: upper bound of the first wait, in seconds; doubles with each try.
        most: upper bound of any wait.
        give_up: seconds of one call failing after which it is given up.
    """

    first: float = 1.0
    most: float = 60.0
    give_up: float = 1800.0

    def wait(self, attempt: int, asked: float | None = None) -> float:
        """Return how long to wait after the failure number `attempt` (from 0)."""
        jittered = random.uniform(0.0, min(self.most, self.first * 2.0 ** min(attempt, 30)))
        return max(jittered, asked or 0.0)


class Patience:
    """Something that can tell a waiting thread to stop waiting: a run that is to stop."""

    def wait(self, seconds: float) -> bool:
        """Wait; return True where waiting is over for good."""
        machine().sleep(seconds)
        return False


def keep_trying(
    once: Callable[[], T], backoff: Backoff, patience: Patience, again: Callable[[], None] = lambda: None
) -> T:
    """Repeat a call that may be repeated until it answers, or `backoff.give_up` seconds have gone.

    Args:
        once: the call.
        backoff, patience: how long to wait between tries, and for how long to have patience.
        again: called before each try but the first.

    Raises:
        UnavailableError: the last failure; also where `patience` is over.
    """
    began, attempt, strange = machine().monotonic(), 0, 0
    while True:
        try:
            return once()
        except UnavailableError as error:
            wait = backoff.wait(attempt, error.retry_after)
            strange += isinstance(error, StrangeReplyError)
            if strange >= MOST_STRANGE or machine().monotonic() + wait - began > backoff.give_up:
                raise
            level = logging.WARNING if machine().monotonic() - began > SILENCE_S else logging.INFO
            log.log(level, "%s; trying again in %.1f s", error, wait)
            attempt += 1
            if patience.wait(wait):
                raise
            again()
