"""What a capture is, and the season and batch it is of: the typed, frozen rows that every room passes on."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

COMPLETE = "complete"
"""Name of the batch that takes what is in no other (docs/legacy-formats.md, section 2)."""

PAGE = 500
"""So many captures at a time: memory is bounded, and SQLite before 3.32 takes 999 parameters in a statement."""


@dataclass(frozen=True)
class CaptureImage:
    """A usable image of a capture."""

    id: int
    rank: int
    path: str  # as in the captures CSV
    md5: str | None  # of the bytes that were last made for Zooniverse, hex
    arrived: bool


@dataclass(frozen=True)
class Capture:
    """A capture with all that its subject is made of."""

    id: int
    capture_id: str
    season: str
    site: str
    roll: str
    capture: str
    attribution: str
    license: str
    extra: Mapping[str, Any]  # further CSV columns for the subject
    predictions: Mapping[str, Any]  # what predict attached, ready for the subject
    images: tuple[CaptureImage, ...]
    subject_id: int | None
    state: str = ""


class Snapshot(NamedTuple):
    """A capture as it was seen at some moment. What is written on the strength of it names it, and changes nothing
    if the capture has moved since (`ledger.transitions`)."""

    id: int
    capture_id: str
    state: str
    claim: int
    subject_id: int | None
    batch_id: int | None
    excluded: str | None
    create_sent_at: str | None


class Season(NamedTuple):
    """A season; `name` is the manifest id."""

    id: int
    name: str
    attribution: str
    license: str
    images_root: str | None  # absolute; None: the image paths are absolute


class Batch(NamedTuple):
    """A batch of a season: captures that go into one subject set."""

    id: int
    season_id: int
    name: str  # complete, batch_1, batch_2, ...
    project_id: int | None
    subject_set_id: int | None
    subject_set_name: str | None


def pages(items: Iterable[T], size: int = PAGE) -> Iterator[list[T]]:
    """Yield the items in lists of at most `size`."""
    iterator = iter(items)
    while page := list(itertools.islice(iterator, size)):
        yield page
