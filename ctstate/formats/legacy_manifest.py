"""The old scripts' JSON manifest: one object, keyed by capture id (docs/legacy-formats.md, section 2)."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from ctstate.capture import IncomingImage, LegacyEntry
from ctstate.formats import json_stream
from ctstate.formats.predictions.legacy import PREFIX
from ctstate.formats.reader import CaptureReader, Listed
from ctstate.words import whole_number

_NAME = re.compile(r"(?P<id>.+?)__(?P<batch>.+?)__manifest(_uploaded)?\.json")
_KNOWN_KEYS = ("#capture_id", "#site", "#roll", "#season", "#capture", "attribution", "license")


class ManifestName(NamedTuple):
    """What the name of a manifest file says."""

    manifest_id: str
    batch: str


def parse_name(file: str | os.PathLike[str]) -> ManifestName | None:
    """Return what a manifest's file name says, or None where it is not `ID__BATCH__manifest.json`."""
    found = _NAME.fullmatch(Path(file).name)
    return ManifestName(found["id"], found["batch"]) if found else None


class ManifestPart(NamedTuple):
    """A part of a manifest: what it says of some captures, and images of these or of captures before them."""

    entries: list[LegacyEntry]
    images: list[IncomingImage]


class LegacyManifest(CaptureReader):
    """A manifest. Images of captures that are uploaded already by its word are not looked for."""

    unit = "entry"

    def __init__(self, name: str, root: str | None) -> None:
        super().__init__(name, root)
        self._entries: list[LegacyEntry] = []

    def parts(self) -> Iterator[ManifestPart]:
        """Yield the manifest part by part.

        Raises:
            InputError: as for `chunks`.
        """
        for images in self.chunks():
            entries, self._entries = self._entries, []
            yield ManifestPart(entries, images)

    def _images(self) -> Iterator[Listed]:
        for capture_id, entry in json_stream.pairs(self.name):
            self.rows += 1
            try:
                parts = _parts(capture_id, entry)
            except ValueError as error:
                self._error(self.rows, f"capture {capture_id}: {error}")
                continue
            self._entries.append(_said(self.rows, capture_id, parts))
            yield from self._of_capture(capture_id, parts)

    def _of_capture(self, capture_id: str, parts: "_Parts") -> Iterator[Listed]:
        metadata = parts.metadata
        season, site, roll, number = (str(metadata[key]) for key in ("#season", "#site", "#roll", "#capture"))
        extra = {k: v for k, v in metadata.items() if k not in _KNOWN_KEYS and not k.startswith(PREFIX)}
        more = json.dumps(extra, ensure_ascii=False, sort_keys=True) if extra else None
        for rank, image in enumerate(parts.images, start=1):
            path = image.replace("\\", "/")
            place = self._place(self.rows, path)
            if place is None:
                return
            listed = IncomingImage(
                self.rows, capture_id, season, site, roll, number, int(number), rank, path, None, None, more, None
            )
            yield listed, None if _is_uploaded(parts.info) else place


class _Parts(NamedTuple):
    metadata: Mapping[str, Any]
    info: Mapping[str, Any]
    images: list[str]


def _parts(capture_id: str, entry: Any) -> _Parts:
    """Return upload_metadata, info and images of an entry; ValueError says what is wrong with it."""
    if not isinstance(entry, dict):
        raise ValueError("is not an object")
    metadata, info, images = entry.get("upload_metadata"), entry.get("info", {}), entry.get("images")
    if not isinstance(metadata, dict) or not isinstance(info, dict):
        raise ValueError("has no upload_metadata, or no info, that is an object")
    for key in _KNOWN_KEYS:
        if not isinstance(metadata.get(key), (str, int)) or metadata[key] == "":
            raise ValueError(f"has no {key} in its upload_metadata")
    if metadata["#capture_id"] != capture_id:
        raise ValueError(f"its #capture_id is {metadata['#capture_id']}")
    number = str(metadata["#capture"])
    if whole_number(number) is None:
        raise ValueError(f"its #capture is {number!r}, not a whole number")
    if isinstance(images, dict):
        images = images.get("original_images")
    if not isinstance(images, list) or not images or not all(isinstance(i, str) and i for i in images):
        raise ValueError("has no list of images")
    return _Parts(metadata, info, images)


def _said(row: int, capture_id: str, parts: _Parts) -> LegacyEntry:
    predictions = {key: value for key, value in parts.metadata.items() if key.startswith(PREFIX)}
    learned = parts.info.get("machine_learning")
    return LegacyEntry(
        row,
        capture_id,
        uploaded=_is_uploaded(parts.info),
        subject_id=subject_id_of(parts.info.get("subject_id")),
        subject_set_id=subject_id_of(parts.info.get("subject_set_id")),
        subject_set_name=_text(parts.info.get("subject_set_name")),
        upload_time=_text(parts.info.get("upload_time")),
        machine_learning=learned if isinstance(learned, bool) else None,
        predictions=json.dumps(predictions, ensure_ascii=False) if predictions else None,
        attribution=str(parts.metadata["attribution"]),
        license=str(parts.metadata["license"]),
    )


def _is_uploaded(info: Mapping[str, Any]) -> bool:
    return info.get("uploaded") is True


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def subject_id_of(value: Any) -> int | None:
    """Return one of Zooniverse's numbers, as the old scripts wrote it; None where it is none."""
    return whole_number(str(value).strip())


# -- writing -----------------------------------------------------------------------------------------------------


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
        info["subject_set_id"] = _digits(subject.subject_set_id)
        info["subject_set_name"] = subject.subject_set_name or ""
        info["upload_time"] = subject.upload_time
        info["subject_id"] = _digits(subject.subject_id)
        info["anonymized_capture_id"] = subject.anonymized_capture_id
    return {"upload_metadata": dict(entry.upload_metadata), "info": info, "images": list(entry.images)}


def _digits(number: int | None) -> str:
    return "" if number is None else str(number)


def local_time(moment: str) -> str:
    """Return a time (ISO 8601) as the old scripts write it: local, YYYYMMDDHHMMSS."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y%m%d%H%M%S")
