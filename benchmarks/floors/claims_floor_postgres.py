"""Floor of `ctstate.ledger.claims` on PostgreSQL: the same transactions and triggers, by the driver alone."""

from collections.abc import Callable

import psycopg

_MINE = " WHERE id = %s AND claim = %s AND state = 'uploading'"


class Worker:
    """Claims captures, and writes down what becomes of them."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
        self.connection.execute("SET synchronous_commit = 'on'")
        self.run_id = 0

    def begin(self) -> psycopg.Connection:
        """Take the ledger's lock."""
        self.connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        self.connection.execute("SELECT pg_advisory_xact_lock(42)")
        return self.connection

    def start(self) -> None:
        row = (
            self.begin()
            .execute(
                "INSERT INTO run (verb, arguments, version, username, host, host_id, pid, pid_started, started_at,"
                " heartbeat_at, watermark) VALUES ('upload', '{}', '0', 'u', 'h', 'h', 1, '1', 't', 't', 0)"
                " RETURNING id"
            )
            .fetchone()
        )
        assert row is not None
        self.run_id = int(row[0])
        self.connection.execute("COMMIT")

    def round(self, size: int, waited: Callable[[Callable[[], object]], object]) -> int:
        """Claim and write down as an upload does, in three transactions; return how many captures."""
        waited(self.begin)
        ask = self.connection.execute
        ask("SELECT id FROM run WHERE id = %s AND ended_at IS NULL", (self.run_id,)).fetchone()
        keys = [
            key
            for (key,) in ask(
                "SELECT id FROM capture WHERE season_id = 1 AND batch_id = 1 AND state = 'batched'"
                " AND excluded IS NULL ORDER BY id LIMIT %s",
                (size,),
            )
        ]
        ask(
            "UPDATE capture SET state = 'uploading', run_id = %s, moved_at = 't1', reason = NULL, claim = claim + 1"
            " WHERE id = ANY(%s)",
            (self.run_id, keys),
        )
        claimed = ask(
            "SELECT c.id, c.claim, c.ambiguous_at, c.create_run_id, c.create_floor, c.capture_id, c.season, c.site,"
            " c.roll, c.capture, c.metadata, c.subject_id, c.state, s.attribution, s.license FROM capture c"
            " JOIN season s ON s.id = c.season_id WHERE c.id = ANY(%s)",
            (keys,),
        ).fetchall()
        ask(
            "SELECT capture_id, id, rank, path, md5, arrived_at FROM image WHERE capture_id = ANY(%s)"
            " AND problem IS NULL ORDER BY capture_id, rank",
            (keys,),
        ).fetchall()
        ask("SELECT capture_id, metadata FROM prediction WHERE capture_id = ANY(%s)", (keys,)).fetchall()
        ask("COMMIT")
        many = self.connection.cursor().executemany
        waited(self.begin)
        many(
            "UPDATE capture SET create_run_id = %s, create_sent_at = 't2', create_floor = 1, ambiguous_at = NULL"
            + _MINE,
            [(self.run_id, row[0], row[1]) for row in claimed],
        )
        ask("COMMIT")
        waited(self.begin)
        many(
            "UPDATE capture SET subject_id = %s, create_run_id = NULL, create_sent_at = NULL, create_floor = NULL,"
            " ambiguous_at = NULL" + _MINE,
            [(row[0], row[0], row[1]) for row in claimed],
        )
        ask("UPDATE run SET watermark = %s WHERE id = %s AND watermark < %s", (keys[-1], self.run_id, keys[-1]))
        many(
            "UPDATE capture SET state = 'uploaded', moved_at = 't3', reason = NULL, ambiguous_at = NULL" + _MINE,
            [(row[0], row[1]) for row in claimed],
        )
        ask("COMMIT")
        return len(keys)
