"""The addresses of projects for a browser, by what the ledger knows; those of subjects are in `v_captures`.

A project's slug is part of them. `upload` and `adopt` write it down; of a ledger that neither has worked on since,
no address is known, and none is guessed.
"""

from contextlib import nullcontext

from ctstate.ledger import Ledger, live, projects
from ctstate.zooniverse.addresses import is_slug, project_page


def note_project(ledger: Ledger, project_id: int, slug: str) -> None:
    """Write down under which slug a project is shown."""
    with ledger.read() as connection:
        known = projects.slugs(connection).get(project_id)
    if slug != known and is_slug(slug):
        with ledger.write() as connection:
            projects.note_slug(connection, project_id, slug)


class Pages:
    """The addresses, as far as they are known.

    Args:
        ledger: whose.
        connection: a transaction to read them in; None: one of their own.
    """

    def __init__(self, ledger: Ledger, connection: live.Reading | None = None) -> None:
        with ledger.read() if connection is None else nullcontext(connection) as reading:
            self._endpoint = live.endpoint(reading)
            self._slugs = projects.slugs(reading)

    def of_project(self, project_id: int | None) -> str | None:
        """Return the address of a project."""
        slug = self._slugs.get(project_id or 0)
        return project_page(self._endpoint, slug) if slug and self._endpoint else None
