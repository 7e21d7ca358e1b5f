"""Keeping captures and images off Zooniverse (`ctstate exclude`), and letting them in again (`ctstate include`).

What is excluded stays in the ledger with its reason; it is never uploaded. What is on Zooniverse already stays
there: excluding says so and names `ctstate remove`.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from ctstate.errors import InputError, UsageError
from ctstate.formats.id_lists import CAPTURE, PATH, read_listed
from ctstate.formats.paths import PathRule
from ctstate.ledger import Ledger, exclusions, runs
from ctstate.ledger.read_only_sql import captures_where

MOST_EXAMPLES = 5
_CHUNK = 10_000

_CHOSEN_CAPTURES = "capture.id IN (SELECT id FROM chosen_captures)"
_CHOSEN_IMAGES = "id IN (SELECT id FROM chosen_images)"


@dataclass
class ExclusionReport:
    """What `exclude` or `include` did, and what it found.

    Attributes:
        chosen: captures and images that the condition or the list names.
        captures, images: of these, how many were changed.
        unchanged_captures, unchanged_images: how many were so already, or may not be changed by this verb.
        on_zooniverse: captures that have a subject there already.
        uploading: captures that a run is uploading at this moment, or of which a subject may exist.
        images_too_late: images that were left alone as their capture is there, or on its way.
        unknown: entries of the list that name nothing in the ledger.
        examples: a few lines on the last four.
    """

    chosen: int = 0
    captures: int = 0
    images: int = 0
    unchanged_captures: int = 0
    unchanged_images: int = 0
    on_zooniverse: int = 0
    uploading: int = 0
    images_too_late: int = 0
    unknown: int = 0
    examples: list[str] = field(default_factory=list)


def exclude(
    ledger: Ledger,
    *,
    reason: str,
    where: str | None = None,
    listed: str | os.PathLike[str] | None = None,
    whole_captures: bool = False,
) -> ExclusionReport:
    """Keep captures, or single images, from being uploaded; in one transaction.

    A capture that has a person's reason already keeps it. A capture that is being uploaded right now gets the
    reason, which holds if this upload does not come to its end; it is counted in the report.

    Args:
        ledger: the ledger.
        reason: why; stays in the ledger.
        where: a condition on `v_captures`, or
        listed: a file of capture ids or image paths (see `ctstate.formats.id_lists`).
        whole_captures: where the list names images, exclude the captures that hold them.

    Raises:
        UsageError: no reason; not exactly one of `where` and `listed`; a condition that is none.
        InputError: the list cannot be read, or names nothing that the ledger holds.
        LedgerError: the ledger could not be written.
    """
    reason = reason.strip()
    if not reason:
        raise UsageError("give the reason with --reason; it stays in the ledger")
    if reason in exclusions.OWN_REASONS:
        raise UsageError(f"the reason {reason!r} is ctstate's own; word it otherwise")
    with ledger.connection() as connection:
        report = _choose(ledger, connection, where, listed, whole_captures)
        arguments = _arguments(where, listed, whole_captures, reason=reason)
        with ledger.write(connection) as writing:
            run_id = runs.start(writing, "exclude", arguments)
            _see_what_is_too_late(writing, report)
            report.captures = exclusions.exclude(writing, _CHOSEN_CAPTURES, reason)
            report.images = exclusions.withhold_images(writing, _CHOSEN_IMAGES, reason)
            _finish(writing, run_id, report)
    return report


def include(
    ledger: Ledger,
    *,
    where: str | None = None,
    listed: str | os.PathLike[str] | None = None,
    whole_captures: bool = False,
) -> ExclusionReport:
    """Undo `exclude`; in one transaction. Reasons that are ctstate's own stay (see `ledger.exclusions`).

    Args:
        ledger, where, listed, whole_captures: as for `exclude`.

    Raises:
        UsageError, InputError, LedgerError: as for `exclude`.
    """
    with ledger.connection() as connection:
        report = _choose(ledger, connection, where, listed, whole_captures)
        with ledger.write(connection) as writing:
            run_id = runs.start(writing, "include", _arguments(where, listed, whole_captures))
            report.captures = exclusions.include(writing, _CHOSEN_CAPTURES)
            report.images = exclusions.release_images(writing, _CHOSEN_IMAGES)
            _finish(writing, run_id, report)
    return report


def _arguments(where: str | None, listed: Any, whole_captures: bool, **more: Any) -> dict[str, Any]:
    file = None if listed is None else os.fspath(listed)
    return {"where": where, "file": file, "whole_captures": whole_captures, **more}


def _choose(
    ledger: Ledger, connection: Connection, where: str | None, listed: Any, whole_captures: bool
) -> ExclusionReport:
    """Fill the temporary tables `chosen_captures` and `chosen_images` with keys; the ledger is only read."""
    if (where is None) == (listed is None):
        raise UsageError("give either a condition (--where) or a file of capture ids or image paths")
    report = ExclusionReport()
    with ledger.read(connection) as staging:
        for name, columns in (
            ("named", "row INTEGER, kind TEXT, value TEXT, path TEXT"),
            ("chosen_captures", "id INTEGER PRIMARY KEY"),
            ("chosen_images", "id INTEGER PRIMARY KEY"),
        ):
            staging.execute(text(f"DROP TABLE IF EXISTS {name}"))
            staging.execute(text(f"CREATE TEMP TABLE {name} ({columns})"))
        if where is not None:
            _fill(staging, ((0, CAPTURE, capture_id, "") for capture_id in captures_where(ledger, where)))
        else:
            rule = PathRule(roots=_roots(staging))
            _fill(
                staging,
                (
                    (entry.row, entry.kind, entry.value.strip(), rule.apply(entry.value))
                    for entry in read_listed(listed, prefer_captures=whole_captures)
                ),
            )
        _look_up(staging, whole_captures)
        if listed is not None:
            _report_unknown(staging, os.fspath(listed), report)
        report.chosen = _count(staging, "chosen_captures") + _count(staging, "chosen_images")
    return report


def _roots(connection: Connection) -> list[str]:
    rows = connection.execute(text("SELECT images_root FROM season WHERE images_root IS NOT NULL"))
    return [str(root) for root in rows.scalars()]


def _fill(connection: Connection, rows: Iterable[tuple[Any, ...]]) -> None:
    for part in _chunks(rows):
        connection.exec_driver_sql("INSERT INTO named VALUES (?, ?, ?, ?)", part)
    connection.execute(text("CREATE INDEX named_value ON named (value)"))
    connection.execute(text("CREATE INDEX named_path ON named (path)"))


def _chunks(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    part: list[tuple[Any, ...]] = []
    for row in rows:
        part.append(row)
        if len(part) == _CHUNK:
            yield part
            part = []
    if part:
        yield part


def _look_up(connection: Connection, whole_captures: bool) -> None:
    connection.execute(text("DROP TABLE IF EXISTS found_captures"))
    connection.execute(
        text(
            "CREATE TEMP TABLE found_captures AS SELECT n.rowid AS entry, c.id AS capture"
            " FROM named n CROSS JOIN capture c ON c.capture_id = n.value WHERE n.kind <> :path"
        ),
        {"path": PATH},
    )
    connection.execute(text("DROP TABLE IF EXISTS found_images"))
    # CROSS JOIN keeps SQLite from turning the loops round: the images have no index on their path.
    connection.execute(
        text(
            "CREATE TEMP TABLE found_images AS SELECT n.rowid AS entry, i.id AS image, i.capture_id AS capture"
            " FROM image i CROSS JOIN named n ON n.path = i.path"
            " WHERE n.kind <> :capture AND n.rowid NOT IN (SELECT entry FROM found_captures)"
            if connection.execute(text("SELECT 1 FROM named WHERE kind <> :c LIMIT 1"), {"c": CAPTURE}).first()
            else "CREATE TEMP TABLE found_images (entry INTEGER, image INTEGER, capture INTEGER)"
        ),
        {"capture": CAPTURE},
    )
    connection.execute(text("INSERT OR IGNORE INTO chosen_captures SELECT capture FROM found_captures"))
    if whole_captures:
        connection.execute(text("INSERT OR IGNORE INTO chosen_captures SELECT capture FROM found_images"))
    else:
        connection.execute(text("INSERT OR IGNORE INTO chosen_images SELECT image FROM found_images"))


def _report_unknown(connection: Connection, name: str, report: ExclusionReport) -> None:
    unknown = (
        "FROM named WHERE rowid NOT IN (SELECT entry FROM found_captures)"
        " AND rowid NOT IN (SELECT entry FROM found_images)"
    )
    report.unknown = int(connection.execute(text(f"SELECT count(*) {unknown}")).scalar_one())
    first = connection.execute(text(f"SELECT row, value {unknown} ORDER BY row LIMIT {MOST_EXAMPLES}")).all()
    total = _count(connection, "named")
    if report.unknown == total:
        raise InputError(
            f"{name}: none of its {total:,} entries is a capture id or image path of the ledger "
            f"(the first, row {first[0].row}: {first[0].value}); nothing was changed"
        )
    report.examples += [f"row {row.row}: not in the ledger: {row.value}" for row in first]


def _see_what_is_too_late(connection: Connection, report: ExclusionReport) -> None:
    on_its_way = "(state = 'uploading' OR create_sent_at IS NOT NULL)"
    there = f"subject_id IS NOT NULL AND state <> 'deleted' AND NOT {on_its_way}"
    for attribute, condition, message in (
        ("on_zooniverse", there, "is on Zooniverse already"),
        ("uploading", on_its_way, "is being uploaded, or may be there already"),
    ):
        chosen = f"FROM capture WHERE {_CHOSEN_CAPTURES} AND {condition}"
        setattr(report, attribute, int(connection.execute(text(f"SELECT count(*) {chosen}")).scalar_one()))
        _add_examples(connection, f"SELECT capture_id AS what {chosen}", message, report)
    late = (
        "FROM image JOIN capture ON capture.id = image.capture_id"
        f" WHERE image.id IN (SELECT id FROM chosen_images) AND NOT {exclusions.CHANGEABLE}"
    )
    report.images_too_late = int(connection.execute(text(f"SELECT count(*) {late}")).scalar_one())
    _add_examples(
        connection, f"SELECT image.path AS what {late}", "its capture is on Zooniverse or on its way", report
    )


def _add_examples(connection: Connection, query: str, message: str, report: ExclusionReport) -> None:
    for row in connection.execute(text(f"{query} LIMIT {MOST_EXAMPLES}")):
        report.examples.append(f"{row.what}: {message}")


def _finish(connection: Connection, run_id: int, report: ExclusionReport) -> None:
    report.unchanged_captures = _count(connection, "chosen_captures") - report.captures
    report.unchanged_images = _count(connection, "chosen_images") - report.images - report.images_too_late
    if report.captures or report.images:
        runs.end(connection, run_id, "done")
    else:
        connection.execute(text("DELETE FROM run WHERE id = :run"), {"run": run_id})


def _count(connection: Connection, table: str) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
