"""Subjects, as a survey and those who act on it look at them."""

from collections.abc import Mapping
from dataclasses import dataclass

from ctstate.capture import CaptureContent
from ctstate.ledger import Ledger, State, comparison
from ctstate.words import counted
from ctstate.zooniverse import Zooniverse
from ctstate.zooniverse.rows import Subject
from ctstate.zooniverse.subject import read_mark, subject_metadata


@dataclass(frozen=True)
class SubjectSeen:
    """A subject of a capture, as far as it matters.

    Attributes:
        id: Zooniverse's number.
        problem: with its images; empty where they are whole or were not looked at.
        differs: keys of its metadata that differ from the ledger's.
        asked: images that the store was asked for.
    """

    id: int
    problem: str
    differs: tuple[str, ...]
    asked: int


def look_at(zooniverse: Zooniverse, subject: Subject, row: CaptureContent, *, check_images: bool) -> SubjectSeen:
    """Compare a subject with its capture; its images only where that matters, unless `check_images`."""
    subject_id = subject.id
    settled = row.state == State.UPLOADED.value and row.subject_id == subject_id
    problem, asked = "", 0
    if check_images or not settled:
        problem, asked = image_problem(zooniverse, subject, row), len(row.images)
    elif len(subject.locations) != len(row.images):
        problem = f"{counted(len(subject.locations), 'image')}, not {len(row.images)}"
    wanted = subject_metadata(row)
    differs = tuple(key for key, value in wanted.items() if subject.metadata.get(key) != value)
    return SubjectSeen(subject_id, problem, differs, asked)


def image_problem(zooniverse: Zooniverse, subject: Subject, row: CaptureContent) -> str:
    """Ask the store for each image of a subject; return what is wrong, or ''.

    An image that this ledger sent must have the MD5 it was sent with; one that others sent must be there.
    """
    urls = subject.urls
    if len(urls) != len(row.images):
        return f"{counted(len(urls), 'image')}, not {len(row.images)}"
    for number, (url, image) in enumerate(zip(urls, row.images, strict=True), start=1):
        md5 = zooniverse.image_md5(url)
        if md5 is None:
            return f"image {number} of {len(urls)} never arrived"
        if image.md5 and md5 and md5 != image.md5:
            return f"image {number} of {len(urls)} is not the one that was sent"
    return ""


def deletable(ledger: Ledger, subjects: Mapping[int, Subject]) -> set[int]:
    """Return those of these subjects that were made from this ledger, or that a file of the old scripts names."""
    with ledger.read() as connection:
        named = comparison.named_by_files(connection, subjects)
    marks = {key: read_mark(subject.external_id) for key, subject in subjects.items()}
    return named | {key for key, mark in marks.items() if mark is not None and mark.ledger_id == ledger.ledger_id}
