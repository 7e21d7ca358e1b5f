"""Seasons for tests: image files, a cleaned captures CSV, and a ledger made from them."""

import csv
import os
import subprocess
from pathlib import Path
from typing import Any

from ctstate.ledger import Ledger
from ctstate.verbs.manifest import manifest
from tests.builders.command_line import called
from tests.builders.ledgers import is_ledger, make_empty, no_ledger_at, raw

ATTRIBUTION = "University of Minnesota Lion Center + Snapshot Safari"
LICENSE = "Snapshot Safari"


class SeasonFiles:
    """A folder with a season `TST_S1`: two sites (one not ASCII), captures of two images each."""

    def __init__(self, folder: Path, captures: int = 6, name: str = "TST_S1") -> None:
        self.folder = folder
        self.name = name
        self.root = folder / "images"
        self.csv = folder / f"{name}_cleaned.csv"
        self.ledger_path = no_ledger_at(folder / "ledger.db")
        self.rows: list[dict[str, Any]] = []
        for number in range(1, captures + 1):
            site = "B04" if number % 2 else "Ñandú"
            for rank in (1, 2):
                path = f"{name}/{site}/{site}_R1/{name}_{site}_R1_IMAG{number:04}_{rank}.JPG"
                self.rows.append(
                    {"season": name, "site": site, "roll": "1", "capture": number, "image": rank, "path": path}
                )
        self.write_images()
        self.write_csv()

    def write_images(self) -> None:
        for row in self.rows:
            place = self.root / row["path"]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"not looked into here")

    def write_csv(self) -> None:
        with open(self.csv, "w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)

    def capture_id(self, number: int) -> str:
        site = "B04" if number % 2 else "Ñandú"
        return f"{self.name}#{site}#1#{number}"

    def path(self, number: int, rank: int = 1) -> str:
        return next(r["path"] for r in self.rows if r["capture"] == number and r["image"] == rank)

    def load(self, **options: Any) -> Any:
        if not is_ledger(self.ledger_path):
            make_empty(self.ledger_path)
        arguments: dict[str, Any] = {"attribution": ATTRIBUTION, "license": LICENSE, "images_root": self.root}
        with self.open(create=True) as ledger:
            return manifest(ledger, self.csv, **{**arguments, **options})

    def open(self, *, create: bool = False) -> Ledger:
        return Ledger.open(self.ledger_path, create=create)

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with raw(self.ledger_path) as connection:
            return list(connection.execute(statement, parameters).fetchall())

    def do(self, statement: str, *parameters: Any) -> None:
        with raw(self.ledger_path) as connection:
            connection.execute(statement, parameters)

    def put_on_zooniverse(self, number: int, subject_id: int) -> None:
        """Bring a capture to `uploaded`, as an upload would leave it."""
        capture_id = self.capture_id(number)
        self.do(
            "INSERT INTO batch (id, season_id, name, created_at) VALUES (77, 1, 'complete', '2026-01-01')"
            " ON CONFLICT DO NOTHING"
        )
        self.do("UPDATE capture SET batch_id = coalesce(batch_id, 77) WHERE capture_id = ?", capture_id)
        self.do(
            "UPDATE capture SET state = 'batched' WHERE state IN ('manifested', 'predicted') AND capture_id = ?",
            capture_id,
        )
        self.do(
            "UPDATE capture SET state = 'uploaded', subject_id = ?, moved_at = '2026-11-23T19:02:43.123456Z'"
            " WHERE capture_id = ?",
            subject_id,
            capture_id,
        )

    def start_uploading(self, number: int) -> None:
        """Leave a capture as a live run has it."""
        capture_id = self.capture_id(number)
        self.do(
            "INSERT INTO batch (id, season_id, name, created_at) VALUES (77, 1, 'complete', '2026-01-01')"
            " ON CONFLICT DO NOTHING"
        )
        self.do(
            "UPDATE capture SET state = 'batched', batch_id = 77 WHERE state <> 'batched' AND capture_id = ?",
            capture_id,
        )
        self.do("UPDATE capture SET state = 'uploading' WHERE capture_id = ?", capture_id)

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Call the command line on this ledger."""
        where = ("--ledger", str(self.ledger_path))
        return called(*where, *arguments, environment=os.environ, folder=cwd or self.folder)

    def contents(self) -> list[Any]:
        """Everything in the ledger that a verb could have changed."""
        tables = ("season", "batch", "capture", "image", "prediction", "prediction_file", "legacy_subject", "run")
        with raw(self.ledger_path) as connection:
            return [
                (table, connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall())
                for table in (*tables, "event")
            ]
