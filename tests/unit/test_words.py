"""How messages count things."""

import ast
import re

import pytest

from ctstate.words import counted, lasting, rate, whole_number
from tests.unit.house import MODULES, room


@pytest.mark.parametrize(
    ("number", "noun", "verb", "words"),
    [
        (0, "capture", "", "0 captures"),
        (1, "capture", "", "1 capture"),
        (1, "capture", "are failed", "1 capture is failed"),
        (2, "capture", "are failed", "2 captures are failed"),
        (1, "subject", "have", "1 subject has"),
        (1, "subject", "were", "1 subject was"),
        (1, "entry", "name", "1 entry names"),
        (1200, "entry", "name", "1,200 entries name"),
        (3, "batch", "", "3 batches"),
        (3, "survey", "", "3 surveys"),
        (1, "API request", "", "1 API request"),
    ],
)
def test_a_number_of_things(number: int, noun: str, verb: str, words: str) -> None:
    assert counted(number, noun, verb) == words


NOUNS = "captures|subjects|images|batches|workers|rows|entries|rounds|requests"


def _shown(part: ast.expr) -> str:
    """The text of a part of an f-string; `{}` for a number that is put in as it is."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    return "counted" if "counted(" in ast.unparse(part) else "{}"


def test_no_message_counts_by_itself() -> None:
    """A number followed by a plural, in one f-string: `1 captures` for whoever has one."""
    found = []
    for module, path in MODULES.items():
        if room(module) == "sandbox":  # its replies are Zooniverse's own words
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                text = "".join(map(_shown, node.values))
                if re.search(rf"\{{\}} (\w+ )?({NOUNS})\b", text):
                    found.append(f"{module}:{node.lineno}: {text[:80]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "number"),
    [("17", 17), ("007", 7), ("9" * 15, 10**15 - 1), ("9" * 16, None), ("1" * 5000, None), ("²", None), ("٣", None)]
    + [(text, None) for text in ("", " 1", "-1", "+1", "1.0", "1_0")],
)
def test_a_text_is_a_number_or_none(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (-3, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (3600, "1 h"),
     (7380, "2 h 3 min"), (86400, "1 d"), (190_000, "2 d 4 h")],
)  # fmt: skip
def test_how_long_something_takes(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


@pytest.mark.parametrize(("value", "said"), [(0, "0.00"), (0.0123, "0.012"), (1.5, "1.50"), (1234.56, "1,234.6")])
def test_a_rate_that_moves_is_never_nothing(value: float, said: str) -> None:
    assert rate(value) == said
