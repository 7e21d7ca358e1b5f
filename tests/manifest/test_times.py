"""When pictures were taken, and where cameras stood: from every format into the ledger, and later for a season that
has begun."""

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ctstate.errors import InputError, UsageError
from ctstate.formats.deployments import read_deployments
from ctstate.formats.times import as_written, in_zone, zone_named
from tests.builders.ledgers import make_empty, raw

TIMES = "SELECT c.capture, i.rank, i.taken_at, i.taken_text FROM image i JOIN capture c ON c.id = i.capture_id"
OF_CAPTURES = "SELECT capture, taken_at FROM capture ORDER BY id"


@pytest.fixture
def load(season_csv: Any, call_ctstate: Any, ledger_path: Path) -> Any:
    """Write rows and load them into a new ledger, or one that was loaded before."""

    def do(rows: list[dict[str, Any]], *more: str, **how: Any) -> Any:
        if not getattr(do, "begun", False):
            make_empty(ledger_path)
            do.begun = True  # type: ignore[attr-defined]
        season_csv(rows, **how)
        return call_ctstate(*season_csv.arguments(*more))

    return do


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("2017-06-06 12:00:01", "2017-06-06T12:00:01"),
        ("2017:06:06 12:00:01", "2017-06-06T12:00:01"),
        ("2017/06/06 12:00", "2017-06-06T12:00:00"),
        ("2017-06-06T12:00:01.123Z", "2017-06-06T12:00:01"),
        ("2017-06-06T12:00:01+02:00", "2017-06-06T12:00:01"),
        ("2016-02-29 23:59:59 ", "2016-02-29T23:59:59"),
        ("2017-02-29 23:59:59", None),
        ("0000:00:00 00:00:00", None),
        ("2017-06-06 24:00:00", None),
        ("2017-06/06 12:00:00", None),
        ("6/7/2017 12:00", None),
        ("2017-06-06", None),
        ("12:00:00", None),
        ("٢٠١٧-٠٦-٠٦ ١٢:٠٠:٠٠", None),
    ],
)
def test_a_time_is_one_that_reads_in_one_way(said: str, expected: str | None) -> None:
    assert as_written(said) == expected


def test_both_styles_of_header_tell_it(load: Any, ask: Any, row: Any) -> None:
    rows = [
        row(1, 1, timestamp="2017-06-06 12:00:05", datetime=""),
        row(1, 2, timestamp="2017-06-06 12:00:04", datetime="2017-06-06 11:00:03"),
        row(2, 1, timestamp="", datetime="NA"),
        row(3, 1, timestamp="", datetime="yesterday"),
    ]
    result = load(rows)
    assert "3 images without a time, 1 with something else in its place." in result.stdout
    assert ask(f"{TIMES} ORDER BY i.id") == [
        ("1", 1, None, None),
        ("1", 2, "2017-06-06T11:00:03", None),
        ("2", 1, None, None),
        ("3", 1, None, "yesterday"),
    ]
    assert ask(OF_CAPTURES) == [("1", "2017-06-06T11:00:03"), ("2", None), ("3", None)]


def test_another_column_is_named(load: Any, ask: Any, row: Any) -> None:
    load([row(1, 1, timestamp="2017-06-06 12:00:05", oldtime="2016-06-06 12:00:05")], "--time-column", "oldtime")
    assert ask(OF_CAPTURES) == [("1", "2016-06-06T12:00:05")]
    line = load([row(1, 1)], "--time-column", "oldtime").error()
    assert "no column oldtime" in line


def test_a_capture_is_taken_when_its_first_image_was(load: Any, ask: Any, row: Any) -> None:
    load([row(1, rank, timestamp=f"2017-06-06 12:00:{9 - rank:02}") for rank in (1, 2, 3)])
    assert ask(OF_CAPTURES) == [("1", "2017-06-06T12:00:06")]


def test_exif_tells_it_where_the_csv_does_not(load: Any, season_csv: Any, ask: Any, row: Any) -> None:
    rows = [row(n, 1, timestamp="2017-06-06 12:00:05" if n == 1 else "") for n in (1, 2, 3)]
    exif = Image.Exif()
    exif[0x8769] = {0x9003: "2018:01:02 03:04:05"}
    for one in rows:
        place = season_csv.image(one["path"])
        Image.new("RGB", (16, 12)).save(place, "JPEG", exif=exif)
    season_csv.image(rows[2]["path"], b"no image at all")
    result = load(rows, "--exif-times", images=False)
    assert "1 image without a time." in result.stdout
    assert ask(OF_CAPTURES) == [("1", "2017-06-06T12:00:05"), ("2", "2018-01-02T03:04:05"), ("3", None)]


# -- a season that has begun -------------------------------------------------------------------------------------


def test_update_gives_times_to_an_uploaded_season_and_touches_nothing_else(
    load: Any, ask: Any, row: Any, ledger_path: Path
) -> None:
    plain = [row(n, rank) for n in (1, 2) for rank in (1, 2)]
    load(plain)
    with raw(ledger_path) as connection:
        connection.execute(
            "INSERT INTO batch (id, season_id, name, created_at) VALUES (1, 1, 'batch_1', '2026-01-01')"
        )
        connection.execute("UPDATE capture SET state = 'batched', batch_id = 1")
        connection.execute("UPDATE capture SET state = 'uploading', run_id = 1, claim = 1")
        connection.execute("UPDATE capture SET state = 'uploaded', subject_id = 1000 + id WHERE capture = '1'")
    rest = (
        "SELECT id, state, subject_id, claim, moved_at, run_id, reason, metadata_pending FROM capture ORDER BY id"
    )
    images = "SELECT id, capture_id, rank, path, problem, md5, arrived_at FROM image ORDER BY id"
    events = "SELECT count(*) FROM event"
    before = ask(rest), ask(images), ask(events)
    timed = [{**one, "timestamp": f"2017-06-06 12:00:0{number}"} for number, one in enumerate(plain)]

    said = load(timed)
    assert said.code == 0
    assert "4 images without a time in the ledger, but with one in the file: --update takes it over" in said.stdout
    assert ask(OF_CAPTURES) == [("1", None), ("2", None)]

    said = load(timed, "--update")
    assert "4 images of the ledger got the time at which they were taken." in said.stdout
    assert ask(OF_CAPTURES) == [("1", "2017-06-06T12:00:00"), ("2", "2017-06-06T12:00:02")]
    assert (ask(rest), ask(images), ask(events)) == before
    assert "Nothing new: the ledger is as it was." in load(timed, "--update").stdout


def test_another_time_is_a_contradiction_until_it_is_meant(load: Any, ask: Any, row: Any) -> None:
    def rows(hour: int) -> list[dict[str, Any]]:
        return [row(n, 1, timestamp=f"2017-06-06 {hour}:00:05") for n in (1, 2)]

    load(rows(12))
    line = load(rows(13)).error()
    assert "row 2: taken at 2017-06-06T13:00:05, in the ledger at 2017-06-06T12:00:05 (2 images differ" in line
    assert "--update" in line
    assert ask(OF_CAPTURES) == [("1", "2017-06-06T12:00:05"), ("2", "2017-06-06T12:00:05")]
    load(rows(13), "--update")
    assert ask(OF_CAPTURES) == [("1", "2017-06-06T13:00:05"), ("2", "2017-06-06T13:00:05")]


def test_a_csv_without_times_takes_none_away(load: Any, ask: Any, row: Any) -> None:
    load([row(1, 1, timestamp="2017-06-06 12:00:05")])
    assert "Nothing new" in load([row(1, 1)]).stdout
    assert "Nothing new" in load([row(1, 1, timestamp="?")], "--update").stdout
    assert ask(OF_CAPTURES) == [("1", "2017-06-06T12:00:05")]


# -- zones, deployments, views -----------------------------------------------------------------------------------


def test_the_zone_is_stated_once(load: Any, ask: Any, row: Any) -> None:
    zone = "SELECT time_zone FROM season"
    load([row(1, 1)])
    assert ask(zone) == [(None,)]
    assert "time zone was changed" in load([row(1, 1)], "--time-zone", "Africa/Johannesburg").stdout
    assert "Nothing new" in load([row(1, 1)]).stdout
    line = load([row(1, 1)], "--time-zone", "+02:00").error()
    assert "time zone 'Africa/Johannesburg' in the ledger, not '+02:00'" in line
    load([row(1, 1)], "--time-zone", "+02:00", "--update")
    assert ask(zone) == [("+02:00",)]
    assert "no such time zone: 'Nowhere'" in load([row(1, 1)], "--time-zone", "Nowhere").error()


def test_a_moment_as_clocks_of_a_zone_show_it() -> None:
    moment = 1_585_048_906_000_000  # 2020-03-24T11:21:46Z
    assert in_zone(moment, zone_named("Africa/Johannesburg")) == "2020-03-24T13:21:46"
    assert in_zone(moment, zone_named("-03:30")) == "2020-03-24T07:51:46"
    for wrong in ("", "../etc/passwd", "+25:00", "Africa", "x\0"):
        with pytest.raises(UsageError, match="no such time zone"):
            zone_named(wrong)


DEPLOYED = """site,roll,start,end,latitude,longitude,camera
B04,1,2017-06-01 08:00:00,2017-06-11 10:00:00,-25.01,31.6,Reconyx 7
C11,,2017-06-01,,,,
"""


def test_where_cameras_stood(load: Any, ask: Any, row: Any, tmp_path: Path) -> None:
    table = tmp_path / "deployments.csv"
    table.write_text(DEPLOYED)
    assert "2 deployments new or changed." in load([row(1, 1)], "--deployments", str(table)).stdout
    assert ask("SELECT site, roll, starts_at, ends_at, nights, latitude, longitude, camera FROM v_deployments") == [
        ("B04", "1", "2017-06-01T08:00:00", "2017-06-11T10:00:00", 10, -25.01, 31.6, "Reconyx 7"),
        ("C11", "", "2017-06-01T00:00:00", None, None, None, None, None),
    ]
    assert "Nothing new" in load([row(1, 1)], "--deployments", str(table)).stdout
    table.write_text(DEPLOYED.replace("Reconyx 7", "Reconyx 8"))
    assert "site B04, roll 1" in load([row(1, 1)], "--deployments", str(table)).error()
    assert "1 deployment new" in load([row(1, 1)], "--deployments", str(table), "--update").stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("roll\n1\n", "row 1: no column site"),
        ("site\n\n ,\n", "row 3: no site"),
        ("site,start\nB04,6/7/2017\n", "row 2: '6/7/2017' is no time"),
        ("site,latitude\nB04,91\n", "row 2: '91' is not a number of degrees between -90 and 90"),
        ("site,longitude\nB04,nan°\n", "row 2: 'nan°' is not a number of degrees"),
        ("site,start,end\nB04,2017-06-02,2017-06-01\n", "row 2: it ends"),
        ("site,roll\nB04,1\nB04,1\n", "row 3: site 'B04', roll '1' occurs twice"),
    ],
)
def test_tables_of_deployments_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "deployments.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        read_deployments(table)


def test_captures_a_camera_and_day(load: Any, ask: Any, row: Any) -> None:
    load(
        [
            row(1, 1, timestamp="2017-06-06 23:59:59"),
            row(2, 1, timestamp="2017-06-07 00:00:00"),
            row(3, 1, timestamp="2017-06-07 08:00:00"),
            row(4, 1, timestamp=""),
            row(1, 1, site="C11", timestamp="2017-06-06 01:00:00"),
        ]
    )
    assert ask("SELECT site, roll, day, captures, first_at, last_at FROM v_days ORDER BY site, day") == [
        ("B04", "1", "2017-06-06", 1, "2017-06-06T23:59:59", "2017-06-06T23:59:59"),
        ("B04", "1", "2017-06-07", 2, "2017-06-07T00:00:00", "2017-06-07T08:00:00"),
        ("C11", "1", "2017-06-06", 1, "2017-06-06T01:00:00", "2017-06-06T01:00:00"),
    ]
    assert ask("SELECT taken_at FROM v_captures WHERE capture_id = 'TST_S1#B04#1#2'") == [("2017-06-07T00:00:00",)]
