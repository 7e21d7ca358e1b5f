"""A ledger that can only be read: it has moved to another database, or it is a copy that is not finished.

Two ledgers that know the same captures and write the same marks (`ledger_id`) would upload each capture twice. So
at most one of them can be written: rows in `meta` say where the other one is, and triggers on every table refuse
whatever would write, raw SQL and other versions of ctstate included.
"""

from typing import NamedTuple

from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from ctstate.ledger.database import dialect_of
from ctstate.ledger.schema import meta, metadata

MOVED_TO, COPY_OF, BY_COPY = "moved_to", "copy_of", "by_copy"

MARKS = (MOVED_TO, COPY_OF, BY_COPY)
"""Facts about this one of several copies of a ledger; a copy has its own.

`by_copy` is the same in a ledger that has moved and in the one that it has moved to; it stays in the latter.
"""


class Closed(NamedTuple):
    """Why a ledger can only be read.

    Attributes:
        moved: it has moved; else it is a copy that is not finished.
        other: where it has moved to, or what it is a copy of.
        by_copy: names the copying; the other has the same.
    """

    moved: bool
    other: str
    by_copy: str

    @property
    def words(self) -> str:
        """For a message, after the ledger's name."""
        if self.moved:
            return f"it has moved to {self.other}: name that one (--ledger); this one can only be read"
        return (
            f"it is a copy of {self.other} that is not finished: run that `ctstate copy` again; "
            "until then it can only be read"
        )


def by_copy(connection: Connection) -> str | None:
    """Return which copying a ledger has come from or gone by, or None."""
    return connection.execute(select(meta.c.value).where(meta.c.name == BY_COPY)).scalar()


def why_closed(connection: Connection) -> Closed | None:
    """Return why a ledger can only be read, or None where it can be written."""
    found = {row.name: row.value for row in connection.execute(select(meta).where(meta.c.name.in_(MARKS)))}
    for name in (MOVED_TO, COPY_OF):
        if name in found:
            return Closed(name == MOVED_TO, found[name], found.get(BY_COPY, ""))
    return None


def close(connection: Connection, why: Closed) -> None:
    """Let a ledger be read only, once this write transaction commits; it can write no more itself.

    Other writers are kept out until then, and afterwards.
    """
    connection.execute(delete(meta).where(meta.c.name.in_(MARKS)))
    marks = {MOVED_TO if why.moved else COPY_OF: why.other, BY_COPY: why.by_copy}
    connection.execute(insert(meta), [{"name": name, "value": value} for name, value in marks.items()])
    seal(connection, why)


def open_again(connection: Connection) -> None:
    """Let a ledger that was closed be written again, from within this write transaction on."""
    unseal(connection)
    connection.execute(delete(meta).where(meta.c.name.in_((MOVED_TO, COPY_OF))))


def seal(connection: Connection, why: Closed) -> None:
    """Put the triggers on every table."""
    dialect_of(connection).close(connection, metadata.sorted_tables, why.words)


def unseal(connection: Connection) -> None:
    """Take the triggers off, wherever they are: a migration may be about to change the tables."""
    dialect_of(connection).open_again(connection)
