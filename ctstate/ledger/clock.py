"""Time as the ledger writes it: text, ISO 8601, UTC, microseconds.

Hosts disagree about the time, by minutes where nobody looks after it. So a time of the ledger tells people when
something was, and only together with `SKEW_S` may it prove that something is over: how long a thing has lasted is
measured by one process, on its own `machine().monotonic()`.
"""

import functools
from datetime import UTC, datetime, timedelta

from ctstate.machine import machine

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SKEW_S = 600.0
"""How far the clocks of two hosts may be apart. `doctor` measures it; exactly-once holds up to here."""


def _text(seconds: float) -> str:
    # As `_FORMAT`, in a fifth of its time: several times of each capture are written down.
    whole, micro = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_to_the_second(whole)}.{micro:06}Z"


@functools.lru_cache(8)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _seconds(moment: str) -> float:
    # SQLite's own strftime, which triggers use, writes milliseconds; %f takes both.
    return datetime.strptime(moment, _FORMAT).replace(tzinfo=UTC).timestamp()


def from_microseconds(since_1970: int) -> str:
    """Return a time that another clock than this host's has read, in microseconds since 1970."""
    return (_EPOCH + timedelta(microseconds=since_1970)).strftime(_FORMAT)


def now() -> str:
    """Return this moment, for example `2026-11-23T19:02:43.123456Z`."""
    return _text(machine().wall())


def age(moment: str, at: str | None = None) -> float:
    """Return how many seconds ago `moment` was; negative where it lies ahead.

    Args:
        moment: a time of the ledger.
        at: another, to measure from (`database.moment`); None: by this host's clock.

    Raises:
        ValueError: `moment` is not a time of the ledger.
    """
    return (machine().wall() if at is None else _seconds(at)) - _seconds(moment)


def shifted(moment: str, seconds: float) -> str:
    """Return the time `seconds` after a time of the ledger (negative: before it)."""
    return _text(_seconds(moment) + seconds)


def surely_older(moment: str, seconds: float, at: str | None = None) -> bool:
    """Tell whether `moment` is more than `seconds` ago, whichever host wrote it; `at` as for `age`."""
    return age(moment, at) > seconds + SKEW_S
