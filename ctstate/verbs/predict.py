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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection

from ctstate.errors import UsageError
from ctstate.formats.paths import PathRule
from ctstate.formats.predictions.detect import FORMATS, reader_of
from ctstate.formats.predictions.records import Reader
from ctstate.ledger import Ledger, runs
from ctstate.ledger import intake_predictions as staging
from ctstate.ledger.clock import now
from ctstate.ledger.intake_predictions import COLUMNS, Scope
from ctstate.ledger.transitions import note_metadata_pending, note_predicted

__all__ = ["FORMATS", "PredictReport", "PredictionFile", "predict"]


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
        examples: a few lines on these.
        a_path: where all image paths were unknown, one as the ledger has them.
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
    examples: list[str] = field(default_factory=list)
    a_path: str | None = None


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
            roots = [
                str(root)
                for root in reading.execute(
                    text("SELECT images_root FROM season WHERE images_root IS NOT NULL")
                ).scalars()
            ]
            staging.prepare(reading)
            rule = PathRule(strip_prefix, base_folder, roots)
            for reader in readers:
                _add(report, staging.stage(reading, reader, scope, rule, on_progress))
            if report.unknown == report.entries and any(reader.keyed_by_path for reader in readers):
                report.a_path = reading.execute(text("SELECT path FROM image ORDER BY id LIMIT 1")).scalar()
        arguments = {
            "files": [reader.name for reader in readers],
            "season": season,
            "batch": batch,
            "all_species_scores": all_species_scores,
        }
        with ledger.write(connection) as writing:
            run_id = runs.start(writing, "predict", arguments)
            if _merge(writing, run_id, readers, scope, report):
                runs.end(writing, run_id, "done")
            else:
                writing.execute(text("DELETE FROM run WHERE id = :run"), {"run": run_id})
    return report


def _scope(ledger: Ledger, season: str | None, batch: str | None) -> Scope:
    if season is None and batch is None:
        return Scope(None)
    season_id = int(ledger.season(season).id)
    if batch is None:
        return Scope(season_id)
    return Scope(season_id, int(ledger.batches(season_id, batch)[0].id), batch)


def _add(report: PredictReport, staged: staging.Staged) -> None:
    for name in ("entries", "failed", "captures", "outside", "unknown"):
        setattr(report, name, getattr(report, name) + getattr(staged, name))
    report.examples += staged.examples


def _merge(
    connection: Connection, run_id: int, readers: Sequence[Reader], scope: Scope, report: PredictReport
) -> bool:
    """Bring `made` into the ledger, count what was done, and tell whether anything changed."""
    same = " AND ".join(f"p.{name} IS m.{name}" for name in COLUMNS)
    connection.execute(text("DROP TABLE IF EXISTS changed"))
    connection.execute(
        text(
            "CREATE TEMP TABLE changed AS SELECT m.capture, m.source, NOT EXISTS (SELECT 1 FROM prediction p"
            " WHERE p.capture_id = m.capture AND p.source = m.source AND p.metadata IS m.metadata) AS metadata"
            f" FROM made m WHERE NOT EXISTS (SELECT 1 FROM prediction p WHERE p.capture_id = m.capture"
            f" AND p.source = m.source AND {same})"
        )
    )
    which = "id IN (SELECT capture FROM changed)"
    report.changed = _count(connection, f"capture WHERE {which}")
    new_files = [reader for reader in readers if not _known(connection, reader, scope)]
    for reader in readers:
        changes = _count(connection, "changed WHERE source = :source", source=reader.source)
        if changes or reader in new_files:
            _put(connection, run_id, reader, _note_file(connection, run_id, reader, scope))
    report.pending = note_metadata_pending(connection, text("id IN (SELECT capture FROM changed WHERE metadata)"))
    moved = note_predicted(connection, run_id, text("id IN (SELECT capture FROM made)"))
    report.without = _count(
        connection,
        f"capture c WHERE {scope.condition} AND NOT EXISTS (SELECT 1 FROM prediction p WHERE p.capture_id = c.id)",
    )
    return bool(report.changed or moved or new_files)


def _note_file(connection: Connection, run_id: int, reader: Reader, scope: Scope) -> int:
    """Write down the file, with what it says of how it was made; return the row's key."""
    facts = reader.facts()
    connection.execute(
        text(
            "INSERT INTO prediction_file (season_id, batch, source, format, path, threshold, settings, run_id,"
            " made_at) VALUES (:season, :batch, :source, :format, :path, :threshold, :settings, :run, :at)"
        ),
        {
            "season": scope.season_id,
            "batch": scope.batch,
            "source": reader.source,
            "format": reader.format,
            "path": os.path.abspath(reader.name),
            "threshold": facts.threshold,
            "settings": _settings(facts.settings),
            "run": run_id,
            "at": now(),
        },
    )
    return int(connection.execute(text("SELECT max(id) FROM prediction_file")).scalar_one())


def _settings(settings: Any) -> str:
    return json.dumps(settings, ensure_ascii=False, sort_keys=True, default=str)


def _known(connection: Connection, reader: Reader, scope: Scope) -> bool:
    """Tell whether the source's last file, for this scope, was this one and said the same of itself."""
    last = connection.execute(
        text(
            "SELECT path, threshold, settings FROM prediction_file WHERE source = :source AND season_id IS :season"
            " AND batch IS :batch ORDER BY id DESC LIMIT 1"
        ),
        {"source": reader.source, "season": scope.season_id, "batch": scope.batch},
    ).first()
    facts = reader.facts()
    now_says = (os.path.abspath(reader.name), facts.threshold, _settings(facts.settings))
    return last is not None and tuple(last) == now_says


def _put(connection: Connection, run_id: int, reader: Reader, file_id: int) -> None:
    names = ", ".join(COLUMNS)
    new = ", ".join(f"{name} = excluded.{name}" for name in (*COLUMNS, "run_id", "made_at", "file_id"))
    connection.execute(
        text(
            f"INSERT INTO prediction (capture_id, source, run_id, made_at, file_id, {names})"
            f" SELECT m.capture, m.source, :run, :at, :file, {', '.join(f'm.{name}' for name in COLUMNS)}"
            " FROM made m JOIN changed d ON d.capture = m.capture AND d.source = m.source"
            " WHERE m.source = :source ORDER BY m.capture"
            f" ON CONFLICT (capture_id, source) DO UPDATE SET {new}"
        ),
        {"run": run_id, "at": now(), "file": file_id, "source": reader.source},
    )


def _count(connection: Connection, what: str, **parameters: Any) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {what}"), parameters).scalar_one())
