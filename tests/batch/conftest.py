"""A ledger with a season in it, filled without the detour over a CSV."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

Key = tuple[str, str, int]
"""site, roll, capture"""


@pytest.fixture
def write(ledger_path: Path) -> Callable[..., None]:
    """`write("UPDATE ...", ...)`: past all of ctstate, but not past the ledger's triggers."""

    def do(*statements: str) -> None:
        with contextlib.closing(sqlite3.connect(ledger_path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return do


@pytest.fixture
def season(ledger_path: Path, empty_ledger: Path) -> Callable[..., list[str]]:
    """`season(keys)`: put captures into a new ledger, in that order; returns their ids."""

    def fill(keys: Iterable[Key], name: str = "S") -> list[str]:
        if not ledger_path.exists():
            shutil.copy(empty_ledger, ledger_path)
        ids = []
        with contextlib.closing(sqlite3.connect(ledger_path)) as connection:
            made = connection.execute(
                "INSERT INTO season (name, attribution, license, created_at) VALUES (?, 'a', 'l', '2026')", (name,)
            )
            for site, roll, capture in keys:
                ids.append(f"{name}#{site}#{roll}#{capture}")
                values: tuple[Any, ...] = (ids[-1], made.lastrowid, name, site, roll, str(capture), capture)
                connection.execute(
                    "INSERT INTO capture (capture_id, season_id, season, site, roll, capture, capture_number,"
                    " state, moved_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'manifested', '2026')",
                    values,
                )
            connection.commit()
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
