"""All that the ledger knows of a capture (`ctstate history`)."""

from typing import NamedTuple

from ctstate.errors import UsageError
from ctstate.ledger import Ledger
from ctstate.ledger.views import CaptureFacts, Event, ImageFacts, events_of, facts_of, images_of
from ctstate.verbs.pages import Pages


class History(NamedTuple):
    """A capture: where it stands, its images by rank, and its moves, oldest first.

    `subject_url` is where a browser shows its subject; None: it has none, or the ledger does not know.
    """

    facts: CaptureFacts
    images: list[ImageFacts]
    events: list[Event]
    subject_url: str | None


def history(ledger: Ledger, capture_id: str) -> History:
    """Return what the ledger knows of a capture.

    Raises:
        UsageError: no such capture.
    """
    pages = Pages(ledger)
    with ledger.read() as connection:
        facts = facts_of(connection, capture_id)
        if facts is None:
            raise UsageError(f"no capture {capture_id!r} in the ledger; a capture id looks like SER_S1#B04#1#17")
        url = pages.of_subject(facts.project_id, facts.subject_id)
        return History(facts, images_of(connection, capture_id), events_of(connection, capture_id), url)
