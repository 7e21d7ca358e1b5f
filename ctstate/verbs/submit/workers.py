"""`ctstate submit --workers auto`: how many workers are worth it, by what the ledger saw, and why not more."""

from collections.abc import Sequence
from dataclasses import dataclass

from ctstate.ledger import Ledger, speeds
from ctstate.ledger.speeds import Speed
from ctstate.verbs.submit.left import count_pending
from ctstate.words import counted

USUAL = 4
"""Where nothing is known."""

WORTH_S = 600.0
"""A worker with less to do is not worth its place: it begins, logs in and looks around for a minute."""

NO_GAIN = 1.15
"""More workers that brought no more than this many times the rate of fewer were not worth it."""


@dataclass(frozen=True)
class Choice:
    """How many workers, and why, in a line for a person."""

    workers: int
    why: str


def choose_workers(ledger: Ledger, season: str, batch: str | None) -> Choice:
    """Choose a number of workers by what this ledger saw of uploads.

    Args:
        ledger: may be open for reading only.
        season, batch: what is to be uploaded.

    Raises:
        UsageError: no such season or batch.
    """
    pending = count_pending(ledger, season, batch)
    with ledger.read() as connection:
        seen = speeds.seen(connection)
    return choice(pending, seen, ledger.most_workers)


def choice(pending: int, seen: Sequence[Speed], most: int) -> Choice:
    """Choose a number of workers.

    Args:
        pending: captures that are to be uploaded.
        seen: how fast uploads were.
        most: so many workers does the ledger's database serve.
    """
    if not seen:
        return Choice(
            USUAL,
            f"{counted(USUAL, 'worker')}: no upload has come far enough yet to tell a rate; "
            "`ctstate upload --limit 100` would",
        )
    # The newest upload with few workers: there nothing held one of them up.
    few = min(reversed(seen), key=lambda speed: round(speed.workers))
    one = few.rate / few.workers
    enough = max(1, int(pending / (one * WORTH_S)))
    limits = [
        (enough, f"each of more would have less than {WORTH_S / 60:.0f} minutes' work"),
        (most, "the ledger lets one writer in at a time, and its queue grows faster than the rate from there"),
    ]
    best = max(seen, key=lambda speed: speed.rate)
    # Who had many more workers, and was no faster.
    more = [speed for speed in seen if speed.workers > 1.5 * best.workers and speed.rate < NO_GAIN * best.rate]
    fewer = [speed for speed in seen if 1.5 * speed.workers < best.workers and best.rate < NO_GAIN * speed.rate]
    for low, high in [*((best, speed) for speed in more), *((speed, best) for speed in fewer)]:
        limits.append(
            (
                max(1, round(low.workers)),
                f"{high.workers:.0f} brought {high.rate:,.1f}/s, when {low.workers:.0f} brought {low.rate:,.1f}/s",
            )
        )
    workers, reason = min(limits, key=lambda limit: limit[0])
    hours = pending / (one * workers) / 3600
    return Choice(
        workers,
        f"{counted(workers, 'worker')}: one brings {one:,.2f}/s, so that "
        f"{counted(pending, 'capture', 'take')} about {hours:,.1f} h; more would not help: {reason}",
    )
