"""A season held against Zooniverse, and every image against what was sent (`ctstate verify`)."""

import logging

from ctstate.errors import LedgerError
from ctstate.ledger import Ledger
from ctstate.verbs.survey import ALL, Share, Survey, keep, survey
from ctstate.zooniverse import Zooniverse

log = logging.getLogger(__name__)


def verify(
    ledger: Ledger,
    zooniverse: Zooniverse,
    project_id: int,
    *,
    season: str | None = None,
    batch_name: str | None = None,
    share: Share = ALL,
) -> Survey:
    """Check that each capture has one subject, in the right set, every image whole, and that nothing else is there.

    Asks the store for every image and compares its MD5. The result stays in the ledger (`v_verifications`).

    Args:
        ledger: may be open read-only; then the result is not kept.
        zooniverse, project_id: what to hold it against.
        season, batch_name: only these.
        share: of which captures every image is asked for.

    Returns:
        what is off; see `Survey.all_is_well`.

    Raises:
        UsageError, ZooniverseError: see `survey`.
    """
    found = survey(ledger, zooniverse, project_id, season=season, batch_name=batch_name, share=share)
    try:
        keep(ledger, "verify", project_id, found, batch_name)
    except LedgerError as error:  # what was found is worth more than the note of it
        log.warning("the result is not kept in the ledger: %s", error)
    return found
