"""A season held against Zooniverse, and every image against what was sent (`ctstate verify`); nothing changes."""

from ctstate.ledger import Ledger
from ctstate.verbs.survey import Survey, survey
from ctstate.zooniverse import Zooniverse


def verify(
    ledger: Ledger,
    zooniverse: Zooniverse,
    project_id: int,
    *,
    season: str | None = None,
    batch_name: str | None = None,
) -> Survey:
    """Check that each capture has one subject, in the right set, every image whole, and that nothing else is there.

    Asks the store for every image and compares its MD5.

    Args:
        ledger: may be open read-only.
        zooniverse, project_id: what to hold it against.
        season, batch_name: only these.

    Returns:
        what is off; see `Survey.all_is_well`.

    Raises:
        UsageError, ZooniverseError: see `survey`.
    """
    return survey(ledger, zooniverse, project_id, season=season, batch_name=batch_name, check_images=True)
