"""Seasons of the ledger: found by their names, and made."""

from typing import Any, NamedTuple

from sqlalchemy import Column, String, insert, select, update
from sqlalchemy.engine import Connection

from ctstate.capture import Season
from ctstate.errors import InputError
from ctstate.ledger.database import moment
from ctstate.ledger.schema import season


def characters(column: Column[Any]) -> int:
    """Return how many characters a column holds."""
    assert isinstance(column.type, String)
    assert column.type.length is not None
    return column.type.length


LONGEST_NAME = characters(season.c.name)


def season_named(connection: Connection, name: str) -> Season | None:
    """Return a season, or None where the ledger has none of that name."""
    found = connection.execute(
        select(*(season.c[field] for field in Season._fields)).where(season.c.name == name)
    ).first()
    return None if found is None else Season(*found)


class SeasonPut(NamedTuple):
    """A season of the ledger: its key, and whether it is new or was changed."""

    id: int
    changed: bool


def put_season(
    connection: Connection,
    name: str,
    attribution: str,
    license: str,
    images_root: str | None,
    update_it: bool,
    time_zone: str | None = None,
) -> SeasonPut:
    """Make a season, or compare the one there is.

    Args:
        connection: a write transaction.
        name: the manifest id.
        attribution, license, images_root: see `Season`.
        update_it: take them over where the ledger has others.
        time_zone: see `Season`; None: it is not said, and the ledger's stays.

    Raises:
        InputError: the ledger has others, and `update_it` is False.
    """
    wanted = {"attribution": attribution, "license": license, "images_root": images_root}
    if time_zone is not None:
        wanted["time_zone"] = time_zone
    known = season_named(connection, name)
    if known is None:
        made = connection.execute(insert(season).values(name=name, created_at=moment(connection), **wanted))
        assert made.inserted_primary_key is not None
        return SeasonPut(int(made.inserted_primary_key[0]), True)
    differs = [key for key, value in wanted.items() if getattr(known, key) != value]
    if not differs:
        return SeasonPut(known.id, False)
    if not update_it and (differs != ["time_zone"] or known.time_zone is not None):
        raise InputError(
            f"season {name} has {differs[0].replace('_', ' ')} {getattr(known, differs[0])!r} in the ledger, "
            f"not {wanted[differs[0]]!r}; nothing was changed; --update changes it"
        )
    connection.execute(update(season).where(season.c.id == known.id).values(wanted))
    return SeasonPut(known.id, True)


def names(connection: Connection) -> dict[int, str]:
    """Return the seasons' names by key, by name."""
    rows = connection.execute(select(season.c.id, season.c.name).order_by(season.c.name))
    return {int(key): str(name) for key, name in rows}
