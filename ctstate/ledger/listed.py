"""What a person's list of captures and images names in the ledger, for `exclude` and `include`.

The tables are temporary: of one connection (`Ledger.connection`), and gone with it. Only they are written.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy.engine import Connection
from sqlalchemy.schema import DropTable

from ctstate.capture import pages
from ctstate.ledger.schema import capture, image, season

_LOAD = 10_000
_TEMPORARY = ["TEMPORARY"]
_scratch = MetaData()

_entry = Table(
    "listed_entry",
    _scratch,
    Column("id", Integer, primary_key=True),
    Column("row", Integer, nullable=False),
    Column("value", Text, nullable=False),
    Column("is_capture", Boolean, nullable=False),
    Column("path", Text),
    prefixes=_TEMPORARY,
)
_found_capture = Table(
    "listed_capture",
    _scratch,
    Column("entry_id", Integer, primary_key=True),
    Column("capture_id", Integer, nullable=False),
    prefixes=_TEMPORARY,
)
_found_image = Table(
    "listed_image",
    _scratch,
    Column("image_id", Integer, primary_key=True),
    Column("capture_id", Integer, nullable=False),
    Column("path", Text, nullable=False),
    prefixes=_TEMPORARY,
)
_chosen_capture = Table("chosen_capture", _scratch, Column("id", Integer, primary_key=True), prefixes=_TEMPORARY)
_chosen_image = Table("chosen_image", _scratch, Column("id", Integer, primary_key=True), prefixes=_TEMPORARY)

CHOSEN_CAPTURES: ColumnElement[bool] = capture.c.id.in_(select(_chosen_capture.c.id))
"""Condition on `capture`: those that `choose` has chosen, on the same connection."""

CHOSEN_IMAGES: ColumnElement[bool] = image.c.id.in_(select(_chosen_image.c.id))
"""Condition on `image`: those that `choose` has chosen, on the same connection."""


class Entry(NamedTuple):
    """An entry of a list.

    Attributes:
        row: where it stands.
        value: the text.
        is_capture: whether it may be a capture id.
        path: the image path that it may be, as the ledger would have it; None: it is none.
    """

    row: int
    value: str
    is_capture: bool
    path: str | None


class ListCounts(NamedTuple):
    """How many entries there were, and how many captures and single images they name."""

    entries: int
    captures: int
    images: int


class Unknown(NamedTuple):
    """Entries that name nothing in the ledger: how many, and the first of them."""

    total: int
    first: list[tuple[int, str]]  # row, value


def image_roots(connection: Connection) -> list[str]:
    """Return the folders below which the seasons' images are."""
    return [
        str(root)
        for root in connection.execute(
            select(season.c.images_root).where(season.c.images_root.is_not(None)).order_by(season.c.id)
        ).scalars()
    ]


def choose(connection: Connection, entries: Iterable[Entry], *, whole_captures: bool) -> ListCounts:
    """Find the captures and images that a list names. What may be both is a capture where there is one.

    Args:
        connection: a transaction; must be the same connection for all that follows.
        entries: the list.
        whole_captures: choose the captures that hold the images, not the images.
    """
    for table in reversed(_scratch.sorted_tables):
        connection.execute(DropTable(table, if_exists=True))
    _scratch.create_all(connection, checkfirst=False)
    for page in pages(entries, _LOAD):
        connection.execute(insert(_entry), [entry._asdict() for entry in page])
    _find(connection)
    captures = select(_found_capture.c.capture_id)
    if whole_captures:
        chosen = captures.union(select(_found_image.c.capture_id))
        connection.execute(insert(_chosen_capture).from_select(["id"], chosen))
    else:
        connection.execute(insert(_chosen_capture).from_select(["id"], captures.distinct()))
        connection.execute(insert(_chosen_image).from_select(["id"], select(_found_image.c.image_id)))
    return ListCounts(*(_count(connection, table) for table in (_entry, _chosen_capture, _chosen_image)))


def _find(connection: Connection) -> None:
    connection.execute(
        insert(_found_capture).from_select(
            ["entry_id", "capture_id"],
            select(_entry.c.id, capture.c.id)
            .join(capture, capture.c.capture_id == _entry.c.value)
            .where(_entry.c.is_capture),
        )
    )
    if connection.execute(select(_entry.c.id).where(_entry.c.path.is_not(None)).limit(1)).first() is None:
        return
    # The images have no index on their path: they are gone through once.
    paths = select(_entry.c.path).where(_entry.c.path.is_not(None), _NO_CAPTURE)
    connection.execute(
        insert(_found_image).from_select(
            ["image_id", "capture_id", "path"],
            select(image.c.id, image.c.capture_id, image.c.path).where(image.c.path.in_(paths)),
        )
    )


_NO_CAPTURE = _entry.c.id.not_in(select(_found_capture.c.entry_id))


def unknown(connection: Connection, most: int) -> Unknown:
    """Say which entries of the list name nothing in the ledger, at most `most` of them by name."""
    no_image = or_(_entry.c.path.is_(None), _entry.c.path.not_in(select(_found_image.c.path)))
    total = select(func.count()).select_from(_entry).where(_NO_CAPTURE, no_image)
    first = select(_entry.c.row, _entry.c.value).where(_NO_CAPTURE, no_image).order_by(_entry.c.row).limit(most)
    return Unknown(
        connection.execute(total).scalar_one(), [(row.row, row.value) for row in connection.execute(first)]
    )


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())
