"""What the ledger says to its readers: the views that are a stable interface (docs/views.md), and how far all is.

A view's row is declared once, as a named tuple; the fields are the view's columns, in their order.
"""

from typing import NamedTuple

from sqlalchemy import ColumnElement, case, column, func, select, table
from sqlalchemy.engine import Connection

from ctstate.ledger.schema import batch, capture, season

# -- how far all is --------------------------------------------------------------------------------------------


class StateCount(NamedTuple):
    """How many captures of a batch are in a state.

    Attributes:
        season: manifest id.
        batch: None: in no batch yet.
        subject_set_id, project_id: once there is one.
        state: the state.
        captures: in that state, excluded ones apart.
        excluded: captures that are not to be uploaded.
        in_doubt: captures whose create got no answer, to be looked for.
    """

    season: str
    batch: str | None
    subject_set_id: int | None
    project_id: int | None
    state: str
    captures: int
    excluded: int
    in_doubt: int


def count_states(connection: Connection, season_name: str | None, batch_name: str | None) -> list[StateCount]:
    """Count the captures of every season, batch and state, or of those named; by season, then as batches were made.

    An excluded capture that is on Zooniverse all the same counts by its state.
    """
    counts = capture.c.excluded.is_(None) | capture.c.subject_id.is_not(None)
    of_batch = (batch.c.name, batch.c.subject_set_id, batch.c.project_id)
    query = (
        select(
            season.c.name,
            *of_batch,
            capture.c.state,
            _how_many(counts),
            _how_many(~counts),
            _how_many(capture.c.ambiguous_at.is_not(None)),
        )
        .join_from(capture, season, season.c.id == capture.c.season_id)
        .outerjoin(batch, batch.c.id == capture.c.batch_id)
        .group_by(
            season.c.name, batch.c.name, batch.c.id, batch.c.subject_set_id, batch.c.project_id, capture.c.state
        )
        .order_by(season.c.name, batch.c.id.is_not(None), batch.c.id)
    )
    if season_name is not None:
        query = query.where(season.c.name == season_name)
    if batch_name is not None:
        query = query.where(batch.c.name == batch_name)
    return [StateCount(*row) for row in connection.execute(query)]


def _how_many(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


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


class ImageFacts(NamedTuple):
    """What `v_images` says of an image of a capture."""

    rank: int
    path: str
    problem: str | None
    problem_reason: str | None
    bytes: int | None
    note: str | None
    arrived_at: str | None


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
