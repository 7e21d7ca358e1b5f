"""Floor of `ctstate manifest`: csv, stat, one staged table, two INSERT ... SELECT. It checks nothing.

python benchmarks/floors/manifest.py LEDGER CAPTURES_CSV IMAGES_ROOT
"""

import csv
import os
import stat
import sys
from itertools import islice

from common import RUN, clocked, open_ledger


def manifest(ledger: str, captures_csv: str, root: str) -> int:
    def staged(cells: list[str]) -> tuple[object, ...]:
        season, site, roll, number, rank, path = cells[:6]
        found = os.lstat(f"{root}/{path}")
        usable = stat.S_ISREG(found.st_mode) and found.st_size
        return season, site, roll, int(number), int(rank), path, None if usable else "missing"

    connection = open_ledger(ledger)
    connection.execute("CREATE TEMP TABLE incoming (season, site, roll, number, rank, path, problem)")
    connection.execute("BEGIN IMMEDIATE")
    with open(captures_csv, newline="") as file:
        rows = csv.reader(file)
        next(rows)
        while part := [staged(cells) for cells in islice(rows, 10_000)]:
            connection.executemany("INSERT INTO incoming VALUES (?, ?, ?, ?, ?, ?, ?)", part)
    connection.execute(
        "INSERT INTO season (id, name, attribution, license, created_at) VALUES (1, 'SER_S1', 'a', 'l', 't')"
    )
    run = connection.execute(RUN, ("manifest",)).lastrowid
    count = connection.execute(
        "INSERT INTO capture (capture_id, season_id, season, site, roll, capture, capture_number, state,"
        " run_id, moved_at) SELECT season || '#' || site || '#' || roll || '#' || number, 1, season, site, roll,"
        " number, number, 'manifested', ?, 't' FROM incoming GROUP BY season, site, roll, number",
        (run,),
    ).rowcount
    connection.execute(
        "INSERT INTO image (capture_id, rank, path, problem) SELECT c.id, i.rank, i.path, i.problem FROM incoming i"
        " JOIN capture c ON c.capture_id = i.season || '#' || i.site || '#' || i.roll || '#' || i.number"
    )
    connection.execute("COMMIT")
    connection.close()
    return count


clocked(manifest, *sys.argv[1:])
