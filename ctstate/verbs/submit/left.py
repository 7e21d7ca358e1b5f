"""What is left of what a chain was to bring to Zooniverse, and whether all went well in the end."""

from dataclasses import dataclass

from ctstate.capture import COMPLETE
from ctstate.ledger import Ledger, uploads
from ctstate.words import counted

STOPPED = 75
"""The exit code of whatever stopped cleanly before all was done."""


def count_pending(ledger: Ledger, season: str, batch: str | None) -> int:
    """Return how many captures an upload of a season or batch has still to bring to Zooniverse.

    Raises:
        UsageError: no such season or batch.
    """
    row = ledger.season(season)
    # Where there are batches, captures in none of them stay where they are (see `upload`).
    batches = ledger.batches(row.id)
    if batch is not None and (batches or batch != COMPLETE):
        batches = ledger.batches(row.id, batch)
    with ledger.read() as connection:
        left = uploads.count_left(connection, row.id, [one.id for one in batches] or None)
    return left.pending + left.unbatched


@dataclass(frozen=True)
class Verdict:
    """How it stands with all of a season or batch.

    Attributes:
        code: exit code: 0 all of it is on Zooniverse, 1 it is not, 75 it is not, as somebody stopped it.
        line: the same for a person.
    """

    code: int
    line: str


def judge(ledger: Ledger, season: str, batch: str | None, *, stopped: bool = False) -> Verdict:
    """Return whether all of a season or batch is on Zooniverse, as an upload's own exit code says it.

    Args:
        ledger: the ledger.
        season, batch: as for `count_pending`.
        stopped: somebody stopped it on purpose.

    Raises:
        UsageError: no such season or batch.
    """
    row = ledger.season(season)
    # Before the first upload there is no batch `complete` yet; then it is all of the season.
    batches = ledger.batches(row.id)
    chosen = [one.id for one in ledger.batches(row.id, batch)] if batch is not None and batches else None
    with ledger.read() as connection:
        left = uploads.count_left(connection, row.id, chosen)
    what = f"season {season}" if batch is None else f"{batch} of season {season}"
    if left.pending or left.unbatched:
        ended = "was stopped" if stopped else "ended"
        return Verdict(
            STOPPED if stopped else 1,
            f"the upload of {what} {ended} and {counted(left.pending + left.unbatched, 'capture', 'are')} pending: "
            "see `ctstate runs`, then run `ctstate submit` again",
        )
    if left.failed:
        return Verdict(1, f"{counted(left.failed, 'capture', 'are')} failed of {what}: `ctstate retry` tries again")
    return Verdict(0, f"all of {what} is on Zooniverse")
