"""Names and criteria: which captures a person means."""

import json
from pathlib import Path
from typing import Any

import pytest

from ctstate.errors import InputError, UsageError
from ctstate.ledger import Selection
from ctstate.verbs.choose import Wanted, choose
from tests.builders.season_files import SeasonFiles

NUMBERS = {1: 101, 2: 102, 3: 103}
SELECTS = {"season", "batch", "sites", "rolls", "states"}


@pytest.fixture
def season(tmp_path: Path) -> SeasonFiles:
    made = SeasonFiles(tmp_path, captures=6)
    made.load()
    for number, subject_id in NUMBERS.items():
        made.put_on_zooniverse(number, subject_id)
    return made


def _chosen(files: SeasonFiles, **wanted: Any) -> tuple[list[str], list[int]]:
    selection = Selection(**{key: wanted.pop(key) for key in SELECTS & wanted.keys()})
    with files.open() as ledger:
        choice = choose(ledger, Wanted(selection, **wanted))
    return sorted(row.capture_id for row in choice.captures), choice.foreign


def _texts(season: SeasonFiles) -> dict[str, str]:
    one, two = season.capture_id(1), season.capture_id(2)
    return {
        "plain lines": f"# a comment\n{one}\n\n  102\n",
        "subjects only": "subject_id\n101\n102\n",
        "semicolons": f"site;subject_id;capture_id\nB04;;{one}\nB04;102;\n",
        "both, capture first": f"capture_id,subject_id\n{one},103\n{two},\n",
        "numbers in JSON": "[101, 102]",
        "texts in JSON": json.dumps([one, "102"]),
        "objects in JSON": json.dumps([{"subject_id": 101, "x": None}, {"capture_id": two, "subject_id": 103}]),
    }


KINDS = (
    "plain lines",
    "subjects only",
    "semicolons",
    "both, capture first",
    "numbers in JSON",
    "texts in JSON",
    "objects in JSON",
)


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_every_kind(season: SeasonFiles, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "list"
    file.write_text("\ufeff" + _texts(season)[kind], encoding="utf-8")
    assert _chosen(season, listed=file) == (sorted([season.capture_id(1), season.capture_id(2)]), [])


@pytest.mark.parametrize("text", ["", "path\nTST_S1/B04/B04_R1/x.JPG\n", "subject_id\n12.0\n", "[{}]", "[1, true]"])
def test_files_that_name_nothing(season: SeasonFiles, tmp_path: Path, text: str) -> None:
    file = tmp_path / "list"
    file.write_text(text)
    with pytest.raises(InputError, match="list"):
        _chosen(season, listed=file)


def test_names_add_up_and_criteria_restrict(season: SeasonFiles) -> None:
    one, two, four = (season.capture_id(number) for number in (1, 2, 4))
    assert _chosen(season, capture_ids=[one, four], subject_ids=[102, 999]) == (sorted([one, two, four]), [999])
    assert _chosen(season, capture_ids=[one, four], subject_ids=[102], states=["uploaded"])[0] == sorted([one, two])
    assert _chosen(season, capture_ids=[one, two, four], sites=["Ñandú"])[0] == sorted([two, four])
    assert _chosen(season, capture_ids=[one, two], where="subject_id = 102")[0] == [two]
    assert len(_chosen(season, season="TST_S1")[0]) == 6
    assert Wanted().given is False
    assert Wanted(Selection(sites=["B04"])).given is True


def test_many_names(season: SeasonFiles, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("subject_id\n" + "\n".join(map(str, range(101, 1501))))
    captures, foreign = _chosen(season, listed=file)
    assert (len(captures), len(foreign), foreign[-1]) == (3, 1397, 1500)


@pytest.mark.parametrize(
    "wrong", [{"season": "NO"}, {"batch": "no"}, {"states": ["gone"]}, {"capture_ids": ["no"]}]
)
def test_what_the_ledger_does_not_know(season: SeasonFiles, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        _chosen(season, **wrong)
