"""The files of the old scripts -> the ledger: JSON manifests, upload trackers (`ctstate import`).

docs/legacy-formats.md, sections 2 and 3; the way back is `ctstate.verbs.export`. A manifest makes the season, its
captures and images, its batch, and the predictions it carries. What such files say of subjects is a claim and no
fact: a tracker can be stale, and can miss subjects made just before a crash. So

* `import` moves no capture to `uploaded`; each claimed subject becomes a row of the table `legacy_subject`, which
  `checked_at` tells apart from what was compared with Zooniverse;
* until then the capture is excluded with the reason `CLAIMED_BY_OLD_SCRIPTS`, so that no upload makes a second
  subject of it. `ctstate adopt` looks at Zooniverse and settles both.

Captures that the ledger holds already stay as they are, whatever images a manifest gives them; the report says so.
"""

import csv
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection

from ctstate.errors import InputError, UsageError
from ctstate.formats import json_stream as jsonstream
from ctstate.formats.incoming import STAT_THREADS, Incoming, stage
from ctstate.formats.predictions.legacy import PREFIX, scores_of
from ctstate.ledger import Ledger, exclusions, runs
from ctstate.ledger.clock import now
from ctstate.ledger.transitions import note_batched, note_predicted
from ctstate.verbs.manifest import ManifestReport, check_inside, check_manifest_id, merge, put_season, real_root

COMPLETE = "complete"
SOURCE = "manifest"
"""Under which name the ledger keeps predictions that came with a manifest."""

MOST_EXAMPLES = 5
_CHUNK = 5_000

_NAME = re.compile(r"(?P<id>.+?)__(?P<batch>.+?)__manifest(_uploaded)?\.json")
_KNOWN_KEYS = ("#capture_id", "#site", "#roll", "#season", "#capture", "attribution", "license")


class ManifestName(NamedTuple):
    """What the name of a manifest file says."""

    manifest_id: str
    batch: str


@dataclass
class ImportReport:
    """What `import_manifest` or `import_tracker` did.

    Attributes:
        season, batch: into which.
        captures: in the file.
        new: of these, those that the ledger did not hold.
        differing: those that it held with other images; they stay as they were.
        batched: put into the batch.
        predicted: whose predictions were taken over.
        claimed: that the file says are uploaded, and that wait to be checked.
        confirmed: that the file says are uploaded, and of which the ledger has this very subject.
        conflicting: of which the ledger has another subject.
        uploading: claimed ones that a run is uploading at this moment.
        unknown: rows of a tracker that name no capture of the ledger.
        images_missing: not found below the images' root.
        examples: a few lines on what is off.
    """

    season: str = ""
    batch: str = ""
    captures: int = 0
    new: int = 0
    differing: int = 0
    batched: int = 0
    predicted: int = 0
    claimed: int = 0
    confirmed: int = 0
    conflicting: int = 0
    uploading: int = 0
    unknown: int = 0
    images_missing: int = 0
    examples: list[str] = field(default_factory=list)


def parse_name(file: str | os.PathLike[str]) -> ManifestName | None:
    """Return what a manifest's file name says, or None where it is not `ID__BATCH__manifest.json`."""
    found = _NAME.fullmatch(Path(file).name)
    return ManifestName(found["id"], found["batch"]) if found else None


def import_manifest(
    ledger: Ledger,
    file: str | os.PathLike[str],
    *,
    images_root: str | os.PathLike[str] | None = None,
    manifest_id: str | None = None,
    batch: str | None = None,
) -> ImportReport:
    """Read a legacy manifest into the ledger, in one transaction; see the module's text.

    Images of captures that are uploaded already by the file's word are not looked for.

    Args:
        ledger: the ledger.
        file: the manifest.
        images_root: folder below which the images are; may be left out where the ledger knows the season.
        manifest_id, batch: instead of what the file's name says.

    Raises:
        InputError: the file is not what it should be; the ledger is as it was.
        UsageError: the name does not say which season and batch, or the folder is not there.
        LedgerError: the ledger could not be written.
    """
    said = parse_name(file)
    manifest_id = manifest_id or (said.manifest_id if said else None)
    batch = batch or (said.batch if said else None)
    if manifest_id is None or batch is None:
        raise UsageError(
            f"{os.fspath(file)}: the name is not ID__BATCH__manifest.json; give --manifest-id and --batch"
        )
    check_manifest_id(manifest_id)
    with ledger.read() as connection:
        known = connection.execute(text("SELECT * FROM season WHERE name = :n"), {"n": manifest_id}).first()
    root = real_root(images_root)
    if known is not None and root is None:
        root = known.images_root
    elif known is not None and root != known.images_root:
        raise UsageError(
            f"--images-root {root}: season {manifest_id} has {known.images_root} in the ledger; "
            "`ctstate manifest --update` changes it"
        )
    reader = _ManifestReader(os.fspath(file), root)
    report = ImportReport(season=manifest_id, batch=batch)
    with ledger.connection() as connection:
        with ledger.read(connection) as reading:
            _prepare(reading)
            stage(reading, reader, lambda rows: _put_sides(reading, reader))
            _put_sides(reading, reader)
            report.captures = _count(reading, "side")
            check_inside(reading, reader.name, ManifestReport(manifest_id), reader.unit)
            attribution, license = _season_texts(reading, reader.name, known)
        with ledger.write(connection) as writing:
            run_id = runs.start(
                writing, "import", {"manifest": reader.name, "manifest_id": manifest_id, "batch": batch}
            )
            season_id, changed = put_season(writing, manifest_id, attribution, license, root, False)
            changed = _put_captures(writing, reader.name, season_id, run_id, report) or changed
            _put_predictions(writing, reader.name, season_id, batch, run_id, report)
            report.batched = _put_into_batch(writing, season_id, batch, run_id)
            _note_claims(writing, reader.name, run_id, report)
            if changed or report.predicted or report.batched or report.claimed:
                runs.end(writing, run_id, "done")
            else:
                writing.execute(text("DELETE FROM run WHERE id = :run"), {"run": run_id})
    return report


def import_tracker(ledger: Ledger, file: str | os.PathLike[str]) -> ImportReport:
    """Read a legacy upload tracker file, in one transaction; see the module's text.

    Args:
        ledger: the ledger, which holds the captures already.
        file: a CSV with the columns unique_id and subject_id.

    Raises:
        InputError: the file is not what it should be, or names no capture of the ledger; nothing was changed.
        LedgerError: the ledger could not be written.
    """
    name = os.fspath(file)
    report = ImportReport()
    with ledger.connection() as connection:
        with ledger.read(connection) as reading:
            _prepare(reading)
            part: list[tuple[Any, ...]] = []
            for row, capture_id, subject_id in _tracker_rows(name):
                report.captures += 1
                part.append((row, capture_id, 1, subject_id, None, None, None, None, None, None, None))
                if len(part) == _CHUNK:
                    _insert_sides(reading, part)
                    part = []
            _insert_sides(reading, part)
        with ledger.write(connection) as writing:
            run_id = runs.start(writing, "import", {"tracker": name})
            _report_unknown(writing, name, report)
            _note_claims(writing, name, run_id, report)
            if report.claimed:
                runs.end(writing, run_id, "done")
            else:
                writing.execute(text("DELETE FROM run WHERE id = :run"), {"run": run_id})
    return report


def _tracker_rows(name: str) -> Iterator[tuple[int, str, int]]:
    try:
        with open(name, encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream)
            header = [cell.strip() for cell in next(rows, [])]
            if header[:2] != ["unique_id", "subject_id"]:
                raise InputError(f"{name}, row 1: not an upload tracker file; its header is unique_id,subject_id")
            for number, cells in enumerate(rows, start=2):
                if not any(cell.strip() for cell in cells):
                    continue
                subject_id = _subject_id(cells[1]) if len(cells) > 1 else None
                if subject_id is None:
                    raise InputError(
                        f"{name}, row {number} ({cells[0]}): no subject id in column 2; nothing was changed"
                    )
                yield number, cells[0].strip(), subject_id
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None
    except UnicodeError as error:
        raise InputError(f"{name}: not text in UTF-8 ({error})") from None
    except csv.Error as error:
        raise InputError(f"{name}: not a readable CSV ({error})") from None


def _report_unknown(connection: Connection, name: str, report: ImportReport) -> None:
    unknown = "FROM side WHERE capture_id NOT IN (SELECT capture_id FROM capture)"
    report.unknown = int(connection.execute(text(f"SELECT count(*) {unknown}")).scalar_one())
    if report.unknown and report.unknown == report.captures:
        raise InputError(
            f"{name}: none of its {report.captures:,} captures is in the ledger; import the manifest (or the "
            "captures CSV) first; nothing was changed"
        )
    for row in connection.execute(text(f"SELECT row, capture_id {unknown} ORDER BY row LIMIT {MOST_EXAMPLES}")):
        report.examples.append(f"row {row.row}: not in the ledger: {row.capture_id}")


# What a file says of a capture beyond its images; `row` is the entry's number.
_SIDE = """
CREATE TEMP TABLE side (row INTEGER, capture_id TEXT, uploaded INTEGER, subject_id INTEGER, subject_set_id INTEGER,
    subject_set_name TEXT, upload_time TEXT, machine INTEGER, predictions TEXT, attribution TEXT, license TEXT)
"""


class _ManifestReader(Incoming):
    """A legacy manifest; `sides` collects what it says of captures beyond their images."""

    unit = "entry"

    def __init__(self, name: str, root: str | None) -> None:
        super().__init__(name, root)
        self.sides: list[tuple[Any, ...]] = []

    def chunks(self) -> Iterator[list[tuple[Any, ...]]]:
        parsed: list[tuple[Any, ...]] = []
        wanted: list[tuple[int, str]] = []
        with ThreadPoolExecutor(STAT_THREADS) as pool:
            for capture_id, entry in jsonstream.pairs(self.name):
                self.rows += 1
                self._parse(capture_id, entry, parsed, wanted)
                if len(parsed) >= _CHUNK:
                    self._look(parsed, wanted, pool)
                    yield parsed
                    parsed, wanted = [], []
            self._look(parsed, wanted, pool)
            yield parsed

    def _parse(
        self, capture_id: str, entry: Any, parsed: list[tuple[Any, ...]], wanted: list[tuple[int, str]]
    ) -> None:
        try:
            metadata, info, images = _parts(capture_id, entry)
        except ValueError as error:
            self._error(self.rows, f"capture {capture_id}: {error}")
            return
        uploaded = info.get("uploaded") is True
        machine = {key: value for key, value in metadata.items() if key.startswith(PREFIX)}
        extra = {k: v for k, v in metadata.items() if k not in _KNOWN_KEYS and k not in machine}
        self.sides.append(
            (
                self.rows,
                capture_id,
                int(uploaded),
                _subject_id(info.get("subject_id")),
                _subject_id(info.get("subject_set_id")),
                _text(info.get("subject_set_name")),
                _text(info.get("upload_time")),
                {True: 1, False: 0}.get(info.get("machine_learning")),  # type: ignore[arg-type]
                json.dumps(machine, ensure_ascii=False) if machine else None,
                str(metadata["attribution"]),
                str(metadata["license"]),
            )
        )
        season, site, roll, number = (str(metadata[key]) for key in ("#season", "#site", "#roll", "#capture"))
        for rank, image in enumerate(images, start=1):
            path = image.replace("\\", "/")
            place = self._place(self.rows, path)
            if place is None:
                return
            if not uploaded:
                wanted.append((len(parsed), place))
            parsed.append(
                (
                    self.rows, capture_id, season, site, roll, number, int(number), rank, path, None, None,
                    json.dumps(extra, ensure_ascii=False, sort_keys=True) if extra else None, None,
                )
            )  # fmt: skip


def _parts(capture_id: str, entry: Any) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return upload_metadata, info and images of an entry; ValueError says what is wrong with it."""
    if not isinstance(entry, dict):
        raise ValueError("is not an object")
    metadata, info, images = entry.get("upload_metadata"), entry.get("info", {}), entry.get("images")
    if not isinstance(metadata, dict) or not isinstance(info, dict):
        raise ValueError("has no upload_metadata, or no info, that is an object")
    for key in _KNOWN_KEYS:
        if not isinstance(metadata.get(key), (str, int)) or metadata[key] == "":
            raise ValueError(f"has no {key} in its upload_metadata")
    if metadata["#capture_id"] != capture_id:
        raise ValueError(f"its #capture_id is {metadata['#capture_id']}")
    number = str(metadata["#capture"])
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        raise ValueError(f"its #capture is {number!r}, not a whole number")
    if isinstance(images, dict):
        images = images.get("original_images")
    if not isinstance(images, list) or not images or not all(isinstance(i, str) and i for i in images):
        raise ValueError("has no list of images")
    return metadata, info, images


def _subject_id(value: Any) -> int | None:
    text_of = str(value).strip()
    return int(text_of) if text_of.isascii() and text_of.isdigit() and len(text_of) < 16 else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _prepare(connection: Connection) -> None:
    connection.execute(text("DROP TABLE IF EXISTS side"))
    connection.execute(text(_SIDE))
    connection.execute(text("CREATE INDEX side_capture ON side (capture_id)"))


def _put_sides(connection: Connection, reader: _ManifestReader) -> None:
    _insert_sides(connection, reader.sides)
    reader.sides = []


def _insert_sides(connection: Connection, sides: list[tuple[Any, ...]]) -> None:
    if sides:
        connection.exec_driver_sql(f"INSERT INTO side VALUES ({', '.join('?' * len(sides[0]))})", sides)


def _season_texts(connection: Connection, name: str, known: Any) -> tuple[str, str]:
    """Return the season's attribution and license, of which every capture must carry the same."""
    rows = connection.execute(
        text(
            "SELECT attribution, license, min(row) AS row, capture_id FROM side"
            " GROUP BY attribution, license ORDER BY 3 LIMIT 2"
        )
    ).all()
    for row in rows[1:] if known is None else rows:
        expected = rows[0] if known is None else known
        for what in ("attribution", "license"):
            if getattr(row, what) != getattr(expected, what):
                raise InputError(
                    f"{name}, entry {row.row}: capture {row.capture_id} has the {what} {getattr(row, what)!r}, "
                    f"the season {getattr(expected, what)!r}; nothing was changed"
                )
    return str(rows[0].attribution), str(rows[0].license)


def _put_captures(connection: Connection, name: str, season_id: int, run_id: int, report: ImportReport) -> bool:
    """Add the captures that the ledger does not hold, and compare the others; tell whether there were new ones."""
    stray = connection.execute(
        text(
            "SELECT s.capture_id, n.name FROM side s JOIN capture c ON c.capture_id = s.capture_id"
            " JOIN season n ON n.id = c.season_id WHERE c.season_id <> :season LIMIT 1"
        ),
        {"season": season_id},
    ).first()
    if stray is not None:
        raise InputError(
            f"{name}: capture {stray.capture_id} belongs to season {stray.name} in the ledger; nothing was changed"
        )
    usable = "i.problem IS NULL"
    different = connection.execute(
        text(
            f"""
            SELECT capture_id FROM (
                SELECT c.capture_id FROM incoming n JOIN capture c ON c.capture_id = n.capture_id
                WHERE NOT EXISTS (SELECT 1 FROM image i WHERE i.capture_id = c.id AND i.path = n.path AND {usable})
              UNION
                SELECT c.capture_id FROM side s JOIN capture c ON c.capture_id = s.capture_id
                JOIN image i ON i.capture_id = c.id AND {usable}
                WHERE NOT EXISTS (SELECT 1 FROM incoming n WHERE n.capture_id = c.capture_id AND n.path = i.path)
            ) d ORDER BY 1
            """
        )
    ).scalars()
    for capture_id in different:
        report.differing += 1
        if report.differing <= MOST_EXAMPLES:
            report.examples.append(f"{capture_id}: the ledger has other images of it, and keeps them")
    connection.execute(text("DELETE FROM incoming WHERE capture_id IN (SELECT capture_id FROM capture)"))
    report.images_missing = _count(connection, "incoming WHERE problem IS NOT NULL")
    for row in connection.execute(
        text(f"SELECT path, problem_reason FROM incoming WHERE problem IS NOT NULL LIMIT {MOST_EXAMPLES}")
    ):
        report.examples.append(f"{row.path}: {row.problem_reason}")
    counts = ManifestReport(report.season)
    merge(connection, name, season_id, run_id, False, counts)
    report.new = counts.captures_new
    return bool(report.new)


def _put_predictions(
    connection: Connection, name: str, season_id: int, batch: str, run_id: int, report: ImportReport
) -> None:
    """Take over the predictions of captures that have none, and whether there were to be any."""
    if _count(connection, "side WHERE machine IS NOT NULL OR predictions IS NOT NULL") == 0:
        return
    without = "NOT EXISTS (SELECT 1 FROM prediction p WHERE p.capture_id = c.id)"
    query = text(
        "SELECT c.id, s.predictions FROM side s JOIN capture c ON c.capture_id = s.capture_id"
        f" WHERE s.predictions IS NOT NULL AND c.subject_id IS NULL AND {without} AND c.id > :last"
        f" ORDER BY c.id LIMIT {_CHUNK}"
    )
    rows = connection.execute(query, {"last": 0}).all()
    noted = connection.execute(
        text(
            "SELECT 1 FROM prediction_file WHERE source = :source AND season_id = :season AND batch = :batch"
            " LIMIT 1"
        ),
        {"source": SOURCE, "season": season_id, "batch": batch},
    ).first()
    if not rows and noted is not None:
        return
    connection.execute(
        text(
            "INSERT INTO prediction_file (season_id, batch, source, format, path, settings, run_id, made_at)"
            " VALUES (:season, :batch, :source, 'legacy-manifest', :path, '{}', :run, :at)"
        ),
        {
            "season": season_id, "batch": batch, "source": SOURCE, "path": os.path.abspath(name), "run": run_id,
            "at": now(),
        },
    )  # fmt: skip
    file_id = connection.execute(text("SELECT max(id) FROM prediction_file")).scalar_one()
    moment = now()
    insert = (
        "INSERT INTO prediction (capture_id, source, metadata, run_id, made_at, file_id, machine_animal,"
        " machine_person, machine_vehicle, machine_blank, machine_species, machine_species_confidence)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    while rows:
        part = []
        for key, predictions in rows:
            found = scores_of(json.loads(predictions))
            part.append(
                (
                    key, SOURCE, predictions, run_id, moment, file_id, found.animal, found.person, found.vehicle,
                    found.blank, found.species, found.species_confidence,
                )
            )  # fmt: skip
        connection.exec_driver_sql(insert, part)
        report.predicted += len(part)
        rows = connection.execute(query, {"last": rows[-1].id}).all()
    note_predicted(
        connection,
        run_id,
        text(f"id IN (SELECT capture_id FROM prediction WHERE run_id = {int(run_id)})"),
    )


def _put_into_batch(connection: Connection, season_id: int, batch: str, run_id: int) -> int:
    """Put the file's captures into its batch, in its order; `complete` takes only those that have none."""
    key = connection.execute(
        text("SELECT id FROM batch WHERE season_id = :season AND name = :name"),
        {"season": season_id, "name": batch},
    ).scalar()
    if key is None:
        connection.execute(
            text("INSERT INTO batch (season_id, name, created_at) VALUES (:season, :name, :at)"),
            {"season": season_id, "name": batch, "at": now()},
        )
        key = connection.execute(text("SELECT max(id) FROM batch")).scalar_one()
    which = "capture_id IN (SELECT capture_id FROM side)"
    if batch == COMPLETE:
        which += " AND batch_id IS NULL"
    connection.execute(text("DROP TABLE IF EXISTS place"))
    connection.execute(
        text(
            "CREATE TEMP TABLE place AS SELECT c.id, s.row AS place"
            " FROM side s JOIN capture c ON c.capture_id = s.capture_id WHERE c.batch_id IS NOT :batch"
            + (" AND c.batch_id IS NULL" if batch == COMPLETE else "")
        ),
        {"batch": key},
    )
    connection.execute(text("CREATE INDEX place_id ON place (id)"))
    moved = note_batched(connection, run_id, int(key), text(which))
    connection.execute(
        text(
            "UPDATE capture SET position = (SELECT p.place FROM place p WHERE p.id = capture.id)"
            " WHERE batch_id = :batch AND id IN (SELECT id FROM place)"
        ),
        {"batch": key},
    )
    # `complete` loses its captures to the batches it was split into, as in `ctstate batch`.
    connection.execute(
        text(
            "DELETE FROM batch WHERE season_id = :season AND subject_set_id IS NULL AND lease_run_id IS NULL"
            " AND id NOT IN (SELECT batch_id FROM capture WHERE batch_id IS NOT NULL)"
        ),
        {"season": season_id},
    )
    return moved


def _note_claims(connection: Connection, name: str, run_id: int, report: ImportReport) -> None:
    """Write down what the file says is uploaded, and keep those captures from being uploaded again."""
    said = "side s JOIN capture c ON c.capture_id = s.capture_id WHERE s.uploaded = 1"
    report.confirmed = _count(connection, f"{said} AND c.subject_id = s.subject_id")
    report.conflicting = _count(connection, f"{said} AND c.subject_id <> s.subject_id")
    for row in connection.execute(
        text(
            f"SELECT c.capture_id, c.subject_id AS here, s.subject_id AS there FROM {said}"
            f" AND c.subject_id <> s.subject_id LIMIT {MOST_EXAMPLES}"
        )
    ):
        report.examples.append(
            f"{row.capture_id}: its subject is {row.here} in the ledger, {row.there} in the file"
        )
    report.uploading = _count(connection, f"{said} AND c.state = 'uploading'")
    report.claimed = connection.execute(
        text(
            f"""
            INSERT INTO legacy_subject (capture_id, subject_id, subject_set_id, subject_set_name, upload_time,
                                        source_file, run_id, imported_at)
            SELECT c.id, s.subject_id, max(s.subject_set_id), max(s.subject_set_name), max(s.upload_time),
                   :file, :run, :at
            FROM {said} AND (c.subject_id IS NULL OR c.subject_id <> s.subject_id) AND NOT EXISTS (
                SELECT 1 FROM legacy_subject l WHERE l.capture_id = c.id AND l.subject_id IS s.subject_id)
            GROUP BY c.id, s.subject_id ORDER BY min(s.row)
            """
        ),
        {"file": os.path.abspath(name), "run": run_id, "at": now()},
    ).rowcount
    exclusions.exclude_claimed(connection)


def _count(connection: Connection, what: str, **parameters: Any) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {what}"), parameters).scalar_one())
