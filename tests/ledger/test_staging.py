"""Rows that are staged are there as they were given, whichever of their columns hold anything."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Column, Integer, Text, select

from ctstate.ledger import Ledger
from ctstate.ledger.staging import fill, fresh, temporary

staged = temporary(
    "staged",
    Column("key", Integer, primary_key=True, autoincrement=False),
    Column("text", Text),
    Column("number", Integer),
)
alone = temporary("alone", Column("text", Text))


@pytest.mark.parametrize(
    "rows",
    [
        [(1, "a", 7), (2, "b", 8)],
        [(1, None, 7), (2, None, 8)],
        [(1, None, None), (2, "late", None), (3, None, 9)],
        [(1, None, None), (2, None, None)],
    ],
)
def test_whatever_holds_nothing(new_ledger: Callable[..., Ledger], rows: list[tuple[Any, ...]]) -> None:
    with new_ledger().connection() as connection:
        fresh(connection, staged)
        fill(connection, staged, rows)
        assert [tuple(row) for row in connection.execute(select(staged).order_by(staged.c.key))] == rows


def test_nothing_takes_the_place_of_something(new_ledger: Callable[..., Ledger]) -> None:
    with new_ledger().connection() as connection:
        fresh(connection, staged)
        fill(connection, staged, [(1, "a", 7), (2, "b", 8)], replace=True)
        fill(connection, staged, [(2, None, None), (3, None, 1), (3, None, None)], replace=True)
        found = [tuple(row) for row in connection.execute(select(staged).order_by(staged.c.key))]
        assert found == [(1, "a", 7), (2, None, None), (3, None, None)]


@pytest.mark.parametrize("rows", [[("a",), (None,)], [(None,), (None,)]])
def test_a_table_of_one_column(new_ledger: Callable[..., Ledger], rows: list[tuple[Any, ...]]) -> None:
    with new_ledger().connection() as connection:
        fresh(connection, alone)
        fill(connection, alone, rows)
        assert sorted(connection.execute(select(alone.c.text)).scalars(), key=str) == sorted(
            (text for (text,) in rows), key=str
        )
