"""MegaDetector batch output, versions 1.3 to 1.6, and the list with boxes in pixels of PyTorch-Wildlife.

docs/formats-ml-and-exchange.md, sections 1 and 2. How images become the capture:

* the confidence of a category is the highest of any detection on any of the capture's images, 0 where none is;
* `machine_blank` is 1 less the highest confidence of any category: a capture is as blank as its least blank image;
* the species is the classification of highest confidence on any image; with a detector whose categories are
  species (neither animal, person, vehicle nor empty), the category of highest confidence.

Boxes are kept of each image (`boxes`); those in pixels are not: the file does not say of how many.

Images on which the program failed say nothing. "Nothing found" means nothing above the run's own threshold.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from ctstate.capture import Scores
from ctstate.errors import InputError
from ctstate.formats import json_stream
from ctstate.formats.predictions.boxes import Boxes
from ctstate.formats.predictions.records import Combined, Entry, FileFacts, Reader, highest

HEADER = ("info", "detection_categories", "classification_categories", "classification_category_descriptions")
_PLAIN = {"1": "animal", "2": "person", "3": "vehicle"}


class MegaDetector(Reader):
    """MegaDetector batch output.

    Args:
        file, source: as for `Reader`.
        header: the file's small top-level objects (`HEADER`); the classes may still come behind the images.
    """

    format = "megadetector"

    def __init__(self, file: str | os.PathLike[str], source: str, header: Mapping[str, Any]) -> None:
        super().__init__(file, source)
        self._info = header.get("info") or {}
        categories = header.get("detection_categories")
        classes = header.get("classification_categories")
        self._classes = classes if isinstance(classes, dict) else {}
        version = str(self._info.get("format_version", "")) if isinstance(self._info, dict) else ""
        if not isinstance(categories, dict) or not isinstance(self._info, dict):
            raise InputError(
                f"{self.name}: no detection_categories in it; MegaDetector's results name their categories"
            )
        if version and version.split(".")[0] not in ("0", "1"):
            raise InputError(f"{self.name}: format version {version}; ctstate reads MegaDetector's 1.3 to 1.6")
        self._categories: dict[str, Any] = categories
        self._names = [(category, str(name)) for category, name in categories.items()]
        self._name_of = dict(self._names)
        self._names_differ = len(set(self._name_of.values())) == len(self._names)
        self.boxes = Boxes(self.facts().threshold)

    def entries(self) -> Iterator[Entry]:
        number = 0
        for key, image in json_stream.top_level(self.name, "images"):
            if key == "classification_categories" and isinstance(image, dict):
                self._classes = image
            if key == "predictions" and image is json_stream.ARRAY:
                raise InputError(f"{self.name}: holds both images and predictions; name its format with --format")
            if key != "images":
                continue
            number += 1
            file = image.get("file") if isinstance(image, dict) else None
            if not isinstance(file, str) or not file:
                raise self.malformed(f"image {number}", "has no 'file'")
            yield Entry(number, file, *self._said(f"image {number} ({file})", image))

    def _said(self, what: str, image: Mapping[str, Any]) -> tuple[Any, str | None]:
        detections = image.get("detections")
        if image.get("failure") is not None:
            if detections:
                raise self.malformed(what, "has both a failure and detections")
            return None, None
        if not isinstance(detections, list):
            raise self.malformed(what, "has neither detections nor a failure")
        found: dict[str, float] = {}
        best: tuple[str, float] | None = None
        seen: list[tuple[str, float, Any]] = []
        least, names = self.boxes.least, self._name_of
        for detection in detections:
            if not isinstance(detection, dict):
                raise self.malformed(what, "has a detection that is not an object")
            category = str(detection.get("category"))
            if category not in names:
                raise self.malformed(what, f"the category {category!r} is not in detection_categories")
            confidence = detection.get("conf")
            if type(confidence) is not float or not 0 <= confidence <= 1:  # seldom
                confidence = self.confidence(what, confidence)
            if confidence > found.get(category, -1):
                found[category] = confidence
            if confidence >= least:
                seen.append((names[category], confidence, detection.get("bbox")))
            pairs = detection.get("classifications")
            if pairs is None:
                continue
            if not isinstance(pairs, list):
                raise self.malformed(what, f"its classifications are {pairs!r}, not a list")
            for pair in pairs:
                if not isinstance(pair, list) or len(pair) != 2:
                    raise self.malformed(what, f"the classification {pair!r} is not a category and a confidence")
                score = self.confidence(what, pair[1])
                if best is None or score > best[1]:
                    best = (str(pair[0]), score)
        return [found, best], self.boxes.text(what, seen) if seen else None

    def combine(self, payloads: Sequence[Any]) -> Combined:
        best = highest([found for found, _ in payloads])
        if self._names_differ:
            named = {name: best.get(category, 0) for category, name in self._names}
        else:
            named = {}
            for category, name in self._names:
                named[name] = max(best.get(category, 0), named.get(name, 0))
        classified = [
            (str(self._classes.get(top[0], top[0])), float(top[1])) for _, top in payloads if top is not None
        ]
        return combined(self, named, classified)

    def facts(self) -> FileFacts:
        detector = self._info.get("detector_metadata")
        threshold = detector.get("typical_detection_threshold") if isinstance(detector, dict) else None
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
            threshold = None
        return FileFacts(threshold, {"info": self._info, "categories": self._categories})


class PixelBoxes(Reader):
    """The bare list that microsoft/MegaDetector and PyTorch-Wildlife write; its categories are names."""

    format = "pytorch-wildlife"

    def entries(self) -> Iterator[Entry]:
        for number, image in enumerate(json_stream.items(self.name), start=1):
            file = image.get("file") if isinstance(image, dict) else None
            if not isinstance(file, str) or not file:
                raise self.malformed(f"entry {number}", "has no 'file'")
            what = f"entry {number} ({file})"
            detections = image.get("detections")
            if not isinstance(detections, list):
                raise self.malformed(what, "has no list of detections")
            found: dict[str, float] = {}
            for detection in detections:
                name = detection.get("category") if isinstance(detection, dict) else None
                if not isinstance(name, str) or name.isdigit():
                    # As numbers they would be off by one against MegaDetector's own: better none than a wrong one.
                    raise self.malformed(what, f"the category {name!r} is not a name such as animal")
                score = self.confidence(what, detection.get("confidence"))
                found[name] = max(score, found.get(name, 0))
            yield Entry(number, file, found)

    def combine(self, payloads: Sequence[Any]) -> Combined:
        return combined(self, {**dict.fromkeys(_PLAIN.values(), 0.0), **highest(payloads)}, [])


def combined(reader: Reader, named: Mapping[str, float], classified: Sequence[tuple[str, float]]) -> Combined:
    """Return what a detector's categories and its classifications come to."""
    metadata: dict[str, Any] = {}
    of_kind: dict[str, float] = {}
    others: list[tuple[str, float]] = []
    for name, score in named.items():
        kind, key = reader.kind_and_key(name)
        if kind == "blank":
            continue
        metadata[key] = score
        if score > of_kind.get(kind, -1):
            of_kind[kind] = score
        if not kind:
            others.append((name, score))
    species = max(classified, key=itemgetter(1)) if classified else None
    if species is None and of_kind.get("", 0) > 0:
        species = max(others, key=itemgetter(1))
    if species is not None:
        metadata[reader.key("species")], metadata[reader.key("species_confidence")] = species
    # In the order of its fields: by their names it takes twice as long.
    scores = Scores(
        of_kind.get("animal"),
        of_kind.get("person"),
        of_kind.get("vehicle"),
        round(1 - max(of_kind.values()), 6) if of_kind else 1.0,
        *((None, None) if species is None else species),
    )
    return Combined(metadata, scores)
