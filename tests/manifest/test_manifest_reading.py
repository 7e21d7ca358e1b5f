"""Captures CSVs as Excel, R, Windows and tired people write them."""

import csv
import os
import re
from pathlib import Path
from typing import Any

import pytest

from ctstate.formats import captures_csv, reader
from ctstate.ledger import Ledger
from ctstate.verbs.manifest import manifest
from tests.builders.ledgers import copy_ledger, is_ledger, make_empty, no_ledger_at, of_files

HEADER = "season,site,roll,capture,image,path,invalid\n"
GOOD = "S,A,1,1,1,a.jpg,0\n"

OLD = ("season", "site", "roll", "capture", "image", "path", "timestamp", "oldtime", "sr", "imname", "invalid")
NEW = (
    "capture_id", "season", "site", "roll", "capture", "image_rank_in_capture", "image_name", "image_path_rel",
    "datetime", "image_is_invalid", "image_no_upload", "image_was_deleted", "action_taken",
)  # fmt: skip
IMAGES = (
    "SELECT c.capture_id, i.rank, i.path, i.problem, i.problem_reason FROM image i"
    " JOIN capture c ON c.id = i.capture_id ORDER BY i.id"
)


@pytest.fixture
def load(season_csv: Any, call_ctstate: Any, ask: Any, ledger_path: Path) -> Any:
    """Load a CSV given as text; return the images that the ledger then has."""
    make_empty(ledger_path)
    season_csv.image("a.jpg")
    season_csv.image("b.jpg")

    def do(text: str | bytes, *more: str) -> Any:
        season_csv.text(text)
        result = call_ctstate(*season_csv.arguments(*more))
        assert result.code == 0, result.stderr
        return ask(IMAGES)

    return do


@pytest.fixture(scope="module")
def other_season(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ledger that holds a season already."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "captures.csv").write_text(HEADER + "OTHER,A,1,1,1,/a.jpg,0\n")
    place = no_ledger_at(folder / "ledger.db")
    with Ledger.open(place, create=True) as ledger:
        manifest(ledger, folder / "captures.csv", attribution="a", license="l", allow_missing=True)
    return place


@pytest.fixture
def refuse(season_csv: Any, call_ctstate: Any, ledger_path: Path, dump: Any, other_season: Path) -> Any:
    """Try a bad CSV on a ledger that holds a season; return the one line of complaint. Nothing may change."""
    season_csv.image("a.jpg")
    season_csv.image("b.jpg")
    copy_ledger(other_season, ledger_path)
    before = dump(ledger_path)

    def do(text: str | bytes, *more: str, name: str = "captures.csv") -> str:
        season_csv.text(text, name)
        line = call_ctstate(*season_csv.arguments(*more)).error()
        assert name in line
        assert dump(ledger_path) == before
        return str(line)

    return do


# -- headers ---------------------------------------------------------------------------------------------------


def test_old_header(season_csv: Any, call_ctstate: Any, ask: Any, row: Any) -> None:
    more = {"timestamp": "2017:06:06 12:00:01", "oldtime": "", "sr": "12", "imname": "x", "invalid": "NA"}
    season_csv([{key: {**row(), **more}[key] for key in OLD}])
    assert call_ctstate(*season_csv.arguments()).code == 0
    path = "TST_S1/B04/B04_R1/IMAG0001_1.JPG"
    assert ask(IMAGES) == [("TST_S1#B04#1#1", 1, path, None, None)]


def test_new_header(season_csv: Any, call_ctstate: Any, ask: Any) -> None:
    season_csv.image("S1/B04/x.jpg")
    values = ("my id", "S1", "B04", 1, 7, 2, "x.jpg", "B04/x.jpg", "2017", "0", "", "0", "")
    season_csv([dict(zip(NEW, values, strict=False))])
    assert call_ctstate(*season_csv.arguments()).code == 0
    assert ask(IMAGES) == [("my id", 2, "S1/B04/x.jpg", None, None)]


def test_columns_of_both_headers_mixed(load: Any) -> None:
    """Binding an old season and a new one in R leaves NA where a row has no such column."""
    found = load(
        "season,site,roll,capture,image,path,invalid,capture_id,image_rank_in_capture,image_path_rel,image_no_upload\n"
        "S,A,1,1,1,a.jpg,0,NA,NA,NA,NA\n"
        "S,A,1,2,NA,NA,NA,mine,3,b.jpg,0\n"
        "S,A,1,3,,,,,4,S/b.jpg,1\n"
    )
    assert found == [
        ("S#A#1#1", 1, "a.jpg", None, None),
        ("mine", 3, "S/b.jpg", "missing", "no such file"),
        ("S#A#1#3", 4, "S/b.jpg", "excluded", "image_no_upload is 1"),
    ]


@pytest.mark.parametrize("column", ["season", "site", "roll", "capture", "image", "path"])
def test_missing_column(refuse: Any, column: str) -> None:
    line = refuse((HEADER + GOOD).replace(f"{column},", f"{column.upper()}_X,", 1))
    assert f"no column {column}" in line


def test_a_column_that_occurs_twice_is_not_guessed_at(refuse: Any) -> None:
    assert "'site' occurs twice" in refuse("season,site, site,roll,capture,image,path\nS,A,B,1,1,1,a.jpg\n")


def test_columns_nobody_reads_may_occur_twice(load: Any) -> None:
    assert len(load("season,site,roll,capture,image,path,,,x,x\nS,A,1,1,1,a.jpg,,,1,2\n")) == 1


# -- text ------------------------------------------------------------------------------------------------------

TEXTS = {
    "plain": HEADER + GOOD,
    "no newline at the end": HEADER + GOOD.rstrip(),
    "byte order mark": "\ufeff" + HEADER + GOOD,
    "byte order mark and quotes": "\ufeff" + re.sub("[^,\n]+", r'"\g<0>"', HEADER + GOOD),
    "CRLF": (HEADER + GOOD).replace("\n", "\r\n"),
    "CR": (HEADER + GOOD).replace("\n", "\r"),
    "spaces in the header": HEADER.replace(",", " , ") + GOOD,
    "blank lines at the end": HEADER + GOOD + "\n\n,,,,,,\n\n",
    "blank lines between": HEADER + "\n" + GOOD,
    "short blank rows": HEADER + GOOD + ",,\n",
    "the same row again": HEADER + GOOD + GOOD,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_harmless_differences(load: Any, text: str) -> None:
    assert load(text) == [("S#A#1#1", 1, "a.jpg", None, None)]


def test_duplicate_rows_are_counted(season_csv: Any, call_ctstate: Any) -> None:
    season_csv.text(HEADER + GOOD * 3)
    assert "2 duplicate rows were ignored" in call_ctstate(*season_csv.arguments()).stdout


def test_backslashes_quoted_commas_and_letters_beyond_ascii(season_csv: Any, load: Any) -> None:
    season_csv.image("S/Wasserstelle, Süd/Ñandú 日本.JPG")
    found = load(HEADER + 'S,"Wasserstelle, Süd",1,1,1,"S\\Wasserstelle, Süd\\Ñandú 日本.JPG",0\n')
    path = "S/Wasserstelle, Süd/Ñandú 日本.JPG"
    assert found == [("S#Wasserstelle, Süd#1#1", 1, path, None, None)]


def test_windows_encoding_when_named(load: Any) -> None:
    text = HEADER + "S,Süd,1,1,1,a.jpg,0\n"
    assert load(text.encode("cp1252"), "--encoding", "cp1252")[0][0] == "S#Süd#1#1"
    # And the same season from Excel's "Unicode text" is the same season.
    assert len(load(text.encode("utf-16"), "--encoding", "utf-16")) == 1


def test_text_is_never_taken_for_a_number(load: Any) -> None:
    """`007`, `1e5` and `NA` (Namibia) are names; pandas would like them to be something else."""
    found = load(HEADER + "007,1e5,NA,0012,1,a.jpg,0\n007,nan,-0,1.0,1,a.jpg,0\n")
    assert [image[0] for image in found] == ["007#1e5#NA#0012", "007#nan#-0#1.0"]


MANY = "".join(f"S,A,1,1,{rank},{rank}.jpg,0\n" for rank in range(1, 151))
"""More images of one capture than are held each against each."""

BAD = {
    "header only": (HEADER, "holds no rows"),
    "blank rows only": (HEADER + "\n,,,\n\n", "holds no rows"),
    "empty": ("", "the file is empty"),
    "latin-1": ((HEADER + "S,Ñ,1,1,1,a.jpg,0\n").encode("latin-1"), "--encoding"),
    "utf-16": ((HEADER + GOOD).encode("utf-16"), "--encoding"),
    "semicolons": ((HEADER + GOOD).replace(",", ";"), "not separated by commas"),
    "semicolons and decimal commas": (HEADER.replace(",", ";") + "S;A;1;1;1;0,5;0\n", "not separated by commas"),
    "tabs": ((HEADER + GOOD).replace(",", "\t"), "not separated by commas"),
    "a JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(range(256)) * 40, "not text"),
    "zero bytes": (b"\0" * 5000, "NUL"),
    "an unclosed quote": (HEADER + 'S,"A,1,1,1,a.jpg,0\n' + GOOD, "not a readable CSV"),
    "an unclosed quote at the end": (HEADER + GOOD + 'S,A,1,2,1,b.jpg,"0\n', "not a readable CSV"),
    "a NUL in a name": (HEADER + GOOD + "S,A\0B,1,2,1,b.jpg,0\n", "row 3"),
    "a NUL in a path": (HEADER + "S,A,1,1,1,a\0.jpg,0\n", "row 2"),
    "too many fields in the first row": (HEADER + "S,A, B,1,1,1,a.jpg,0\n" + GOOD, "row 2: has 8 fields"),
    "too many fields in the last row": (HEADER + GOOD + "S,A, B,1,2,1,b.jpg,0\n", "row 3: has 8 fields"),
    "too many fields everywhere": (HEADER + "S,A,1,1,1,a.jpg,0,0\n" * 3, "row 2: has 8 fields"),
    "too few fields": (HEADER + GOOD + "S,A,1,2\n", "row 3"),
    "no season": (HEADER + ",A,1,1,1,a.jpg,0\n", "'season' is empty"),
    "no site": (HEADER + "S, ,1,1,1,a.jpg,0\n", "'site' is empty"),
    "no roll": (HEADER + "S,A,,1,1,a.jpg,0\n", "'roll' is empty"),
    "no capture": (HEADER + "S,A,1,,1,a.jpg,0\n", "'capture' is empty"),
    "no path": (HEADER + "S,A,1,1,1,,0\n", "no image path"),
    "no rank": (HEADER + "S,A,1,1,,a.jpg,0\n", "rank"),
    "capture not a number": (HEADER + "S,A,1,one,1,a.jpg,0\n", "'capture' is 'one'"),
    "capture with a fraction": (HEADER + "S,A,1,1.5,1,a.jpg,0\n", "'capture' is '1.5'"),
    "rank not a number": (HEADER + "S,A,1,1,first,a.jpg,0\n", "'first'"),
    "a huge name": (HEADER + "S," + "A" * 300 + ",1,1,1,a.jpg,0\n", "too long"),
    "two seasons": (HEADER + GOOD + "T,A,1,1,1,b.jpg,0\n", "2 seasons"),
    "one rank, two images": (HEADER + GOOD + "S,A,1,1,1,b.jpg,0\n", "rows 2 and 3"),
    "one image, two ranks": (HEADER + GOOD + "S,A,1,1,2,a.jpg,0\n", "rows 2 and 3"),
    "two images of two ranks each": (
        HEADER + "".join(f"S,A,1,1,{rank},{name}.jpg,0\n" for rank, name in enumerate("baab", start=1)),
        "rows 2 and 5",
    ),
    "one id, two sites": (
        "capture_id,season,site,roll,capture,image,path\nX,S,A,1,1,1,a.jpg\nX,S,B,1,1,2,b.jpg\n",
        "rows 2 and 3",
    ),
    "many images, one rank twice": (HEADER + MANY + "S,A,1,1,77,b.jpg,0\n", "rows 78 and 152"),
    "many images, one of them twice": (HEADER + MANY + "S,A,1,1,151,77.jpg,0\n", "rows 78 and 152"),
    "many images, two sites": (
        "capture_id,season,site,roll,capture,image,path,invalid\n"
        + MANY.replace("S,A", "X,S,A")
        + "X,S,B,1,1,151,b.jpg,0\n",
        "rows 2 and 152",
    ),
    "one id by crafty names": (HEADER + "S,A#1,2,3,1,a.jpg,0\nS,A,1#2,3,2,b.jpg,0\n", "rows 2 and 3"),
}


@pytest.mark.parametrize(("text", "complaint"), BAD.values(), ids=BAD)
def test_bad_file(refuse: Any, text: str | bytes, complaint: str) -> None:
    assert complaint in refuse(text)


@pytest.mark.parametrize("name", ["c.csv.gz", "c.zip", "c.csv.bz2", "c.csv.xz", "c.csv.zst", "c.tar"])
def test_archives_are_not_unpacked_by_their_name(refuse: Any, name: str) -> None:
    refuse(b"PK\x03\x04 not what the name says", name=name)


def test_a_huge_field_neither_kills_nor_floods(season_csv: Any, call_ctstate: Any, ask: Any) -> None:
    season_csv.text(HEADER + "S,A,1,1,1," + "x" * 3_000_000 + ",0\n" + "S,A,1,2,1,a.jpg,0\n")
    season_csv.image("a.jpg")
    result = call_ctstate(*season_csv.arguments())
    assert result.code == 0
    assert len(result.stderr) < 1000
    assert ask("SELECT problem, problem_reason FROM image ORDER BY id") == [
        ("missing", "File name too long"),
        (None, None),
    ]


def test_a_field_without_an_end_is_not_read_into_memory(refuse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures_csv, "LONGEST_FIELD", 10_000)
    before = csv.field_size_limit()
    assert "not a readable CSV" in refuse(HEADER + 'S,"A,1,1,1,a.jpg,0\n' + GOOD * 1000)
    assert csv.field_size_limit() == before


def test_the_number_of_bad_rows_is_told(refuse: Any) -> None:
    assert "and 2 more rows" in refuse(HEADER + "S,A,1,x,1,a.jpg,0\n" * 3 + GOOD)


def test_a_message_stays_one_line_whatever_the_file_holds(refuse: Any) -> None:
    refuse(HEADER + 'S,"A\nB\x1b[31m",1,1,1,a.jpg,0\nS,"A\nB\x1b[31m",1,1,1,b.jpg,0\n')


def test_encoding_nobody_knows(refuse: Any) -> None:
    assert "no such encoding" in refuse(HEADER + GOOD, "--encoding", "klingon")


# -- flags -----------------------------------------------------------------------------------------------------

OUT = {"1", "1.0", " 1 ", "01", "TRUE", "true"}
IN = {"", "0", "0.0", "NA", "na", "NaN", "nan", "NULL", "None", "#N/A", "FALSE", "3", "-1", "00"}
GARBAGE = {"x", "1,0", "1.5", "yes", "1e0", "0x1", "--"}


@pytest.mark.parametrize("column", captures_csv.FLAGS)
def test_flags(season_csv: Any, call_ctstate: Any, ask: Any, row: Any, column: str) -> None:
    two = {"2", "2.0"}
    excluding = OUT | (two if column == "invalid" else set())
    including = IN | (set() if column == "invalid" else two)
    values = sorted(excluding) + sorted(including)
    season_csv([row(number, **{column: value}) for number, value in enumerate(values, 1)])
    assert call_ctstate(*season_csv.arguments()).code == 0
    found = ask("SELECT problem FROM image ORDER BY id")
    assert dict(zip(values, found, strict=False)) == {
        value: ("excluded" if value in excluding else None,) for value in values
    }


@pytest.mark.parametrize("value", sorted(GARBAGE))
def test_garbage_in_a_flag_is_no_reason_to_upload(refuse: Any, value: str) -> None:
    assert f"'invalid' is '{value}'" in refuse(HEADER + f'S,A,1,1,1,a.jpg,"{value}"\n')


def test_any_flag_suffices(load: Any) -> None:
    found = load(HEADER.strip() + ",image_was_deleted\nS,A,1,1,1,a.jpg,0,1\nS,A,1,1,2,b.jpg,0,0\n")
    assert [(rank, problem, why) for _, rank, _, problem, why in found] == [
        (1, "excluded", "image_was_deleted is 1"),
        (2, None, None),
    ]


# -- order and chunks ------------------------------------------------------------------------------------------


def test_order_is_season_site_roll_then_numbers(season_csv: Any, call_ctstate: Any, ask: Any, row: Any) -> None:
    keys = [
        ("B04", 1, 9), ("B04", 1, 10), ("B04", 1, 99_999), ("B04", 1, 100_000), ("B04", 1, 1_234_567),
        ("B04", 2, 1), ("B04 N", 1, 1), ("B10", 1, 1), ("B9", 1, 1), ("Z", 1, 1), ("b04", 1, 1), ("Ä", 1, 1),
    ]  # fmt: skip
    ranks = [11, 2, 1, 10]
    rows = [
        row(capture, rank, site, roll=roll, path=f"{site}/{roll}_{capture}_{rank}.jpg")
        for site, roll, capture in keys[::-1]
        for rank in ranks
    ]
    season_csv(rows[::2] + rows[1::2], images=False)
    assert call_ctstate(*season_csv.arguments()).code == 0
    assert ask("SELECT site, CAST(roll AS INTEGER), capture_number FROM capture ORDER BY id") == keys
    shown: dict[int, list[int]] = {}
    for key, rank in ask("SELECT capture_id, rank FROM image ORDER BY id"):
        shown.setdefault(key, []).append(rank)
    assert set(map(tuple, shown.values())) == {(1, 2, 10, 11)}


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_chunk_borders_do_not_matter(
    season_csv: Any, call_ctstate: Any, ask: Any, row: Any, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Captures spread over chunks, and rows of one capture far from each other."""
    rows = [row(number, rank, invalid="") for number in (1, 2, 3) for rank in (1, 2, 3)]
    mixed = rows[::3] + rows[1::3] + rows[2::3]
    season_csv([*mixed, rows[0]])
    monkeypatch.setattr(reader, "CHUNK", chunk)
    result = call_ctstate(*season_csv.arguments())
    assert "3 new captures" in result.stdout
    assert "(10 rows)" in result.stdout
    assert ask(IMAGES) == [(f"TST_S1#B04#1#{r['capture']}", r["image"], r["path"], None, None) for r in rows]


def test_an_error_in_a_later_chunk_names_its_row(refuse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK", 3)
    rows = [f"S,A,1,{number},1,{number}.jpg,0\n" for number in range(1, 12)]
    rows[7] = "S,A,1,eight,1,8.jpg,0\n"
    assert "row 9: column 'capture' is 'eight'" in refuse(HEADER + "".join(rows))
    rows[7] = "S,A,1,8,1,8.jpg,0,0\n"
    assert "row 9: has 8 fields" in refuse(HEADER + "".join(rows))


def test_a_chunk_of_nothing_but_errors_or_blanks(refuse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK", 2)
    text = HEADER + GOOD + GOOD + "\n\n\n\n" + "S,A,1,x,1,a.jpg,0\n" * 2
    assert "row 8: column 'capture' is 'x'" in refuse(text)


# -- what is not uploaded --------------------------------------------------------------------------------------


def test_images_left_out_are_kept_with_the_reason(season_csv: Any, call_ctstate: Any, ask: Any, row: Any) -> None:
    rows = [row(1, 1), row(1, 2), row(1, 3), row(1, 4, invalid=1), row(2, 1), row(3, 1, invalid=2), row(4, 1)]
    season_csv(rows)
    (season_csv.root / rows[1]["path"]).unlink()
    season_csv.image(rows[2]["path"], b"")
    (season_csv.root / rows[4]["path"]).unlink()
    (season_csv.root / rows[6]["path"]).unlink()
    (season_csv.root / rows[6]["path"]).mkdir()
    result = call_ctstate(*season_csv.arguments())
    assert "Images: 1 usable, 2 excluded, 3 missing, 1 empty." in result.stdout
    assert "3 captures have no usable image" in result.stdout
    assert "row 3: " in result.stderr
    assert "no such file" in result.stderr
    assert "the file has zero bytes" in result.stderr
    assert ask("SELECT problem, problem_reason FROM image ORDER BY id") == [
        (None, None),
        ("missing", "no such file"),
        ("empty", "the file has zero bytes"),
        ("excluded", "invalid is 1"),
        ("missing", "no such file"),
        ("excluded", "invalid is 2"),
        ("missing", "not a file"),
    ]
    assert ask("SELECT capture, excluded FROM capture ORDER BY id") == [
        ("1", None),
        ("2", "no usable image"),
        ("3", "no usable image"),
        ("4", "no usable image"),
    ]


def test_a_csv_that_may_not_be_read(season_csv: Any, run_ctstate: Any) -> None:
    season_csv.text(HEADER + GOOD)
    os.chmod(season_csv.csv, 0)
    assert "captures.csv" in run_ctstate(*season_csv.arguments(), unprivileged=True).error()


@of_files
def test_a_folder_for_a_csv(season_csv: Any, call_ctstate: Any, ledger_path: Any) -> None:
    season_csv.csv = season_csv.root
    assert "name the season of a folder of images" in call_ctstate(*season_csv.arguments()).error()
    assert "that is a folder" in call_ctstate(*season_csv.arguments("--format", "csv")).error()
    assert not is_ledger(ledger_path)
