"""What an upload asks of the ledger, and writes to it, besides its claims."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import ColumnElement, bindparam, case, exists, func, select, update
from sqlalchemy.engine import Connection

from ctstate.capture import PAGE, pages
from ctstate.ledger.schema import accepted_subject, batch, capture, event, image, run, season
from ctstate.ledger.states import PENDING, State

_PENDING = capture.c.state.in_([state.value for state in PENDING])


# -- what there is to do ---------------------------------------------------------------------------------------


class Pending(NamedTuple):
    """Captures that are to be uploaded, and their images."""

    captures: int
    images: int


_OF_BATCH = (
    (capture.c.season_id == bindparam("season"))
    & capture.c.batch_id.is_not_distinct_from(bindparam("batch"))
    & _PENDING
    & capture.c.excluded.is_(None)
)
_IMAGES = (
    select(func.count())
    .select_from(image.join(capture, capture.c.id == image.c.capture_id))
    .where(_OF_BATCH, image.c.problem.is_(None))
    .scalar_subquery()
)
_COUNT = select(func.count().label("captures"), _IMAGES.label("images")).select_from(capture).where(_OF_BATCH)


def count_pending(connection: Connection, season_id: int, batch_id: int | None) -> Pending:
    """Return how much of a batch is to be uploaded (None: of what is in no batch)."""
    return Pending(*map(int, connection.execute(_COUNT, {"season": season_id, "batch": batch_id}).one()))


class Left(NamedTuple):
    """What of a selection is not on Zooniverse, excluded captures apart.

    Attributes:
        pending: captures that the next upload takes up, or that other runs have.
        in_doubt: of these, captures whose create is still to be looked for.
        unbatched: captures in no batch, which no upload takes up.
        failed: captures that only `retry` gives another try.
    """

    pending: int
    in_doubt: int
    unbatched: int
    failed: int


def count_left(connection: Connection, season_id: int, batch_ids: Collection[int] | None) -> Left:
    """Return what is left of a season, or of some of its batches."""
    wanted = (capture.c.season_id == season_id) & capture.c.excluded.is_(None)
    if batch_ids is not None:
        wanted &= capture.c.batch_id.in_(list(batch_ids))
    batched = capture.c.batch_id.is_not(None)

    def count(which: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((which, 1), else_=0)), 0)

    row = connection.execute(
        select(
            count(_PENDING & batched),
            count(_PENDING & capture.c.ambiguous_at.is_not(None)),
            count(_PENDING & ~batched),
            count(capture.c.state == State.FAILED.value),
        ).where(wanted)
    ).one()
    return Left(*map(int, row))


def count_without_subject(connection: Connection, batch_ids: Collection[int]) -> int:
    """Return how many captures of these batches are still to get a subject."""
    return int(
        connection.execute(
            select(func.count())
            .select_from(capture)
            .where(
                capture.c.batch_id.in_(list(batch_ids)),
                capture.c.state.in_([State.BATCHED.value, State.UPLOADING.value]),
                capture.c.subject_id.is_(None),
                capture.c.excluded.is_(None),
            )
        ).scalar_one()
    )


def others_are_at_it(connection: Connection, run_id: int, season_id: int, batch_ids: Collection[int]) -> bool:
    """Tell whether captures of these batches are claimed by other runs, or were given back by them."""
    # The run's own, where no story tells them any more, are not worth waiting for.
    others = (capture.c.state == State.BATCHED.value) | (
        (capture.c.state == State.UPLOADING.value) & (capture.c.run_id != run_id)
    )
    return (
        connection.execute(
            select(capture.c.id)
            .where(
                capture.c.season_id == season_id,
                capture.c.batch_id.in_(list(batch_ids)),
                others,
                capture.c.excluded.is_(None),
            )
            .limit(1)
        ).first()
        is not None
    )


class UnderWay(NamedTuple):
    """What a run has claimed and not brought to its end.

    Attributes:
        uploading: captures.
        whole: of these, captures whose every image is on Zooniverse: they wait for their link.
    """

    uploading: int
    whole: int


_TO_COME = exists().where(
    image.c.capture_id == capture.c.id, image.c.problem.is_(None), image.c.arrived_at.is_(None)
)


class Extent(NamedTuple):
    """Which captures are meant: those of a season, or of one of its batches."""

    season_id: int | None = None
    batch_id: int | None = None


EVERYTHING = Extent()


def under_way(connection: Connection, extent: Extent = EVERYTHING) -> dict[int, UnderWay]:
    """Return by run what it has under way."""
    seasons, batches = select(season.c.id), select(batch.c.id)
    if extent.season_id is not None:
        seasons = seasons.where(season.c.id == extent.season_id)
    if extent.batch_id is not None:
        batches = batches.where(batch.c.id == extent.batch_id)
    found = connection.execute(
        select(
            capture.c.run_id,
            func.count(),
            func.sum(case((capture.c.subject_id.is_not(None) & ~_TO_COME, 1), else_=0)),
        )
        # By season and batch, so that ix_capture_work leads to what is uploading: a run's captures have no index.
        .where(
            capture.c.season_id.in_(seasons),
            capture.c.batch_id.in_(batches),
            capture.c.state == State.UPLOADING.value,
        )
        .group_by(capture.c.run_id)
    )
    return {run_id: UnderWay(*map(int, counts)) for run_id, *counts in found}


class OfOthers(NamedTuple):
    """What other runs did of some work since a moment, and what they have under way now.

    Attributes:
        seen: the newest move that is counted.
        uploaded, failed: captures, since.
        uploading: captures; `whole` of them wait for their link.
        workers: runs that have something under way.
    """

    seen: int
    uploaded: int = 0
    failed: int = 0
    uploading: int = 0
    whole: int = 0
    workers: int = 0


def newest_move(connection: Connection) -> int:
    """Return the number of the newest move of a capture."""
    return int(connection.execute(select(func.coalesce(func.max(event.c.id), 0))).scalar_one())


def of_others(connection: Connection, run_id: int, extent: Extent, before: OfOthers) -> OfOthers:
    """Return what runs other than this one did, given what was known before: only moves made since are read."""
    whose = select(capture.c.season_id, capture.c.batch_id).where(capture.c.id == event.c.capture_id)
    mine = whose.with_only_columns(capture.c.season_id).scalar_subquery() == extent.season_id
    if extent.batch_id is not None:
        mine &= whose.with_only_columns(capture.c.batch_id).scalar_subquery() == extent.batch_id
    seen = newest_move(connection)
    ended = connection.execute(
        select(event.c.target, func.count())
        .where(
            event.c.id > before.seen,
            event.c.id <= seen,
            event.c.target.in_([State.UPLOADED.value, State.FAILED.value]),
            event.c.run_id.is_distinct_from(run_id),
            mine,
        )
        .group_by(event.c.target)
    )
    counts = {target: int(number) for target, number in ended}
    others = [found for key, found in under_way(connection, extent).items() if key != run_id]
    return OfOthers(
        seen=seen,
        uploaded=before.uploaded + counts.get(State.UPLOADED.value, 0),
        failed=before.failed + counts.get(State.FAILED.value, 0),
        uploading=sum(found.uploading for found in others),
        whole=sum(found.whole for found in others),
        workers=len(others),
    )


# -- whether the ledger is behind ------------------------------------------------------------------------------


def watermark(connection: Connection, project_id: int, uploader_id: int) -> int | None:
    """Return up to which subject id the ledger was held against all that an account made in a project."""
    known = connection.execute(
        select(func.max(run.c.watermark)).where(run.c.project_id == project_id, run.c.uploader_id == uploader_id)
    ).scalar()
    return None if known is None else int(known)


def note_watermark(connection: Connection, run_id: int, project_id: int, uploader_id: int, highest: int) -> None:
    """Write down for which account a run uploads, and up to which subject id the ledger was held against it."""
    connection.execute(
        update(run)
        .where(run.c.id == run_id)
        .values(project_id=project_id, uploader_id=uploader_id, watermark=highest)
    )


class Sender(NamedTuple):
    """Where a run's creates went: the project, and the account."""

    project_id: int
    uploader_id: int


def senders(connection: Connection, run_ids: Collection[int]) -> dict[int, Sender]:
    """Return by run where its creates went."""
    rows = connection.execute(
        select(run.c.id, run.c.project_id, run.c.uploader_id).where(run.c.id.in_(list(run_ids)))
    )
    return {row.id: Sender(int(row.project_id), int(row.uploader_id)) for row in rows}


class Known(NamedTuple):
    """What the ledger knows of a capture that is on Zooniverse, as far as another create of it goes."""

    capture_id: str
    subject_id: int | None
    announced: bool  # a create of it may be under way, and will be looked for
    claimed: bool  # by a run that may live


def known_captures(connection: Connection, keys: Collection[int]) -> dict[int, Known]:
    """Return what is known of captures, by key (at most PAGE)."""
    rows = connection.execute(
        select(
            capture.c.id, capture.c.capture_id, capture.c.subject_id, capture.c.create_sent_at, capture.c.state
        ).where(capture.c.id.in_(list(keys)))
    )
    return {
        row.id: Known(
            row.capture_id, row.subject_id, row.create_sent_at is not None, row.state == State.UPLOADING.value
        )
        for row in rows
    }


def count_subjects(connection: Connection, set_ids: Collection[int]) -> int:
    """Return of how many captures that belong into these subject sets the ledger knows a subject."""
    return int(
        connection.execute(
            select(func.count())
            .select_from(capture.join(batch, batch.c.id == capture.c.batch_id))
            .where(batch.c.subject_set_id.in_(list(set_ids)), capture.c.subject_id.is_not(None))
        ).scalar_one()
    )


def known_subjects(connection: Connection, subject_ids: Collection[int]) -> set[int]:
    """Return which of these subjects are a capture's, or were accepted by a person."""
    known: set[int] = set()
    for part in pages(sorted(subject_ids), PAGE):
        known.update(
            connection.execute(select(capture.c.subject_id).where(capture.c.subject_id.in_(part))).scalars()
        )
        known.update(
            connection.execute(
                select(accepted_subject.c.subject_id).where(accepted_subject.c.subject_id.in_(part))
            ).scalars()
        )
    return known
