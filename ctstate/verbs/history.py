"""All that the ledger knows of a capture (`ctstate history`)."""

from typing import NamedTuple

from ctstate.errors import UsageError
from ctstate.ledger import Ledger
from ctstate.ledger.views import CaptureFacts, Event, ImageFacts, events_of, facts_of, images_of


class History(NamedTuple):
    """A capture: where it stands, its images by rank, and its moves, oldest first."""

    facts: CaptureFacts
    images: list[ImageFacts]
    events: list[Event]


def history(ledger: Ledger, capture_id: str) -> History:
    """Return what the ledger knows of a capture.

    Raises:
        UsageError: no such capture.
    """
    with ledger.read() as connection:
        facts = facts_of(connection, capture_id)
        if facts is None:
            raise UsageError(f"no capture {capture_id!r} in the ledger; a capture id looks like SER_S1#B04#1#17")
        return History(facts, images_of(connection, capture_id), events_of(connection, capture_id))
