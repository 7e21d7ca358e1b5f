"""Which format a file of predictions has: told by its content, never by its name."""

import os
from typing import Any

from ctstate.errors import InputError, UsageError
from ctstate.formats.json_stream import ARRAY, items, top_level
from ctstate.formats.opening import json_bytes
from ctstate.formats.predictions.legacy import EMPTY, SPECIES, EmptyModel, SpeciesModel, looks_empty
from ctstate.formats.predictions.megadetector import HEADER, MegaDetector, PixelBoxes
from ctstate.formats.predictions.records import Reader
from ctstate.formats.predictions.speciesnet import SpeciesNet
from ctstate.formats.predictions.table import Table

FORMATS = ("legacy-empty", "legacy-species", "megadetector", "pytorch-wildlife", "speciesnet", "csv")
SOURCES = {"legacy-empty": EMPTY, "legacy-species": SPECIES}

_HOW_TO_NAME = f"name its format with --format: {', '.join(FORMATS)}"


def reader_of(
    file: str | os.PathLike[str],
    *,
    format: str | None = None,
    source: str | None = None,
    all_species_scores: bool = False,
) -> Reader:
    """Return the reader for a file.

    Args:
        file: the predictions.
        format: one of `FORMATS`, where the user names it.
        source: under which name the ledger keeps them; by default the format's.
        all_species_scores: for the legacy species model.

    Raises:
        InputError: the file cannot be read, or is of no format known, or could be of two.
        UsageError: no such format.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"{format!r} is not a format; the formats are {', '.join(FORMATS)}")
    name = os.fspath(file)
    header: dict[str, Any] = {}
    if format is None:
        format, header = _detect(name)
    elif format in _LISTS:
        header = _header(name, _LISTS[format])
    source = source or SOURCES.get(format, format)
    if format == "legacy-empty":
        return EmptyModel(name, source)
    if format == "legacy-species":
        return SpeciesModel(name, source, all_scores=all_species_scores)
    if format == "megadetector":
        return MegaDetector(name, source, header)
    if format == "speciesnet":
        return SpeciesNet(name, source)
    return PixelBoxes(name, source) if format == "pytorch-wildlife" else Table(name, source)


def _detect(name: str) -> tuple[str, dict[str, Any]]:
    with json_bytes(name) as stream:
        start = stream.read(4096).lstrip()
    if not start:
        raise InputError(f"{name}: the file is empty")
    if start[:1] == b"[":
        _check_list(name, start[1:].lstrip()[:1])
        return "pytorch-wildlife", {}
    if start[:1] != b"{":
        if b"\0" in start:
            raise InputError(f"{name}: neither JSON nor a CSV in UTF-8")
        return "csv", {}
    return _detect_object(name)


def _check_list(name: str, first: bytes) -> None:
    if first in (b"]", b"n"):  # nothing, or null
        return
    entry: Any = next(items(name), {}) if first == b"{" else {}  # what begins with another sign may be anything
    if not ("file" in entry and "detections" in entry):
        raise InputError(f"{name}: a JSON list, but not of objects with file and detections; {_HOW_TO_NAME}")


def _detect_object(name: str) -> tuple[str, dict[str, Any]]:
    """Look at the top level: the first entries of a legacy file, the header of MegaDetector's, all of another."""
    header: dict[str, Any] = {}
    arrays: list[str] = []
    entries = 0
    for key, value in top_level(name):
        if value is ARRAY:
            arrays.append(key)
            if key == "instances":
                raise InputError(f"{name}: this is SpeciesNet's input, not its predictions")
            if key == "images" and header.keys() >= {"info", "detection_categories"}:
                break  # and not after all of the images, of which there may be gigabytes
        elif key in HEADER:
            header[key] = value
        elif isinstance(value, dict):
            entries += 1
            format = _legacy_format(name, key, value)
            if format is not None:
                return format, {}
            if entries >= 10 and not arrays:
                break
    if "images" in arrays and "predictions" in arrays:
        raise InputError(f"{name}: holds both images and predictions; {_HOW_TO_NAME}")
    if "images" in arrays:
        return "megadetector", header
    if "predictions" in arrays:
        return "speciesnet", {}
    raise InputError(f"{name}: not a file of predictions that ctstate knows; {_HOW_TO_NAME}")


def _legacy_format(name: str, capture_id: str, entry: dict[str, Any]) -> str | None:
    aggregated = entry.get("aggregated_pred")
    if isinstance(aggregated, dict) and aggregated:
        if not looks_empty(aggregated):
            return "legacy-species"
        if "species" not in aggregated:
            return "legacy-empty"
        raise InputError(
            f"{name}, capture {capture_id}: could be of the empty or of the species model "
            f"(its labels: {', '.join(aggregated)}); {_HOW_TO_NAME}"
        )
    return "legacy-species" if isinstance(entry.get("predictions_top"), dict) and entry["predictions_top"] else None


_LISTS = {"megadetector": "images", "speciesnet": "predictions"}


def _header(name: str, wanted: str) -> dict[str, Any]:
    top = dict(top_level(name))
    if top.get(wanted) is not ARRAY:
        raise InputError(f"{name}: has no list {wanted!r}")
    return {key: value for key, value in top.items() if key in HEADER and value is not ARRAY}
