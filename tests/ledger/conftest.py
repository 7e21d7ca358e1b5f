"""Ledgers with captures in them, made in SQL: fast enough to have many."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from ctstate.ledger import Ledger
from ctstate.ledger.clock import now
from tests.builders.ledgers import count_on, new_ledger_at


def fill(ledger: Ledger, captures: int, batches: int = 1) -> None:
    """Put a season S of `captures` batched captures, one image each, into a new ledger."""
    with ledger.atomic_run("fill", {}) as (connection, run_id):
        connection.execute(
            text("INSERT INTO season (id, name, attribution, license, created_at) VALUES (1, 'S', 'a', 'l', 't')")
        )
        for number in range(1, batches + 1):
            connection.execute(
                text("INSERT INTO batch (id, season_id, name, created_at) VALUES (:n, 1, :name, 't')"),
                {"n": number, "name": f"batch_{number}"},
            )
        for key in range(1, captures + 1):
            connection.execute(
                text(
                    "INSERT INTO capture (id, capture_id, season_id, season, site, roll, capture, capture_number,"
                    " state, run_id, moved_at) VALUES (:k, :c, 1, 'S', 'A', '1', :n, :k, 'manifested', :r, :at)"
                ),
                {"k": key, "c": f"S#A#1#{key}", "n": str(key), "r": run_id, "at": now()},
            )
            connection.execute(
                text("INSERT INTO image (id, capture_id, rank, path) VALUES (:k, :k, 1, 'x.jpg')"), {"k": key}
            )
            connection.execute(
                text("UPDATE capture SET state = 'batched', batch_id = :b, moved_at = :at WHERE id = :k"),
                {"k": key, "b": (key - 1) % batches + 1, "at": now()},
            )
        count_on(connection)


@pytest.fixture
def new_ledger(tmp_path: Path) -> Iterator[Callable[..., Ledger]]:
    made: list[Ledger] = []

    def make(captures: int = 0, batches: int = 1) -> Ledger:
        ledger = Ledger.open(new_ledger_at(tmp_path / f"ledger{len(made)}.db"))
        made.append(ledger)
        if captures:
            fill(ledger, captures, batches)
        return ledger

    yield make
    for ledger in made:
        ledger.close()
