"""At most so many images of a long sequence (`ctstate sample`)."""

from ctstate.errors import UsageError
from ctstate.ledger import Ledger, sampling
from ctstate.ledger.sampling import Sampled


def sample(ledger: Ledger, most_images: int | None, *, season: str | None = None) -> Sampled:
    """Let at most so many images of a capture go up, spread evenly over its sequence; in one transaction.

    It holds for captures that are read later, too. Captures whose subject exists, or may, stay as they are.

    Args:
        ledger: the ledger.
        most_images: 1 or more; None: all go up again.
        season: manifest id; needed where the ledger holds several.

    Raises:
        UsageError: no such season, or no such number.
    """
    if most_images is not None and not 1 <= most_images < 2**31:
        raise UsageError(f"no sample can be of {most_images}: give 1 or more")
    found = ledger.season(season)
    with ledger.atomic_run("sample", {"season": found.name, "most_images": most_images}) as (connection, _):
        sampling.set_most_images(connection, found.id, most_images)
        sampling.resample(connection, found.id)
        return sampling.count_sampled(connection, found.id)
