"""What every reader of predictions yields, and what becomes of it."""

import abc
import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from ctstate.capture import Scores
from ctstate.errors import InputError
from ctstate.formats.opening import brief
from ctstate.formats.predictions.boxes import Boxes


class Entry(NamedTuple):
    """One entry of a file: what it is about, and what it says (JSON).

    `payload` is None where the program that made the file failed on this image.
    """

    number: int  # counted from 1
    key: str  # an image path or a capture id, as the file has it
    payload: Any
    boxes: str | None = None  # of the image, as `Boxes.text` has them


class Combined(NamedTuple):
    """What one source says of one capture: the subject's metadata, and the scores."""

    metadata: dict[str, Any]
    scores: Scores


@dataclass(frozen=True)
class FileFacts:
    """What a file says about how it was made."""

    threshold: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


class Reader(abc.ABC):
    """A file of predictions, read as a stream.

    Attributes:
        format: its name, for `--format`.
        keyed_by_path: whether the entries are about images; else about captures.
        whole: whether one entry says all of its capture; the last one, where there are several.
        boxes: what is kept of the boxes, where the format has them as fractions of the image.
    """

    format: str
    keyed_by_path: bool = True
    whole: bool = False

    def __init__(self, file: str | os.PathLike[str], source: str) -> None:
        self.name = os.fspath(file)
        self.source = source
        self.boxes = Boxes()
        self._labels: dict[str, tuple[str, str]] = {}

    @abc.abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Yield the file's entries.

        Raises:
            InputError: the file cannot be read, or an entry is malformed (the message names it).
        """

    @abc.abstractmethod
    def combine(self, payloads: Sequence[Any]) -> Combined:
        """Return what the entries of one capture come to; called when `entries` is used up."""

    def facts(self) -> FileFacts:
        """Return how the file was made; called when `entries` is used up."""
        return FileFacts()

    def key(self, label: str) -> str:
        """Return the metadata key for a label of this source; `#` hides it from volunteers."""
        return f"#machine_{self.source}_{label}"

    def kind_and_key(self, label: str) -> tuple[str, str]:
        """Return `kind_of` and `key` of a label, which a file has few of, as a rule."""
        found = self._labels.get(label)
        if found is None:
            if len(self._labels) > 10_000:
                self._labels.clear()
            found = self._labels[label] = kind_of(label), self.key(label)
        return found

    def malformed(self, what: str, message: str) -> InputError:
        """Return the error for an entry that is not what it should be."""
        return InputError(f"{self.name}, {brief(what)}: {brief(message)}; nothing was changed")

    def confidence(self, what: str, value: Any) -> float:
        """Return a confidence as a number.

        Raises:
            InputError: it is none, or not between 0 and 1.
        """
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise self.malformed(what, f"the confidence {value!r} is not a number between 0 and 1")
        return value


_encoded_by_json = json.JSONEncoder(ensure_ascii=False).encode
_encoded = msgspec.json.Encoder().encode


def as_json(metadata: Mapping[str, Any]) -> str:
    """Return metadata as `json.dumps` writes it: what the ledger has of it is compared as a text.

    Msgspec takes a third of the time, and writes all alike but tiny and huge numbers (1e-5, not 1e-05).
    """
    for value in metadata.values():
        kind = type(value)
        if kind is not str and not ((kind is float or kind is int) and (value == 0 or 0.0001 <= value < 1e15)):
            return _encoded_by_json(metadata)
    return msgspec.json.format(_encoded(metadata), indent=0).decode()


_KINDS = {
    "animal": ("animal",),
    "person": ("person", "human", "people", "humans", "persons"),
    "vehicle": ("vehicle", "vehicles", "car"),
    "blank": ("blank", "empty"),
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words}


@functools.lru_cache(10_000)
def kind_of(label: str) -> str:
    """Return `animal`, `person`, `vehicle` or `blank` for the words that programs use for them, else ''."""
    return _KIND_OF.get(label.strip().lower(), "")


def highest(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the largest score of each label over several images."""
    if len(scores) == 1:
        return dict(scores[0])
    best: dict[str, float] = {}
    for image in scores:
        for label, score in image.items():
            if label not in best or score > best[label]:
                best[label] = score
    return best


def most(best: Mapping[str, float], kind: str) -> float | None:
    """Return the largest score among the labels of a kind (see `kind_of`)."""
    return max((score for label, score in best.items() if kind_of(label) == kind), default=None)
