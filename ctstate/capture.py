"""What every room passes on, as typed, frozen rows: what a capture is, the season and batch it is of, the job it is
uploaded by."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

COMPLETE = "complete"
"""Name of the batch that takes what is in no other (docs/legacy-formats.md, section 2)."""

PAGE = 500
"""So many captures at a time: memory is bounded, and SQLite before 3.32 takes 999 parameters in a statement."""


class CaptureImage(NamedTuple):
    """A usable image of a capture."""

    id: int
    rank: int
    path: str  # as in the captures CSV
    md5: str | None  # of the bytes that were last made for Zooniverse, hex
    arrived: bool


class CaptureContent(NamedTuple):
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
    reason: str | None


class Capture(NamedTuple):
    """What the ledger says of a capture, for programs (`Ledger.captures`)."""

    id: int
    capture_id: str  # SEASON#SITE#ROLL#CAPTURE
    season: str  # this and the next three: as in the captures CSV
    site: str
    roll: str
    capture: str
    capture_number: int  # the same as a number, to sort by
    state: str
    reason: str | None  # why it was moved there
    excluded: str | None  # why it must not be uploaded
    batch_id: int | None
    subject_id: int | None
    run_id: int | None  # the run that moved it last, and when
    moved_at: str


class IncomingImage(NamedTuple):
    """An image that a file lists, with the capture that it is of: what readers make of any format, and what the
    ledger takes (`ledger.staging`)."""

    row: int  # where a message about it points to
    capture_id: str
    season: str
    site: str
    roll: str
    capture: str  # as the file has it
    capture_number: int
    rank: int
    path: str
    problem: str | None  # why it cannot be uploaded: excluded, missing, empty
    problem_reason: str | None
    metadata: str | None  # JSON: further columns for the subject
    rule: str | None  # how its capture came to be one, where the file does not say
    taken_at: str | None = None  # as the camera wrote it, `2026-06-03T05:12:44`
    taken_text: str | None = None  # what stands there instead and is no time


class Deployment(NamedTuple):
    """Where and how long a camera stood; times as `IncomingImage.taken_at`."""

    site: str
    roll: str  # '': of all rolls of the site
    starts_at: str | None
    ends_at: str | None
    latitude: float | None  # degrees, WGS84
    longitude: float | None
    camera: str | None


class Scores(NamedTuple):
    """What reports and `--where` see of a capture's predictions, 0 to 1; None: the source does not say."""

    animal: float | None = None
    person: float | None = None
    vehicle: float | None = None
    blank: float | None = None
    species: str | None = None
    species_confidence: float | None = None


class LegacyEntry(NamedTuple):
    """What a file of the old scripts says of a capture, its images apart."""

    row: int  # or number of the entry
    capture_id: str
    uploaded: bool
    subject_id: int | None
    subject_set_id: int | None = None
    subject_set_name: str | None = None
    upload_time: str | None = None
    machine_learning: bool | None = None  # whether there are predictions; None: it does not say
    predictions: str | None = None  # JSON: the keys and values that the subject carries
    attribution: str | None = None
    license: str | None = None


class Season(NamedTuple):
    """A season; `name` is the manifest id."""

    id: int
    name: str
    attribution: str
    license: str
    images_root: str | None  # absolute; None: the image paths are absolute
    time_zone: str | None = None  # of the cameras' clocks, as a person said
    most_images: int | None = None  # so many of a capture go up; None: all


class Batch(NamedTuple):
    """A batch of a season: captures that go into one subject set."""

    id: int
    season_id: int
    name: str  # complete, batch_1, batch_2, ...
    project_id: int | None
    subject_set_id: int | None
    subject_set_name: str | None


@dataclass(frozen=True)
class Job:
    """The job of a cluster's scheduler that a process belongs to, as Slurm numbers them.

    Attributes:
        cluster: its name; empty where the scheduler does not say.
        user_id: of the operating system; whose job it is.
        job: number of the job, or of the array that it is a task of.
        task: number in the array; None: not of an array.
        restarts: grows when the job is requeued under the same number.
    """

    cluster: str
    user_id: int
    job: str
    task: str | None
    restarts: int


def pages(items: Iterable[T], size: int = PAGE) -> Iterator[list[T]]:
    """Yield the items in lists of at most `size`."""
    iterator = iter(items)
    while page := list(itertools.islice(iterator, size)):
        yield page
