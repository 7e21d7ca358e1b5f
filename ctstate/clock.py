"""Time as the ledger writes it: text, ISO 8601, UTC, microseconds."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def now() -> str:
    """Return this moment, for example `2026-11-23T19:02:43.123456Z`."""
    return datetime.now(timezone.utc).strftime(_FORMAT)


def shifted(seconds: float) -> str:
    """Return the moment `seconds` from now (negative: ago)."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime(_FORMAT)


def age(moment: str) -> float:
    """Return how many seconds ago `moment` was; negative where it lies ahead.

    Raises:
        ValueError: `moment` is not a time of the ledger.
    """
    # SQLite's own strftime, which triggers use, writes milliseconds; %f takes both.
    then = datetime.strptime(moment, _FORMAT).replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - then).total_seconds()
