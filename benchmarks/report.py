"""`ctstate report` of a large season: how long, how large, how much memory, and its longest read transaction.

    python benchmarks/report.py [--captures 1000000] [--folder /data] [--times 3]

225 sites for 200 days; each capture has two images, predictions and the four moves of an upload; one in a hundred
has failed, one in twenty is excluded, one in twenty is still to come. Each report runs in a process of its own.
"""

import argparse
import contextlib
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from sqlalchemy import text

from ctstate.ledger import Ledger
from ctstate.ledger.counts import counted_once
from ctstate.verbs.report import report

AT = "'2026-11-' || substr('0' || (1 + ((id / 40000) % 25)), -2) || 'T' || substr('0' || ((id / 1700) % 24), -2)"
UP = "excluded IS NULL AND id % 20 <> 1"
SEASON = (
    "INSERT INTO season (id, name, attribution, license, created_at) VALUES (1, 'SER_S1', 'a', 'l', 't')",
    "INSERT INTO batch (id, season_id, name, created_at) VALUES (1, 1, 'complete', 't')",
    "WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < :count)"
    " INSERT INTO capture (id, capture_id, season_id, season, site, roll, capture, capture_number, state, run_id,"
    " moved_at, excluded, taken_at) SELECT k, 'SER_S1#S' || (k % 225) || '#1#' || k, 1, 'SER_S1', 'S' || (k % 225),"
    " '1', k, k, 'manifested', 1, '2026-11-23T19:02:43.123456Z', CASE WHEN k % 20 = 0 THEN 'people' END,"
    " date('2026-01-01', '+' || ((k / 225) * 200 / (:count / 225 + 1)) || ' days') || 'T05:00:00' FROM n",
    "INSERT INTO image (capture_id, rank, path, md5, bytes, arrived_at) SELECT c.id, r.rank,"
    " 'SER_S1/' || c.site || '/' || c.site || '_R1/SER_S1_' || c.site || '_R1_IMAG' || c.id || '_' || r.rank"
    " || '.JPG', lower(hex(randomblob(16))), 200000 + c.id % 1000, '2026-11-23T19:02:43.123456Z'"
    " FROM capture c, (SELECT 1 AS rank UNION ALL SELECT 2) r",
    "INSERT INTO prediction (capture_id, source, metadata, run_id, made_at, machine_animal, machine_person,"
    " machine_species, machine_species_confidence)"
    ' SELECT id, \'speciesnet\', \'{"#machine_animal": "0.95", "#machine_person": "0.02"}\', 1, \'t\','
    " abs(random() % 1000) / 1000.0, abs(random() % 1000) / 1000.0, 'species ' || (id % 40),"
    " abs(random() % 1000) / 1000.0 FROM capture",
    "UPDATE capture SET state = 'batched', batch_id = 1, moved_at = '1'",
    f"UPDATE capture SET state = 'uploading', claim = 1, moved_at = '2' WHERE {UP}",
    f"UPDATE capture SET state = 'uploaded', subject_id = 100000000 + id, moved_at = {AT} || ':00:00.000000Z'"
    f" WHERE {UP} AND id % 100 <> 7",
    "UPDATE capture SET state = 'failed', reason = 'broken', reason_kind = 'image_broken',"
    f" moved_at = {AT} || ':30:00.000000Z' WHERE {UP} AND id % 100 = 7",
)


class Took(NamedTuple):
    """What a report took."""

    seconds: float
    cpu: float
    megabytes: float
    reads: int
    longest: float
    size: int


def fill(path: str, captures: int) -> None:
    """Make the season's ledger."""
    with (
        Ledger.open(path, create=True) as ledger,
        ledger.atomic_run("upload", {}) as (connection, _),
        counted_once(connection, captures),
    ):
        for statement in SEASON:
            connection.execute(text(statement), {"count": captures} if ":count" in statement else {})


def measured(path: str, page: str) -> Took:
    """Make a report; to be called in a process of its own."""
    reads: list[float] = []
    read = Ledger.read

    @contextlib.contextmanager
    def watched(self: Ledger, *given: Any) -> Iterator[Any]:
        began = time.monotonic()
        with read(self, *given) as connection:
            yield connection
        reads.append(time.monotonic() - began)

    began = time.monotonic()
    with mock.patch.object(Ledger, "read", watched), Ledger.open(path, read_only=True) as ledger:
        made = report(ledger, page)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    return Took(time.monotonic() - began, cpu, used.ru_maxrss / 1024, len(reads), max(reads), made.bytes)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        ledger, page = str(Path(folder) / "ledger.db"), str(Path(folder) / "season.html")
        fill(ledger, given.captures)
        print(f"{given.captures:,} captures, a file of {Path(ledger).stat().st_size / 1e6:,.0f} MB", flush=True)
        print(f"{'seconds':>8}{'CPU':>7}{'peak MB':>9}{'page MB':>9}{'reads':>7}{'longest read s':>16}")
        for _ in range(given.times):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                took = pool.apply(measured, (ledger, page))
            print(
                f"{took.seconds:>8.1f}{took.cpu:>7.1f}{took.megabytes:>9.0f}{took.size / 1e6:>9.2f}{took.reads:>7}"
                f"{took.longest:>16.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
