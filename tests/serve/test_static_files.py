"""What others published lies there as it was published; what is ours does nothing that the policy forbids."""

import hashlib
import re
from pathlib import Path

import ctstate
from ctstate.web.files import _FILES, static_file

STATIC = Path(ctstate.__file__).parent / "web" / "static"


def test_the_files_of_others_are_as_they_were_published() -> None:
    sums = dict(re.findall(r"^([0-9a-f]{64})  (\S+)$", (STATIC / "SHA256SUMS").read_text("utf-8"), re.MULTILINE))
    there = {
        path.relative_to(STATIC).as_posix() for folder in ("htmx", "uplot") for path in (STATIC / folder).iterdir()
    }
    assert set(sums.values()) == there
    for expected, name in sums.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == expected


def test_each_has_its_licence() -> None:
    table = (STATIC / "README.md").read_text("utf-8")
    for folder in ("htmx", "uplot"):
        assert (STATIC / folder / "LICENSE").stat().st_size > 100
        assert f"{folder}/LICENSE" in table


def test_nothing_is_loaded_from_elsewhere() -> None:
    for name in ("live.js", "live.css", "icon.svg"):
        words = (STATIC / name).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|eval\(|innerHTML|new Function", words)


def test_all_of_them_are_there() -> None:
    for name in _FILES:
        found = static_file(name)
        assert found is not None
        assert found.data
    assert static_file("../pages.py") is None
