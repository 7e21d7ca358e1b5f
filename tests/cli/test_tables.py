"""Tables: plain lines for programs and files; as wide as the terminal, and aligned, where a person looks."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len

from ctstate.commands.shared import echo_table

ROOT = Path(__file__).resolve().parents[2]


def on_a_terminal(program: str, columns: int, **environment: str) -> list[str]:
    """Return what a program prints on a terminal of so many columns."""
    ours, its = pty.openpty()
    env = {"PATH": os.environ["PATH"], "COLUMNS": str(columns), "TERM": "xterm", "LANG": "C.UTF-8", **environment}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=its, stdout=its, stderr=its, env={**env, "PYTHONPATH": str(ROOT)}
    ):
        os.close(its)
        text = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            text += part
    os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.decode())
    return plain.replace("\r\n", "\n").splitlines()


def printed(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return f"from ctstate.commands.shared import echo_table\necho_table({header!r}, {rows!r})"


SITES = printed(("site", "captures"), [("水場", 7), ("B04", 12)])


def test_wide_characters_are_aligned_on_a_terminal() -> None:
    lines = on_a_terminal(SITES, 80)
    assert lines == ["site  captures", "----  --------", "水場         7", "B04         12"]
    assert {cell_len(line) for line in lines} == {14}


def test_a_program_gets_columns_by_the_number_of_characters(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(("site", "captures"), [("水場", 7), ("B04", 12)])
    assert capsys.readouterr().out.splitlines()[2:] == ["水場           7", "B04         12"]


LONG = printed(("run", "log"), [(n, f"/shared/logs/{'x' * 90}/{n}.log") for n in range(3)])


def test_a_table_keeps_to_the_terminal_and_loses_nothing() -> None:
    lines = on_a_terminal(LONG, 60)
    assert max(map(cell_len, lines)) <= 60
    assert sum(line.count("x") for line in lines) == 3 * 90
    assert all(f"{n}.log" in "".join(line[3:].strip() for line in lines) for n in range(3))


def test_a_terminal_that_can_do_nothing_gets_plain_lines() -> None:
    assert len(on_a_terminal(LONG, 60, TERM="dumb")) == 5


def test_nothing_is_drawn_where_a_program_reads(capsys: pytest.CaptureFixture[str]) -> None:
    exec(LONG)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[-1].endswith("/2.log")
