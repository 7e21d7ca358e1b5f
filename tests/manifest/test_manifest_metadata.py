"""--metadata-column: further columns of the CSV that the subject is to carry."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.builders.ledgers import make_empty


@pytest.fixture
def load(season_csv: Any, call_ctstate: Any, ledger_path: Path, row: Any) -> Any:
    """Load one row with further columns, all of them (or those named) asked for."""
    make_empty(ledger_path)

    def do(more: dict[str, str], columns: list[str] | None = None, *options: str) -> Any:
        season_csv([row(**more)])
        wanted = [word for key in columns or list(more) for word in ("--metadata-column", key)]
        return call_ctstate(*season_csv.arguments(*wanted, *options))

    return do


@pytest.fixture
def metadata(ask: Any) -> Any:
    return lambda: [value and json.loads(value) for (value,) in ask("SELECT metadata FROM capture ORDER BY id")]


def test_columns_reach_the_subject_under_their_names(load: Any, metadata: Any) -> None:
    given = {
        "#training_subject": "true",
        "#feedback_1_id": "17",
        "!site": "B04",
        "//x": "y",
        "Größe, in m": "1,5 °",
    }
    assert load({**given, "blank": "", "unasked": "z"}, [*given, "blank"]).code == 0
    assert metadata() == [given]


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("0", 0), ("-3", -3), ("2.5", 2.5), ("1e3", 1000.0), (" 7 ", 7), ("+4", 4), ("3.0", 3)],
)
def test_a_priority_is_a_number(load: Any, metadata: Any, text: str, number: float) -> None:
    assert load({"#priority": text}).code == 0
    assert metadata() == [{"#priority": number}]


@pytest.mark.parametrize("text", ["", "NA"])
def test_a_blank_priority_is_none(load: Any, metadata: Any, text: str) -> None:
    assert load({"#priority": text}).code == 0
    assert metadata() == [None]


@pytest.mark.parametrize("text", ["high", "1,5", "inf", "-inf", "1e999", "1_000", "0x10", "1 2", "--"])
def test_a_priority_that_is_no_number_is_an_error_of_its_row(
    load: Any, ledger_path: Path, dump: Any, text: str
) -> None:
    before = dump(ledger_path)
    line = load({"#priority": text}).error()
    assert f"row 2: column '#priority' is '{text}', not a number" in line
    assert dump(ledger_path) == before


def test_a_column_that_is_not_there(load: Any) -> None:
    assert "no column #priority" in load({"x": "1"}, ["x", "#priority"]).error()


@pytest.mark.parametrize(
    "name", ["#capture_id", "#site", "attribution", "capture_id_anonymized", "#original_images"]
)
def test_what_identifies_a_subject_cannot_be_replaced(load: Any, name: str) -> None:
    result = load({name: "stolen"})
    assert "every subject carries that key already" in result.error()
    assert result.code == 2


def test_images_of_a_capture_must_agree(season_csv: Any, call_ctstate: Any, row: Any) -> None:
    season_csv([row(1, 1, x="1"), row(1, 2, x="2")])
    line = call_ctstate(*season_csv.arguments("--metadata-column", "x")).error()
    assert "rows 2 and 3" in line
    assert "metadata column" in line


def test_other_metadata_is_a_contradiction_until_updated(load: Any, metadata: Any) -> None:
    load({"x": "1"})
    assert "row 2 (TST_S1#B04#1#1: its metadata columns)" in load({"x": "2"}).error()
    assert metadata() == [{"x": "1"}]
    assert "1 updated" in load({"x": "2"}, None, "--update").stdout
    assert metadata() == [{"x": "2"}]
