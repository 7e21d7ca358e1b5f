"""JSON files larger than memory, read as streams."""

import os
from collections.abc import Iterator
from typing import Any

import ijson

from ctstate.errors import InputError
from ctstate.formats.opening import json_bytes

_BUFFER = 1 << 18

DEEPEST = 50
"""No format that ctstate reads nests deeper."""


def items(file: str | os.PathLike[str], prefix: str) -> Iterator[Any]:
    """Yield the elements below a prefix (`item`: of the list that the file is; `images.item`: of that list).

    Raises:
        InputError: see `opening.json_bytes`; also where an element nests deeper than `DEEPEST`.
    """
    with json_bytes(file) as stream:
        for number, item in enumerate(ijson.items(stream, prefix, use_float=True, buf_size=_BUFFER), start=1):
            if _is_deep(item):
                raise InputError(f"{os.fspath(file)}, entry {number}: nested too deeply; nothing was changed")
            yield item


def pairs(file: str | os.PathLike[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of the object at a prefix ('': the object that the file is).

    Raises:
        InputError: see `items`.
    """
    with json_bytes(file) as stream:
        for key, value in ijson.kvitems(stream, prefix, use_float=True, buf_size=_BUFFER):
            if _is_deep(value):
                raise InputError(f"{os.fspath(file)}, entry {key[:80]!r}: nested too deeply; nothing was changed")
            yield key, value


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
