"""`ctstate copy` of a large ledger: from a file to a server, back, and from file to file.

    python benchmarks/moving.py [--captures 1000000] [--folder /data] --server postgresql+psycopg://USER@HOST/NAME

The database is empty before and holds a ledger after. Each capture has two images, predictions and the four moves
of an upload. Each copy runs in a process of its own: seconds, CPU of the process (the server's apart), its peak MB.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import text

from ctstate.ledger import Ledger
from ctstate.verbs.copy import copy

SEASON = (
    "INSERT INTO season (id, name, attribution, license, created_at) VALUES (1, 'SER_S1', 'a', 'l', 't')",
    "INSERT INTO batch (id, season_id, name, created_at) VALUES (1, 1, 'complete', 't')",
    "WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < :count)"
    " INSERT INTO capture (id, capture_id, season_id, season, site, roll, capture, capture_number, state, run_id,"
    " moved_at) SELECT k, 'SER_S1#S' || (k % 225) || '#1#' || k, 1, 'SER_S1', 'S' || (k % 225), '1', k, k,"
    " 'manifested', 1, '2026-11-23T19:02:43.123456Z' FROM n",
    "INSERT INTO image (capture_id, rank, path, md5, bytes, arrived_at) SELECT c.id, r.rank,"
    " 'SER_S1/' || c.site || '/' || c.site || '_R1/SER_S1_' || c.site || '_R1_IMAG' || c.id || '_' || r.rank"
    " || '.JPG',"
    " lower(hex(randomblob(16))), 200000 + c.id, '2026-11-23T19:02:43.123456Z'"
    " FROM capture c, (SELECT 1 AS rank UNION ALL SELECT 2) r",
    "INSERT INTO prediction (capture_id, source, metadata, run_id, made_at, machine_animal, machine_person)"
    ' SELECT id, \'megadetector\', \'{"#machine_animal": "0.95", "#machine_person": "0.02"}\', 1, \'t\','
    " abs(random() % 1000) / 1000.0, abs(random() % 1000) / 1000.0 FROM capture",
    "UPDATE capture SET state = 'batched', batch_id = 1, moved_at = '1'",
    "UPDATE capture SET state = 'uploading', claim = 1, moved_at = '2'",
    "UPDATE capture SET state = 'uploaded', subject_id = 100000000 + id, moved_at = '3'",
)


class Took(NamedTuple):
    """What a copy took."""

    seconds: float
    cpu: float
    megabytes: float
    rows: int


def fill(path: str, captures: int) -> None:
    """Make a ledger of a season that is uploaded."""
    with Ledger.open(path, create=True) as ledger, ledger.atomic_run("fill", {}) as (connection, _):
        for statement in SEASON:
            connection.execute(text(statement), {"count": captures} if ":count" in statement else {})


def measured(source: str, target: str) -> Took:
    """Copy; to be called in a process of its own."""
    began = time.monotonic()
    moved = copy(source, target)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Took(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, moved.rows)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", type=int, default=1_000_000)
    parser.add_argument("--server", required=True)
    parser.add_argument("--folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        first, second, third = (str(Path(folder) / f"{name}.db") for name in ("first", "second", "third"))
        fill(first, given.captures)
        print(f"{given.captures:,} captures, a file of {Path(first).stat().st_size / 1e6:,.0f} MB", flush=True)
        print(f"{'':<17}{'rows':>11}{'seconds':>9}{'CPU':>7}{'rows/s':>9}{'MB':>6}")
        for name, source, target in (
            ("file to server", first, given.server),
            ("server to file", given.server, second),
            ("file to file", second, third),
        ):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                took = pool.apply(measured, (source, target))
            print(
                f"{name:<17}{took.rows:>11,}{took.seconds:>9.0f}{took.cpu:>7.0f}"
                f"{took.rows / took.seconds:>9,.0f}{took.megabytes:>6.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
