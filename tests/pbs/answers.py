"""Answers of a real OpenPBS 23.06.06, as `tests.pbs.record` took them down."""

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "answers" / "openpbs-23.06.06.json"
ANSWERS: dict[str, dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))


def out(name: str) -> str:
    """Return what was printed."""
    return str(ANSWERS[name]["out"])


def refusal(name: str) -> str:
    """Return why something was refused."""
    assert ANSWERS[name]["code"] != 0
    return str(ANSWERS[name]["err"])


def given(name: str) -> str:
    """Return the script that was handed to qsub."""
    return str(ANSWERS[name]["in"])
