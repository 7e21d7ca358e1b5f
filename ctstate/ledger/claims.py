"""Claims: captures that one upload run alone may bring to Zooniverse, and what the ledger knows of them.

What becomes of them is written down by `facts`, which names the claim each time.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from ctstate.capture import CaptureContent, CaptureImage, pages
from ctstate.errors import FencedError
from ctstate.ledger.database import dialect_of, driver, moment
from ctstate.ledger.schema import run


class Claim(NamedTuple):
    """A capture that this run alone may bring to Zooniverse, and what earlier runs knew of it."""

    row: CaptureContent
    token: int
    run_id: int
    batch_id: int
    ambiguous_at: str | None
    create_run_id: int | None
    create_floor: int | None

    @property
    def capture_id(self) -> str:
        """The identity that every tool shares."""
        return self.row.capture_id


def read_captures(connection: Connection, ids: Sequence[int]) -> list[CaptureContent]:
    """Return the captures with these primary keys (at most PAGE), in the order of the keys.

    Images that must not go up are left out.
    """
    return [mine.row for mine in _read(connection, ids)]


def _read(connection: Connection, ids: Sequence[int]) -> list[Claim]:
    """Return the captures as `read_captures` does, with what is known of their claims and creates."""
    if not ids:
        return []
    marks = ",".join("?" * len(ids))
    ask = driver(connection).execute
    images: dict[int, list[CaptureImage]] = {key: [] for key in ids}
    for key, image, rank, path, md5, arrived_at in ask(_IMAGES.format(marks), ids):
        images[key].append(CaptureImage(image, rank, path, md5, arrived_at is not None))
    predictions: dict[int, dict[str, Any]] = {key: {} for key in ids}
    made = ask(_PREDICTIONS.format(marks), ids).fetchall()
    # One text for all: most of the time to read a short one goes into beginning with it.
    whole = ",".join(metadata for _, metadata in made)
    for (key, _), metadata in zip(made, json.loads(f"[{whole}]"), strict=True):
        predictions[key].update(metadata)
    found: dict[int, Claim] = {}
    for row in ask(_CONTENTS.format(marks), ids):
        key, name, season, site, roll, number, attribution, license, extra, subject_id, state, *claimed = row
        # By place, not by name: names take twice as long.
        content = CaptureContent(
            key,
            name,
            season,
            site,
            roll,
            number,
            attribution,
            license,
            json.loads(extra) if extra else {},
            predictions[key],
            tuple(images[key]),
            subject_id,
            state,
        )
        found[key] = Claim(content, *claimed)
    return [found[key] for key in ids if key in found]


_CONTENTS = (
    "SELECT c.id, c.capture_id, c.season, c.site, c.roll, c.capture, s.attribution, s.license, c.metadata,"
    " c.subject_id, c.state, c.claim, c.run_id, c.batch_id, c.ambiguous_at, c.create_run_id, c.create_floor"
    " FROM capture c JOIN season s ON s.id = c.season_id WHERE c.id IN ({})"
)
_IMAGES = (
    "SELECT capture_id, id, rank, path, md5, arrived_at FROM image WHERE capture_id IN ({}) AND problem IS NULL"
    " ORDER BY capture_id, rank"
)
_PREDICTIONS = "SELECT capture_id, metadata FROM prediction WHERE capture_id IN ({}) ORDER BY capture_id, id"


_ALIVE = select(run.c.id).where(run.c.id == bindparam("run"), run.c.ended_at.is_(None))
# What is said of every capture goes straight to the driver; see `database.driver`.
_FREE = (
    "SELECT id FROM capture WHERE season_id = ? AND batch_id = ? AND state = 'batched' AND excluded IS NULL"
    " ORDER BY id LIMIT ?"
)
_CLAIM = (
    "UPDATE capture SET state = 'uploading', run_id = ?, moved_at = ?, reason = NULL, claim = claim + 1"
    " WHERE id IN ({})"
)


def claim(connection: Connection, run_id: int, season_id: int, batch_id: int, limit: int) -> list[Claim]:
    """Claim up to `limit` (at most PAGE) captures of a batch for this run: batched -> uploading.

    Raises:
        FencedError: others took the run for dead; it claims nothing more.
    """
    if connection.execute(_ALIVE, {"run": run_id}).first() is None:
        raise FencedError("other runs took this one for dead (it was silent for too long); run it again")
    ask = driver(connection).execute
    # One that somebody else has locked is waited for: nothing left means nothing left.
    free = _FREE + dialect_of(connection).for_update
    ids = [key for (key,) in ask(free, (season_id, batch_id, limit))]
    if not ids:
        return []
    marks = ",".join("?" * len(ids))
    ask(_CLAIM.format(marks), (run_id, moment(connection), *ids))
    return _read(connection, ids)


_HELD = "SELECT id, claim FROM capture WHERE id IN ({}) AND state = 'uploading'"


def held(connection: Connection, mine: Sequence[Claim]) -> set[int]:
    """Return the keys of the captures whose claims hold: no other run has claimed them since."""
    tokens: dict[int, int] = {}
    for keys in pages([claim.row.id for claim in mine]):
        tokens.update(driver(connection).execute(_HELD.format(",".join("?" * len(keys))), keys).fetchall())
    return {claim.row.id for claim in mine if tokens.get(claim.row.id) == claim.token}


def taken_over(what: str) -> FencedError:
    """Return what is told of a capture whose claim does not hold any more."""
    return FencedError(f"{what}: another run has taken it over")
