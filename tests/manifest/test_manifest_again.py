"""The second CSV of a season: the same one, a longer one, one that says otherwise."""

from pathlib import Path
from typing import Any

import pytest

from tests.builders.ledgers import make_empty, raw

CAPTURES = [(number, rank) for number in range(1, 6) for rank in (1, 2)]


@pytest.fixture
def season(season_csv: Any, call_ctstate: Any, ledger_path: Path, row: Any) -> list[dict[str, Any]]:
    """A ledger with a season of five captures; returns its rows."""
    make_empty(ledger_path)
    rows = [row(*key) for key in CAPTURES]
    season_csv(rows)
    assert call_ctstate(*season_csv.arguments()).code == 0
    return rows


@pytest.fixture
def again(season_csv: Any, call_ctstate: Any) -> Any:
    """Write the rows and load them."""

    def do(rows: list[dict[str, Any]], *more: str, **how: Any) -> Any:
        season_csv(rows, **how)
        return call_ctstate(*season_csv.arguments(*more))

    return do


@pytest.fixture
def refused(again: Any, ledger_path: Path, dump: Any) -> Any:
    """The same, expected to be refused without a trace."""

    def do(rows: list[dict[str, Any]], *more: str, **how: Any) -> str:
        before = dump(ledger_path)
        line = again(rows, *more, **how).error()
        assert dump(ledger_path) == before
        return str(line)

    return do


def write(ledger: Path, *statements: str) -> None:
    with raw(ledger) as connection:
        for statement in statements:
            connection.execute(statement)


BATCHED = (
    "INSERT INTO batch (id, season_id, name, created_at) VALUES (1, 1, 'batch_1', '2026-01-01')",
    "UPDATE capture SET state = 'batched', batch_id = 1",
)
CLAIM = "UPDATE capture SET state = 'uploading', run_id = 1, claim = 1 WHERE capture_number = "
UPLOADED = "UPDATE capture SET state = 'uploaded', subject_id = 1000 WHERE capture_number = "


def test_the_same_csv_changes_nothing_and_says_so(season: Any, again: Any, ledger_path: Path, dump: Any) -> None:
    before = dump(ledger_path)
    for rows in (season, season[::-1], season + season[:3]):
        for more in ((), ("--update",)):
            result = again(rows, *more)
            assert result.code == 0
            assert "0 new captures, 5 as before" in result.stdout
            assert "Nothing new: the ledger is as it was." in result.stdout
            assert dump(ledger_path) == before


def test_a_longer_csv_adds_what_is_new(season: Any, again: Any, ask: Any, row: Any) -> None:
    assert "1 new capture, 5 as before" in again([*season, row(6, 1)]).stdout
    assert "1 new capture, 0 as before" in again([row(7, 1)]).stdout
    assert ask("SELECT count(*) FROM capture") == [(7,)]
    assert ask("SELECT count(*) FROM run WHERE outcome = 'done'") == [(3,)]


def changed(rows: list[dict[str, Any]], at: int, **what: Any) -> list[dict[str, Any]]:
    return [{**r, **what} if index == at else r for index, r in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (lambda s: changed(s, 2, path="other.jpg"), "row 4 (TST_S1#B04#1#2: its images)"),
        (lambda s: changed(s, 2, image=7), "row 4 (TST_S1#B04#1#2: its images)"),
        (lambda s: changed(s, 2, invalid=1), "row 4 (TST_S1#B04#1#2: its images)"),
        (lambda s: [r for i, r in enumerate(s) if i != 3], "row 4 (TST_S1#B04#1#2: its images)"),
        (lambda s: [*s, {**s[2], "image": 3, "path": "n.jpg"}], "row 12 (TST_S1#B04#1#2: its images)"),
        (
            lambda s: [{**r, "capture_id": f"TST_S1#B04#1#{r['capture']}", "site": "C"} for r in s[2:4]],
            "row 2 (TST_S1#B04#1#2: its season, site, roll or capture number)",
        ),
    ],
    ids=["path", "rank", "flag", "image gone", "image more", "site"],
)
def test_a_contradiction_names_its_rows(season: Any, refused: Any, rows: Any, names: str) -> None:
    line = refused(rows(season))
    assert "in 1 capture:" in line
    assert names in line
    assert "--update" in line


def test_many_contradictions_are_one_line(season: Any, refused: Any, row: Any) -> None:
    line = refused([{**r, "path": f"new/{r['path']}"} for r in season] + [row(9, 1)])
    assert "in 5 captures" in line
    assert line.count("its images") == 5


def test_update_takes_over_what_the_csv_says(season: Any, again: Any, ask: Any, row: Any) -> None:
    rows = changed(season, 2, path="other.jpg")[:-1]
    result = again([*rows, {**row(5, 3), "invalid": 2}], "--update")
    assert "0 new captures, 3 as before, 2 updated" in result.stdout
    assert ask(
        "SELECT path FROM image JOIN capture c ON c.id = image.capture_id WHERE capture = '2' AND rank = 1"
    ) == [("other.jpg",)]
    found = (
        "SELECT rank, problem FROM image JOIN capture c ON c.id = image.capture_id WHERE capture = '5' ORDER BY 1"
    )
    assert ask(found) == [(1, None), (3, "excluded")]


def test_update_can_exclude_a_capture_and_bring_it_back(season: Any, again: Any, ask: Any) -> None:
    out = [{**r, "invalid": 1 if r["capture"] == 3 else 0} for r in season]
    excluded = "SELECT capture FROM capture WHERE excluded IS NOT NULL"
    assert "1 updated" in again(out, "--update").stdout
    assert ask(excluded) == [("3",)]
    assert "1 updated" in again(season, "--update").stdout
    assert ask(excluded) == []


def test_images_that_appear_later(
    season: Any, again: Any, refused: Any, season_csv: Any, ask: Any, row: Any
) -> None:
    late = [row(8, 1), row(8, 2)]
    again(late[:2], images=False)
    assert ask("SELECT excluded FROM capture WHERE capture = '8'") == [("no usable image",)]
    season_csv.image(late[0]["path"])
    assert "TST_S1#B04#1#8: its images" in refused(late, images=False)
    assert "1 updated" in again(late, "--update", images=False).stdout
    assert ask("SELECT excluded FROM capture WHERE capture = '8'") == [(None,)]
    assert ask("SELECT problem FROM image WHERE path LIKE '%IMAG0008%' ORDER BY rank") == [(None,), ("missing",)]


def test_update_never_touches_what_is_on_its_way(season: Any, again: Any, ask: Any, ledger_path: Path) -> None:
    """Of five captures: uploading, uploaded, failed with a subject, in doubt, and one that is free."""
    write(
        ledger_path,
        *BATCHED,
        f"{CLAIM} 1", f"{CLAIM} 2", f"{UPLOADED} 2", f"{CLAIM} 3",
        "UPDATE capture SET state = 'failed', subject_id = 1001 WHERE capture_number = 3",
        f"{CLAIM} 4", "UPDATE capture SET create_sent_at = '2026', create_run_id = 1 WHERE capture_number = 4",
        "UPDATE capture SET state = 'batched', ambiguous_at = '2026' WHERE capture_number = 4",
    )  # fmt: skip
    everything = "SELECT * FROM capture WHERE capture_number < 5 ORDER BY id"
    images = "SELECT i.* FROM image i JOIN capture c ON c.id = i.capture_id WHERE capture_number < 5 ORDER BY i.id"
    before = ask(everything), ask(images)
    result = again([{**r, "path": f"new/{r['path']}", "site": "B04"} for r in season], "--update")
    assert result.code == 0
    assert "1 updated" in result.stdout
    assert "4 captures differ from the CSV, on the way or uploaded already: left alone." in result.stdout
    assert (ask(everything), ask(images)) == before
    assert ask("SELECT path FROM image WHERE path LIKE 'new/%IMAG0005%' ORDER BY rank") == [
        ("new/TST_S1/B04/B04_R1/IMAG0005_1.JPG",),
        ("new/TST_S1/B04/B04_R1/IMAG0005_2.JPG",),
    ]


def test_files_may_go_once_they_are_on_zooniverse(
    season: Any, again: Any, season_csv: Any, ledger_path: Path, dump: Any, row: Any, refused: Any
) -> None:
    write(ledger_path, *BATCHED, f"{CLAIM} 1", f"{UPLOADED} 1")
    (season_csv.root / season[0]["path"]).unlink()
    (season_csv.root / season[1]["path"]).write_bytes(b"")
    before = dump(ledger_path)
    assert "Nothing new" in again(season, images=False).stdout
    assert dump(ledger_path) == before
    (season_csv.root / season[2]["path"]).unlink()
    assert "in 1 capture: row 4" in refused(season, images=False)  # capture 2 is not there yet


def test_a_capture_of_another_season(season: Any, refused: Any, row: Any) -> None:
    for more in ((), ("--update",)):
        line = refused(season[:2], "--manifest-id", "OTHER", *more)
        assert "row 2: TST_S1#B04#1#1 belongs to season TST_S1" in line


@pytest.mark.parametrize("option", ["--attribution", "--license"])
def test_another_attribution_or_license(season: Any, refused: Any, again: Any, ask: Any, option: str) -> None:
    assert f"season TST_S1 has {option[2:]} " in refused(season, option, "Somebody else")
    result = again(season, option, "Somebody else", "--update")
    assert "Nothing new" not in result.stdout
    assert "was changed" in result.stdout
    assert ask(f"SELECT {option[2:]} FROM season") == [("Somebody else",)]


def test_another_root(season: Any, season_csv: Any, refused: Any, again: Any) -> None:
    other = season_csv.folder / "moved"
    season_csv.root.rename(other)
    season_csv.root = other
    assert "images root" in refused(season)
    assert again(season, "--update").code == 0
    assert "Nothing new" in again(season).stdout


@pytest.mark.parametrize("option", ["--attribution", "--license", "--manifest-id", "--images-root"])
@pytest.mark.parametrize("value", ["", "  "])
def test_required_values_may_not_be_empty(season: Any, refused: Any, option: str, value: str) -> None:
    refused(season, option, value)


@pytest.mark.parametrize("name", ["S.1", "S__1", "a,b", "a/b", "a\nb", "x" * 121, ".", "__"])
def test_manifest_ids_that_cannot_name_a_set(season: Any, refused: Any, row: Any, name: str) -> None:
    refused(season, "--manifest-id", name)
    if name != "a\nb":
        refused([row(1, 1, season=name, path="x.jpg")])


def test_a_manifest_id_for_several_seasons(season: Any, again: Any, refused: Any, row: Any, ask: Any) -> None:
    rows = [row(1, 1, season="X_1"), row(1, 1, season="X_2")]
    assert "2 seasons (X_1, X_2)" in refused(rows)
    assert again(rows, "--manifest-id", "X_both").code == 0
    assert ask("SELECT s.name, c.season FROM capture c JOIN season s ON s.id = c.season_id WHERE s.id > 1") == [
        ("X_both", "X_1"),
        ("X_both", "X_2"),
    ]
