"""`ctstate report`: what it says is what the ledger says, and its file is whole or not there."""

import base64
import io
import json
import os
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import func, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from ctstate.errors import UsageError
from ctstate.ledger import Ledger, overview, scans
from ctstate.ledger.overview import Hour, Poll, Stay
from ctstate.ledger.schema import capture
from ctstate.ledger.states import State
from ctstate.machine import Machine, running_on
from ctstate.verbs.report import facts as facts_module
from ctstate.verbs.report import report
from ctstate.verbs.report.cameras import cameras
from ctstate.verbs.report.facts import gather
from ctstate.verbs.report.outlook import RunSpeed, classification_ahead, uploads_ahead
from ctstate.web import charts
from ctstate.web.charts import GAP, Column, Line, Part
from ctstate.web.pages import code, duration, when
from tests.builders.ledgers import make_empty, no_ledger_at, of_files, rows_found_backwards
from tests.builders.told_season import MARKUP, ODD, make
from tests.builders.uploaded_season import UploadedSeason

NOW = "2026-11-23T19:30:00.000000Z"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A season in which everything happened."""
    folder = tmp_path_factory.mktemp("told")
    make(folder, no_ledger_at(folder / "ledger.db"), per_day=1)
    return folder


class _Read(HTMLParser):
    """The words of a page, its tags and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(world: UploadedSeason) -> str:
    file = world.folder / "season.html"
    done = world.run("report", "-o", str(file))
    assert done.returncode == 0, done.stdout
    return _Read(file.read_text(encoding="utf-8")).text


# -- what it says ----------------------------------------------------------------------------------------------


def test_a_season_that_is_up(world: UploadedSeason) -> None:
    assert world.on_project("verify").returncode == 0
    text = page_of(world)
    assert "All 12 captures that are to go up are on Zooniverse, none failed; last verified" in text
    assert "all was well; nothing is left to upload." in text
    assert "No capture has failed." in text
    for title in ("retired", "worst first", "day by day", "mends", "what is left", "volunteers", "machines saw",
                  "Bytes saved", "Runs and workers", "How the ledger is"):  # fmt: skip
        assert title in text
    assert (
        text.index("worst first")
        < text.index("day by day")
        < text.index("Bytes saved")
        < text.index("the ledger is")
    )


def test_each_capture_is_counted_once_and_the_reasons_are_told(world: UploadedSeason) -> None:
    first, second = (row.capture_id for row in world.captures()[:2])
    assert world.on_project("delete", first, "--reason", "people", "--yes").returncode == 0
    assert world.run("retry", first).returncode == 0
    assert world.on_project("remove", second, "--reason", "people", "--yes").returncode == 0
    world.do("UPDATE capture SET excluded = 'a colleague''s wish' WHERE id = 1")
    with world.open() as ledger:
        found = gather(ledger, None)
        totals = found.totals
        assert totals._asdict() == {
            "captures": 12, "uploaded": 10, "pending": 0, "failed": 0, "removed": 1, "deleted": 0, "excluded": 1,
            "in_doubt": 0,
        }  # fmt: skip
        assert found.captures.excluded == {"a colleague's wish": 1}
        assert sum(site.captures for site in found.sites) == 12
        ((sent, arrived),) = world.query("SELECT sum(bytes), count(*) FROM image WHERE arrived_at IS NOT NULL")
        assert found.images.arrived == arrived
        assert found.saved.sent == sent
        assert found.saved.sampled > 0
        assert found.captures.failures == Counter()
        assert sum(found.captures.days.values()) == 12


def test_what_failed_is_told_with_the_command_that_mends_it(told: Path) -> None:
    with Ledger.open(no_ledger_at(told / "ledger.db"), read_only=True) as ledger:
        found = gather(ledger, "TOLD_S1")
        report(ledger, told / "failed.html")
        with ledger.read() as connection:
            counted = dict(
                connection.exec_driver_sql(
                    "SELECT reason_kind, count(*) FROM v_captures WHERE state = 'failed' GROUP BY reason_kind"
                ).all()
            )
    assert {group.kind: group.captures for group in found.failures} == counted
    assert set(counted) == {"image_broken", "image_missing"}
    for group in found.failures:
        assert group.command == "ctstate retry --season TOLD_S1"
        assert 0 < len(group.first) <= scans.EXAMPLES
    missing = next(group for group in found.failures if group.kind == "image_missing")
    assert {one.picture for one in missing.first} == {None}
    assert {one.instead for one in missing.first} == {"there is no such file"}
    broken = next(group for group in found.failures if group.kind == "image_broken")
    shown = [one.picture for one in broken.first if one.picture is not None]
    assert 0 < len(shown) < len(broken.first), "one of two files was cut short"
    for picture in shown:
        data = base64.b64decode(picture.removeprefix("data:image/jpeg;base64,"))
        with Image.open(io.BytesIO(data)) as image:
            assert max(image.size) == 160
            assert not image.getexif()
        assert len(data) < 15_000


def test_names_are_never_markup(told: Path) -> None:
    with Ledger.open(no_ledger_at(told / "ledger.db"), read_only=True) as ledger:
        report(ledger, told / "names.html")
    page = (told / "names.html").read_text(encoding="utf-8")
    read = _Read(page)
    assert "<script" not in page
    assert MARKUP in read.text
    assert set(ODD) <= {" ".join(word.split()) for word in read.words}
    assert not [name for tag, attributes in read.tags for name in attributes if name.startswith("on")]


def test_it_asks_for_nothing_outside(told: Path) -> None:
    with Ledger.open(no_ledger_at(told / "ledger.db"), read_only=True) as ledger:
        report(ledger, told / "alone.html")
    page = (told / "alone.html").read_text(encoding="utf-8")
    asked = [
        value
        for _, attributes in _Read(page).tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "poster") and value is not None
    ]
    assert [value for value in asked if not value.startswith(("#", "data:"))] == []
    assert not re.search(r"@import|url\(", page)
    assert "default-src 'none'" in page


def test_what_one_season_says_is_not_another_s(world: UploadedSeason, tmp_path: Path) -> None:
    world.do(
        "INSERT INTO season (id, name, attribution, license, created_at) VALUES (7, 'OTHER', 'a', 'l', '2026')"
    )
    world.do(
        "INSERT INTO classification_poll (run_id, batch_id, workflow_id, workflow, polled_at, subjects, classified,"
        f" classifications, retired) SELECT max(id), 1, 9, 'w', '{NOW}', 6, 5, 5, 4 FROM run"
    )
    done = world.run("report", "-o", str(tmp_path / "s.html"))
    assert (done.returncode, "name a season" in done.stdout) == (2, True)
    with world.open() as ledger:
        both = gather(ledger, "DEMO_S1")
        assert (both.images.arrived, both.totals.captures) == (both.images.images, 12)
        assert len(both.classification.seen) == 1
        other = gather(ledger, "OTHER")
        assert (other.totals.captures, other.images.images, other.guesses) == (0, 0, Counter())
        assert (other.hours, other.classification.seen) == ([], [])
        assert "no capture that is to go up yet" in report(ledger, tmp_path / "other.html", "OTHER").sentence


def test_an_hour_that_a_person_s_own_update_made_up_is_none(world: UploadedSeason) -> None:
    with world.open() as ledger:
        before = gather(ledger, None).hours
        world.do("INSERT INTO hour_count (season_id, hour, state, captures) VALUES (1, 'yesterday', 'uploaded', 5)")
        assert gather(ledger, None).hours == before != []


def test_it_tells_what_a_detector_is_surest_of_and_nothing_where_it_says_nothing(world: UploadedSeason) -> None:
    for key, said in (
        (1, "0.95, 0.1, NULL"),
        (2, "0.2, 0.6, 0.3"),
        (3, "NULL, NULL, 0.75"),
        (4, "NULL, NULL, NULL"),
    ):
        world.do(
            "INSERT INTO prediction (capture_id, source, metadata, made_at, machine_animal, machine_person,"
            f" machine_blank) VALUES ({key}, 'megadetector', '{{}}', '2026', {said})"
        )
    with world.open() as ledger:
        assert gather(ledger, None).guesses == {
            ("megadetector", "animal", 4): 1, ("megadetector", "person", 2): 1, ("megadetector", "blank", 3): 1,
            ("megadetector", "", 0): 1,
        }  # fmt: skip


# -- the file --------------------------------------------------------------------------------------------------


def test_the_file_is_whole_or_not_there(
    world: UploadedSeason, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    file = folder / "season.html"
    file.write_text("the one before")

    def broken(*_: object) -> None:
        raise UsageError("in the middle")

    with world.open() as ledger:
        monkeypatch.setattr(facts_module, "cameras", broken)
        with pytest.raises(UsageError, match="in the middle"):
            report(ledger, file)
        assert os.listdir(folder) == ["season.html"]
        assert file.read_text() == "the one before"
        monkeypatch.undo()
        made = report(ledger, file)
    assert os.listdir(folder) == ["season.html"]
    assert file.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert file.stat().st_size == made.bytes


def test_a_bad_place_is_refused_in_one_line(world: UploadedSeason, tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    for place, why in ((folder, "that is a folder"), (folder / "none" / "s.html", "does not exist")):
        done = world.run("report", "-o", str(place))
        assert done.returncode == 2
        assert len(done.stdout.splitlines()) == 1
        assert why in done.stdout
    assert os.listdir(folder) == []


def test_an_empty_ledger_is_refused(tmp_path: Path) -> None:
    place = no_ledger_at(tmp_path / "empty.db")
    make_empty(place)
    with Ledger.open(place, read_only=True) as ledger, pytest.raises(UsageError, match="begin with"):
        report(ledger, tmp_path / "s.html")
    assert not (tmp_path / "s.html").exists()


def test_json(world: UploadedSeason, tmp_path: Path) -> None:
    done = world.run("report", "-o", str(tmp_path / "s.html"), "--json")
    said = json.loads(done.stdout)
    assert said["bytes"] == (tmp_path / "s.html").stat().st_size
    assert said["sentence"].startswith("All 12 captures")


# -- how the ledger is read ------------------------------------------------------------------------------------


def test_parts_add_up_to_the_whole(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(no_ledger_at(told / "ledger.db"), read_only=True) as ledger:
        with ledger.read() as connection:
            key = connection.exec_driver_sql(
                "SELECT run_id FROM v_runs WHERE verb = 'upload' AND outcome = 'done'"
            ).scalar_one()
        whole = (
            scans.look_at_captures(ledger.read, 1),
            scans.look_at_images(ledger.read, scans.whose(ledger.read, 1))._replace(sample=[]),
            scans.look_at_predictions(ledger.read, scans.whose(ledger.read, 1)),
            overview.count_moves(ledger.read, key, State.UPLOADED),
        )
        monkeypatch.setattr(scans, "ROWS", 97)
        monkeypatch.setattr(scans, "MOST", 97)
        monkeypatch.setattr(overview, "_MOVES", 50)
        parts = (
            scans.look_at_captures(ledger.read, 1),
            scans.look_at_images(ledger.read, scans.Whose(1, None, None))._replace(sample=[]),
            scans.look_at_predictions(ledger.read, scans.Whose(1, None, None)),
            overview.count_moves(ledger.read, key, State.UPLOADED),
        )
        assert parts == whole
        with ledger.read() as connection:
            assert (
                whole[3]
                == connection.exec_driver_sql(
                    f"SELECT count(*) FROM event WHERE run_id = {key} AND target = 'uploaded'"
                ).scalar()
            )
            assert sum(whole[2].values()) == connection.exec_driver_sql("SELECT count(*) FROM prediction").scalar()


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [(0.001, [200, 400, 800, 800]), (0.03, [200, 200, 200, 200]), (0.2, [200, 100, 60, 60])],
    ids=["fast", "as wanted", "slow"],
)
def test_the_slower_the_ledger_the_smaller_is_what_is_read_at_once(
    told: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, sizes: list[int]
) -> None:
    monkeypatch.setattr(scans, "ROWS", 200)
    monkeypatch.setattr(scans, "FEWEST", 60)
    monkeypatch.setattr(scans, "MOST", 800)
    c = capture.c

    class Slow(Machine):
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    slow = Slow()

    def look(connection: Connection, part: ColumnElement[bool]) -> int:
        slow.now += seconds
        first, last = connection.execute(select(func.min(c.id), func.max(c.id)).where(part)).one()
        return int(last - first + 1)

    with Ledger.open(no_ledger_at(told / "ledger.db"), read_only=True) as ledger, running_on(slow):
        seen = scans.in_parts(ledger.read, c.id, look)
    with Ledger.open(no_ledger_at(told / "ledger.db"), read_only=True) as ledger:
        assert sum(seen) == ledger.count()
    assert seen[:-1] == (sizes + sizes[-1:] * len(seen))[: len(seen) - 1]


@of_files
def test_it_says_the_same_in_whatever_order_the_database_finds_rows(
    told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open(told / "ledger.db", read_only=True) as ledger:
        moment = ledger.moment()
        monkeypatch.setattr(Ledger, "moment", lambda _: moment)
        usual = gather(ledger, None)
    with rows_found_backwards(), Ledger.open(told / "ledger.db", read_only=True) as ledger:
        assert gather(ledger, None) == usual


def test_seasons_side_by_side_and_mixed_are_told_apart(
    world: UploadedSeason, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "ROWS", 5)
    world.do(
        "INSERT INTO season (id, name, attribution, license, created_at) VALUES (7, 'OTHER', 'a', 'l', '2026')"
    )
    with world.open() as ledger:
        (one,) = {row.season_id for row in ledger.batches(None)}
        assert scans.whose(ledger.read, one) == (one, 1, 12)
        assert scans.whose(ledger.read, 7) == (7, 0, 0)
        for keys, first, last in (("9, 10, 11, 12", 1, 8), ("4", None, None)):
            with ledger.write() as connection:
                connection.exec_driver_sql(f"UPDATE capture SET season_id = {one}")
                connection.exec_driver_sql(f"UPDATE capture SET season_id = 7 WHERE id IN ({keys})")
            found = scans.whose(ledger.read, one)
            assert found == (one, first, last)
            ((images,),) = world.query(
                "SELECT count(*) FROM image i JOIN capture c ON c.id = i.capture_id WHERE c.season_id = ?", one
            )
            assert scans.look_at_images(ledger.read, found).images == images


# -- cameras ---------------------------------------------------------------------------------------------------


def days(site: str, first: int, last: int) -> dict[tuple[str, str], int]:
    return {(site, f"2026-05-{day:02}"): 2 for day in range(first, last + 1)}


def test_a_camera_that_is_silent_dead_or_wrong_is_told_of() -> None:
    found = cameras(
        {
            **days("fine", 1, 31), **days("gap", 1, 5), **days("gap", 20, 31), **days("dead", 1, 10),
            **days("clock", 1, 31), ("clock", "2000-01-01"): 5, ("clock", "2031-01-01"): 1, ("timeless", ""): 3,
            **days("early", 1, 31),
        },
        [Stay("early", "2026-05-04", None), Stay("dead", "2026-05-01", "2026-05-30")],
        "2026-11-23",
    )  # fmt: skip
    notes = {row.site: row.notes for row in found.rows}
    assert notes["fine"] == []
    assert notes["gap"] == ["nothing from 2026-05-06 to 2026-05-19"]
    assert notes["dead"] == ["silent since 2026-05-11, for 20 days"]
    assert notes["clock"] == ["6 captures dated 2000-01-01 to 2031-01-01: its clock is wrong"]
    assert notes["early"] == ["6 captures outside the time for which it stood there: its clock?"]
    assert [row.site for row in found.rows][:2] == ["clock", "early"]
    assert (found.first, found.last, found.conspicuous) == ("2026-05-01", "2026-05-31", 4)
    cells = {row.site: row.cells for row in found.rows}
    assert cells["gap"] == [2] * 5 + [GAP] * 14 + [2] * 12
    assert next(row for row in found.rows if row.site == "timeless").timeless == 3


def test_a_camera_whose_table_says_that_it_was_taken_down_is_not_dead() -> None:
    found = cameras({**days("a", 1, 31), **days("b", 1, 10)}, [Stay("b", None, "2026-05-11")], "2026-11-23")
    assert found.conspicuous == 0


def test_a_season_of_years_is_shown_by_weeks() -> None:
    found = cameras({("a", "2024-06-01"): 1, ("a", "2025-05-01"): 9, ("a", "2026-01-01"): 1}, [], "2026-11-23")
    assert found.weeks
    assert len(found.rows[0].cells) < 100


# -- what may come ---------------------------------------------------------------------------------------------


def test_uploads_go_on_as_in_the_last_whole_hours() -> None:
    hours = [Hour("2026-11-23T15", 10, 0), Hour("2026-11-23T17", 3600, 0), Hour("2026-11-23T18", 7200, 4),
             Hour("2026-11-23T19", 5, 0)]  # fmt: skip
    ahead = uploads_ahead(5400, hours, None, NOW, live=True)
    assert (ahead.rate, ahead.seconds, ahead.done_at) == (1.5, 3600, "2026-11-23T20:30:00.000000Z")
    assert "the last 2 whole hours" in ahead.made_of
    assert uploads_ahead(5400, hours, None, NOW, live=False).done_at is None
    assert uploads_ahead(0, hours, None, NOW, live=True).seconds is None
    young = uploads_ahead(100, hours[-1:], RunSpeed(50, 25), NOW, live=True)
    assert (young.rate, young.seconds, young.made_of) == (2, 50, "as fast as the last upload")
    assert uploads_ahead(100, [], None, NOW, live=True).seconds is None


def test_volunteers_go_on_as_between_the_looks() -> None:
    def poll(day: int, batch: int, retired: int) -> Poll:
        return Poll(
            f"2026-11-{day:02}T12:00:00.000000Z", batch, f"b{batch}", 1, "w", 100, retired, retired, retired
        )

    assert "has not looked" in classification_ahead([]).made_of
    assert classification_ahead([poll(1, 1, 10)]).done_at is None
    ahead = classification_ahead([poll(1, 1, 10), poll(2, 2, 0), poll(3, 1, 30), poll(3, 2, 10)])
    assert [one.retired for one in ahead.seen] == [10, 10, 40]
    assert (ahead.per_day, ahead.done_at) == (15, "2026-11-14T04:00:00.000000Z")
    assert classification_ahead([poll(1, 1, 10), poll(2, 1, 100)]).done_at is None


# -- the pictures ----------------------------------------------------------------------------------------------


def test_pictures_escape_what_they_are_told() -> None:
    parts = [Part(MARKUP, 3, "uploaded"), Part("failed", 0, "failed")]
    made = (
        charts.bar(parts, of=MARKUP),
        charts.legend(parts, numbers=True),
        charts.columns([Column(MARKUP, parts)], of=MARKUP),
        charts.curve([Line(MARKUP, "uploaded", [(0, 1), (1, 2)])], most=2, ticks=(MARKUP, MARKUP), of=MARKUP),
        charts.strip([1, 0, GAP], levels=[1], of=MARKUP),
    )
    for picture in made:
        assert "<script" not in picture
        assert "&lt;script&gt;" in picture


def test_pictures_of_nothing_are_pictures() -> None:
    assert "nothing" in charts.bar([], of="a")
    assert 'role="img"' in charts.columns([], of="a")
    assert 'role="img"' in charts.strip([], levels=[], of="a")


def test_a_strip_has_one_path_a_shade() -> None:
    strip = charts.strip([1] * 200 + [9] * 100 + [0, 1], levels=[1, 5], of="a")
    assert strip.count("<path") == 2
    assert len(strip) < 250


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 4), (3, 4), (4, 4), (5, 8), (9, 12), (11, 12), (27, 40), (99, 100), (101, 120), (1_000_001, 1_200_000)],
)
def test_an_axis_ends_with_a_round_number(value: float, top: float) -> None:
    assert charts.ceiling(value) == top


def test_words() -> None:
    assert (duration(None), duration(0), duration(59.6), duration(3 * 3600 + 61), duration(90_000)) == (
        "", "0 s", "1 min", "3 h 1 min", "1 day 1 h",
    )  # fmt: skip
    assert when(NOW) == "23 Nov 2026, 19:30 UTC"
    assert code("run `a <b>` now <i>") == "run <code>a &lt;b&gt;</code> now &lt;i&gt;"


def test_a_full_disk_is_told_of_the_file_that_was_named(told: Path, call_ctstate) -> None:
    done = call_ctstate("--ledger", str(no_ledger_at(told / "ledger.db")), "report", "-o", "/dev/full")
    assert (done.code, done.stderr) == (1, "Error: /dev/full: No space left on device\n")
