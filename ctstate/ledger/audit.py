"""What the ledger says of every capture and its images, for whoever holds it against Zooniverse."""

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.engine import Connection

from ctstate.ledger.schema import batch, capture, image, run


class AuditedCapture(NamedTuple):
    """A capture, and the subject set of its batch."""

    id: int
    capture_id: str
    state: str
    excluded: str | None
    reason: str | None
    run_id: int | None
    subject_id: int | None
    create_sent_at: str | None
    subject_set_id: int | None


class AuditedImage(NamedTuple):
    """A usable image of a capture, with the MD5 of the bytes that went up."""

    path: str
    md5: str | None


class Audited(NamedTuple):
    """All captures, their usable images by the capture's primary key (in order), and the runs that live."""

    captures: list[AuditedCapture]
    images: dict[int, list[AuditedImage]]
    live_runs: set[int]


def everything(connection: Connection) -> Audited:
    """Return all of the ledger that an audit looks at; for ledgers that fit into memory."""
    columns = [
        batch.c.subject_set_id if name == "subject_set_id" else capture.c[name] for name in AuditedCapture._fields
    ]
    captures = connection.execute(
        select(*columns)
        .select_from(capture)
        .outerjoin(batch, batch.c.id == capture.c.batch_id)
        .order_by(capture.c.id)
    )
    images: dict[int, list[AuditedImage]] = {}
    for key, path, md5 in connection.execute(
        select(image.c.capture_id, image.c.path, image.c.md5)
        .where(image.c.problem.is_(None))
        .order_by(image.c.capture_id, image.c.rank)
    ):
        images.setdefault(key, []).append(AuditedImage(path, md5))
    live = connection.execute(select(run.c.id).where(run.c.ended_at.is_(None))).scalars()
    return Audited([AuditedCapture(*row) for row in captures], images, set(live))
