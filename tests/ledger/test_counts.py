"""What is counted as captures move is what counting them all would say."""

import contextlib
import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError

from ctstate.errors import LedgerError
from ctstate.ledger import Ledger, counts
from ctstate.verbs.batch import batch
from ctstate.verbs.exclude import exclude, include
from tests.builders.season_files import SeasonFiles


def drift(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return counts.drift(connection)


def counted(ledger: Ledger) -> dict[tuple[str | None, str], tuple[int, int, int]]:
    with ledger.read() as connection:
        found = counts.count_states(connection, None, None)
    return {(row.batch, row.state): (row.captures, row.excluded, row.in_doubt) for row in found}


@pytest.mark.parametrize(
    ("many", "at_once"), [(1, 100), (1, 2), (10**6, 100)], ids=["at once", "in parts", "one by one"]
)
def test_a_season_is_counted_as_it_is_prepared(
    season: SeasonFiles, monkeypatch: pytest.MonkeyPatch, many: int, at_once: int
) -> None:
    monkeypatch.setattr(counts, "MANY", many)
    monkeypatch.setattr(counts, "AT_ONCE", at_once)
    season.load()
    with season.open() as ledger:
        assert counted(ledger) == {(None, "manifested"): (6, 0, 0)}
        exclude(ledger, where="site = 'B04'", reason="people")
        assert counted(ledger) == {(None, "manifested"): (3, 3, 0)}
        assert drift(ledger) == 0
        include(ledger, where="capture = '1'")
        batch(ledger, number_of_batches=2)
        assert drift(ledger) == 0
        assert counted(ledger) == {
            ("batch_1", "batched"): (2, 0, 0),
            ("batch_2", "batched"): (2, 0, 0),
            (None, "manifested"): (0, 2, 0),
        }
        batch(ledger, number_of_batches=1)
        assert counted(ledger) == {("batch_1", "batched"): (4, 0, 0), (None, "manifested"): (0, 2, 0)}
        assert drift(ledger) == 0
        with ledger.read() as connection:
            assert connection.execute(text("SELECT count(*) FROM meta WHERE name = 'counts_rest'")).scalar() == 0


def test_what_is_taken_back_is_counted_back(season: SeasonFiles) -> None:
    season.load()
    with season.open() as ledger:
        before = counted(ledger)
        with pytest.raises(RuntimeError), ledger.write() as connection, counts.counted_once(connection, 10**6):
            connection.execute(text("UPDATE capture SET excluded = 'people'"))
            raise RuntimeError("the disk is full")
        assert counted(ledger) == before
        assert drift(ledger) == 0
        exclude(ledger, where="site = 'B04'", reason="people")  # the counts do not rest for ever
        assert drift(ledger) == 0


def test_a_capture_that_moves_to_another_site_is_counted_there(season: SeasonFiles) -> None:
    for row in season.rows:
        row["capture_id"] = f"its own {row['capture']}"
    season.write_csv()
    season.load()
    for row in season.rows:
        if row["capture"] == 1:
            row["site"] = "C01"
    season.write_csv()
    season.load(update=True)
    with season.open() as ledger:
        assert season.query("SELECT count(*) FROM capture WHERE site = 'C01'") == [(1,)]
        assert drift(ledger) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE capture SET site = 'C01' WHERE id = 1",
        "INSERT INTO capture (capture_id, season_id, season, site, roll, capture, capture_number, state, run_id,"
        " moved_at) SELECT 'new', season_id, season, site, roll, capture, 99, 'manifested', run_id, moved_at"
        " FROM capture WHERE id = 1",
        "DELETE FROM capture WHERE id = 1",
        "UPDATE capture SET excluded = 'people', ambiguous_at = NULL, state = state, site = 'C02'",
    ],
)
def test_sql_past_all_of_ctstate_is_counted_or_refused(new_ledger: Callable[..., Ledger], statement: str) -> None:
    ledger = new_ledger(3)
    with contextlib.suppress(LedgerError, DatabaseError), ledger.write() as connection:
        connection.execute(
            text("DELETE FROM image WHERE capture_id = 1 AND 'DELETE' = :what"), {"what": statement[:6]}
        )
        connection.execute(text(statement))
    assert drift(ledger) == 0


def test_a_miscount_is_found(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(3)
    assert drift(ledger) == 0
    with ledger.write() as connection:
        connection.execute(text("UPDATE state_count SET captures = captures + 1"))
    assert drift(ledger) > 0


def test_every_view_that_counts_says_the_same(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(10, 2)
    with ledger.write() as connection:
        connection.execute(text("UPDATE capture SET excluded = 'people' WHERE id IN (1, 2, 3)"))
        connection.execute(text("UPDATE capture SET state = 'uploading', run_id = 1 WHERE id IN (3, 4, 5, 6)"))
        connection.execute(text("UPDATE capture SET subject_id = id WHERE id IN (3, 4)"))
        connection.execute(text("UPDATE capture SET state = 'uploaded' WHERE id IN (3, 4)"))
        connection.execute(text("UPDATE capture SET state = 'failed' WHERE id = 5"))
        connection.execute(text("UPDATE capture SET create_sent_at = 't', ambiguous_at = 't' WHERE id = 6"))
    found = ledger.query("SELECT * FROM v_sites")
    assert found.to_dict("records") == [
        {
            "season": "S", "site": "A", "captures": 10, "excluded": 2, "pending": 5, "uploaded": 2, "failed": 1,
            "removed": 0, "deleted": 0, "in_doubt": 1,
        }
    ]  # fmt: skip
    of_batches = ledger.query("SELECT * FROM v_progress ORDER BY batch")
    assert list(of_batches["captures"]) == [5, 5]
    for column in ("excluded", "pending", "uploaded", "failed"):
        assert of_batches[column].sum() == found[column][0], column
    hours = ledger.query("SELECT * FROM v_hourly")
    assert (hours["uploaded"].sum(), hours["failed"].sum()) == (2, 1)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:00:00Z", hours["hour"][0])


def tables_read(connection: Connection, question: str, values: Any = ()) -> set[str]:
    """The tables that a question is answered from, by its plan."""
    if connection.dialect.name == "postgresql":
        plan = connection.exec_driver_sql(f"EXPLAIN {question}", values).scalars()
        return {
            name for step in plan for name in re.findall(r"(?<!Subquery)(?<!Bitmap Index) Scan.* on (\w+)", step)
        }
    # EXPLAIN QUERY PLAN says what a table is called in the question, which may be anything.
    of_page = dict(tuple(row) for row in connection.exec_driver_sql("SELECT rootpage, tbl_name FROM sqlite_master"))
    program = connection.exec_driver_sql(f"EXPLAIN {question}", values)
    return {of_page[row.p2] for row in program if row.opcode == "OpenRead"}


def test_what_counts_reads_no_captures_however_many_there_are(season: SeasonFiles) -> None:
    season.load()
    kept = {"state_count", "hour_count", "season", "batch"}
    with season.open() as ledger, ledger.read() as connection:
        for view in ("v_progress", "v_sites", "v_hourly"):
            read = tables_read(connection, f"SELECT * FROM {view}")
            assert read & {"state_count", "hour_count"}
            assert read <= kept, view
        assert "capture" in tables_read(connection, "SELECT * FROM v_captures")
        asked: list[tuple[str, Any]] = []
        listen = lambda c, cursor, sql, values, context, many: asked.append((sql, values))  # noqa: E731
        event.listen(connection.engine, "before_cursor_execute", listen)
        counts.count_states(connection, "SER_S1", None)
        event.remove(connection.engine, "before_cursor_execute", listen)
        assert asked
        assert all(tables_read(connection, *each) <= kept for each in asked), asked
