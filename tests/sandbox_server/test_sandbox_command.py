"""`ctstate sandbox`: what it prints, how it stops, and what it says when it cannot start."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from ctstate.commands.sandbox import sandbox
from ctstate.errors import CtstateError, InputError, UsageError
from ctstate.sandbox import SandboxSettings, serve


def run(*arguments: str) -> Any:
    return CliRunner().invoke(sandbox, list(arguments))


def test_it_says_how_to_use_it_and_stops_when_told(tmp_path: Path) -> None:
    code = "from ctstate.commands.sandbox import sandbox; sandbox()"
    account = tmp_path / "account.ini"
    account.write_text("[zooniverse]\nusername = me\npassword = of my own\n")
    command = [sys.executable, "-c", code, "--directory", str(tmp_path), "--port", "0"]
    command += ["--password-file", str(account)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = "".join(child.stdout.readline() for _ in range(5))
    url = re.search(r"PANOPTES_ENDPOINT=(http://127\.0\.0\.1:\d+)", said)
    assert url, said
    assert "the account me, by --password-file" in said
    assert "of my own" not in said
    assert "Project 1001" in said
    assert requests.get(url[1], timeout=20).status_code == 200
    child.send_signal(signal.SIGINT)
    rest, complaints = child.communicate(timeout=20)
    assert (child.returncode, rest, complaints) == (0, "Stopped; the state is kept.\n", "")


def test_a_port_in_use_is_a_usage_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = run("--directory", str(tmp_path / "s"), "--port", str(port)).exception
    assert isinstance(error, UsageError)
    assert str(error) == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot read the fault plan"),
        ("{", "not JSON"),
        ('{"rules": [{"kind": "x"}]}', "rule 1: kind must be"),
    ],
)
def test_a_bad_fault_plan_is_an_input_error(tmp_path: Path, content: str, complaint: str) -> None:
    plan = tmp_path / "plan.json"
    if content is not None:
        plan.write_text(content)
    error = run("--directory", str(tmp_path / "s"), "--faults", str(plan)).exception
    assert isinstance(error, InputError)
    assert str(error).startswith(f"{plan}: ")
    assert complaint in str(error)
    assert "\n" not in str(error)


def test_a_directory_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = run("--directory", str(tmp_path / "file" / "s"), "--port", "0").exception
    assert isinstance(error, InputError)


def test_it_listens_on_this_machine_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this machine only"):
        serve(tmp_path, host="0.0.0.0")


def test_settings_travel_as_json() -> None:
    settings = SandboxSettings(subject_limit=3, discard_images=True)
    assert SandboxSettings.from_json(settings.to_json()) == settings
    for wrong in ("{", "[]", '{"colour": 1}'):
        with pytest.raises(CtstateError):
            SandboxSettings.from_json(wrong)
