"""A user presses Tab."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ctstate.ledger import names
from tests.builders.command_line import called

PROGRAM = Path(sys.executable).parent / "ctstate"


@pytest.fixture
def ledger(season_csv: Any, call_ctstate: Any, row: Any, ledger_path: Path) -> Path:
    """Two seasons: one in two batches, of which one capture is failed; one that is not split."""
    season_csv([row(number) for number in range(1, 5)])
    call_ctstate(*season_csv.arguments())
    call_ctstate("batch", "--number-of-batches", "2")
    season_csv([row(1, season="OTHER_S2")], name="other.csv")
    call_ctstate(*season_csv.arguments())
    with contextlib.closing(sqlite3.connect(ledger_path)) as connection:
        connection.execute("UPDATE capture SET state = 'uploading', run_id = 1 WHERE id = 1")
        connection.execute("UPDATE capture SET state = 'failed', reason = 'x' WHERE id = 1")
        connection.commit()
    return ledger_path


def press_tab(
    words: str, ledger: Path | None, shell: str = "bash", folder: Path | None = None, alone: bool = False
) -> list[str]:
    """What is offered for the last of these words (which may be empty), as the shell's own script asks for it.

    `alone`: by the installed program, in a process of its own; else by what that calls, in this one.
    """
    *before, last = words.split(" ")
    environment = {
        **os.environ,
        "_CTSTATE_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words if shell != "fish" else " ".join(before),
        "COMP_CWORD": str(len(before)) if shell != "fish" else last,
    }
    environment.pop("CTSTATE_LEDGER", None)
    if ledger is not None:
        environment["CTSTATE_LEDGER"] = str(ledger)
    if alone:
        done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, timeout=60, cwd=folder)
    else:
        done = called(environment=environment, folder=folder)
    assert (done.returncode, done.stderr) == (0, ""), done
    lines = done.stdout.splitlines()
    if shell == "zsh":
        return lines[1::3]
    return [line.partition(",")[2].partition("\t")[0] for line in lines if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_verbs_options_batches_seasons_and_states(ledger: Path, shell: str) -> None:
    assert press_tab("ctstate upload --batch b", ledger, shell, alone=True) == ["batch_1", "batch_2"]
    assert press_tab("ctstate status --season OTHER_S2 --batch ", ledger, shell) == []
    if shell != "bash":  # what is offered is one thing for all shells, only written differently
        return
    assert press_tab("ctstate upl", ledger, shell) == ["upload"]
    assert press_tab("ctstate upload --bat", ledger, shell) == ["--batch"]
    assert press_tab("ctstate link --batch batch_2", ledger, shell) == ["batch_2"]
    assert press_tab("ctstate status --season ", ledger, shell) == ["OTHER_S2", "TST_S1"]
    assert press_tab("ctstate remove --state ", ledger, shell) == ["manifested", "batched", "failed"]
    assert press_tab("ctstate retry --state ", ledger, shell) == ["failed"]


def test_a_ledger_that_is_named_before_the_verb(ledger: Path, tmp_path: Path) -> None:
    assert press_tab(f"ctstate --ledger {ledger} upload --batch b", None) == ["batch_1", "batch_2"]
    shutil.copy(ledger, tmp_path / "ctstate.db")
    assert press_tab("ctstate upload --batch b", None, folder=tmp_path) == ["batch_1", "batch_2"]


def test_without_a_ledger_nothing_is_offered_made_or_said(tmp_path: Path) -> None:
    assert press_tab("ctstate upload --batch b", tmp_path / "none.db", alone=True) == []
    assert press_tab("ctstate retry --state ", tmp_path / "none.db") == ["failed", "removed", "deleted"]
    assert press_tab("ctstate --ledger postgresql://x/y upload --season ", None) == []
    assert list(tmp_path.iterdir()) == []


def test_an_older_ledger_is_not_brought_up_to_date_by_a_tab(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    script = Path(__file__).parents[1] / "ledgers_of_0_1_0" / "every_state.ledger.sql"
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.executescript(script.read_text(encoding="utf-8"))
    before = old.read_bytes()
    assert press_tab("ctstate status --season O", old) == ["OLD_S1"]
    assert old.read_bytes() == before
    assert list(tmp_path.iterdir()) == [old]


def test_a_ledger_that_is_being_written_keeps_nobody_waiting(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PATIENCE_S", 0.05)
    with contextlib.closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert names.seasons(str(ledger)) == []
        assert time.monotonic() - began < 5
        connection.rollback()
        assert names.seasons(str(ledger)) == ["OTHER_S2", "TST_S1"]


def test_the_states_are_found_without_reading_the_season(ledger: Path) -> None:
    with contextlib.closing(sqlite3.connect(ledger)) as connection:
        plan = [str(step) for step in connection.execute(f"EXPLAIN QUERY PLAN {names._STATES}")]
    assert not [step for step in plan if "SCAN capture" in step or "SCAN TABLE capture" in step], plan
    assert sum("season_id=? AND batch_id=? AND state=?" in step for step in plan) == 2, plan


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_line_of_the_docs_gives_the_shell_its_script(shell: str) -> None:
    environment = {**os.environ, "_CTSTATE_COMPLETE": f"{shell}_source"}
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert f"_CTSTATE_COMPLETE={shell}_complete" in done.stdout
    page = (Path(__file__).parents[2] / "docs" / "install.md").read_text(encoding="utf-8")
    assert f"_CTSTATE_COMPLETE={shell}_source ctstate" in page


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_in_a_real_bash(ledger: Path) -> None:
    script = (
        'eval "$(_CTSTATE_COMPLETE=bash_source ctstate)"\n'
        'COMP_WORDS=(ctstate upload --batch ""); COMP_CWORD=3\n'
        '_ctstate_completion ctstate; echo "${COMPREPLY[@]}"'
    )
    environment = {
        **os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}", "CTSTATE_LEDGER": str(ledger)
    }  # fmt: skip
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["batch_1", "batch_2"], done.stderr
