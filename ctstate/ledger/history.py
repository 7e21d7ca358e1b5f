"""What was looked at, and when: comparisons with Zooniverse, what volunteers had done by then, copies."""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from ctstate.ledger.classification import Total
from ctstate.ledger.database import moment
from ctstate.ledger.schema import backup, classification_poll, verification


class Verification(NamedTuple):
    """A comparison of a season with Zooniverse; see the table.

    Attributes:
        season_id: the season's key.
        batch: name; None: all.
        project_id: of the Zooniverse project.
        began_at: a time of the ledger.
        part: of which captures every image was asked for, such as `5%`; None: of all.
        captures: that were compared.
        subjects: that the sets hold.
        images_asked: of the store.
        found: how many findings of each kind.
    """

    season_id: int
    batch: str | None
    project_id: int
    began_at: str
    part: str | None
    captures: int
    subjects: int
    images_asked: int
    found: Mapping[str, int]


def note_verification(connection: Connection, run_id: int, made: Verification) -> None:
    """Write down what a comparison found.

    Args:
        connection: a write transaction.
        run_id: of the run that compared.
        made: what it did.
    """
    values = made._asdict() | {
        "found": json.dumps(dict(made.found), ensure_ascii=False, sort_keys=True),
        "findings": sum(made.found.values()),
    }
    connection.execute(insert(verification).values(run_id=run_id, ended_at=moment(connection), **values))


def note_polls(connection: Connection, run_id: int, totals: Iterable[tuple[Total, str]]) -> None:
    """Write down how far workflows are with batches, each with the workflow's name; arguments as above."""
    at = moment(connection)
    rows = [
        {
            "run_id": run_id,
            "batch_id": total.batch_id,
            "workflow_id": total.workflow_id,
            "workflow": name,
            "polled_at": at,
            "subjects": total.subjects,
            "classified": total.classified,
            "classifications": total.classifications,
            "retired": total.retired,
        }
        for total, name in totals
    ]
    if rows:
        connection.execute(insert(classification_poll), rows)


class MadeBackup(NamedTuple):
    """A copy of the ledger: when it was made, and where it is."""

    made_at: str
    path: str


def last_backup(connection: Connection) -> MadeBackup | None:
    """Return the last copy that was made of the ledger, as far as it knows."""
    row = connection.execute(
        select(backup.c.made_at, backup.c.path).order_by(backup.c.run_id.desc()).limit(1)
    ).first()
    return None if row is None else MadeBackup(*row)


def note_backup(connection: Connection, run_id: int, path: str, size: int, captures: int, note: str | None) -> None:
    """Write down that a copy of the ledger was made.

    Args:
        connection, run_id: as above.
        path: of the copy.
        size: of it, in bytes.
        captures: in it.
        note: the person's, or which verb made it.
    """
    connection.execute(
        insert(backup).values(
            run_id=run_id, made_at=moment(connection), path=path, bytes=size, captures=captures, note=note
        )
    )
