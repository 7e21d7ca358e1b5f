"""Keeping captures and images from being uploaded, and letting them in again."""

import json
from pathlib import Path

import pytest

from ctstate.errors import InputError, UsageError
from ctstate.ledger import claims, exclusions, runs
from ctstate.ledger.exclusions import CLAIMED_BY_OLD_SCRIPTS, NO_USABLE_IMAGE
from ctstate.verbs.batch import batch
from ctstate.verbs.exclude import ExclusionReport, exclude, include
from tests.builders.season_files import SeasonFiles


def put_out(season: SeasonFiles, **options: object) -> ExclusionReport:
    with season.open() as ledger:
        return exclude(ledger, **{"reason": "people", **options})  # type: ignore[arg-type]


def let_in(season: SeasonFiles, **options: object) -> ExclusionReport:
    with season.open() as ledger:
        return include(ledger, **options)  # type: ignore[arg-type]


def excluded(season: SeasonFiles) -> dict[str, str]:
    rows = season.query("SELECT capture_id, excluded FROM capture WHERE excluded IS NOT NULL")
    return {str(capture_id): str(why) for capture_id, why in rows}


def written(season: SeasonFiles, name: str, text: str, encoding: str = "utf-8") -> Path:
    file = season.folder / name
    file.write_bytes(text.encode(encoding))
    return file


def claimable(season: SeasonFiles) -> set[str]:
    """What an upload would take now."""
    with season.open() as ledger:
        row = ledger.season(None)
        batch = ledger.batches(row.id)[0]
        with ledger.write() as connection:
            run_id = runs.start(connection, "test", {})
            return {claim.capture_id for claim in claims.claim(connection, run_id, row.id, batch.id, 500)}


def test_by_condition_and_back(season: SeasonFiles) -> None:
    report = put_out(season, where="site = 'Ñandú'")
    assert (report.chosen, report.captures, report.unchanged_captures) == (3, 3, 0)
    assert excluded(season) == {season.capture_id(n): "people" for n in (2, 4, 6)}
    again = put_out(season, where="site = 'Ñandú'", reason="other")
    assert (again.captures, again.unchanged_captures) == (0, 3)
    assert set(excluded(season).values()) == {"people"}
    assert season.query("SELECT verb, outcome FROM run WHERE verb = 'exclude'") == [("exclude", "done")]
    report = let_in(season, where="excluded = 'people' AND capture <> '2'")
    assert report.captures == 2
    assert excluded(season) == {season.capture_id(2): "people"}


def test_an_excluded_capture_is_never_claimed_and_its_batch_stays(season: SeasonFiles) -> None:
    with season.open() as ledger:
        batch(ledger, number_of_batches=1)
    put_out(season, where="capture = '3'")
    assert claimable(season) == {season.capture_id(n) for n in (1, 2, 4, 5, 6)}


@pytest.mark.parametrize("style", ["lines", "crlf and bom", "csv", "semicolons", "json", "json objects"])
def test_lists_of_capture_ids(season: SeasonFiles, style: str) -> None:
    ids = [season.capture_id(1), season.capture_id(4)]
    text = {
        "lines": "# seen by Jana\n" + "\n".join(ids) + "\n\n",
        "crlf and bom": "\ufeff" + "\r\n".join(ids) + "\r\n",
        "csv": "site,capture_id\n" + "".join(f'"x, y",{key}\n' for key in ids),
        "semicolons": "capture_id;note\n" + "".join(f"{key};a\n" for key in ids),
        "json": json.dumps(ids),
        "json objects": "\ufeff" + json.dumps([{"capture_id": key, "site": "x"} for key in ids]),
    }[style]
    report = put_out(season, listed=written(season, "list.txt", text))
    assert (report.captures, report.unknown) == (2, 0)
    assert set(excluded(season)) == set(ids)


def test_lists_of_paths_hold_back_single_images(season: SeasonFiles) -> None:
    absolute = str(season.root / season.path(2, 2))
    windows = season.path(1, 2).replace("/", "\\")
    report = put_out(
        season, listed=written(season, "list.csv", f"path\n{windows}\n{absolute}\n./{season.path(3)}\n")
    )
    assert (report.captures, report.images, report.unknown) == (0, 3, 0)
    assert excluded(season) == {}
    held = season.query("SELECT path, problem_reason FROM image WHERE problem = 'withheld'")
    assert sorted(held) == sorted((p, "people") for p in (season.path(1, 2), season.path(2, 2), season.path(3)))
    put_out(season, listed=written(season, "more.txt", season.path(1, 1)))
    assert excluded(season) == {season.capture_id(1): NO_USABLE_IMAGE}
    report = let_in(season, listed=written(season, "back.txt", season.path(1, 1)))
    assert report.images == 1
    assert excluded(season) == {}
    assert season.query("SELECT count(*) FROM image WHERE problem = 'withheld'") == [(3,)]


def test_whole_captures_of_listed_images(season: SeasonFiles) -> None:
    report = put_out(season, listed=written(season, "list.txt", season.path(1, 2)), whole_captures=True)
    assert (report.captures, report.images) == (1, 0)
    assert set(excluded(season)) == {season.capture_id(1)}


def test_a_report_of_images_is_a_list(season: SeasonFiles) -> None:
    rows = season.query("SELECT capture_id, season, path FROM v_images WHERE capture_id = ?", season.capture_id(2))
    text = "capture_id,season,path\n" + "".join(",".join(row) + "\n" for row in rows)
    file = written(season, "report.csv", text)
    assert put_out(season, listed=file).images == 2
    assert put_out(season, listed=file, whole_captures=True, reason="both").captures == 1


def test_including_does_not_undo_reasons_that_are_not_a_persons(season: SeasonFiles) -> None:
    (season.root / season.path(1, 1)).unlink()
    (season.root / season.path(1, 2)).unlink()
    season.load(update=True)
    season.do(
        "INSERT INTO legacy_subject (capture_id, subject_id, source_file, imported_at)"
        " SELECT id, 99, 'x', '2026' FROM capture WHERE capture_id = ?",
        season.capture_id(2),
    )
    season.do("UPDATE capture SET excluded = ? WHERE capture_id = ?", CLAIMED_BY_OLD_SCRIPTS, season.capture_id(2))
    own = {season.capture_id(1): NO_USABLE_IMAGE, season.capture_id(2): CLAIMED_BY_OLD_SCRIPTS}
    assert excluded(season) == own
    assert let_in(season, where="1 = 1").captures == 0
    assert excluded(season) == own
    assert put_out(season, where="1 = 1").captures == 6
    assert set(excluded(season).values()) == {"people"}
    assert let_in(season, where="1 = 1").captures == 6
    assert excluded(season) == own


def test_an_image_held_back_stays_so_when_the_csv_changes(season: SeasonFiles) -> None:
    put_out(season, listed=written(season, "list.txt", season.path(1, 2)))
    (season.root / season.path(1, 1)).unlink()
    season.load(update=True)
    assert season.query(
        "SELECT i.rank, i.problem, i.problem_reason FROM image i JOIN capture c ON c.id = i.capture_id"
        " WHERE c.capture_id = ? ORDER BY 1",
        season.capture_id(1),
    ) == [(1, "missing", "no such file"), (2, "withheld", "people")]
    assert excluded(season) == {season.capture_id(1): NO_USABLE_IMAGE}


def test_a_problem_comes_back_from_under_the_mark(season: SeasonFiles) -> None:
    (season.root / season.path(1, 1)).unlink()
    season.load(update=True)
    file = written(season, "list.txt", season.path(1, 1))
    assert put_out(season, listed=file).images == 1
    assert let_in(season, listed=file).images == 1
    assert season.query("SELECT problem, problem_reason, covered_problem FROM image WHERE problem IS NOT NULL") == [
        ("missing", "no such file", None)
    ]


def test_what_is_on_zooniverse_or_on_its_way_is_said(season: SeasonFiles) -> None:
    season.put_on_zooniverse(1, 5001)
    season.start_uploading(2)
    report = put_out(season, where="capture IN ('1', '2', '3')")
    assert (report.captures, report.on_zooniverse, report.uploading) == (3, 1, 1)
    assert any(season.capture_id(2) in line for line in report.examples)
    assert len(excluded(season)) == 3  # so that neither is ever sent again
    paths = "\n".join(season.path(n) for n in (1, 2, 4))
    report = put_out(season, listed=written(season, "list.txt", paths))
    assert (report.images, report.images_too_late) == (1, 2)
    assert season.query("SELECT count(*) FROM image WHERE problem IS NOT NULL") == [(1,)]


def test_what_is_on_zooniverse_though_excluded_is_named_in_the_ledger_s_order(season: SeasonFiles) -> None:
    with season.open() as ledger:
        batch(ledger, number_of_batches=2, order="sequential")
    season.do("UPDATE capture SET batch_id = 3 - batch_id")
    for number in range(1, 7):
        season.put_on_zooniverse(number, 5000 + number)
    put_out(season, where="1 = 1")
    with season.open() as ledger, ledger.read() as connection:
        there = exclusions.excluded_there(connection, ledger.season(None).id, 4)
    keys = season.query("SELECT capture_id FROM capture ORDER BY id LIMIT 4")
    assert (there.total, there.some) == (6, [key for (key,) in keys])


def test_the_command_line_warns_of_what_is_too_late(season: SeasonFiles) -> None:
    season.start_uploading(2)
    done = season.run("exclude", "--where", "capture = '2'", "--reason", "people")
    assert done.returncode == 1
    assert "being uploaded at this moment" in done.stderr
    assert season.capture_id(2) in done.stderr
    done = season.run("exclude", "--where", "capture = '3'", "--reason", "people")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Excluded: 1 capture, 0 single images." in done.stdout
    done = season.run("include", "--where", "capture = '3'")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Included again: 1 capture," in done.stdout
    done = season.run("exclude", "--where", "captur = '3'", "--reason", "people")
    assert done.returncode == 2
    assert "did you mean capture" in done.stderr


def test_unknown_entries_are_counted_and_named(season: SeasonFiles) -> None:
    file = written(season, "list.txt", f"{season.capture_id(1)}\nNOBODY#1\nmissing/pic.jpg\n")
    report = put_out(season, listed=file)
    assert (report.captures, report.unknown) == (1, 2)
    assert report.examples == ["row 2: not in the ledger: NOBODY#1", "row 3: not in the ledger: missing/pic.jpg"]
    done = season.run("exclude", str(file), "--reason", "people")
    assert done.returncode == 1
    assert "2 entries name nothing" in done.stderr


def test_five_of_many_unknown_entries_are_named(season: SeasonFiles) -> None:
    unknown = "".join(f"NOBODY#{number}\n" for number in range(9, 0, -1))
    file = written(season, "list.txt", f"{unknown}{season.capture_id(1)}\n")
    report = put_out(season, listed=file)
    assert report.unknown == 9
    assert report.examples == [f"row {row}: not in the ledger: NOBODY#{10 - row}" for row in range(1, 6)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "lists no capture"),
        (b"\n\n", "lists no capture"),
        (b"capture_id\n", "lists no capture"),
        (b"a\nb\nc\n", "of its 3 entries, none"),
        (b'[{"capture_id": "x"}, 7]', "entry 2: neither"),
        (b'["x", ', "not readable as JSON"),
        ("Ñandú".encode("latin-1"), "not text in UTF-8"),
    ],
)
def test_lists_that_are_none(season: SeasonFiles, data: bytes, message: str) -> None:
    file = season.folder / "list"
    file.write_bytes(data)
    before = season.contents()
    with pytest.raises(InputError, match=message) as caught:
        put_out(season, listed=file)
    assert str(file) in str(caught.value)
    assert season.contents() == before


def test_wrong_calls(season: SeasonFiles) -> None:
    for options in ({}, {"where": "1", "listed": "x"}, {"where": "1", "reason": " "}):
        with pytest.raises(UsageError):
            put_out(season, **options)
    with pytest.raises(UsageError, match="ctstate's own"):
        put_out(season, where="1 = 1", reason=NO_USABLE_IMAGE)
    with pytest.raises(InputError, match="no such file"):
        put_out(season, listed=season.folder / "nowhere")
