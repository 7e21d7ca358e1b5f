"""Machine-learning predictions -> the captures' metadata and the columns of `v_captures` (`ctstate predict`).

Each format has its reader, whose module says how predictions of images become those of the capture:

* `legacy`: the camera-trap-data-pipeline's two JSON files, keyed by capture id;
* `megadetector`: MegaDetector batch output 1.3 to 1.6, and the list with boxes in pixels of PyTorch-Wildlife;
* `speciesnet`: SpeciesNet's predictions;
* `table`: a plain CSV.

The ledger keeps one row per capture and source. Predicting again with the same source replaces what that source
said of the captures in the file, and leaves others as they are. Images that are excluded or withheld do not count.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ctstate.capture import pages
from ctstate.errors import InputError, UsageError
from ctstate.formats.paths import PathRule
from ctstate.formats.predictions.detect import FORMATS, reader_of
from ctstate.formats.predictions.records import Reader, as_json
from ctstate.formats.reader import short
from ctstate.ledger import Ledger, Transaction, boxes, runs
from ctstate.ledger import intake_predictions as intake
from ctstate.ledger.intake_predictions import FileEntry, FileOfPredictions, MadePrediction, Scope
from ctstate.ledger.listed import image_roots
from ctstate.ledger.staging import MOST_EXAMPLES
from ctstate.words import counted

__all__ = ["FORMATS", "PredictReport", "PredictionFile", "predict"]

CHUNK = 100
"""So many entries at a time: memory is bounded, whatever the file's size. With a thousand, Python's collector of
garbage goes through them again and again, which takes a tenth of all the time."""


class PredictionFile(NamedTuple):
    """A file to read, and its format where the user names it (one of `FORMATS`)."""

    path: str | os.PathLike[str]
    format: str | None = None


@dataclass
class PredictReport:
    """What `predict` did.

    Attributes:
        files: path and format of each.
        entries: in the files (images or captures); `failed`: those on which the program had failed.
        captures: that the files say something about; `changed`: of these, how many differ from before.
        pending: of the changed ones, those on Zooniverse already, for `ctstate update-metadata`.
        without: captures within the scope that have no prediction of any source.
        outside: captures that the files name beyond the season or batch asked for.
        unknown: entries that name nothing in the ledger.
        images_with_boxes: images of which boxes are kept.
        bad_boxes: boxes that are none, and were left out.
        examples: a few lines on the last four.
    """

    files: list[tuple[str, str]] = field(default_factory=list)
    entries: int = 0
    failed: int = 0
    captures: int = 0
    changed: int = 0
    pending: int = 0
    without: int = 0
    outside: int = 0
    unknown: int = 0
    images_with_boxes: int = 0
    bad_boxes: int = 0
    examples: list[str] = field(default_factory=list)


def predict(
    ledger: Ledger,
    files: Sequence[PredictionFile],
    *,
    season: str | None = None,
    batch: str | None = None,
    source: str | None = None,
    all_species_scores: bool = False,
    strip_prefix: str = "",
    base_folder: str = "",
    on_progress: Callable[[int], None] = lambda entries: None,
) -> PredictReport:
    """Attach predictions to captures, in one transaction; captures that are manifested become predicted.

    Args:
        ledger: the ledger.
        files: what to read; the format is told by the content unless named.
        season: only captures of this season (manifest id).
        batch: only captures of this batch; needs the season where the ledger holds several.
        source: name under which the ledger keeps them; by default the format's.
        all_species_scores: of the legacy species model, the confidence of every class as well.
        strip_prefix, base_folder: see `PathRule`; the seasons' images roots are taken off by themselves.
        on_progress: called with the number of entries read so far.

    Raises:
        UsageError: no file, or no such season, batch or format.
        InputError: a file is not what it should be; the ledger is as it was.
        LedgerError: the ledger could not be written.
    """
    if not files:
        raise UsageError("name a file of predictions")
    if source is not None and not source.replace("_", "").replace("-", "").isalnum():
        raise UsageError(f"the source {source!r} must be letters, digits, '-' and '_'")
    scope = _scope(ledger, season, batch)
    readers = [
        reader_of(file.path, format=file.format, source=source, all_species_scores=all_species_scores)
        for file in files
    ]
    if len({reader.source for reader in readers}) < len(readers):
        raise UsageError("two files of one source; predict one after the other, or name a --source for each")
    report = PredictReport(files=[(reader.name, reader.format) for reader in readers])
    with ledger.connection() as connection:
        with ledger.read(connection) as reading:
            rule = PathRule(strip_prefix, base_folder, image_roots(reading))
            intake.begin(reading)
            spoken_of = bytearray(intake.highest_key(reading) + 1)  # captures, over all files
            for reader in readers:
                if reader.whole:
                    _take(reading, reader, scope, report, spoken_of, on_progress)
                    continue
                entries = _read(reading, reader, rule, report, on_progress)
                found = _combine(reading, reader, scope, entries, spoken_of, report)
                _see_unknown(reading, reader, found, report)
                if entries and not any(found):
                    raise _none_of_it(reading, reader, entries, intake.key_of_entry(reading, 1))
        arguments = {
            "files": [reader.name for reader in readers],
            "season": season,
            "batch": batch,
            "all_species_scores": all_species_scores,
        }
        report.captures = sum(spoken_of)
        with ledger.atomic_run("predict", arguments, connection) as (writing, run_id):
            merged = intake.merge(writing, run_id, [_facts(reader) for reader in readers], scope)
            report.changed, report.pending, report.without = merged.changed, merged.pending, merged.without
            if not merged.anything:
                runs.forget(writing, run_id)
    return report


def _scope(ledger: Ledger, season: str | None, batch: str | None) -> Scope:
    if season is None and batch is None:
        return Scope(None)
    season_id = ledger.season(season).id
    if batch is None:
        return Scope(season_id)
    return Scope(season_id, ledger.batches(season_id, batch)[0].id, batch)


def _take(
    connection: Transaction,
    reader: Reader,
    scope: Scope,
    report: PredictReport,
    spoken_of: bytearray,
    on_progress: Callable[[int], None],
) -> None:
    """Take what each entry of a file says of its capture."""
    seen = bytearray(intake.highest_key(connection) + 1)
    entries = unknown = 0
    first = ""
    for part in pages(reader.entries(), CHUNK):
        first = first or part[0].key
        entries += len(part)
        known = intake.captures_named(connection, [entry.key for entry in part])
        made: list[MadePrediction] = []
        for entry in part:
            named = known.get(entry.key)
            if named is None:
                unknown += 1
                if unknown <= MOST_EXAMPLES:
                    report.examples.append(_not_there(reader, entry.number, entry.key))
                continue
            is_new = not seen[named.key]
            seen[named.key] = 1
            if scope.holds(named):
                spoken_of[named.key] = 1
                made.append(_made(reader, named.key, [entry.payload]))
            else:
                report.outside += is_new
        intake.add_made(connection, reader.source, made)
        on_progress(entries)
    report.entries += entries
    report.unknown += unknown
    if entries and unknown == entries:
        raise _none_of_it(connection, reader, entries, first)


def _made(reader: Reader, capture: int, payloads: Sequence[Any]) -> MadePrediction:
    metadata, scores = reader.combine(payloads)
    return MadePrediction(capture, as_json(metadata), scores)


def _not_there(reader: Reader, number: int, key: str) -> str:
    return f"{reader.name}, entry {number}: not in the ledger: {key}"


def _read(
    connection: Transaction,
    reader: Reader,
    rule: PathRule,
    report: PredictReport,
    on_progress: Callable[[int], None],
) -> int:
    """Stage a file's entries; return how many there are."""
    entries = 0
    intake.begin_file(connection)
    for part in pages(reader.entries(), CHUNK):
        rows = [
            FileEntry(number, rule.apply(key) if reader.keyed_by_path else key, payload, seen)
            for number, (_, key, payload, seen) in enumerate(part, start=entries + 1)
        ]
        entries += len(rows)
        report.failed += sum(row.payload is None for row in rows)
        intake.add_entries(connection, rows)
        on_progress(entries)
    intake.end_file(connection)
    report.entries += entries
    report.bad_boxes += reader.boxes.bad
    if reader.boxes.bad:
        report.examples.append(f"{reader.name}, {reader.boxes.example}")
    return entries


def _combine(
    connection: Transaction,
    reader: Reader,
    scope: Scope,
    entries: int,
    spoken_of: bytearray,
    report: PredictReport,
) -> bytearray:
    """Make of the staged entries what they say of each capture; return which name one: a 1 at their number."""
    found = bytearray(entries + 1)
    seen: list[tuple[int, str]] = []

    def made() -> Iterator[MadePrediction]:
        for capture in intake.by_capture(connection, scope, keyed_by_path=reader.keyed_by_path):
            for number in capture.numbers:
                found[number] = 1
            if not capture.within:
                report.outside += 1
            elif capture.payloads:
                spoken_of[capture.capture] = 1
                seen.extend(capture.boxes.items())
                yield _made(reader, capture.capture, capture.payloads)

    for part in pages(made(), CHUNK):
        intake.add_made(connection, reader.source, part)
        boxes.add(connection, reader.source, seen)
        report.images_with_boxes += len(seen)
        seen.clear()
    return found


def _see_unknown(connection: Transaction, reader: Reader, found: bytearray, report: PredictReport) -> None:
    unknown = found.count(0) - 1  # entries are counted from 1
    report.unknown += unknown
    number = 0
    for _ in range(min(unknown, MOST_EXAMPLES)):
        number = found.index(0, number + 1)
        key = intake.key_of_entry(connection, number)
        report.examples.append(_not_there(reader, number, key))


def _none_of_it(connection: Transaction, reader: Reader, entries: int, first: str) -> InputError:
    """Return the error for a file that is about something else: who excludes by it would exclude nobody."""
    what, hint = "a capture", ""
    if reader.keyed_by_path:
        what = "an image"
        hint = (
            f"; the ledger's paths look like {intake.an_image_path(connection)}: see --strip-prefix, --base-folder"
        )
    return InputError(
        f"{reader.name}: of its {counted(entries, 'entry')}, none is {what} of the ledger (the first: "
        f"{short(first)}){hint}; nothing was changed"
    )


def _facts(reader: Reader) -> FileOfPredictions:
    facts = reader.facts()
    settings = json.dumps(facts.settings, ensure_ascii=False, sort_keys=True, default=str)
    return FileOfPredictions(reader.source, reader.format, os.path.abspath(reader.name), facts.threshold, settings)
