"""What a data manager reads while an upload runs, and afterwards in its log."""

import re
import sys
from pathlib import Path

import ctstate as library
from ctstate.ledger import Ledger
from ctstate.verbs.batch import batch


def test_an_upload_with_a_limit_announces_no_more_than_the_limit(new_season, ctstate) -> None:
    season = new_season(6)
    with Ledger.open(season.path) as ledger:
        batch(ledger, number_of_batches=3)
    said = ctstate(season, "upload", "--limit", "3", "--dry-run").stdout
    assert "batch_1: 2 captures (" in said
    assert "batch_2: 1 of 2 captures ->" in said
    assert "batch_3" not in said
    assert "left for later (--limit): 3 captures" in said


def test_a_batch_that_is_done_is_not_announced(new_season, ctstate) -> None:
    season = new_season(4)
    with Ledger.open(season.path) as ledger:
        batch(ledger, number_of_batches=2)
    assert ctstate(season, "upload", "--batch", "batch_1").code == 0
    said = ctstate(season, "upload", "--dry-run").stdout
    assert "batch_1" not in said
    assert "batch_2: 2 captures" in said
    assert ctstate(season, "upload").code == 0
    done = ctstate(season, "upload").stdout
    assert "nothing is pending" in done
    assert "0 captures (0 images)" not in done


def test_one_of_a_thing_is_not_plural(new_season, ctstate) -> None:
    season = new_season(1)
    said = ctstate(season, "upload").stdout + ctstate(season, "verify").stdout
    assert "complete: 1 capture (" in said
    assert "1 capture uploaded (" in said
    assert "All is well: 1 capture, each" in said
    assert " 1 captures" not in said


def lines_of_log(folder: Path) -> list[str]:
    """The only log file of a folder, each line without its time, which is made sure of."""
    (file,) = folder.iterdir()
    lines = file.read_text(encoding="utf-8").splitlines()
    stamp = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ ")
    assert all(stamp.match(line) for line in lines), lines
    return [stamp.sub("", line) for line in lines]


def test_the_log_of_a_clean_upload_holds_what_the_terminal_showed(new_season, ctstate, tmp_path: Path) -> None:
    season = new_season(3)
    done = ctstate(season, "upload", "--log-dir", str(tmp_path / "logs"))
    log = lines_of_log(tmp_path / "logs")
    assert f"ctstate {library.__version__}, Python {sys.version.split()[0]}, SQLite " in log[0]
    assert "requests " in log[0]
    assert season.z.url in log[1]
    assert str(season.path) in log[1]
    assert log[2:-1] == done.stdout.splitlines()
    assert log[-1] == "exit code 0"


def test_the_terminal_shows_the_same_with_a_log_file_as_without(new_season, ctstate, tmp_path: Path) -> None:
    season = new_season(2)
    (season.folder / "images" / season.rows("SELECT path FROM image WHERE capture_id = 1")[0][0]).unlink()
    done = ctstate(season, "upload", "--log-dir", str(tmp_path / "logs"))
    assert (done.code, ": failed: " in done.stderr) == (1, True)
    log = lines_of_log(tmp_path / "logs")
    assert [line for line in log if ": failed: " in line] == [done.stderr.split(" WARNING ")[1].strip()]
    assert "1 capture is failed: see why" in log[-2]
    assert log[-1] == "exit code 1"


def test_the_log_of_an_upload_that_is_refused_says_why(new_season, ctstate, tmp_path: Path) -> None:
    season = new_season(1)
    refused = ctstate(season, "upload", "--log-dir", str(tmp_path / "logs"), "--batch", "batch_9")
    assert refused.code == 2
    assert lines_of_log(tmp_path / "logs")[-1] == refused.error()
