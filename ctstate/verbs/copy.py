"""A ledger moves to another database, with all that it knows (`ctstate copy`)."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from ctstate.ledger import moving
from ctstate.ledger.moving import Moved
from ctstate.ledger.runs import Jobs
from ctstate.machine import machine


@dataclass(frozen=True)
class Progress:
    """How far a copying is.

    Attributes:
        total: rows to be copied, and then to be compared.
        done: of these.
        seconds: since it began.
    """

    total: int
    done: int
    seconds: float

    @property
    def compares(self) -> bool:
        """Whether all is copied and it looks whether it arrived."""
        return 2 * self.done > self.total

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this pace; None: nobody can tell."""
        return self.seconds * (self.total - self.done) / self.done if self.done else None


def copy(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    jobs: Jobs | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Moved:
    """Move a ledger, with its identity and every id, and prove that each row arrived as it was.

    No backup copy is needed before: the source keeps all that it has.

    From then on the source can only be read. Killed at any instant, it leaves at most one of the two that can be
    written, and the same call goes on. The way back is the same call the other way round.

    Args:
        source, target: files or database URLs; the target is new, empty, or has moved to the source before.
        jobs: as for `Ledger.open`.
        on_progress: is told how far it is.

    Raises:
        UsageError, LedgerError: see `ledger.moving.move`.
    """
    began = machine().monotonic()

    def tell(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(Progress(total, done, machine().monotonic() - began))

    return moving.move(os.fspath(source), os.fspath(target), jobs, tell)
