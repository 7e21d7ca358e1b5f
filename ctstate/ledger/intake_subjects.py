"""Rows made of subjects that were found on Zooniverse: season, batch, captures and images new to the ledger."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from ctstate.errors import UsageError
from ctstate.ledger import batches, subject_sets
from ctstate.ledger.database import moment
from ctstate.ledger.schema import capture, image
from ctstate.ledger.seasons import put_season, season_named
from ctstate.ledger.states import State


class FoundCapture(NamedTuple):
    """A capture as its subject shows it."""

    subject_id: int
    capture_id: str
    season: str
    site: str
    roll: str
    capture: str
    capture_number: int
    extra: Mapping[str, Any]  # further metadata
    paths: Sequence[str]  # of its images, by rank


def know_season(connection: Connection, name: str, attribution: str, license: str, images_root: str | None) -> int:
    """Return the key of the season of that name; make it where there is none."""
    known = season_named(connection, name)
    if known is None:
        return put_season(connection, name, attribution, license, images_root, update_it=False).id
    return known.id


def know_batch(connection: Connection, season_id: int, name: str, set_id: int) -> int:
    """Return the key of the batch of that name; make it where there is none.

    Raises:
        UsageError: the batch has another subject set than `set_id`.
    """
    key = batches.make(connection, season_id, name)
    has = subject_sets.of_batch(connection, key)
    if has not in (None, set_id):
        raise UsageError(f"batch {name} has subject set {has} in the ledger, not {set_id}")
    return key


def know_capture(connection: Connection, run_id: int, season_id: int, found: FoundCapture) -> bool:
    """Make the rows of a capture and its images, unless the ledger has it; return whether they are new.

    It is manifested: what else is true of it is for a survey to say.
    """
    known = select(capture.c.id).where(capture.c.capture_id == found.capture_id)
    if connection.execute(known).first() is not None:
        return False
    made = connection.execute(
        insert(capture).values(
            capture_id=found.capture_id,
            season_id=season_id,
            season=found.season,
            site=found.site,
            roll=found.roll,
            capture=found.capture,
            capture_number=found.capture_number,
            metadata=json.dumps(dict(found.extra), ensure_ascii=False, sort_keys=True) if found.extra else None,
            state=State.MANIFESTED.value,
            run_id=run_id,
            moved_at=moment(connection),
            reason=f"found as subject {found.subject_id}",
        )
    )
    assert made.inserted_primary_key is not None
    if found.paths:
        connection.execute(
            insert(image),
            [
                {"capture_id": made.inserted_primary_key[0], "rank": rank, "path": path}
                for rank, path in enumerate(found.paths, start=1)
            ],
        )
    return True
