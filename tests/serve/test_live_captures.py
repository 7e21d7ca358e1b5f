"""Every way to find captures finds what a plain look at all of them finds."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import select

from ctstate.ledger import Ledger, live, live_captures
from ctstate.ledger.live_captures import EXCLUDED, NO_BATCH, Wanted, find
from ctstate.ledger.schema import batch, capture, season
from tests.builders.live_page import EMOJI, SCRIPT


def all_of(connection: live.Reading) -> Sequence[Any]:
    return connection.execute(
        select(capture, season.c.name.label("of_season"), batch.c.name.label("of_batch"))
        .select_from(capture.join(season, season.c.id == capture.c.season_id))
        .outerjoin(batch, batch.c.id == capture.c.batch_id)
        .order_by(capture.c.id)
    ).all()


def plainly(rows: Sequence[Any], wanted: Wanted) -> list[int]:
    tests: list[Callable[..., bool]] = [
        lambda row: wanted.season in ("", row.of_season),
        lambda row: wanted.batch in ("", row.of_batch or NO_BATCH),
        lambda row: wanted.site in ("", row.site),
        lambda row: (not wanted.state or (row.excluded is not None) == (wanted.state == EXCLUDED)),
        lambda row: wanted.state in ("", EXCLUDED, row.state),
        lambda row: wanted.text in row.capture_id,
        lambda row: any(wanted.reason in (words or "") for words in (row.reason, row.excluded))
        or wanted.reason == row.reason_kind or not wanted.reason,
    ]  # fmt: skip
    return [row.id for row in rows if all(test(row) for test in tests)]


def leafed(connection: live.Reading, wanted: Wanted) -> list[int]:
    keys: list[int] = []
    after: int | None = 0
    while after is not None:
        found = find(connection, wanted, after)
        assert len(found.rows) <= live_captures.ROWS
        keys += [row.key for row in found.rows]
        after = found.next
    return keys


@pytest.mark.parametrize("most", [0, 100_000], ids=["through all", "by an index"])
def test_it_finds_what_is_there(hostile: str, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(live_captures, "ROWS", 7)
    monkeypatch.setattr(live_captures, "_MOST_CELLS", most)
    monkeypatch.setattr(live_captures, "_WINDOW", most or 25)
    some = 0
    with Ledger.open(hostile, read_only=True) as ledger, ledger.read() as connection:
        rows = all_of(connection)
        for values in itertools.product(
            ("", "TST_S1", SCRIPT), ("", "batch_2", NO_BATCH), ("", EMOJI, "nowhere"),
            ("", "uploaded", "failed", EXCLUDED), ("", "image_broken", "person"), ("", "1#1"),
        ):  # fmt: skip
            wanted = Wanted(*values)
            expected = plainly(rows, wanted)
            assert leafed(connection, wanted) == expected, wanted
            some += bool(expected)
    assert some > 100


def test_it_stops_and_says_where(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_captures, "LOOK_S", 0.0)
    monkeypatch.setattr(live_captures, "_WINDOW", 25)
    with Ledger.open(hostile, read_only=True) as ledger, ledger.read() as connection:
        found = find(connection, Wanted(text="no such words"))
        assert found == ([], 25, True, 25)
        assert leafed(connection, Wanted(text="1#24")) == plainly(all_of(connection), Wanted(text="1#24"))


@pytest.mark.parametrize("looks", [1, 2])
def test_a_page_that_is_full_when_the_time_is_over_did_not_stop(
    hostile: str, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    monkeypatch.setattr(live_captures, "_SHORT_WINDOW", live_captures.ROWS // looks)
    with Ledger.open(hostile, read_only=True) as ledger, ledger.read() as connection:
        found = find(connection, Wanted(), shortly=True)
        if looks == 2:
            assert found.next is not None
            assert found.stopped
            found = live_captures.onward(found, find(connection, Wanted(), found.next, shortly=True))
        assert (len(found.rows), found.next, found.stopped) == (live_captures.ROWS, live_captures.ROWS, False)


def test_short_looks_add_up_to_a_page(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_captures, "ROWS", 7)
    monkeypatch.setattr(live_captures, "_SHORT_WINDOW", 10)
    with Ledger.open(hostile, read_only=True) as ledger, ledger.read() as connection:
        for wanted in (Wanted(), Wanted(text="1#1"), Wanted(text="no such words"), Wanted(site=EMOJI)):
            keys: list[int] = []
            after: int | None = 0
            while after is not None:
                found = find(connection, wanted, after, shortly=True)
                while found.stopped:
                    assert found.next is not None
                    assert len(found.rows) < live_captures.ROWS
                    found = live_captures.onward(found, find(connection, wanted, found.next, shortly=True))
                assert len(found.rows) <= live_captures.ROWS
                keys += [row.key for row in found.rows]
                after = found.next
            assert keys == plainly(all_of(connection), wanted), wanted


@pytest.mark.parametrize("text", ["%", "_", "/", "100%"])
def test_signs_of_a_pattern_are_text(hostile: str, text: str) -> None:
    with Ledger.open(hostile, read_only=True) as ledger, ledger.read() as connection:
        for wanted in (Wanted(text=text), Wanted(reason=text)):
            assert leafed(connection, wanted) == plainly(all_of(connection), wanted)
