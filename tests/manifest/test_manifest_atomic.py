"""A manifest that is killed, or meets a full disk, leaves the ledger as it was."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders.ledgers import of_files

HEADER = "season,site,roll,capture,image,path,invalid\n"


def many(captures: int) -> str:
    """A CSV whose images are all excluded, so that none is looked for."""
    return HEADER + "".join(f"BIG,A{n % 7},1,{n},1,A/{n}.jpg,1\n" for n in range(1, captures + 1))


@pytest.fixture
def season(season_csv: Any, call_ctstate: Any, row: Any, ledger_path: Path, dump: Any) -> str:
    """A ledger with a season in it; returns its contents."""
    season_csv([row(number) for number in (1, 2, 3)])
    assert call_ctstate(*season_csv.arguments()).code == 0
    return str(dump(ledger_path))


def start(arguments: tuple[str, ...], ledger: Path, code: str = "") -> subprocess.Popen[str]:
    """Start `ctstate`, with `code` run before it."""
    program = f"import sys\n{code}\nfrom ctstate.commands import main\nmain()\n"
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "CTSTATE_LEDGER": str(ledger)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_kill_while_the_csv_is_read(season: str, season_csv: Any, ledger_path: Path, dump: Any) -> None:
    """The CSV comes through a pipe that stalls after 20,000 rows: many chunks are in, the end is not."""
    pipe = season_csv.folder / "pipe.csv"
    os.mkfifo(pipe)
    season_csv.csv = pipe
    process = start(season_csv.arguments(), ledger_path, "import ctstate.formats.reader as c; c.CHUNK = 5000")
    fed = threading.Event()

    def feed() -> None:
        with pipe.open("w") as file:
            file.write(many(20_000))
            file.flush()
            fed.set()
            process.wait()

    thread = threading.Thread(target=feed)
    thread.start()
    assert fed.wait(60)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    thread.join()
    assert dump(ledger_path) == season


def test_kill_after_all_was_written_and_before_the_commit(
    season: str, season_csv: Any, ledger_path: Path, dump: Any, call_ctstate: Any
) -> None:
    season_csv.text(many(5000))
    seen = season_csv.folder / "seen"
    kill = (
        "import os, pathlib; from ctstate.ledger import runs\n"
        "def die(connection, *_):\n"
        "    count = connection.exec_driver_sql('SELECT count(*) FROM capture').scalar()\n"
        f"    pathlib.Path({str(seen)!r}).write_text(str(count))\n"
        "    os.kill(os.getpid(), 9)\n"
        "runs.end = die"
    )
    assert start(season_csv.arguments(), ledger_path, kill).wait() == -signal.SIGKILL
    assert seen.read_text() == "5003"
    assert dump(ledger_path) == season
    assert "5,000 new captures" in call_ctstate(*season_csv.arguments()).stdout


@of_files
@pytest.mark.parametrize("size", [300_000, 2_000_000])
def test_a_full_disk(
    season: str, season_csv: Any, ledger_path: Path, dump: Any, run_ctstate: Any, call_ctstate: Any, size: int
) -> None:
    """No file may grow beyond a limit: first the staging table meets it, then the ledger's log."""
    season_csv.text(many(10_000))
    result = run_ctstate(*season_csv.arguments(), largest_file=size)
    assert "nothing was changed" in result.error()
    assert dump(ledger_path) == season
    assert "10,000 new captures" in call_ctstate(*season_csv.arguments()).stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    made = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True
    )
    if not made or made.returncode != 0:
        pytest.skip("needs the right to mount a disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@of_files
def test_a_disk_that_really_is_full(
    season: str, season_csv: Any, ledger_path: Path, dump: Any, run_ctstate: Any, small_disk: Path
) -> None:
    ledger = Path(shutil.copy(ledger_path, small_disk / "ledger.db"))
    season_csv.text(many(10_000))
    line = run_ctstate("--ledger", str(ledger), *season_csv.arguments()).error()
    assert "disk" in line
    assert "nothing was changed" in line
    assert dump(ledger) == season
    assert run_ctstate("--ledger", str(ledger), "batch", "--number-of-batches", "2").code == 0


def test_two_at_once_make_one_season(season_csv: Any, ledger_path: Path, ask: Any) -> None:
    season_csv.text(many(1000))
    processes = [start(season_csv.arguments(), ledger_path) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0], [p.communicate() for p in processes]
    assert ask("SELECT count(*), count(DISTINCT capture_id) FROM capture") == [(1000, 1000)]
    assert ask("SELECT count(*) FROM run") == [(1,)]
    assert ask("SELECT count(*) FROM event") == [(1000,)]
