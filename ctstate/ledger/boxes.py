"""Where in an image a detector saw something: a row per image and source that saw anything (`image_boxes`).

They come and go with the predictions of their capture, in the same transaction: what a source says of a capture
takes the place of all that it said of it before.
"""

from collections.abc import Sequence

from sqlalchemy import Column, Integer, Select, Text, delete, exists, insert, select
from sqlalchemy.engine import Connection

from ctstate.ledger.database import upsert
from ctstate.ledger.schema import image, image_boxes
from ctstate.ledger.staging import count, fill, fresh, index, temporary

_made = temporary(
    "made_boxes",
    # In this order, so that what is made of one file after the other is added at the end.
    Column("source", Text, primary_key=True),
    Column("image", Integer, primary_key=True, autoincrement=False),
    Column("boxes", Text),
)

_aside = temporary(
    "boxes_aside", Column("capture", Integer), Column("path", Text), Column("source", Text), Column("boxes", Text)
)

_SAME = exists().where(
    image_boxes.c.image_id == _made.c.image,
    image_boxes.c.source == _made.c.source,
    image_boxes.c.boxes == _made.c.boxes,
)
_COLUMNS = ["image_id", "source", "boxes"]


def begin(connection: Connection) -> None:
    """Make the table of the boxes that are read, empty."""
    fresh(connection, _made)


def add(connection: Connection, source: str, boxes: Sequence[tuple[int, str]]) -> None:
    """Add boxes of images (by primary key) that a source has not spoken of yet."""
    fill(connection, _made, [(source, key, text) for key, text in boxes])


def end(connection: Connection) -> None:
    """Say that all boxes were added."""
    index(connection, _made)


def differing(source: str, captures: Select[tuple[int]]) -> list[Select[tuple[int]]]:
    """Return which of these captures have other boxes than before, as selects of their keys.

    Args:
        source: of predictions that were read.
        captures: keys of those that it speaks of.
    """
    new = select(image.c.capture_id).join(_made, _made.c.image == image.c.id)
    there_still = exists().where(_made.c.source == image_boxes.c.source, _made.c.image == image_boxes.c.image_id)
    gone = (
        select(image.c.capture_id)
        .join(image_boxes, image_boxes.c.image_id == image.c.id)
        .where(image_boxes.c.source == source, image.c.capture_id.in_(captures), ~there_still)
    )
    return [new.where(_made.c.source == source, ~_SAME), gone]


def put(connection: Connection, source: str, captures: Select[tuple[int]]) -> None:
    """Write down what a source saw, in place of what it saw before.

    Args:
        connection: a write transaction.
        source: the source.
        captures: keys of those whose predictions or boxes differ.
    """
    if _has_any(connection, source):
        of_captures = select(image.c.id).where(image.c.capture_id.in_(captures))
        connection.execute(
            delete(image_boxes).where(image_boxes.c.source == source, image_boxes.c.image_id.in_(of_captures))
        )
    if count(connection, _made, _made.c.source == source):
        rows = select(_made.c.image, _made.c.source, _made.c.boxes).where(_made.c.source == source)
        # What is there still is of captures that are as they were.
        put = upsert(connection, image_boxes).from_select(_COLUMNS, rows.order_by(_made.c.image))
        connection.execute(put.on_conflict_do_nothing())


def _has_any(connection: Connection, source: str) -> bool:
    found = select(image_boxes.c.image_id).where(image_boxes.c.source == source).limit(1)
    return connection.execute(found).first() is not None


# -- images that are read anew ---------------------------------------------------------------------------------


def set_aside(connection: Connection, captures: Select[tuple[int]]) -> None:
    """Take the boxes of captures' images off, as these are read anew; `put_back` gives them to the same paths."""
    fresh(connection, _aside)
    of_images = image_boxes.join(image, image.c.id == image_boxes.c.image_id)
    connection.execute(
        insert(_aside).from_select(
            ["capture", "path", "source", "boxes"],
            select(image.c.capture_id, image.c.path, image_boxes.c.source, image_boxes.c.boxes)
            .select_from(of_images)
            .where(image.c.capture_id.in_(captures)),
        )
    )
    of_captures = select(image.c.id).where(image.c.capture_id.in_(captures))
    connection.execute(delete(image_boxes).where(image_boxes.c.image_id.in_(of_captures)))


def put_back(connection: Connection) -> None:
    """Give what was set aside to the images that have its paths now."""
    same = (_aside.c.capture == image.c.capture_id) & (_aside.c.path == image.c.path)
    rows = select(image.c.id, _aside.c.source, _aside.c.boxes).join_from(_aside, image, same)
    put = upsert(connection, image_boxes).from_select(_COLUMNS, rows.order_by(image.c.id))
    connection.execute(put.on_conflict_do_nothing())
