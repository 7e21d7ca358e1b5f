"""Zooniverse's projects, as far as addresses of pages go: the slug of each, as it was last seen."""

from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from ctstate.ledger.schema import meta

_SLUG = "project_slug:"


def slugs(connection: Connection) -> dict[int, str]:
    """Return the known slugs (`owner/project`) by project."""
    found = connection.execute(
        select(meta.c.name, meta.c.value).where(meta.c.name.startswith(_SLUG, autoescape=True))
    )
    return {int(name.removeprefix(_SLUG)): slug for name, slug in found}


def note_slug(connection: Connection, project_id: int, slug: str) -> None:
    """Write a project's slug down; it changes when the project is given another name."""
    name = f"{_SLUG}{project_id}"
    connection.execute(delete(meta).where(meta.c.name == name))
    connection.execute(insert(meta).values(name=name, value=slug))
