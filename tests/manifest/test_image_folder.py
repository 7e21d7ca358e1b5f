"""A season from nothing but a folder of images."""

import csv
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ctstate.errors import InputError, UsageError
from ctstate.formats.image_folder import ImageFolder, NameTime, Pattern, read_shifts
from tests.builders.ledgers import ON_POSTGRES, is_ledger, of_files

NOON = datetime(2017, 6, 6, 12, 0, 0)


class Folder:
    """A folder of images that is filled."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, path: str, at: datetime | str | None = None) -> Path:
        """Make a JPEG, taken at that time."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if at is not None:
            exif[0x8769] = {0x9003: at if isinstance(at, str) else at.strftime("%Y:%m:%d %H:%M:%S")}
        Image.new("RGB", (16, 12)).save(place, "JPEG", exif=exif)
        return place

    def captures(self, **how: Any) -> list[tuple[str, list[str]]]:
        """Capture id and paths, as the reader makes them."""
        pattern = Pattern(how.pop("pattern", "{site}/{roll}/**"))
        reader = ImageFolder(str(self.root), "S", pattern, **how)
        found: dict[str, list[str]] = {}
        for chunk in reader.chunks():
            for image in chunk:
                found.setdefault(image.capture_id, []).append(image.path)
                assert image.rank == len(found[image.capture_id])
        return list(found.items())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    root = tmp_path / "images"
    root.mkdir()
    return Folder(root)


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_images_that_follow_one_another_are_a_capture(folder: Folder) -> None:
    for name, seconds in (("c", 0), ("b", 100), ("a", 200), ("d", 400)):
        folder.put(f"B04/R1/{name}.JPG", later(seconds))
    folder.put("B04/R2/deep/er/e.jpg", later(1))
    folder.put("C11/R1/f.jpeg", later(2))
    assert folder.captures() == [
        ("S#B04#R1#1", ["B04/R1/c.JPG", "B04/R1/b.JPG", "B04/R1/a.JPG"]),  # each within 120 s of the one before
        ("S#B04#R1#2", ["B04/R1/d.JPG"]),
        ("S#B04#R2#1", ["B04/R2/deep/er/e.jpg"]),
        ("S#C11#R1#1", ["C11/R1/f.jpeg"]),
    ]
    assert [len(paths) for _, paths in folder.captures(gap_seconds=99.0)] == [1, 1, 1, 1, 1, 1]
    assert [len(paths) for _, paths in folder.captures(most_images=2)] == [2, 1, 1, 1, 1]


def test_what_is_no_image_is_passed_over(folder: Folder) -> None:
    folder.put("B04/R1/a.JPG", NOON)
    (folder.root / "B04/R1/Thumbs.db").write_bytes(b"x")
    (folder.root / "readme.txt").write_text("x")
    folder.put("loose.jpg", NOON)
    folder.put("B04/R1/.hidden.jpg", NOON)
    reader = ImageFolder(str(folder.root), "S", Pattern("{site}/{roll}/**"))
    assert sum(map(len, reader.chunks())) == 1
    assert reader.passed_over == 3


@pytest.mark.parametrize(
    ("pattern", "path", "parts"),
    [
        ("{site}/{roll}/**", "A/1/x.jpg", ("A", "1")),
        ("{site}/{roll}/**", "A/1/2/3/x.jpg", ("A", "1")),
        ("{site}/{roll}", "A/1/2/x.jpg", None),
        ("**/{site}/{site2}", "", None),
        ("*/{site}_{roll}/**", "2017/A_R1/100MEDIA/x.jpg", ("A", "R1")),
        ("**/{site}_{roll}", "a/b/c/A_R1/x.jpg", ("A", "R1")),
        ("{site}/**", "A.b+c/q/x.jpg", ("A.b+c", "1")),
        ("{site}/*_{roll}.JPG", "A/IMG_7.JPG", ("A", "7")),
        ("{site}/x", "A/y/x.jpg", None),
    ],
)
def test_a_pattern_says_what_is_what(pattern: str, path: str, parts: tuple[str, str] | None) -> None:
    if "site2" in pattern:
        with pytest.raises(UsageError, match="--pattern"):
            Pattern(pattern)
        return
    assert Pattern(pattern).of(path) == parts


@pytest.mark.parametrize("wrong", ["{roll}/**", "{site}/{site}", "**", "{season}/{site}"])
def test_a_pattern_that_makes_no_sense_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="--pattern"):
        Pattern(wrong)


def test_a_name_tells_the_time_where_exif_does_not(folder: Folder) -> None:
    folder.put("A/1/IMG_20170606_120000_1.jpg")
    folder.put("A/1/IMG_20170606_130000_2.jpg", later(30))  # EXIF counts first
    folder.put("A/1/IMG_20170606_140000_3.jpg", "0000:00:00 00:00:00")
    with pytest.raises(InputError, match=r"of 2 images .*A/1/IMG_20170606_120000_1\.jpg, .*--name-time"):
        folder.captures()
    named = NameTime("IMG_%Y%m%d_%H%M%S*")
    assert [len(paths) for _, paths in folder.captures(name_time=named)] == [2, 1]
    assert named.of("IMG_20171306_120000.jpg") is None
    for wrong in ("IMG_%Y%m%d*", "%Y%Y%m%d%H%M", "*"):
        with pytest.raises(UsageError, match="--name-time"):
            NameTime(wrong)


def test_files_whose_time_megadetector_knows_are_not_opened(folder: Folder) -> None:
    for name in ("a", "b"):
        folder.put(f"A/1/{name}.jpg").write_bytes(b"no picture")
    times = [("A/1/a.jpg", "2017:06:06 12:00:00"), ("A/1/b.jpg", "2017-06-06 12:05:00"), ("A/1/none.jpg", "2017")]
    assert [len(paths) for _, paths in folder.captures(times=times)] == [1, 1]


def test_processes_read_the_same_times(folder: Folder) -> None:
    for number in range(7):
        folder.put(f"A/1/{number}.jpg", later(60 * number * number))
    assert folder.captures(processes=2) == folder.captures()


def test_a_clock_that_was_wrong_is_put_right(folder: Folder, tmp_path: Path) -> None:
    folder.put("A/1/a.jpg", NOON)
    folder.put("A/1/b.jpg", later(3600))
    folder.put("A/2/c.jpg", NOON)
    table = tmp_path / "shifts.csv"
    table.write_text("site,roll,from,offset\nA,,,+1d\nA,1,2017-06-06 12:30:00,-01:00:00\n")
    reader = ImageFolder(str(folder.root), "S", Pattern("{site}/{roll}/**"), shifts=read_shifts(table))
    with (tmp_path / "out.csv").open("w", newline="") as stream:
        assert reader.write_csv(stream) == 3
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [(row["path"], row["capture"], row["datetime"]) for row in rows] == [
        ("A/1/b.jpg", "1", "2017-06-06 12:00:00"),
        ("A/1/a.jpg", "2", "2017-06-07 12:00:00"),
        ("A/2/c.jpg", "1", "2017-06-07 12:00:00"),
    ]


@pytest.mark.parametrize("row", ["A,1,,", "A,1,noon,5", ",1,,5", "A,1,,1d5", "A,1,,d", "A,1,,99999999999"])
def test_a_table_of_shifts_that_is_none(row: str, tmp_path: Path) -> None:
    table = tmp_path / "shifts.csv"
    table.write_text(f"site,roll,from,offset\n{row}\n")
    with pytest.raises(InputError, match="row 2"):
        read_shifts(table)


def season_of(folder: Folder) -> None:
    for site in ("A", "Wasserstelle_Süd"):
        for number in range(4):
            folder.put(f"{site}/R1/IMAG{number:04}.JPG", later(100 * number * number))


ACCOUNT = ("--attribution", "a", "--license", "l", "--manifest-id", "WLD_S6")


def test_a_folder_is_read_into_the_ledger(folder: Folder, run_ctstate: Any, ask: Any) -> None:
    season_of(folder)
    (folder.root / "note.txt").write_text("x")
    said = run_ctstate("manifest", str(folder.root), *ACCOUNT)
    assert "Season WLD_S6: 6 new captures" in said.stdout
    assert "6 captures by the rule: gap 120 s" in said.stdout
    assert "1 file passed over" in said.stdout
    assert ask("SELECT capture_id, rule FROM capture ORDER BY id LIMIT 1") == [("WLD_S6#A#R1#1", "gap 120 s")]
    assert ask("SELECT images_root FROM season") == [(str(folder.root),)]
    assert "Nothing new" in run_ctstate("manifest", str(folder.root), *ACCOUNT).stdout


@of_files
def test_a_person_can_look_through_the_csv_first(
    folder: Folder, call_ctstate: Any, ledger_path: Path, ask: Any
) -> None:
    season_of(folder)
    said = call_ctstate("manifest", str(folder.root), *ACCOUNT, "--csv", "made.csv")
    assert "made.csv: 8 images" in said.stdout
    assert not is_ledger(ledger_path)
    again = call_ctstate("manifest", "made.csv", "--images-root", str(folder.root), *ACCOUNT)
    assert "6 new captures" in again.stdout
    by_csv = ask(
        "SELECT c.capture_id, path, rank FROM image JOIN capture c ON c.id = image.capture_id ORDER BY 1, 3"
    )
    ledger_path.unlink()
    call_ctstate("manifest", str(folder.root), *ACCOUNT)
    assert by_csv == ask(
        "SELECT c.capture_id, path, rank FROM image JOIN capture c ON c.id = image.capture_id ORDER BY 1, 3"
    )


def test_times_from_a_megadetector_file(folder: Folder, call_ctstate: Any, tmp_path: Path) -> None:
    folder.put("A/1/a.jpg")
    entries = [{"file": str(folder.root / "A/1/a.jpg"), "datetime": "2017:06:06 12:00:00", "detections": []}]
    (tmp_path / "md.json").write_text(json.dumps({"info": {}, "images": entries, "detection_categories": {}}))
    said = call_ctstate("manifest", str(folder.root), *ACCOUNT, "--times-from", "md.json")
    assert "1 new capture" in said.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--manifest-id", "a/b"), "must not contain '/'"),
        (("--manifest-id", "a#b"), "a '#' parts season"),
        (("--pattern", "{roll}"), "--pattern"),
        (("--pattern", "{site}/x/{roll}"), "no image there fits the pattern"),
        (("--most-images", "0"), "--most-images must be 1 or more"),
        (("--gap-seconds", "-1"), "--gap-seconds must be between"),
        (("--clock-shifts", "none.csv"), "none.csv: no such file"),
        (("--times-from", "none.json"), "none.json: no such file"),
        (("--csv", "no/such/folder.csv"), "cannot be written"),
        (("--encoding", "cp1252"), "for a captures CSV"),
    ],
)
def test_what_is_wrong_is_one_line(
    folder: Folder, call_ctstate: Any, ledger_path: Path, options: tuple[str, ...], said: str
) -> None:
    season_of(folder)
    assert said in call_ctstate("manifest", str(folder.root), *ACCOUNT, *options).error()
    assert ON_POSTGRES or not is_ledger(ledger_path)  # there the tables stay that a first try has made


def test_a_site_with_a_mark_of_capture_ids_is_refused(folder: Folder, call_ctstate: Any) -> None:
    folder.put("A#1/R1/a.jpg", NOON)
    assert "must not hold a '#'" in call_ctstate("manifest", str(folder.root), *ACCOUNT).error()


def test_a_folder_needs_a_name_for_the_season(folder: Folder, call_ctstate: Any) -> None:
    season_of(folder)
    assert "with --manifest-id" in call_ctstate("manifest", str(folder.root), *ACCOUNT[:4]).error()
