"""How far an upload is: what its run did, and what other workers do of the same, as one picture."""

import contextlib
import math
from dataclasses import dataclass

from ctstate.errors import LedgerError
from ctstate.ledger import Ledger, uploads
from ctstate.ledger.uploads import Extent
from ctstate.machine import machine

LOOK_EVERY_S = 3.0
"""How often the ledger is asked what the others did, and the rate is measured."""

MEMORY_S = 60.0
"""What was this long ago counts a third for the rate: shorter, and each call of the linker shows in it."""


@dataclass
class Counts:
    """What a run did so far.

    Attributes:
        claimed: captures.
        whole: captures whose every image is on Zooniverse, linked or not yet.
        uploaded, failed, given_back, fenced: captures, by how their story ended.
        images, bytes: sent.
        in_doubt: captures whose create got no answer, to be looked for.
    """

    claimed: int = 0
    whole: int = 0
    uploaded: int = 0
    failed: int = 0
    given_back: int = 0
    fenced: int = 0
    images: int = 0
    bytes: int = 0
    in_doubt: int = 0

    @property
    def under_way(self) -> int:
        """Captures whose story goes on."""
        return self.claimed - self.uploaded - self.failed - self.given_back - self.fenced


@dataclass(frozen=True)
class Progress:
    """How far an upload is.

    Attributes:
        total: captures that were to be uploaded when this run began.
        uploaded, failed: of these, by this run and by others.
        waiting: whole on Zooniverse, and not linked yet.
        uploading: claimed, and not whole yet.
        in_doubt: captures of this run whose create got no answer.
        workers: how many are at it, this run among them.
        rate: captures a second that became whole (or failed), of late; None: not known yet.
    """

    total: int
    uploaded: int
    failed: int
    waiting: int
    uploading: int
    in_doubt: int
    workers: int
    rate: float | None

    @property
    def done(self) -> int:
        """Captures that take no more time worth speaking of."""
        return min(self.uploaded + self.failed + self.waiting, self.total)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None: nobody can tell."""
        return (self.total - self.done) / self.rate if self.rate else None


class Gauge:
    """Makes the picture.

    Args:
        ledger: asked now and then what other runs did.
        run_id: this run.
        extent: which captures are meant.
        since: the ledger's newest move when `total` was counted.
        total: see `Progress`.
        alone: nothing but this run counts: it does so many captures (--limit), whatever others do.
    """

    def __init__(self, ledger: Ledger, run_id: int, extent: Extent, since: int, total: int, *, alone: bool) -> None:
        self._ledger = ledger
        self._run_id = run_id
        self._extent = extent
        self._total = total
        self._alone = alone
        self._others = uploads.OfOthers(since)
        self._looked_at = -math.inf
        self._measured: tuple[float, int] | None = None  # when, and how much was done by then
        self._captures = self._seconds = 0.0  # of late: what is older weighs less

    def read(self, counts: Counts) -> Progress:
        """Return how far all is."""
        moment = machine().monotonic()
        due = moment - self._looked_at >= LOOK_EVERY_S
        if due and not self._alone:
            # A picture is no reason to end an upload: what stops the ledger's writers is told by them.
            with contextlib.suppress(LedgerError), self._ledger.read() as connection:
                self._others = uploads.of_others(connection, self._run_id, self._extent, self._others)
        others = self._others
        waiting = max(0, min(counts.whole - counts.uploaded, counts.under_way))
        done = counts.uploaded + counts.failed + waiting + others.uploaded + others.failed + others.whole
        if due:
            self._looked_at = moment
            self._measure(moment, done)
        return Progress(
            total=self._total,
            uploaded=counts.uploaded + others.uploaded,
            failed=counts.failed + others.failed,
            waiting=waiting + others.whole,
            uploading=counts.under_way - waiting + others.uploading - others.whole,
            in_doubt=counts.in_doubt,
            workers=1 + others.workers,
            rate=max(self._captures, 0.0) / self._seconds if self._seconds else None,
        )

    def _measure(self, moment: float, done: int) -> None:
        if self._measured is None:
            if done:  # until then a run logs in, looks at its sets and encodes: that is no rate
                self._measured = moment, done
            return
        before, had = self._measured
        self._measured = moment, done
        faded = math.exp((before - moment) / MEMORY_S)
        self._captures = self._captures * faded + done - had
        self._seconds = self._seconds * faded + moment - before
