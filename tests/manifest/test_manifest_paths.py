"""Image paths: what they become, and that none leads out of --images-root."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.builders.ledgers import make_empty

HEADER = "season,site,roll,capture,image,path,image_path_rel\n"


@pytest.fixture
def load(season_csv: Any, call_ctstate: Any, ledger_path: Path) -> Any:
    make_empty(ledger_path)
    (season_csv.folder / "outside").mkdir()
    (season_csv.folder / "outside" / "secret.jpg").write_bytes(b"x")
    season_csv.image("S/a.jpg")

    def do(path: str, relative: str = "", *more: str) -> Any:
        season_csv.text(f'{HEADER}S,A,1,1,1,"{path}","{relative}"\n')
        return call_ctstate(*season_csv.arguments(*more))

    return do


STORED = "SELECT path, problem FROM image"


@pytest.mark.parametrize(
    ("path", "relative", "stored"),
    [
        ("S/a.jpg", "", "S/a.jpg"),
        ("S/a.jpg", "elsewhere/b.jpg", "S/a.jpg"),  # `path` wins
        ("NA", "a.jpg", "S/a.jpg"),
        ("", "a.jpg", "S/a.jpg"),  # prefixed with the season
        ("", "S/a.jpg", "S/a.jpg"),  # but not twice
        ("", "S\\a.jpg", "S/a.jpg"),
        ("S\\a.jpg", "", "S/a.jpg"),
        ("S/x/../a.jpg", "", "S/x/../a.jpg"),  # inside, whatever way
    ],
)
def test_which_path_counts(load: Any, ask: Any, season_csv: Any, path: str, relative: str, stored: str) -> None:
    (season_csv.root / "S" / "x").mkdir()
    assert load(path, relative).code == 0
    assert ask(STORED) == [(stored, None)]


def test_the_season_as_part_of_a_folders_name_is_not_the_season(load: Any, ask: Any) -> None:
    assert load("", "S2/a.jpg").code == 0
    assert load("", "S2/a.jpg").code == 0
    assert ask(STORED) == [("S/S2/a.jpg", "missing")]


def test_an_absolute_path_inside_is_taken(load: Any, ask: Any, season_csv: Any) -> None:
    assert load(f"{season_csv.root}/S/a.jpg").code == 0
    assert ask(STORED) == [(f"{season_csv.root}/S/a.jpg", None)]


ESCAPES = {
    "up": "../outside/secret.jpg",
    "up from below": "S/../../outside/secret.jpg",
    "up and back to a sibling": "../images2/a.jpg",
    "with backslashes": "..\\outside\\secret.jpg",
    "absolute": "{folder}/outside/secret.jpg",
    "absolute with ..": "{root}/../outside/secret.jpg",
    "file of the system": "/etc/passwd",
    "a link to a file": "S/link.jpg",
    "a link to a folder": "S/folder/secret.jpg",
    "a link to a folder, not there": "S/folder/none.jpg",
    "a link and up": "S/folder/../outside/secret.jpg",
    "a link to a link": "S/second.jpg",
    "a relative link": "S/relative.jpg",
    "no file": "S/..",
    "the root": "{root}/.",
    "a folder": "S/",
}


@pytest.mark.parametrize("path", ESCAPES.values(), ids=ESCAPES)
def test_nothing_outside_the_root(load: Any, season_csv: Any, ledger_path: Path, dump: Any, path: str) -> None:
    outside = season_csv.folder / "outside"
    (season_csv.folder / "images2").mkdir()
    (season_csv.folder / "images2" / "a.jpg").write_bytes(b"x")
    below = season_csv.root / "S"
    (below / "link.jpg").symlink_to(outside / "secret.jpg")
    (below / "folder").symlink_to(outside)
    (below / "second.jpg").symlink_to(below / "link.jpg")
    (below / "relative.jpg").symlink_to("../../outside/secret.jpg")
    before = dump(ledger_path)
    line = load(path.format(folder=season_csv.folder, root=season_csv.root)).error()
    assert "row 2" in line
    assert dump(ledger_path) == before


def test_an_excluded_image_must_be_inside_too(season_csv: Any, call_ctstate: Any) -> None:
    season_csv.text("season,site,roll,capture,image,path,invalid\nS,A,1,1,1,../x.jpg,1\n")
    assert "leads out" in call_ctstate(*season_csv.arguments()).error()


def test_links_that_stay_inside_are_followed(load: Any, ask: Any, season_csv: Any) -> None:
    (season_csv.root / "again").symlink_to(season_csv.root / "S")
    (season_csv.root / "again.jpg").symlink_to("S/a.jpg")
    assert load("again/a.jpg").code == 0
    assert load("again.jpg", "", "--update").code == 0
    assert ask(STORED) == [("again.jpg", None)]


def test_a_link_to_itself_is_missing(load: Any, ask: Any, season_csv: Any) -> None:
    (season_csv.root / "loop.jpg").symlink_to("loop.jpg")
    assert load("loop.jpg").code == 0
    assert ask(STORED) == [("loop.jpg", "missing")]


def test_the_root_itself_may_be_a_link(season_csv: Any, load: Any, ask: Any) -> None:
    link = season_csv.folder / "link"
    link.symlink_to(season_csv.root)
    real, season_csv.root = season_csv.root, link
    assert load("S/a.jpg").code == 0
    assert ask("SELECT images_root FROM season") == [(os.path.realpath(real),)]
    season_csv.root = real
    assert "Nothing new" in load("S/a.jpg").stdout
    assert load(f"{link}/S/a.jpg", "", "--update").code == 0  # absolute, through the link


def test_without_a_root_absolute_paths_are_taken_as_they_are(season_csv: Any, call_ctstate: Any, ask: Any) -> None:
    season_csv.image("a.jpg")
    elsewhere = f"{season_csv.root}/../images/a.jpg"
    season_csv.text(f"{HEADER}S,A,1,1,1,{elsewhere},\n")
    account = season_csv.arguments()[4:]
    assert call_ctstate("manifest", season_csv.csv, *account).code == 0
    assert ask(STORED) == [(elsewhere, None)]
    season_csv.text(f"{HEADER}S,A,1,2,1,a.jpg,\n")
    assert "is relative" in call_ctstate("manifest", season_csv.csv, *account).error()


def test_a_root_that_is_not_there(season_csv: Any, call_ctstate: Any, load: Any) -> None:
    load("S/a.jpg")
    file = season_csv.root / "S" / "a.jpg"
    for root in (season_csv.folder / "none", file, ""):
        season_csv.root = root
        result = call_ctstate(*season_csv.arguments())
        assert "--images-root" in result.error()
        assert result.code == 2


def test_a_folder_that_may_not_be_searched_is_told_apart_from_a_missing_file(
    season_csv: Any, run_ctstate: Any, ask: Any, load: Any
) -> None:
    season_csv.text(f"{HEADER}S,A,1,1,1,S/a.jpg,\n")
    (season_csv.root / "S").chmod(0)
    try:
        assert run_ctstate(*season_csv.arguments(), unprivileged=True).code == 0
    finally:
        (season_csv.root / "S").chmod(0o755)
    assert ask("SELECT problem, problem_reason FROM image") == [("missing", "Permission denied")]
