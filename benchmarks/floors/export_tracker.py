"""Floor of `ctstate export tracker`: one SELECT, one CSV.

python benchmarks/floors/export_tracker.py LEDGER FILE
"""

import csv
import sys

from common import clocked, open_ledger


def export(ledger: str, file: str) -> int:
    connection = open_ledger(ledger)
    with open(file, "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("unique_id", "subject_id"))
        rows = connection.execute(
            "SELECT capture_id, subject_id FROM capture WHERE state = 'uploaded' ORDER BY season || '#' || site ||"
            " '#' || roll || '#' || substr(capture_number + 100000, 2), capture_id"
        ).fetchall()
        writer.writerows(rows)
    connection.close()
    return len(rows)


clocked(export, *sys.argv[1:])
