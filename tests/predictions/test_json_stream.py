"""JSON read through a window: wherever the window ends, the file says the same."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from ctstate.errors import InputError
from ctstate.formats import json_stream

TEXTS = ("", 'a\\"b\n', "é☃\U0001f600", "]}{[,:", "\\u0041")
NUMBERS = (0, -2.5, 1e-3, 1.5e300, -(2**63), 12345678901)


def value(dice: random.Random, depth: int) -> Any:
    kind = dice.randrange(9)
    if depth == 0 or kind < 5:
        return dice.choice((*TEXTS, *NUMBERS, True, False, None))
    if kind < 7:
        return [value(dice, depth - 1) for _ in range(dice.randrange(4))]
    return {dice.choice(TEXTS) + str(n): value(dice, depth - 1) for n in range(dice.randrange(4))}


@pytest.mark.parametrize("window", [1, 2, 7, 64])
def test_wherever_the_window_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(json_stream, "_WINDOW", window)
    file = tmp_path / "file.json"
    for seed in range(50):
        dice = random.Random(seed)
        images = [value(dice, 3) for _ in range(dice.randrange(4))]
        whole = {"x": value(dice, 3), "images": images, "y": value(dice, 2)}
        text = json.dumps(whole, ensure_ascii=dice.random() < 0.5, indent=dice.choice((None, 1))).encode()
        file.write_bytes(text)
        assert dict(json_stream.pairs(file)) == whole
        assert [of for key, of in json_stream.top_level(file, "images") if key == "images"] == images
        lists = {key: json_stream.ARRAY if isinstance(of, list) else of for key, of in whole.items()}
        assert dict(json_stream.top_level(file)) == lists
        file.write_bytes(json.dumps(images).encode())
        assert list(json_stream.items(file)) == images
        file.write_bytes(text[: dice.randrange(len(text))])
        with pytest.raises(InputError):
            list(json_stream.top_level(file, "images"))


NO_JSON = (
    "x 1",
    "1}{",
    "NaN",
    "1e999",
    "01",
    "9223372036854775808",
    '1, "a" 1',
    "1,",
    '"\\x"',
    "-",
    "[1 2]",
    "1, 1: 2",
)


@pytest.mark.parametrize("text", NO_JSON)
@pytest.mark.parametrize("window", [1, 1 << 18])
def test_no_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, text: str) -> None:
    monkeypatch.setattr(json_stream, "_WINDOW", window)
    file = tmp_path / "file.json"
    file.write_text(f'{{"a": {text}}}')
    with pytest.raises(InputError, match="not readable as JSON"):
        list(json_stream.pairs(file))


def test_half_of_a_character_is_a_question_mark(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_text('{"\\ud800": ["\\udc00", "\\ud83d\\ude00"]}')
    assert dict(json_stream.pairs(file)) == {"?": ["?", "\U0001f600"]}


@pytest.mark.parametrize("window", [1, 100, 1 << 18])
def test_what_is_passed_over_may_nest_deeply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(json_stream, "_WINDOW", window)
    file = tmp_path / "file.json"
    file.write_text('{"a": [' + "[" * 2000 + '"\\"]"' + "]" * 2000 + '], "images": [7]}')
    assert list(json_stream.top_level(file, "images")) == [("a", json_stream.ARRAY), ("images", 7)]
