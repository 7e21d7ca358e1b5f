"""Keeping captures and images off Zooniverse (`ctstate exclude`), and letting them in again (`ctstate include`).

What is excluded stays in the ledger with its reason; it is never uploaded. What is on Zooniverse already stays
there: excluding says so and names `ctstate remove`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ctstate.errors import InputError, UsageError
from ctstate.formats.id_lists import CAPTURE, PATH, read_listed
from ctstate.formats.paths import PathRule
from ctstate.ledger import Ledger, Transaction, exclusions, runs, sampling
from ctstate.ledger.counts import counted_once
from ctstate.ledger.listed import CHOSEN_CAPTURES, CHOSEN_IMAGES, Entry, choose, image_roots, unknown
from ctstate.ledger.read_only_sql import captures_where
from ctstate.ledger.staging import MOST_EXAMPLES
from ctstate.words import counted


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
        report = _choose(ledger, connection, where, listed, whole_captures, on_values=True)
        arguments = _arguments(where, listed, whole_captures, reason=reason)
        with ledger.write(connection) as writing:
            run_id = ledger.begin_run(writing, "exclude", arguments)
            _see_what_is_too_late(writing, report)
            with counted_once(writing, report.chosen):
                report.captures = exclusions.exclude(writing, CHOSEN_CAPTURES, reason)
                report.images = exclusions.withhold_images(writing, CHOSEN_IMAGES, reason)
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
            run_id = ledger.begin_run(writing, "include", _arguments(where, listed, whole_captures))
            with counted_once(writing, report.chosen):
                report.captures = exclusions.include(writing, CHOSEN_CAPTURES)
                report.images = exclusions.release_images(writing, CHOSEN_IMAGES)
                sampling.sample_all(writing)
            _finish(writing, run_id, report)
    return report


def _arguments(
    where: str | None, listed: str | os.PathLike[str] | None, whole_captures: bool, **more: str
) -> dict[str, Any]:
    file = None if listed is None else os.fspath(listed)
    return {"where": where, "file": file, "whole_captures": whole_captures, **more}


def _choose(
    ledger: Ledger,
    connection: Transaction,
    where: str | None,
    listed: str | os.PathLike[str] | None,
    whole_captures: bool,
    *,
    on_values: bool = False,
) -> ExclusionReport:
    """Choose the captures and images, on this connection; the ledger is only read."""
    if (where is None) == (listed is None):
        raise UsageError("give either a condition (--where) or a file of capture ids or image paths")
    with ledger.read(connection) as staging:
        if where is not None:
            entries: Iterator[Entry] = (
                Entry(0, capture_id, True, None)
                for capture_id in captures_where(ledger, where, on_values=on_values)
            )
        else:
            assert listed is not None
            entries = _entries(listed, PathRule(roots=image_roots(staging)), whole_captures)
        chosen = choose(staging, entries, whole_captures=whole_captures)
        # Whatever is changed, or too late, is taken off again (`_finish`).
        report = ExclusionReport(
            chosen=chosen.captures + chosen.images,
            unchanged_captures=chosen.captures,
            unchanged_images=chosen.images,
        )
        if listed is not None:
            _report_unknown(staging, os.fspath(listed), chosen.entries, report)
    return report


def _entries(file: str | os.PathLike[str], rule: PathRule, whole_captures: bool) -> Iterator[Entry]:
    for entry in read_listed(file, prefer_captures=whole_captures):
        path = None if entry.kind == CAPTURE else rule.apply(entry.value)
        yield Entry(entry.row, entry.value.strip(), entry.kind != PATH, path)


def _report_unknown(connection: Transaction, name: str, entries: int, report: ExclusionReport) -> None:
    nothing = unknown(connection, MOST_EXAMPLES)
    report.unknown = nothing.total
    if nothing.total == entries:
        row, value = nothing.first[0]
        raise InputError(
            f"{name}: of its {counted(entries, 'entry')}, none is a capture id or image path of the ledger "
            f"(the first, row {row}: {value}); nothing was changed"
        )
    report.examples += [f"row {row}: not in the ledger: {value}" for row, value in nothing.first]


def _see_what_is_too_late(connection: Transaction, report: ExclusionReport) -> None:
    there = exclusions.captures_there(connection, CHOSEN_CAPTURES, MOST_EXAMPLES)
    on_their_way = exclusions.captures_on_their_way(connection, CHOSEN_CAPTURES, MOST_EXAMPLES)
    images = exclusions.images_too_late(connection, CHOSEN_IMAGES, MOST_EXAMPLES)
    report.on_zooniverse, report.uploading, report.images_too_late = there.total, on_their_way.total, images.total
    for late, message in (
        (there, "is on Zooniverse already"),
        (on_their_way, "is being uploaded, or may be there already"),
        (images, "its capture is on Zooniverse or on its way"),
    ):
        report.examples += [f"{name}: {message}" for name in late.some]


def _finish(connection: Transaction, run_id: int, report: ExclusionReport) -> None:
    report.unchanged_captures -= report.captures
    report.unchanged_images -= report.images + report.images_too_late
    if report.captures or report.images:
        runs.end(connection, run_id, "done")
    else:
        runs.forget(connection, run_id)
