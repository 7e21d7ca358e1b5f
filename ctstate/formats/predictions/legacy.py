"""The camera-trap-data-pipeline's own predictions: one JSON object keyed by capture id, one file per model.

docs/legacy-formats.md, section 4, whose keys and values reach the subject unchanged. For `v_captures`:

* empty model: `machine_blank` is the value of the label `empty` or `blank`, or of `is_blank` being "1";
* species model: `machine_species` is the top prediction of the label `species`; `machine_person` and
  `machine_vehicle` are the values of classes of such a name among its aggregated predictions.
"""

import abc
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctstate.capture import Scores
from ctstate.formats import json_stream
from ctstate.formats.predictions.records import Combined, Entry, Reader, kind_of

EMPTY, SPECIES = "empty", "species"
PREFIX = "#machine_"


class _Legacy(Reader, abc.ABC):
    keyed_by_path = False
    whole = True  # of a capture that a JSON object names twice, the last one counts, as for every JSON reader

    def entries(self) -> Iterator[Entry]:
        for number, (capture_id, entry) in enumerate(json_stream.pairs(self.name), start=1):
            if not isinstance(entry, dict):
                raise self.malformed(f"capture {capture_id}", "is not an object with aggregated_pred and so on")
            yield Entry(number, capture_id, self._metadata(f"capture {capture_id}", entry))

    @abc.abstractmethod
    def _metadata(self, what: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys and values for the subject."""

    def combine(self, payloads: Sequence[Any]) -> Combined:
        metadata = payloads[-1]
        return Combined(metadata, scores_of(metadata))

    def _part(self, what: str, entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        part = entry.get(name)
        if not isinstance(part, dict):
            raise self.malformed(what, f"has no {name!r}, or one that is not an object")
        return part


class EmptyModel(_Legacy):
    """Predictions of whether anything is on the images."""

    format = "legacy-empty"

    def _metadata(self, what: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        aggregated = self._part(what, entry, "aggregated_pred")
        metadata: dict[str, Any] = {}
        if "empty" in aggregated:
            for label, value in self._part(what, aggregated, "empty").items():
                metadata[f"{PREFIX}confidence_{label}"] = value
        if "is_blank" in aggregated:
            top = str(self._part(what, entry, "predictions_top").get("is_blank"))
            confidences = self._part(what, aggregated, "is_blank")
            if top not in ("0", "1") or "1" not in confidences:
                raise self.malformed(
                    what, f"is_blank is {top!r} in predictions_top, with the classes {', '.join(confidences)}"
                )
            metadata[f"{PREFIX}topprediction_is_empty"] = "empty" if top == "1" else "not_empty"
            metadata[f"{PREFIX}confidence_is_empty"] = confidences["1"]
        if not metadata:
            found = ", ".join(aggregated) or "none"
            raise self.malformed(
                what, f"has neither 'empty' nor 'is_blank' in aggregated_pred; its labels: {found}"
            )
        return metadata


class SpeciesModel(_Legacy):
    """Predictions of what is on the images.

    Args:
        file, source: as for `Reader`.
        all_scores: also the confidence of every class of every label.
    """

    format = "legacy-species"

    def __init__(self, file: str | os.PathLike[str], source: str, *, all_scores: bool = False) -> None:
        super().__init__(file, source)
        self._all_scores = all_scores

    def _metadata(self, what: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        top = self._part(what, entry, "predictions_top")
        confidences = self._part(what, entry, "confidences_top")
        if not top:
            raise self.malformed(what, "has no label in predictions_top")
        metadata: dict[str, Any] = {}
        for label in sorted(top):
            if label not in confidences:
                raise self.malformed(what, f"has no {label!r} in confidences_top")
            metadata[f"{PREFIX}topprediction_{label}"] = top[label]
            metadata[f"{PREFIX}topconfidence_{label}"] = confidences[label]
        if self._all_scores:
            aggregated = self._part(what, entry, "aggregated_pred")
            for label in sorted(aggregated):
                classes = self._part(what, aggregated, label)
                if set(classes) == {"0", "1"}:
                    metadata[f"{PREFIX}confidence_{label}"] = classes["1"]
                else:
                    for name in sorted(classes):
                        metadata[f"{PREFIX}confidence_{label}_{name}"] = classes[name]
        return metadata


def scores_of(metadata: Mapping[str, Any]) -> Scores:
    """Return the scores that a subject's legacy metadata comes to."""
    species = metadata.get(_SPECIES)
    confidence = _number(metadata.get(_SPECIES_CONFIDENCE))
    scores = [(kind, _number(metadata[key])) for kind, key in _telling(tuple(metadata))]
    kind = kind_of(str(species))
    if kind in _PEOPLE and _number(metadata.get(f"{_OF_SPECIES}{species}")) is None:
        scores.append((kind, confidence))
    found: dict[str, float] = {}
    for kind, score in scores:
        if score is not None:
            found[kind] = max(score, found.get(kind, score))
    blank = found.get("blank")
    # In the order of its fields: by their names it takes twice as long.
    return Scores(
        None,
        found.get("person"),
        found.get("vehicle"),
        _number(metadata.get(_IS_EMPTY)) if blank is None else blank,
        None if species is None else str(species),
        confidence,
    )


_SPECIES, _SPECIES_CONFIDENCE = f"{PREFIX}topprediction_species", f"{PREFIX}topconfidence_species"
_CONFIDENCE = f"{PREFIX}confidence_"
_IS_EMPTY = f"{_CONFIDENCE}is_empty"
_OF_SPECIES = f"{_CONFIDENCE}species_"
_PEOPLE = ("person", "vehicle")


@functools.lru_cache(1024)
def _telling(keys: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return those of a metadata's keys that have the confidence of a blank image, a person or a vehicle.

    The entries of a file have the same keys, as a rule.
    """
    found = []
    for key in keys:
        if key.startswith(_OF_SPECIES) and (kind := kind_of(key[len(_OF_SPECIES) :])) in _PEOPLE:
            found.append((kind, key))
        elif key.startswith(_CONFIDENCE) and kind_of(key[len(_CONFIDENCE) :]) == "blank":
            found.append(("blank", key))
    return found


def looks_empty(aggregated: Mapping[str, Any]) -> bool:
    """Tell whether these labels are those of an empty model."""
    return any(kind_of(label) == "blank" or label == "is_blank" for label in aggregated)


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
