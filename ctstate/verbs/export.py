"""The ledger -> files for other programs (`ctstate export`).

Legacy files (docs/legacy-formats.md, sections 2, 3) equal as JSON what the old scripts write for the same
captures, one capture a line, in the same order: of a batch in the order of its split, else sorted by the text
`season#site#roll#%05d`. Excluded captures are not in them, but for those that old scripts are said to have
uploaded. A manifest says `uploaded: false` of every capture, as before an upload; who goes back to the old scripts
takes the tracker file along, by which they skip what is there already.

A file is written beside its place and moved there when it is whole.
"""

import contextlib
import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from ctstate.capture import Capture
from ctstate.errors import UsageError
from ctstate.ledger import Ledger
from ctstate.ledger.claims import read_captures
from ctstate.ledger.exclusions import CLAIMED_BY_OLD_SCRIPTS
from ctstate.zooniverse.subject import anonymized, upload_metadata

COMPLETE = "complete"
_PAGE = 500


@dataclass
class ExportReport:
    """Which file was written, and how many captures (or images) are in it."""

    file: Path
    count: int = 0


@dataclass(frozen=True)
class Whereabouts:
    """What SpeciesNet may be told of where the images were taken; an empty field is left out.

    Attributes:
        country: ISO 3166-1 alpha-3, such as ZAF.
        admin1_region: such as a state of the USA, two letters.
        latitude, longitude: in degrees.
    """

    country: str | None = None
    admin1_region: str | None = None
    latitude: float | None = None
    longitude: float | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields that are given."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass
class _Uploaded:
    """What is known of a capture's subject, from the ledger or from old scripts' files."""

    subject_id: int | None
    subject_set_id: int | None
    subject_set_name: str | None
    upload_time: str


@dataclass
class _Page:
    """Some captures with all that a manifest says of them."""

    rows: list[Capture]
    machine: Mapping[int, bool | None] = field(default_factory=dict)
    uploaded: Mapping[int, _Uploaded] = field(default_factory=dict)


def export_manifest(
    ledger: Ledger,
    season: str | None = None,
    batch: str | None = None,
    *,
    folder: str | os.PathLike[str] = ".",
    uploaded: bool = False,
) -> ExportReport:
    """Write the legacy manifest of a season (as batch `complete`), or of one batch.

    Args:
        ledger: the ledger.
        season: manifest id; may be left out where the ledger holds one.
        batch: name of a batch.
        folder: where the file goes; its name is ID__BATCH__manifest.json.
        uploaded: write the manifest as it is after an upload, ID__BATCH__manifest_uploaded.json.

    Raises:
        UsageError: no such season, batch or folder.
    """
    found = ledger.season(season)
    name = f"{found.name}__{batch or COMPLETE}__manifest{'_uploaded' if uploaded else ''}.json"
    report = ExportReport(_in_folder(folder, name))
    with _written(report.file) as stream:
        for page in _pages(ledger, found.id, batch):
            for row in page.rows:
                stream.write(",\n" if report.count else "{")
                there = page.uploaded.get(row.id) if uploaded else None
                entry = json.dumps(_entry(row, page.machine.get(row.id), there))
                stream.write(f"{json.dumps(row.capture_id)}:{entry}")
                report.count += 1
        stream.write("}" if report.count else "{}")
    return report


def export_tracker(
    ledger: Ledger,
    season: str | None = None,
    batch: str | None = None,
    *,
    folder: str | os.PathLike[str] = ".",
) -> ExportReport:
    """Write the legacy upload tracker file, ID__BATCH__upload_tracker_file.txt: what the old scripts are to skip.

    Args:
        ledger, season, batch, folder: as for `export_manifest`.

    Raises:
        UsageError: no such season, batch or folder.
    """
    found = ledger.season(season)
    report = ExportReport(_in_folder(folder, f"{found.name}__{batch or COMPLETE}__upload_tracker_file.txt"))
    with _written(report.file) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["unique_id", "subject_id"])
        for page in _pages(ledger, found.id, batch):
            for row in page.rows:
                there = page.uploaded.get(row.id)
                if there is not None:
                    writer.writerow([row.capture_id, there.subject_id])
                    report.count += 1
    return report


def captures_table(
    ledger: Ledger, season: str | None = None, batch: str | None = None
) -> tuple[list[str], Iterator[Sequence[Any]]]:
    """Return the header and the rows of `v_captures`, for a CSV; by season, site, roll, capture.

    Args:
        ledger, season, batch: as for `export_manifest`; without a season, all.

    Raises:
        UsageError: no such season or batch.
    """
    season_id = None
    if season is not None or batch is not None:
        season_id = int(ledger.season(season).id)
        if batch is not None:
            ledger.batches(season_id, batch)
    keys = _keys(ledger, season_id, batch, "1")
    with ledger.read() as connection:
        header = list(connection.execute(text("SELECT * FROM v_captures LIMIT 0")).keys())
    return header, _table_rows(ledger, keys)


def _table_rows(ledger: Ledger, keys: list[int]) -> Iterator[Sequence[Any]]:
    for part in _parts(keys):
        with ledger.read() as connection:
            rows = connection.execute(
                text(
                    "SELECT v.*, c.id AS key_of_row FROM capture c JOIN v_captures v ON v.capture_id = c.capture_id"
                    f" WHERE c.id IN ({', '.join(map(str, part))})"
                )
            ).all()
        by_key = {row.key_of_row: tuple(row)[:-1] for row in rows}
        yield from (by_key[key] for key in part if key in by_key)


def export_captures(
    ledger: Ledger,
    file: str | os.PathLike[str],
    season: str | None = None,
    batch: str | None = None,
    *,
    excel: bool = False,
) -> ExportReport:
    """Write `v_captures` as CSV in UTF-8, one row per capture.

    Args:
        ledger, season, batch: as for `captures_table`.
        file: where to.
        excel: begin with a byte order mark, without which Excel takes UTF-8 for something else.

    Raises:
        UsageError: no such season or batch, or no such folder.
    """
    header, rows = captures_table(ledger, season, batch)
    report = ExportReport(Path(file))
    with _written(report.file) as stream:
        if excel:
            stream.write("\ufeff")
        writer = csv.writer(stream, lineterminator="\r\n" if excel else "\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow(row)
            report.count += 1
    return report


def export_speciesnet_instances(
    ledger: Ledger,
    file: str | os.PathLike[str],
    season: str | None = None,
    batch: str | None = None,
    *,
    whereabouts: Whereabouts = Whereabouts(),
) -> ExportReport:
    """Write the file that SpeciesNet takes (`--instances_json`): every usable image, with its whole path.

    docs/formats-ml-and-exchange.md, section 3.

    Args:
        ledger, season, batch: as for `export_manifest`.
        file: where to.
        whereabouts: the same for every image.

    Raises:
        UsageError: no such season, batch or folder.
    """
    found = ledger.season(season)
    report = ExportReport(Path(file))
    more = whereabouts.fields()
    with _written(report.file) as stream:
        stream.write('{"instances": [')
        for page in _pages(ledger, found.id, batch):
            for row in page.rows:
                for image in row.images:
                    place = os.path.join(found.images_root or "", image.path)
                    entry = json.dumps({"filepath": place, **more}, ensure_ascii=False)
                    stream.write(f"{',' if report.count else ''}\n{entry}")
                    report.count += 1
        stream.write("\n]}\n")
    return report


def _entry(row: Capture, machine: bool | None, there: _Uploaded | None) -> dict[str, Any]:
    info: dict[str, Any] = {"uploaded": there is not None}
    if machine is not None:
        info["machine_learning"] = machine
    if there is not None:
        info["subject_set_id"] = "" if there.subject_set_id is None else str(there.subject_set_id)
        info["subject_set_name"] = there.subject_set_name or ""
        info["upload_time"] = there.upload_time
        info["subject_id"] = "" if there.subject_id is None else str(there.subject_id)
        info["anonymized_capture_id"] = anonymized(row.capture_id)
    return {"upload_metadata": upload_metadata(row), "info": info, "images": [image.path for image in row.images]}


def _keys(ledger: Ledger, season_id: int | None, batch: str | None, condition: str) -> list[int]:
    """Return the captures' keys, in the order of the file; a list of numbers, as a page is read for each 500."""
    parts = [condition]
    if season_id is not None:
        parts.append(f"c.season_id = {int(season_id)}")
    order = "c.season || '#' || c.site || '#' || c.roll || '#' || printf('%05d', c.capture_number), c.capture_id"
    if batch is not None:
        parts.append("b.name = :batch")
        order = f"c.position IS NULL, c.position, {order}"
    with ledger.read() as connection:
        return list(
            connection.execute(
                text(
                    "SELECT c.id FROM capture c LEFT JOIN batch b ON b.id = c.batch_id"
                    f" WHERE {' AND '.join(parts)} ORDER BY {order}"
                ),
                {} if batch is None else {"batch": batch},
            ).scalars()
        )


def _parts(keys: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(keys), _PAGE):
        yield keys[start : start + _PAGE]


def _pages(ledger: Ledger, season_id: int, batch: str | None) -> Iterator[_Page]:
    if batch is not None:
        ledger.batches(season_id, batch)
    condition = f"(c.excluded IS NULL OR c.state = 'uploaded' OR c.excluded = '{CLAIMED_BY_OLD_SCRIPTS}')"
    for part in _parts(_keys(ledger, season_id, batch, condition)):
        with ledger.read() as connection:
            yield _Page(read_captures(connection, part), _machine(connection, part), _uploaded(connection, part))


def _machine(connection: Connection, part: list[int]) -> dict[int, bool | None]:
    """Tell of each capture whether it has predictions; None where none were ever asked for."""
    asked = (
        "EXISTS (SELECT 1 FROM prediction_file f WHERE (f.season_id IS NULL OR f.season_id = c.season_id)"
        " AND (f.batch IS NULL OR f.batch = b.name))"
    )
    rows = connection.execute(
        text(
            "SELECT c.id, EXISTS (SELECT 1 FROM prediction p WHERE p.capture_id = c.id) AS has,"
            f" {asked} AS asked FROM capture c LEFT JOIN batch b ON b.id = c.batch_id"
            f" WHERE c.id IN ({', '.join(map(str, part))})"
        )
    )
    return {row.id: True if row.has else (False if row.asked else None) for row in rows}


def _uploaded(connection: Connection, part: list[int]) -> dict[int, _Uploaded]:
    among = f"c.id IN ({', '.join(map(str, part))})"
    there = {
        row.id: _Uploaded(row.subject_id, row.subject_set_id, row.subject_set_name, _local(row.moved_at))
        for row in connection.execute(
            text(
                "SELECT c.id, c.subject_id, c.moved_at, b.subject_set_id, b.subject_set_name FROM capture c"
                f" LEFT JOIN batch b ON b.id = c.batch_id WHERE c.state = 'uploaded' AND {among}"
            )
        )
    }
    for row in connection.execute(
        text(
            "SELECT c.id, l.subject_id, l.subject_set_id, l.subject_set_name, l.upload_time FROM legacy_subject l"
            " JOIN capture c ON c.id = l.capture_id WHERE l.checked_at IS NULL AND c.subject_id IS NULL"
            f" AND {among} ORDER BY l.id"
        )
    ):
        there[row.id] = _Uploaded(row.subject_id, row.subject_set_id, row.subject_set_name, row.upload_time or "")
    return there


def _local(moment: str) -> str:
    """Return a time of the ledger's as the old scripts write it: local, YYYYMMDDHHMMSS."""
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).astimezone().strftime("%Y%m%d%H%M%S")


def _in_folder(folder: str | os.PathLike[str], name: str) -> Path:
    place = Path(folder)
    if not place.is_dir():
        raise UsageError(f"{place}: no such folder")
    return place / name


@contextlib.contextmanager
def _written(file: Path) -> Iterator[IO[str]]:
    """A file to write, which is in its place only when all of it is."""
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file}: the folder {file.absolute().parent} does not exist")
    if file.is_dir():
        raise UsageError(f"{file}: that is a folder; name a file in it")
    if file.exists() and not file.is_file():  # /dev/stdout
        with open(file, "w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with open(beside, "w", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, file)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
