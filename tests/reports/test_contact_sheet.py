"""The contact sheet: what lies around a threshold, a sample of every site, and nothing that is not for a page."""

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ctstate.errors import UsageError
from ctstate.ledger import contact
from ctstate.verbs.contact_sheet import Threshold, contact_sheet, thresholds_in
from ctstate.verbs.exclude import exclude
from ctstate.verbs.predict import PredictionFile, predict
from ctstate.verbs.report import report_before_upload
from ctstate.web.contact_sheet import Box, Card, ContactSheet, Picture, Section, page
from tests.builders.image_files import SECRET, UNDO, corners, frame, opened, saved, secret_exif, with_every_secret
from tests.builders.season_files import SeasonFiles
from tests.builders.uploaded_season import UploadedSeason

BOX = [0.25, 0.5, 0.5, 0.25]
EVIL = "<script>alert(1)</script>\"'&"
PERSON = {1: 0.1, 2: 0.15, 3: 0.2, 4: 0.21, 5: 0.29, 6: 0.9}
"""By capture, the confidence of a person on its second image."""


def picture(orientation: int = 1) -> bytes:
    upright = frame(400, 300)
    turn = UNDO[orientation]
    return saved(upright if turn is None else upright.transpose(turn), quality=90, exif=secret_exif(orientation))


@pytest.fixture
def seen(season: SeasonFiles) -> SeasonFiles:
    """A season with pictures and predictions."""
    for row in season.rows:
        (season.root / row["path"]).write_bytes(picture())
    images = []
    for number, confidence in PERSON.items():
        images.append(
            {"file": season.path(number, 1), "detections": [{"category": "1", "conf": 0.95, "bbox": BOX}]}
        )
        found = [{"category": "2", "conf": confidence, "bbox": BOX}]
        images.append({"file": season.path(number, 2), "detections": found})
    attach(season, images)
    return season


def attach(season: SeasonFiles, images: Any, **names: str) -> None:
    categories = {"1": "animal", "2": "person", "3": "vehicle", **names}
    content = {"info": {}, "detection_categories": categories, "images": images}
    (season.folder / "md.json").write_text(json.dumps(content))
    with season.open() as ledger:
        predict(ledger, [PredictionFile(season.folder / "md.json")])


def sheet_of(season: SeasonFiles, **options: Any) -> ContactSheet:
    with season.open() as ledger:
        return contact_sheet(ledger, seed=1, **options)


def names(season: SeasonFiles, section: Section) -> list[int]:
    return [int(card.capture_id.rpartition("#")[2]) for card in section.cards]


def test_what_is_near_the_threshold_that_captures_were_excluded_by(seen: SeasonFiles) -> None:
    with seen.open() as ledger:
        exclude(ledger, where="machine_person > 0.2 AND site <> 'machine_animal > 0.7'", reason="people")
    above, below, sample = sheet_of(seen).sections
    assert names(seen, above) == [4, 5]  # the nearest first; 6 is far off
    assert names(seen, below) == [3, 2, 1]  # what is the threshold itself is not above it
    assert (above.condition, above.found, above.left_out) == ("machine_person > 0.2", 2, 0)
    assert {card.excluded for card in above.cards} == {"people"}
    assert {card.excluded for card in below.cards} == {None}
    assert sorted(names(seen, sample)) == [1, 2, 3]  # two sites; what is excluded does not go up
    card = above.cards[0]
    assert card.scores[0] == ("person", 0.21, True)
    assert (card.image, card.images, card.path) == (2, 2, seen.path(4, 2))  # where the person is, not the animal
    assert [card.image for card in sample.cards] == [1, 1, 1]  # where the surest box is


def test_a_card_shows_the_highest_score_of_any_source(seen: SeasonFiles) -> None:
    columns = "capture_id, source, metadata, made_at, machine_person"
    seen.do(f"INSERT INTO prediction ({columns}) SELECT id, 'x', '', '', 0.05 FROM capture WHERE capture = '4'")
    above = sheet_of(seen, around=["machine_person=0.2"], band=0.05).sections[0]
    assert names(seen, above) == [4]
    assert above.cards[0].scores[0] == ("person", 0.21, True)


def test_around_a_threshold_that_is_asked_for(seen: SeasonFiles) -> None:
    above, below, _ = sheet_of(seen, around=["machine_person=0.2"], band=0.05).sections
    assert (names(seen, above), names(seen, below)) == ([4], [3, 2])
    above, below, _ = sheet_of(seen, around=["person>=0.2"], band=0.05).sections
    assert (names(seen, above), names(seen, below)) == ([3, 4], [2])
    sections = sheet_of(seen, around=["machine_person=0.2"], most=1, per_site=0).sections
    assert [(len(each.cards), each.found, each.left_out) for each in sections] == [(1, 2, 1), (1, 3, 2)]


def test_without_thresholds_there_is_the_sample_and_a_note(seen: SeasonFiles) -> None:
    sheet = sheet_of(seen, per_site=1)
    (sample,) = sheet.sections
    assert [card.site for card in sample.cards] == ["B04", "Ñandú"]
    assert "--around" in sheet.notes[0]
    assert (sheet.captures, sheet.cards) == (6, 2)


def test_many_sites_have_one_each_before_any_has_two(seen: SeasonFiles) -> None:
    (sample,) = sheet_of(seen, per_site=3, most=1).sections
    sites = [card.site for card in sample.cards]
    assert sites == sorted(sites)
    assert sorted(map(sites.count, ("B04", "Ñandú"))) == [2, 3]
    assert (sample.found, sample.left_out) == (6, 1)
    shown = {tuple(names(seen, _sample(seen, seed))) for seed in range(20)}
    assert len(shown) > 3  # it is random
    assert _sample(seen, 5).cards == _sample(seen, 5).cards


def _sample(season: SeasonFiles, seed: int) -> Section:
    with season.open() as ledger:
        return contact_sheet(ledger, per_site=1, seed=seed).sections[-1]


def test_boxes_are_at_their_place_on_a_picture_that_was_turned(seen: SeasonFiles) -> None:
    (seen.root / seen.path(4, 2)).write_bytes(picture(orientation=6))
    above = sheet_of(seen, around=["machine_person=0.2"]).sections[0]
    made = above.cards[0].picture
    assert made is not None
    assert (made.width, made.height) == (320, 240)
    assert corners(opened(made.data)) == "rgbw"
    (mark,) = made.marks
    assert (mark.x, mark.y, mark.width, mark.height) == (80, 120, 160, 60)
    assert (mark.kind, mark.label) == ("person", "person 0.21")
    assert mark.label_y + 16 == mark.y
    assert '<rect class="box" x="80.0" y="120.0" width="160.0" height="60.0"/>' in page(sheet_of(seen))


def test_labels_stay_within_the_picture() -> None:
    def mark(*box: float) -> Any:
        return Picture(b"", 320, 240, (Box("person", "a person with a very long name indeed", 0.5, *box),)).marks[0]

    for box in ((0, 0, 1, 1), (0.95, 0, 0.05, 0.1), (0, 0.01, 0.1, 0.98), (0.9, 0.9, 0.1, 0.1)):
        found = mark(*box)
        assert found.label_x >= 0
        assert found.label_x + found.label_width <= 320
        assert 0 <= found.label_y <= 240 - 16


def test_no_thumbnail_says_where_it_was_taken(seen: SeasonFiles, tmp_path: Path) -> None:
    for row in seen.rows:
        (seen.root / row["path"]).write_bytes(with_every_secret(picture()))
    with seen.open() as ledger:
        report_before_upload(ledger, tmp_path / "sheet.html", around=["machine_person=0.2"])
    found = re.findall(r'href="data:image/jpeg;base64,([^"]+)"', (tmp_path / "sheet.html").read_text("utf-8"))
    assert len(found) == 5 + 6
    for text in found:
        data = base64.b64decode(text)
        assert SECRET.encode() not in data
        assert b"Exif" not in data
        assert len(data) < 30_000
        assert dict(opened(data).getexif()) == {}


def test_names_are_escaped_and_nothing_runs_or_is_fetched(tmp_path: Path) -> None:
    other = SeasonFiles(tmp_path, captures=1)
    for row in other.rows:
        row["site"] = EVIL
        (other.root / row["path"]).write_bytes(picture())
    other.write_csv()
    other.load()
    found = [{"category": "9", "conf": 0.9, "bbox": BOX}]
    attach(other, [{"file": other.path(1), "detections": found}], **{"9": EVIL})
    with other.open() as ledger:
        exclude(ledger, where="machine_species_confidence > 0.85", reason=EVIL)
        report_before_upload(ledger, tmp_path / "sheet.html")
        sheet = contact_sheet(ledger)
    assert [card.excluded for card in sheet.sections[0].cards] == [EVIL]
    text = (tmp_path / "sheet.html").read_text("utf-8")
    assert "<script" not in text
    assert "alert(1)" in text
    assert html.unescape(text).count(EVIL) >= 3
    assert "default-src 'none'" in html.unescape(text)
    assert re.findall(r'(?:src|href)="(?!data:image/jpeg;base64,|#)', text) == []


def test_a_picture_that_is_not_there_says_so(seen: SeasonFiles, tmp_path: Path) -> None:
    (seen.root / seen.path(4, 2)).unlink()
    (seen.root / seen.path(5, 2)).write_bytes(picture()[:3000])
    elsewhere = tmp_path / "elsewhere.jpg"
    elsewhere.write_bytes(picture())
    (seen.root / seen.path(3, 2)).unlink()
    (seen.root / seen.path(3, 2)).symlink_to(elsewhere)
    seen.do("UPDATE image SET problem = 'missing', problem_reason = 'not there' WHERE path LIKE '%0002_%'")
    sheet = sheet_of(seen, around=["machine_person=0.2"], per_site=0)
    why = {
        int(c.capture_id.rpartition("#")[2]): c.why_none for s in sheet.sections for c in s.cards if not c.picture
    }
    assert why[4] == "there is no such file"
    assert "cut short" in why[5]
    assert "leads out of" in why[3]
    assert why[2] == "none of its images is usable: not there"
    assert sheet.without_picture == 4
    assert "No picture: there is no such file" in page(sheet)


def test_it_is_written_whole_or_not_at_all(seen: SeasonFiles, tmp_path: Path) -> None:
    place = tmp_path / "sheet.html"
    with seen.open() as ledger:
        with pytest.raises(UsageError, match="--around"):
            report_before_upload(ledger, place, around=["machine_lion=0.2"])
        assert list(tmp_path.glob("*.html*")) == list(tmp_path.glob(".*.part")) == []
        with pytest.raises(UsageError, match="does not exist"):
            report_before_upload(ledger, tmp_path / "none" / "sheet.html")
        before = seen.contents()
        with pytest.raises(UsageError, match="no such folder"):
            report_before_upload(ledger, place, images_root=tmp_path / "moved")
        report_before_upload(ledger, place)
    assert place.read_text("utf-8").startswith("<!doctype html>")
    assert seen.contents() == before


@pytest.mark.parametrize(
    "text", ["", "person", "person=", "person=1.1", "person=-1", "person=nan", "p=0.2", "person=1.2.3"]
)
def test_what_is_no_threshold_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="such as machine_person"):
        Threshold.of(text)


def test_thresholds_in_conditions() -> None:
    assert thresholds_in("MACHINE_PERSON>=.2 OR (machine_vehicle < 0.5 AND machine_species_confidence<=1)") == [
        Threshold("machine_person", ">=", 0.2),
        Threshold("machine_vehicle", "<", 0.5),
        Threshold("machine_species_confidence", "<=", 1),
    ]
    assert thresholds_in("site = 'machine_person > 0.2' OR machine_species = 'lion' OR machine_person > 7") == []


def test_every_capture_is_passed_once(season: SeasonFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "_PAGE", 4)
    columns = "capture_id, source, metadata, made_at, machine_person"
    for source, person in (("a", 0.5), ("b", 0.7), ("c", 0.6), ("d", None)):
        season.do(f"INSERT INTO prediction ({columns}) VALUES (5, ?, '', '', ?)", source, person)
    with season.open() as ledger:
        found = list(contact.scored(ledger.read, ledger.season(None).id, ["machine_person"]))
    assert [(each.key, list(each.scores)) for each in found] == [
        (key, [0.7 if key == 5 else None]) for key in range(1, 7)
    ]


def test_a_card_without_anything(tmp_path: Path) -> None:
    card = Card("a", "b", None, "uploaded", 5, None, None, (), None, "none", None, 0, 0)
    text = page(ContactSheet("S", "2026-11-23T19:02:43.123456Z", 1, [Section("x", "X", "y", [card], 9)]))
    assert "no predictions" in text
    assert "uploaded: on Zooniverse already" in text
    assert "1 of 9 are shown" in text


def test_the_command_writes_a_sheet(world: UploadedSeason, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    done = world.run("report", "--before-upload", "--around", "machine_person=0.2", "-o", str(sheet))
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("0 captures of 12 to look at.")
    assert str(sheet) in done.stdout
    assert "machine_person" in sheet.read_text(encoding="utf-8")
    done = world.run("report", "--around", "machine_person=0.2", "-o", str(sheet))
    assert (done.returncode, done.stdout) == (
        2,
        "Error: --around and --images-root are for --before-upload: a contact sheet\n",
    )
    done = world.run("report", "--before-upload", "--around", "person=2", "-o", str(tmp_path / "other.html"))
    assert done.returncode == 2
    assert "--around 'person=2'" in done.stdout
    assert not (tmp_path / "other.html").exists()
