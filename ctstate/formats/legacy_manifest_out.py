"""Writing the old scripts' JSON manifest (docs/legacy-formats.md, section 2): one capture a line."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import IO, Any, NamedTuple


class ManifestSubject(NamedTuple):
    """What the manifest says of a capture's subject; None: not known.

    Attributes:
        subject_id, subject_set_id, subject_set_name: Zooniverse's.
        upload_time: as the old scripts write it, see `local_time`.
        anonymized_capture_id: the capture id, hashed.
    """

    subject_id: int | None
    subject_set_id: int | None
    subject_set_name: str | None
    upload_time: str
    anonymized_capture_id: str


class ManifestEntry(NamedTuple):
    """A capture of the manifest.

    Attributes:
        capture_id: its key.
        upload_metadata: what the subject is to carry.
        images: paths.
        machine_learning: whether predictions were merged into the metadata; None: nobody asked for any.
        subject: None: it is not uploaded.
    """

    capture_id: str
    upload_metadata: Mapping[str, Any]
    images: Sequence[str]
    machine_learning: bool | None
    subject: ManifestSubject | None


def write_manifest(stream: IO[str], entries: Iterable[ManifestEntry]) -> int:
    """Write a manifest; return how many captures are in it."""
    count = 0
    for entry in entries:
        stream.write(",\n" if count else "{")
        stream.write(f"{json.dumps(entry.capture_id)}:{json.dumps(_as_json(entry))}")
        count += 1
    stream.write("}" if count else "{}")
    return count


def _as_json(entry: ManifestEntry) -> dict[str, Any]:
    subject = entry.subject
    info: dict[str, Any] = {"uploaded": subject is not None}
    if entry.machine_learning is not None:
        info["machine_learning"] = entry.machine_learning
    if subject is not None:
        info["subject_set_id"] = _text(subject.subject_set_id)
        info["subject_set_name"] = subject.subject_set_name or ""
        info["upload_time"] = subject.upload_time
        info["subject_id"] = _text(subject.subject_id)
        info["anonymized_capture_id"] = subject.anonymized_capture_id
    return {"upload_metadata": dict(entry.upload_metadata), "info": info, "images": list(entry.images)}


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def local_time(moment: str) -> str:
    """Return a time (ISO 8601) as the old scripts write it: local, YYYYMMDDHHMMSS."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y%m%d%H%M%S")
