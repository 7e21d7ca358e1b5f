"""JSON files larger than memory, read as streams: entry by entry, by the json module's scanner, from a window of
the text that moves on. Whatever is passed over is read all the same, so that a file is taken whole or refused.
"""

import codecs
import contextlib
import json
import os
import re
from collections.abc import Iterator
from typing import IO, Any, NoReturn

import msgspec

from ctstate.errors import InputError
from ctstate.formats.opening import json_bytes

_WINDOW = 1 << 18

DEEPEST = 50
"""No format that ctstate reads nests deeper."""

ARRAY = object()
"""Stands for a list that is passed over."""


def items(file: str | os.PathLike[str]) -> Iterator[Any]:
    """Yield the elements of the list that the file is; none where it is no list.

    Raises:
        InputError: see `opening.json_bytes`; also where an element nests deeper than `DEEPEST`.
    """
    with _opened(file) as text:
        yield from text.elements()


def pairs(file: str | os.PathLike[str]) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of the object that the file is; nothing where it is none.

    Raises:
        InputError: see `items`.
    """
    with _opened(file) as text:
        for name in text.names():
            yield name, text.value()


def top_level(file: str | os.PathLike[str], key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of the object that the file is, but `ARRAY` for lists, before they are passed over.

    Args:
        file: the file.
        key: of the list whose elements are yielded, one after the other, each with this key.

    Raises:
        InputError: see `items`.
    """
    with _opened(file) as text:
        for name in text.names():
            if text.sign() != "[":
                yield name, text.value()
            elif name == key:
                for element in text.elements():
                    yield name, element
            else:
                yield name, ARRAY
                text.skip()


@contextlib.contextmanager
def _opened(file: str | os.PathLike[str]) -> Iterator["_Text"]:
    with json_bytes(file) as stream:
        text = _Text(os.fspath(file), stream)
        yield text
        text.end()


def _no_json(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is no JSON", "", 0)


def _whole_number(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (number := int(text)) < 2**63:
        raise ValueError
    return number


# No number is infinite, either, however it is written: msgspec refuses such a one, at no cost.
_decode = json.JSONDecoder(
    parse_constant=_no_json,
    parse_float=msgspec.json.Decoder(float).decode,
    parse_int=_whole_number,
).raw_decode
_OF_NUMBERS = "0123456789.eE+-"
_BLANKS = " \t\n\r"
_blanks = re.compile(r"[ \t\n\r]*").match
_brackets = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}"]', re.DOTALL).finditer
_DEEPER = {"[": 1, "{": 1, "]": -1, "}": -1}
_plain_key = re.compile(r'[ \t\n\r]*"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*').match
_next_key = re.compile(r'[ \t\n\r]*,[ \t\n\r]*"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*').match
_comma = re.compile(r"[ \t\n\r]*,[ \t\n\r]*").match


class _Text:
    """The text of a file, from some place on."""

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self._name = name
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0

    def _more(self) -> bool:
        """Read on, which moves the window; False at the end of the file, where nothing changes."""
        # Twice as much each time, so that a long value is not begun with again and again.
        found = self._stream.read(max(_WINDOW, len(self._text) - self._at))
        try:
            text = self._decoder.decode(found, final=not found)
        except UnicodeDecodeError:
            raise json.JSONDecodeError("not text in UTF-8", "", 0) from None
        if found:
            self._text, self._at = self._text[self._at :] + text, 0
        return bool(found)

    def sign(self) -> str:
        """Return the character that stands here, blanks passed over; '' at the end of the file."""
        while True:
            sign = self._text[self._at : self._at + 1]
            if sign in _BLANKS:
                self._at = _blanks(self._text, self._at).end()  # type: ignore[union-attr]
                sign = self._text[self._at : self._at + 1]
            if sign:
                return sign
            if not self._more():
                return ""

    def pass_over(self, sign: str) -> None:
        """Go on behind a character that must stand here."""
        if self.sign() != sign:
            raise json.JSONDecodeError(f"expecting {sign!r}" if self.sign() else "it ends too early", "", 0)
        self._at += 1

    def value(self) -> Any:
        """Return the value that stands here.

        Raises:
            InputError: it nests deeper than `DEEPEST`.
        """
        value, start = self._scanned()
        text, end = self._text, self._at
        if text.count("[", start, end) + text.count("{", start, end) > DEEPEST and _is_deep(value):
            raise InputError(
                f"{self._name}, at {text[start : start + 60]!r}: nested too deeply; nothing was changed"
            )
        # The first look, for one character, takes a tenth of the second.
        if text.find("\\", start, end) >= 0 and text.find("\\u", start, end) >= 0:
            value = _with_whole_characters(value)
        return value

    def _scanned(self) -> tuple[Any, int]:
        """Pass over the value that stands here; return it, and where in the window it begins."""
        text, at = self._text, self._at
        try:
            value, end = _decode(text, at)
        except (ValueError, msgspec.MsgspecError):
            pass
        else:
            if len(text) - end > 2:  # as a rule: it begins here, and all of it stands within the window
                self._at = end
                return value, at
        self.sign()
        while True:
            text, at = self._text, self._at
            try:
                value, end = _decode(text, at)
            except json.JSONDecodeError as error:
                # What was read of it breaks off within its last word, or within a text.
                is_cut = error.pos > len(text) - 16 or error.msg.startswith("Unterminated string")
                if not (is_cut and self._more()):
                    raise
            except (ValueError, msgspec.MsgspecError):  # a number that is too large, or the first half of one
                if not (text[-1] in _OF_NUMBERS and self._more()):
                    raise json.JSONDecodeError("a number is too large", "", 0) from None
            else:
                # A number may go on: behind what was read of it there may stand an `e+` of it.
                if len(text) - end > 2 or not self._more():
                    self._at = end
                    return value, at

    def elements(self) -> Iterator[Any]:
        """Yield the elements of the list that stands here; pass over what is none."""
        if self._begins("[", "]"):
            yield self.value()
            while self._goes_on():
                yield self.value()
            self.pass_over("]")

    def names(self) -> Iterator[str]:
        """Yield the keys of the object that stands here, whose reader passes over each value; pass over what is
        none."""
        if self._begins("{", "}"):
            yield self._key()
            while True:
                found = _next_key(self._text, self._at)
                if found is not None:  # as a rule, see `_key`
                    self._at = found.end()
                    yield found[1]
                elif self._goes_on():
                    yield self._key()
                else:
                    break
            self.pass_over("}")

    def _begins(self, opening: str, closing: str) -> bool:
        """Go to the first element of a list or object; False where there is none, and all was passed over."""
        if self.sign() != opening:
            self.skip()
            return False
        self._at += 1
        if self.sign() != closing:
            return True
        self._at += 1
        return False

    def _goes_on(self) -> bool:
        found = _comma(self._text, self._at)
        if found is not None:
            self._at = found.end()
            return True
        if self.sign() == ",":
            self._at += 1
            return True
        return False

    def _key(self) -> str:
        found = _plain_key(self._text, self._at)
        if found is not None:  # as a rule: nothing escaped, and all of it within the window
            self._at = found.end()
            return found[1]
        if self.sign() != '"':
            raise json.JSONDecodeError("expecting a key in quotes", "", 0)
        key = self.value()
        self.pass_over(":")
        return str(key)

    def skip(self) -> None:
        """Pass over the value that stands here, however long or deep."""
        if self.sign() == "[":
            if self._begins("[", "]"):
                self._skip_element()
                while self._goes_on():
                    self._skip_element()
                self.pass_over("]")
        else:
            self._skip_element()

    def _skip_element(self) -> None:
        try:
            self._scanned()
        except RecursionError:
            self._skip_by_brackets()

    def _skip_by_brackets(self) -> None:
        depth = 0
        while True:
            for part in _brackets(self._text, self._at):
                if part[0] == '"':  # a text that goes on behind the window
                    self._at = part.start()
                    break
                self._at = part.end()
                depth += _DEEPER.get(part[0], 0)
                if depth == 0:
                    return
            else:
                self._at = len(self._text)
            if not self._more():
                raise json.JSONDecodeError("it ends too early", "", 0)

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.sign():
            raise json.JSONDecodeError("more follows behind its end", "", 0)


def _is_deep(value: Any) -> bool:
    level = [value] if type(value) is dict or type(value) is list else []
    for _ in range(DEEPEST):
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
    return True


def _with_whole_characters(value: Any) -> Any:
    """Return a value with `?` for halves of characters, which no file and no database can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_with_whole_characters(inner) for inner in value]
    if isinstance(value, dict):
        return {_with_whole_characters(key): _with_whole_characters(inner) for key, inner in value.items()}
    return value
