"""What the ledger says of a capture, read from the views that are a stable interface (docs/views.md).

A view's row is declared once, as a named tuple; the fields are the view's columns, in their order.
"""

from typing import NamedTuple

from sqlalchemy import column, select, table
from sqlalchemy.engine import Connection

# -- captures --------------------------------------------------------------------------------------------------


class CaptureFacts(NamedTuple):
    """A row of `v_captures`."""

    capture_id: str
    season: str
    capture_season: str
    site: str
    roll: str
    capture: str
    state: str
    batch: str | None
    subject_id: int | None
    project_id: int | None
    subject_set_id: int | None
    subject_set_name: str | None
    images: int
    images_left_out: int
    excluded: str | None
    reason: str | None
    moved_at: str
    run_id: int | None
    ambiguous_at: str | None
    metadata: str | None
    predictions: str | None
    machine_animal: float | None
    machine_person: float | None
    machine_vehicle: float | None
    machine_blank: float | None
    machine_species: str | None
    machine_species_confidence: float | None
    rule: str | None
    metadata_pending: str | None
    taken_at: str | None
    reason_kind: str | None
    subject_url: str | None


class ImageFacts(NamedTuple):
    """What `v_images` says of an image of a capture."""

    rank: int
    path: str
    problem: str | None
    problem_reason: str | None
    bytes: int | None
    note: str | None
    arrived_at: str | None
    taken_at: str | None
    taken_text: str | None


class Event(NamedTuple):
    """What `v_events` says of a move of a capture."""

    at: str
    source: str | None
    target: str
    run_id: int | None
    verb: str | None
    subject_id: int | None
    reason: str | None


v_captures = table("v_captures", *map(column, CaptureFacts._fields))
v_images = table("v_images", *map(column, ("capture_id", *ImageFacts._fields)))
v_events = table("v_events", *map(column, ("id", "capture_id", *Event._fields)))


def facts_of(connection: Connection, capture_id: str) -> CaptureFacts | None:
    """Return what is known of a capture."""
    row = connection.execute(select(v_captures).where(v_captures.c.capture_id == capture_id)).first()
    return None if row is None else CaptureFacts(*row)


def images_of(connection: Connection, capture_id: str) -> list[ImageFacts]:
    """Return a capture's images, by rank."""
    found = connection.execute(
        select(*(v_images.c[name] for name in ImageFacts._fields))
        .where(v_images.c.capture_id == capture_id)
        .order_by(v_images.c.rank)
    )
    return [ImageFacts(*row) for row in found]


def events_of(connection: Connection, capture_id: str) -> list[Event]:
    """Return a capture's moves, oldest first."""
    found = connection.execute(
        select(*(v_events.c[name] for name in Event._fields))
        .where(v_events.c.capture_id == capture_id)
        .order_by(v_events.c.id)
    )
    return [Event(*row) for row in found]
