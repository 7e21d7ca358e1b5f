"""Floor of `ctstate.ledger.claims`: the same transactions with the same triggers, by the driver alone."""

import sqlite3
from collections.abc import Callable

from common import RUN, open_ledger

_MINE = " WHERE id = ? AND claim = ? AND state = 'uploading'"


class Worker:
    """Claims captures, and writes down what becomes of them."""

    def __init__(self, path: str) -> None:
        self.connection = open_ledger(path)
        self.run_id = 0

    def begin(self) -> sqlite3.Connection:
        """Take the write lock."""
        self.connection.execute("BEGIN IMMEDIATE")
        return self.connection

    def start(self) -> None:
        self.run_id = int(self.begin().execute(RUN, ("upload",)).lastrowid or 0)
        self.connection.execute("UPDATE run SET watermark = 0 WHERE id = ?", (self.run_id,))
        self.connection.execute("COMMIT")

    def round(self, size: int, waited: Callable[[Callable[[], object]], object]) -> int:
        """Claim and write down as an upload does, in three transactions; return how many captures."""
        waited(self.begin)
        ask = self.connection.execute
        ask("SELECT id FROM run WHERE id = ? AND ended_at IS NULL", (self.run_id,)).fetchone()
        keys = [
            key
            for (key,) in ask(
                "SELECT id FROM capture WHERE season_id = 1 AND batch_id = 1 AND state = 'batched'"
                " AND excluded IS NULL ORDER BY id LIMIT ?",
                (size,),
            )
        ]
        marks = ",".join("?" * len(keys))
        ask(
            "UPDATE capture SET state = 'uploading', run_id = ?, moved_at = 't1', reason = NULL, claim = claim + 1"
            f" WHERE id IN ({marks})",
            (self.run_id, *keys),
        )
        claimed = ask(
            "SELECT c.id, c.claim, c.ambiguous_at, c.create_run_id, c.create_floor, c.capture_id, c.season, c.site,"
            " c.roll, c.capture, c.metadata, c.subject_id, c.state, s.attribution, s.license FROM capture c"
            f" JOIN season s ON s.id = c.season_id WHERE c.id IN ({marks})",
            keys,
        ).fetchall()
        ask(
            f"SELECT capture_id, id, rank, path, md5, arrived_at FROM image WHERE capture_id IN ({marks})"
            " AND problem IS NULL ORDER BY capture_id, rank",
            keys,
        ).fetchall()
        ask(f"SELECT capture_id, metadata FROM prediction WHERE capture_id IN ({marks})", keys).fetchall()
        ask("COMMIT")
        waited(self.begin)
        self.connection.executemany(
            "UPDATE capture SET create_run_id = ?, create_sent_at = 't2', create_floor = 1, ambiguous_at = NULL"
            + _MINE,
            [(self.run_id, row[0], row[1]) for row in claimed],
        )
        ask("COMMIT")
        waited(self.begin)
        self.connection.executemany(
            "UPDATE capture SET subject_id = ?, create_run_id = NULL, create_sent_at = NULL, create_floor = NULL,"
            " ambiguous_at = NULL" + _MINE,
            [(row[0], row[0], row[1]) for row in claimed],
        )
        ask("UPDATE run SET watermark = ? WHERE id = ? AND watermark < ?", (keys[-1], self.run_id, keys[-1]))
        self.connection.executemany(
            "UPDATE capture SET state = 'uploaded', moved_at = 't3', reason = NULL, ambiguous_at = NULL" + _MINE,
            [(row[0], row[1]) for row in claimed],
        )
        ask("COMMIT")
        return len(keys)
