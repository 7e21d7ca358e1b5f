"""A ledger with a season in it, filled without the detour over a CSV."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.builders.ledgers import is_ledger, make_empty, raw

Key = tuple[str, str, int]
"""site, roll, capture"""


@pytest.fixture
def write(ledger_path: Path) -> Callable[..., None]:
    """`write("UPDATE ...", ...)`: past all of ctstate, but not past the ledger's triggers."""

    def do(*statements: str) -> None:
        with raw(ledger_path) as connection:
            for statement in statements:
                connection.execute(statement)

    return do


@pytest.fixture
def season(ledger_path: Path) -> Callable[..., list[str]]:
    """`season(keys)`: put captures into a new ledger, in that order; returns their ids."""

    def fill(keys: Iterable[Key], name: str = "S") -> list[str]:
        if not is_ledger(ledger_path):
            make_empty(ledger_path)
        ids = []
        with raw(ledger_path) as connection:
            connection.execute(
                "INSERT INTO season (name, attribution, license, created_at) VALUES (?, 'a', 'l', '2026')", (name,)
            )
            ((season_id,),) = connection.execute("SELECT id FROM season WHERE name = ?", (name,)).fetchall()
            for site, roll, capture in keys:
                ids.append(f"{name}#{site}#{roll}#{capture}")
                values: tuple[Any, ...] = (ids[-1], season_id, name, site, roll, str(capture), capture)
                connection.execute(
                    "INSERT INTO capture (capture_id, season_id, season, site, roll, capture, capture_number,"
                    " state, moved_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'manifested', '2026')",
                    values,
                )
        return ids

    return fill


@pytest.fixture
def batches(ask: Any) -> Callable[..., dict[str, set[str]]]:
    """What is in each batch."""

    def read() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, capture_id in ask(
            "SELECT b.name, c.capture_id FROM batch b LEFT JOIN capture c ON c.batch_id = b.id ORDER BY b.id, c.id"
        ):
            found.setdefault(name, set()).add(capture_id)
        return found

    return read
