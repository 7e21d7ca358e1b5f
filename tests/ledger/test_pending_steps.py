"""What `plan` reads from the ledger: how fast the last upload was, and some images to know their size by."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from ctstate.ledger import Ledger, pending_steps, runs
from tests.builders.uploads import uploaded_by


def uploaded(ledger: Ledger, number: int, seconds: float, verb: str = "upload") -> None:
    """Let a run bring captures up, and end after so many seconds."""
    with ledger.write() as connection:
        run = runs.start(connection, verb, {})
    uploaded_by(ledger, run, number, seconds)


def test_the_last_upload_that_came_far_enough_says_how_fast_the_next_will_be(
    new_ledger: Callable[..., Ledger],
) -> None:
    ledger = new_ledger(500)

    def rate() -> float | None:
        with ledger.read() as connection:
            return pending_steps.last_rate(connection)

    assert rate() is None
    uploaded(ledger, pending_steps._ENOUGH - 1, 10)
    assert rate() is None
    uploaded(ledger, pending_steps._ENOUGH, pending_steps._ENOUGH / 4)
    assert rate() == pytest.approx(4, rel=0.2)
    uploaded(ledger, pending_steps._ENOUGH, pending_steps._ENOUGH / 8, verb="reconcile")
    uploaded(ledger, 3, 1)
    assert rate() == pytest.approx(4, rel=0.2)


def test_a_sample_is_of_images_that_are_to_go_up(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(60)
    with ledger.write() as connection:
        connection.execute(
            text("INSERT INTO season (id, name, attribution, license, created_at) VALUES (2, 'T', 'a', 'l', 't')")
        )
        connection.execute(text("UPDATE image SET path = id || '.jpg'"))
        connection.execute(text("UPDATE image SET problem = 'broken' WHERE id % 2 = 1"))
        connection.execute(text("UPDATE capture SET excluded = 'people' WHERE id BETWEEN 1 AND 20"))
    uploaded(ledger, 10, 1)  # 21 to 30

    def sample(season: int, most: int) -> list[Any]:
        with ledger.read() as connection:
            return pending_steps.sample(connection, season, most, random.Random(1))

    left = {f"{key}.jpg" for key in range(32, 61, 2)}
    found = sample(1, 200)
    assert len(found) == len(set(found))
    assert set(found) == left
    assert len(sample(1, 4)) == 4
    assert sample(2, 4) == []
