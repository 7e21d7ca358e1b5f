"""`ctstate retry`."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.builders.ledgers import make_empty


@pytest.fixture
def season(season_csv: Any, call_ctstate: Any, ledger_path: Path, row: Any) -> None:
    """1 failed with a subject, 2 failed, 3 removed, 4 deleted, 5 uploaded, 6 batched; 7 failed at another site."""
    make_empty(ledger_path)
    season_csv([row(number) for number in range(1, 7)] + [row(7, site="C")])
    call_ctstate(*season_csv.arguments())
    call_ctstate("batch", "--number-of-batches", 1)
    with contextlib.closing(sqlite3.connect(ledger_path)) as connection:
        move = "UPDATE capture SET state = '{}' WHERE capture_number "
        for statement in (
            "UPDATE capture SET state = 'uploading', run_id = 1 WHERE capture_number <> 6",
            "UPDATE capture SET subject_id = 100 + capture_number WHERE capture_number IN (1, 3, 4, 5)",
            "UPDATE image SET arrived_at = '2026' WHERE capture_id IN (SELECT id FROM capture WHERE subject_id)",
            move.format("failed") + "IN (1, 2, 7)",
            move.format("uploaded") + "IN (3, 4, 5)",
            move.format("removed") + "= 3",
            move.format("deleted") + "= 4",
        ):
            connection.execute(statement)
        connection.commit()


STATES = "SELECT capture_number, state, subject_id FROM capture ORDER BY 1"
BEFORE = [
    (1, "failed", 101), (2, "failed", None), (3, "removed", 103), (4, "deleted", 104), (5, "uploaded", 105),
    (6, "batched", None), (7, "failed", None),
]  # fmt: skip


def expected(**changes: tuple[str, Any]) -> list[tuple[Any, ...]]:
    return [(n, *changes.get(f"c{n}", rest)) for n, *rest in BEFORE]


def test_failed_ones_by_default(season: None, call_ctstate: Any, ask: Any) -> None:
    assert ask(STATES) == BEFORE
    result = call_ctstate("retry", "--reason", "the disk is back")
    assert result.code == 0
    assert "3 captures" in result.stdout
    assert ask(STATES) == expected(c1=("batched", 101), c2=("batched", None), c7=("batched", None))
    found = ask("SELECT DISTINCT reason, verb FROM v_events WHERE source = 'failed'")
    assert found == [("the disk is back", "retry")]


def test_a_removed_one_keeps_its_subject_and_a_deleted_one_does_not(
    season: None, call_ctstate: Any, ask: Any
) -> None:
    assert call_ctstate("retry", "--state", "removed", "--state", "deleted").code == 0
    assert ask(STATES) == expected(c3=("batched", 103), c4=("batched", None))
    arrived = (
        "SELECT c.capture_number FROM image i JOIN capture c ON c.id = i.capture_id WHERE arrived_at IS NOT NULL"
    )
    assert ask(f"{arrived} ORDER BY 1") == [(1,), (3,), (5,)]  # the images of 4 are to be sent anew


def test_by_site_and_by_name(season: None, call_ctstate: Any, ask: Any) -> None:
    assert "1 capture is batched" in call_ctstate("retry", "--site", "C").stdout
    assert "2 captures" in call_ctstate("retry", "TST_S1#B04#1#2", "TST_S1#B04#1#3").stdout
    assert ask(STATES) == expected(c2=("batched", None), c3=("batched", 103), c7=("batched", None))


@pytest.mark.parametrize(
    "arguments",
    [
        ("TST_S1#B04#1#99",),
        ("TST_S1#B04#1#2", "TST_S1#B04#1#5"),
        ("TST_S1#B04#1#6",),
        ("--state", "uploaded"),
        ("--season", "OTHER"),
        ("--batch", "batch_2"),
        ("--season", "TST_S1", "--batch", "complete"),
    ],
)
def test_what_needs_no_retry(
    season: None, call_ctstate: Any, ledger_path: Path, dump: Any, arguments: tuple[str, ...]
) -> None:
    before = dump(ledger_path)
    result = call_ctstate("retry", *arguments)
    result.error()
    assert result.code == 2
    assert dump(ledger_path) == before


def test_nothing_to_retry_writes_nothing(season: None, call_ctstate: Any, ledger_path: Path, dump: Any) -> None:
    call_ctstate("retry")
    before = dump(ledger_path)
    assert call_ctstate("retry").code == 0
    assert dump(ledger_path) == before


def test_many(season: None, call_ctstate: Any, ask: Any, ledger_path: Path) -> None:
    """More than a page of them, in one transaction."""
    with contextlib.closing(sqlite3.connect(ledger_path)) as connection:
        connection.executemany(
            "INSERT INTO capture (capture_id, season_id, season, site, roll, capture, capture_number, state,"
            " moved_at) VALUES (?, 1, 'TST_S1', 'D', '1', '1', 1, 'manifested', '2026')",
            [(f"many {n}",) for n in range(1200)],
        )
        for state in ("batched", "uploading", "failed"):
            connection.execute(f"UPDATE capture SET state = '{state}', batch_id = 1, run_id = 1 WHERE site = 'D'")
        connection.commit()
    assert "1,203 captures" in call_ctstate("retry").stdout
    assert ask("SELECT count(*) FROM capture WHERE state = 'failed'") == [(0,)]
