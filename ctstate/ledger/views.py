"""What the ledger says to its readers: the views that are a stable interface (docs/views.md), and how far all is.

A view's row is declared once, as a named tuple; the fields are the view's columns, in their order.
"""

from collections import Counter
from typing import NamedTuple

from sqlalchemy import ColumnElement, column, func, select, table, true
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
    # The index answers how many there are; only captures that are excluded or in doubt, mostly few, are looked at.
    place = (capture.c.season_id, capture.c.batch_id, capture.c.state)
    of_season: ColumnElement[bool] = true()
    if season_name is not None:
        of_season = capture.c.season_id.in_(select(season.c.id).where(season.c.name == season_name))
    counts = select(*place, func.count()).where(of_season).group_by(*place)
    excluded = counts.where(capture.c.excluded.is_not(None), capture.c.subject_id.is_(None))
    out = {tuple(of): count for *of, count in connection.execute(excluded)}
    doubts = select(*place).where(of_season, capture.c.ambiguous_at.is_not(None))
    in_doubt = Counter(map(tuple, connection.execute(doubts)))
    seasons = dict(map(tuple, connection.execute(select(season.c.id, season.c.name))))
    of_batches = select(batch.c.id, batch.c.name, batch.c.subject_set_id, batch.c.project_id)
    batches = {key: (name, set_id, project) for key, name, set_id, project in connection.execute(of_batches)}
    rows = [((season_id, key, state), count) for season_id, key, state, count in connection.execute(counts)]
    rows.sort(key=lambda row: (seasons[row[0][0]], row[0][1] or 0))
    found = [
        StateCount(
            seasons[at[0]],
            *batches.get(at[1], (None, None, None)),
            state=at[2],
            captures=count - out.get(at, 0),
            excluded=out.get(at, 0),
            in_doubt=in_doubt[at],
        )
        for at, count in rows
    ]
    return [row for row in found if batch_name is None or row.batch == batch_name]


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
