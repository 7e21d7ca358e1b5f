"""`ctstate status` and `ctstate history`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ctstate.ledger import Ledger
from ctstate.ledger.states import State
from tests.builders.ledgers import ON_POSTGRES, make_empty, of_files, raw, rows_found_backwards


@pytest.fixture
def season(season_csv: Any, call_ctstate: Any, ledger_path: Path, row: Any) -> None:
    """Six captures in two batches: one uploaded, one failed, one in doubt, one excluded."""
    make_empty(ledger_path)
    season_csv([row(number, site="Ñandú") for number in range(1, 6)] + [row(6, invalid=1)])
    call_ctstate(*season_csv.arguments())
    call_ctstate("batch", "--number-of-batches", 2, "--order", "sequential")
    with raw(ledger_path) as connection:
        for statement in (
            "UPDATE capture SET state = 'uploading', run_id = 1 WHERE capture_number IN (1, 2, 3)",
            "UPDATE capture SET state = 'uploaded', subject_id = 5 WHERE capture_number = 1",
            "UPDATE capture SET state = 'failed', reason = 'a, broken \"image\"', moved_at = '2026-01-01'"
            " WHERE capture_number = 2",
            "UPDATE capture SET create_sent_at = '2026', create_run_id = 1 WHERE capture_number = 3",
            "UPDATE capture SET state = 'batched', ambiguous_at = '2026' WHERE capture_number = 3",
            "UPDATE batch SET subject_set_id = 41 WHERE name = 'batch_1'",
        ):
            connection.execute(statement)


def test_table(season: None, call_ctstate: Any) -> None:
    lines = [re.split("  +", line) for line in call_ctstate("status").stdout.splitlines()]
    assert lines[0] == [
        "season", "batch", "subject set", "batched", "uploaded", "failed", "excluded", "in doubt",
        "total",
    ]  # fmt: skip
    assert lines[2] == ["TST_S1", "(no batch)", "0", "0", "0", "1", "0", "1"]
    assert lines[3] == ["TST_S1", "batch_1", "41", "0", "1", "1", "0", "0", "2"]
    assert lines[4] == ["TST_S1", "batch_2", "3", "0", "0", "0", "1", "3"]
    assert lines[5] == ["total", "3", "1", "1", "1", "1", "6"]


def test_json(season: None, call_ctstate: Any) -> None:
    found = json.loads(call_ctstate("status", "--json").stdout)
    assert [part["batch"] for part in found] == [None, "batch_1", "batch_2"]
    assert [part["total"] for part in found] == [1, 2, 3]
    assert found[0]["excluded"] == 1
    assert found[1]["subject_set_id"] == 41
    assert (found[1]["uploaded"], found[1]["failed"], found[2]["in_doubt"]) == (1, 1, 1)
    assert {str(state) for state in State} <= found[0].keys()


def test_only_one_season_or_batch(season: None, call_ctstate: Any) -> None:
    found = json.loads(call_ctstate("status", "--json", "--season", "TST_S1", "--batch", "batch_2").stdout)
    assert [(part["season"], part["batch"]) for part in found] == [("TST_S1", "batch_2")]


def test_a_batch_of_this_name_in_another_season_is_not_counted(
    season: None, season_csv: Any, call_ctstate: Any, row: Any
) -> None:
    season_csv([row(1, season="TST_S2")])
    call_ctstate(*season_csv.arguments())
    call_ctstate("batch", "--season", "TST_S2", "--number-of-batches", 1)
    for of in ((), ("--batch", "batch_1")):
        found = json.loads(call_ctstate("status", "--json", "--season", "TST_S2", *of).stdout)
        assert [(part["season"], part["batch"], part["total"]) for part in found] == [("TST_S2", "batch_1", 1)]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--season", "NONE", "no season 'NONE' in the ledger; there are: TST_S1"),
        ("--batch", "batch_9", "no batch 'batch_9' in the ledger"),
    ],
)
def test_a_name_that_is_not_there(season: None, call_ctstate: Any, option: str, value: str, said: str) -> None:
    for verb in ("status", "retry"):
        result = call_ctstate(verb, option, value)
        assert said in result.error()
        assert result.code == 2


def test_an_empty_ledger(call_ctstate: Any, ledger_path: Path) -> None:
    make_empty(ledger_path)
    assert "begin with `ctstate manifest`" in call_ctstate("status").stdout
    assert json.loads(call_ctstate("status", "--json").stdout) == []


def test_reading_changes_nothing(season: None, call_ctstate: Any, ledger_path: Path, dump: Any) -> None:
    before, bytes_before = dump(ledger_path), None if ON_POSTGRES else ledger_path.read_bytes()
    for arguments in (
        ("status",), ("status", "--json"), ("history", "TST_S1#Ñandú#1#1"), ("sql", "SELECT * FROM v_captures"),
    ):  # fmt: skip
        assert call_ctstate(*arguments).code == 0
    assert dump(ledger_path) == before
    assert ON_POSTGRES or ledger_path.read_bytes() == bytes_before


def test_history(season: None, call_ctstate: Any) -> None:
    shown = call_ctstate("history", "TST_S1#Ñandú#1#2").stdout
    assert re.search(r"^state +failed$", shown, re.MULTILINE)
    assert 'a, broken "image"' in shown
    assert "IMAG0002_1.JPG" in shown
    found = json.loads(call_ctstate("history", "TST_S1#Ñandú#1#2", "--json").stdout)
    moves = [(event["source"], event["target"]) for event in found["events"]]
    assert moves == [
        (None, "manifested"),
        ("manifested", "batched"),
        ("batched", "uploading"),
        ("uploading", "failed"),
    ]
    assert [event["verb"] for event in found["events"][:2]] == ["manifest", "batch"]
    assert found["capture"]["reason"] == 'a, broken "image"'
    assert [image["rank"] for image in found["images"]] == [1]


@of_files
def test_a_history_is_told_in_the_order_in_which_it_was(season: None, call_ctstate: Any) -> None:
    """Whatever order the database finds it in."""
    usual = call_ctstate("history", "TST_S1#Ñandú#1#2", "--json").stdout
    with rows_found_backwards():
        assert call_ctstate("history", "TST_S1#Ñandú#1#2", "--json").stdout == usual


def test_a_long_key_of_the_history_stays_in_its_column(season: None, call_ctstate: Any, ledger_path: Path) -> None:
    with raw(ledger_path) as connection:
        connection.execute(
            "INSERT INTO prediction (capture_id, source, metadata, made_at, machine_species_confidence)"
            " SELECT id, 'megadetector', '{}', '2026', 0.5 FROM capture WHERE capture_number = 2"
        )
    facts = call_ctstate("history", "TST_S1#Ñandú#1#2").stdout.partition("\n\n")[0].splitlines()
    assert any(line.startswith("machine_species_confidence  0.5") for line in facts)
    columns = {re.match(r"\w+ +", line).end() for line in facts}  # type: ignore[union-attr]
    assert len(columns) == 1, facts


def test_a_young_worker_whose_captures_wait_for_their_link_has_a_rate(
    season: None, call_ctstate: Any, ledger_path: Path
) -> None:
    """It links 200 at a time: until then nothing of it is uploaded, and it is no worker that does nothing."""
    with Ledger.open(ledger_path) as ledger, ledger.live_run("upload", {}) as live:
        said = call_ctstate("runs").stdout
        assert said.splitlines()[-1] == "1 live worker."
        assert "0.00" not in said
        with raw(ledger_path) as connection:
            connection.execute(
                "UPDATE capture SET state = 'uploading', run_id = ?, subject_id = 7 WHERE capture_number = 4",
                (live.id,),
            )
            connection.execute(
                "UPDATE capture SET state = 'uploading', run_id = ? WHERE capture_number = 5", (live.id,)
            )
            assert call_ctstate("runs").stdout.splitlines()[-1] == "1 live worker.", "its image has not arrived"
            connection.execute("UPDATE image SET arrived_at = '2026'")
        said = call_ctstate("runs").stdout
        assert re.fullmatch(r"1 live worker, \d+\.\d+/s in all\.", said.splitlines()[-1])
        assert json.loads(call_ctstate("runs", "--json").stdout)[-1]["rate"] > 0


def test_a_worker_that_was_killed_before_its_first_heartbeat_has_no_rate(
    season: None, call_ctstate: Any, ledger_path: Path
) -> None:
    """Nobody knows for how long it worked: 5,000 a second it was not."""
    with Ledger.open(ledger_path) as ledger, ledger.live_run("upload", {}) as live:
        run_id = live.id
    with raw(ledger_path) as connection:
        connection.execute(
            "UPDATE run SET heartbeat_at = started_at, ended_at = started_at, outcome = 'lost' WHERE id = ?",
            (run_id,),
        )
        connection.execute(
            "UPDATE capture SET state = 'uploading', run_id = ?, subject_id = 7 WHERE capture_number = 4", (run_id,)
        )
        connection.execute("UPDATE image SET arrived_at = '2026'")
    assert json.loads(call_ctstate("runs", "--json").stdout)[-1]["rate"] is None


def test_history_of_what_is_not_there(season: None, call_ctstate: Any) -> None:
    result = call_ctstate("history", "TST_S1#B04#1#999")
    assert "no capture 'TST_S1#B04#1#999'" in result.error()
    assert result.code == 2


def test_a_terminal_that_cannot_show_a_sites_name(season: None, run_ctstate: Any) -> None:
    result = run_ctstate("sql", "SELECT DISTINCT site FROM v_captures", PYTHONIOENCODING="iso8859-7")  # Greek
    assert result.code == 0
    assert "\\xd1and\\xfa" in result.stdout
