"""What a contact sheet asks of the ledger: captures around a threshold, a sample of every site, and their images.

All captures of a season are passed once, page by page, each page in a transaction of its own; what is chosen is
bounded, so that a million captures need no more memory than a thousand.
"""

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from ctstate.capture import Scores, pages
from ctstate.errors import LedgerError
from ctstate.ledger.captures import Begin
from ctstate.ledger.database import driver
from ctstate.ledger.schema import capture, image, image_boxes, prediction, run

SCORES = tuple(f"machine_{name}" for name in Scores._fields if name != "species")
"""The columns of `v_captures` that a threshold can be of."""

_PAGE = 5_000
_CAPTURES_AT_A_TIME = 50  # with all of their images and boxes


class Scored(NamedTuple):
    """A capture with the highest confidence of any source, of the scores that were asked for."""

    key: int
    site: str
    waits: bool  # is not excluded, and has no subject
    scores: Sequence[float | None]


class KeptBox(NamedTuple):
    """A box as `v_boxes` has it."""

    category: str
    confidence: float
    x: float
    y: float
    width: float
    height: float


_boxes_of = msgspec.json.Decoder(list[KeptBox]).decode


class Candidate(NamedTuple):
    """An image that a contact sheet may show."""

    rank: int
    path: str
    problem: str | None
    reason: str | None
    boxes: list[KeptBox]  # of all sources


class Shown(NamedTuple):
    """A capture that a contact sheet shows."""

    key: int
    capture_id: str
    site: str
    taken_at: str | None
    state: str
    subject_id: int | None
    excluded: str | None
    species: str | None  # of the source that is surest
    scores: tuple[float | None, ...]  # the highest of any source, in the order of `SCORES`
    images: list[Candidate]


def conditions(connection: Connection) -> list[str]:
    """Return the conditions that captures were excluded by, the newest first, each once."""
    found = connection.execute(select(run.c.arguments).where(run.c.verb == "exclude").order_by(run.c.id.desc()))
    where = [json.loads(arguments).get("where") for (arguments,) in found]
    return list(dict.fromkeys(text for text in where if isinstance(text, str)))


# The plus keeps both databases to the order of the primary key: by the season's index each page would sort all.
_CAPTURES = """
    SELECT id, site, excluded IS NULL AND subject_id IS NULL FROM capture WHERE +season_id = ? AND id > ?
    ORDER BY id LIMIT ?
    """


def scored(begin: Begin, season_id: int, columns: Sequence[str] = SCORES) -> Iterator[Scored]:
    """Yield all captures of a season, by id.

    Args:
        begin: begins a page's transaction.
        season_id: of the season.
        columns: the scores that are asked for, of `SCORES`.
    """
    assert set(columns) <= set(SCORES)
    said = f"SELECT capture_id, {', '.join(columns)} FROM prediction WHERE capture_id BETWEEN ? AND ?"
    nothing = (None,) * len(columns)
    last = 0
    while True:
        scores: dict[int, Sequence[float | None]] = {}
        with begin() as connection:
            rows = driver(connection).execute(_CAPTURES, (season_id, last, _PAGE)).fetchall()
            if rows and columns:
                for key, *values in driver(connection).execute(said, (rows[0][0], rows[-1][0])):
                    scores[key] = _highest(scores[key], values) if key in scores else values
        for key, site, waits in rows:
            yield Scored(key, site, bool(waits), scores.get(key, nothing))
        if len(rows) < _PAGE:
            return
        last = rows[-1][0]


def _highest(some: Sequence[float | None], others: Sequence[float | None]) -> Sequence[float | None]:
    return [
        other if one is None or (other is not None and other > one) else one
        for one, other in zip(some, others, strict=True)
    ]


def shown(begin: Begin, keys: Sequence[int]) -> Iterator[Shown]:
    """Yield captures with their images and boxes, in this order; those that are gone by now are left out."""
    for part in pages(keys, _CAPTURES_AT_A_TIME):
        with begin() as connection:
            found = _captures(connection, part)
        yield from (found[key] for key in part if key in found)


def _captures(connection: Connection, keys: Sequence[int]) -> dict[int, Shown]:
    columns = ("id", "capture_id", "site", "taken_at", "state", "subject_id", "excluded")
    rows = connection.execute(select(*(capture.c[name] for name in columns)).where(capture.c.id.in_(keys))).all()
    highest = connection.execute(
        select(prediction.c.capture_id, *(func.max(prediction.c[name]) for name in SCORES))
        .where(prediction.c.capture_id.in_(keys))
        .group_by(prediction.c.capture_id)
    )
    scores = {key: tuple(values) for key, *values in highest}
    nothing = (None,) * len(SCORES)
    said = connection.execute(
        select(prediction.c.capture_id, prediction.c.machine_species)
        .where(prediction.c.capture_id.in_(keys), prediction.c.machine_species.is_not(None))
        .order_by(func.coalesce(prediction.c.machine_species_confidence, -1), prediction.c.id.desc())
    )
    species = {row.capture_id: row.machine_species for row in said}
    boxes: dict[int, list[KeptBox]] = {}
    for key, text in connection.execute(
        select(image.c.id, image_boxes.c.boxes)
        .join(image_boxes, image_boxes.c.image_id == image.c.id)
        .where(image.c.capture_id.in_(keys))
        .order_by(image.c.id, image_boxes.c.source)
    ):
        try:
            boxes.setdefault(key, []).extend(_boxes_of(text))
        except msgspec.MsgspecError as error:
            raise LedgerError(f"image_boxes of image {key}: {error}; `ctstate predict` writes them anew") from None
    images: dict[int, list[Candidate]] = {}
    of_image = (image.c.capture_id, image.c.id, image.c.rank, image.c.path, image.c.problem, image.c.problem_reason)
    for of, key, rank, path, problem, reason in connection.execute(
        select(*of_image).where(image.c.capture_id.in_(keys)).order_by(image.c.capture_id, image.c.rank)
    ):
        images.setdefault(of, []).append(Candidate(rank, path, problem, reason, boxes.get(key, [])))
    return {
        row.id: Shown._make((*row, species.get(row.id), scores.get(row.id, nothing), images.get(row.id, [])))
        for row in rows
    }
