"""The tutorial's commands do what the tutorial says: they are taken out of it and run, in its order."""

import fcntl
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)  # a busy machine takes its time; alone it is a minute and a half

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]

MAY_END_WITH = {"ctstate upload --limit 10": 75, "timeout -s KILL 4 ctstate upload --connections 2": 137}
"""All others end with 0."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


Told = list[tuple[str, str, int]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Each command, what it printed, and its exit code; played once, however many processes the tests run in."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "tutorial.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = shared / "tutorial.json"
        if not kept.exists():
            kept.write_text(json.dumps(_played(tmp_path_factory.mktemp("tutorial"))), encoding="utf-8")
        return [(command, said, code) for command, said, code in json.loads(kept.read_text(encoding="utf-8"))]


def _played(folder: Path) -> Told:
    (folder / "bin").mkdir()
    shim = folder / "bin" / "ctstate"
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ctstate "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    (folder / "work").mkdir()
    port = free_port()  # the tutorial's may be taken
    script = ["set -m"]  # so that a job has a number, as in a person's shell
    for number, command in enumerate(COMMANDS):
        script += [command.replace("8099", str(port)), f'printf "\\n<%d %d>\\n" {number} $?']
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder / "work",
        env={
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=800,
    )
    parts = re.split(r"\n<(\d+) (\d+)>\n", done.stdout)
    assert [int(number) for number in parts[1::3]] == list(range(len(COMMANDS))), done.stdout[-2000:]
    return [
        (COMMANDS[int(n)], text, int(code))
        for text, n, code in zip(parts[0::3], parts[1::3], parts[2::3], strict=False)
    ]


def test_every_command_ends_as_the_tutorial_says(told: Told) -> None:
    wrong = [(command, code, text) for command, text, code in told if code != MAY_END_WITH.get(command, 0)]
    assert wrong == []


def test_what_the_tutorial_shows_is_what_is_seen(told: Told) -> None:
    seen = "\n".join(text for _, text, _ in told).replace("\r", "")
    shown = re.findall(r"^```text\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(shown) > 3
    for line in "\n".join(shown).splitlines():
        # How many faults there were is a matter of chance; where a person's folder is, too.
        pattern = re.sub(r"\\ after\\ \d+\\ faults", " after [0-9]+ faults", re.escape(line)).replace(
            "/home/you", ".*"
        )
        assert re.search(f"^{pattern}$", seen, re.MULTILINE), line


def test_the_killed_upload_left_captures_behind_and_the_next_took_them(told: Told) -> None:
    after_the_kill = next(i for i, (command, _, _) in enumerate(told) if command.startswith("timeout")) + 1
    assert "uploading" in told[after_the_kill][1] or "batched" in told[after_the_kill][1]
    assert "uploaded (" in told[after_the_kill + 1][1]
