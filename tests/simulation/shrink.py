"""A season that broke, made smaller: as many accidents as can be taken away, without it going away."""

import functools
import re
import time

from tests.simulation.season import Season
from tests.simulation.sim_ledger import SimDatabase, new_database

PATIENCE_S = 60.0


def shrink(seed: int, deadly: bool = False, patience_s: float = PATIENCE_S) -> str:
    """Return the steps that led to the violation, in words.

    Accidents are taken away from the last one backwards (what comes before stays as it was), halves first.
    """
    suppressed: frozenset[int] = frozenset()
    season, found = _play(seed, suppressed, deadly)
    if not found:
        return "it holds when it is played again: something is not decided by the seed"
    kind = _kind(found)
    until = time.monotonic() + patience_s
    size = max(1, len(season.kernel.struck) // 2)
    while size and time.monotonic() < until:
        numbers = [number for number, _ in season.kernel.struck]
        end, smaller = len(numbers), False
        while end > 0 and time.monotonic() < until:
            part = numbers[max(0, end - size) : end]
            tried, outcome = _play(seed, suppressed | frozenset(part), deadly)
            if outcome and _kind(outcome) == kind and len(tried.kernel.struck) < len(season.kernel.struck):
                suppressed |= frozenset(part)
                season, found, smaller = tried, outcome, True
                break
            end -= size
        if not smaller:
            size //= 2
    accidents = "\n".join(f"  {name}" for _, name in season.kernel.struck) or "  none"
    return "\n".join(
        [
            f"{found[0]}",
            f"{season.world}",
            f"{len(season.kernel.struck)} accidents are left:",
            accidents,
            "its steps:",
            season.kernel.trace,
        ]
    )


def _play(seed: int, suppressed: frozenset[int], deadly: bool) -> tuple[Season, list[str]]:
    season = Season(seed, suppressed, deadly=deadly, database=_database())
    return season, season.play()


@functools.cache
def _database() -> SimDatabase:
    return new_database()


def _kind(found: list[str]) -> str:
    """What kind of violation it is, whatever its numbers."""
    return re.sub(r"\d+", "#", found[0].splitlines()[0])[:60]
