"""Floor of `ctstate batch`: the shuffled list as a staged table, and one UPDATE.

python benchmarks/floors/batch.py LEDGER BATCHES
"""

import random
import sys

from common import RUN, clocked, open_ledger


def batch(ledger: str, batches: str) -> int:
    connection = open_ledger(ledger)
    connection.execute("BEGIN IMMEDIATE")
    run = connection.execute(RUN, ("batch",)).lastrowid
    keys = [
        key
        for (key,) in connection.execute(
            "SELECT id FROM capture ORDER BY season || '#' || site || '#' || roll || '#'"
            " || substr(capture_number + 100000, 2), capture_id"
        )
    ]
    random.Random(123).shuffle(keys)
    connection.execute("CREATE TEMP TABLE place (key INTEGER PRIMARY KEY, batch, position)")
    for number in range(int(batches)):
        made = connection.execute(
            "INSERT INTO batch (season_id, name, created_at) VALUES (1, ?, 't')", (f"batch_{number + 1}",)
        ).lastrowid
        part = keys[round(number * len(keys) / int(batches)) : round((number + 1) * len(keys) / int(batches))]
        connection.executemany(
            "INSERT INTO place VALUES (?, ?, ?)",
            ((key, made, position) for position, key in enumerate(part, 1)),
        )
    count = connection.execute(
        "UPDATE capture SET state = 'batched', run_id = ?, moved_at = 't3',"
        " (batch_id, position) = (SELECT batch, position FROM place WHERE key = capture.id)"
        " WHERE id IN (SELECT key FROM place)",
        (run,),
    ).rowcount
    connection.execute("COMMIT")
    connection.close()
    return count


clocked(batch, *sys.argv[1:])
