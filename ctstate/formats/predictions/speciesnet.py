"""SpeciesNet predictions, 4.0 to 5.0.

docs/formats-ml-and-exchange.md, section 3. How images become the capture:

* the prediction is the one of highest score among the capture's images that are neither blank nor without result;
  the capture is `blank` only if every image that has a prediction is blank, then with the lowest of their scores;
* `machine_person`, `machine_vehicle`, `machine_animal`: the highest confidence of such a detection, or score of
  such a prediction, on any image;
* `machine_blank`: the lowest score where all are blank, 0 where one is not; where the classifier did not run,
  1 less the highest confidence of any detection.

Images on which classifier or detector failed say what the other one found.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctstate.capture import Scores
from ctstate.formats import json_stream
from ctstate.formats.predictions.records import Combined, Entry, FileFacts, Reader, highest

_KINDS = {"1": "animal", "2": "person", "3": "vehicle"}
_FIXED = {
    "f1856211-cfb7-4a5b-9158-c0f72fd09ee6": "blank",
    "990ae9dd-7a59-4344-afcb-1b7b21368000": "person",
    "e2895ed5-780b-48f6-8a11-9e27cb594511": "vehicle",
    "f2efdae9-efb8-48fb-8a91-eccf79ab4ffb": "",
}


class SpeciesNet(Reader):
    """SpeciesNet's predictions JSON."""

    format = "speciesnet"
    _version: str | None = None

    def entries(self) -> Iterator[Entry]:
        top = json_stream.top_level(self.name, "predictions")
        images = (image for key, image in top if key == "predictions")
        for number, image in enumerate(images, start=1):
            file = image.get("filepath") if isinstance(image, dict) else None
            if not isinstance(file, str) or not file:
                raise self.malformed(f"prediction {number}", "has no 'filepath'")
            if self._version is None and image.get("model_version") is not None:
                self._version = str(image["model_version"])
            what = f"prediction {number} ({file})"
            seen: list[tuple[str, float, Any]] = []
            payload = self._payload(what, image, seen)
            yield Entry(number, file, payload, self.boxes.text(what, seen) if seen else None)

    def _payload(self, what: str, image: Mapping[str, Any], seen: list[tuple[str, float, Any]]) -> Any:
        """Return what an image's entry says; add its detections to `seen`."""
        found: dict[str, float] = {}
        detections = image.get("detections")
        if not isinstance(detections, list | None):
            raise self.malformed(what, f"its detections are {detections!r}, not a list")
        for detection in detections or ():
            kind = _KINDS.get(str(detection.get("category"))) if isinstance(detection, dict) else None
            if kind is None:
                raise self.malformed(what, "has a detection whose category is not 1, 2 or 3")
            confidence = self.confidence(what, detection.get("conf"))
            found[kind] = max(confidence, found.get(kind, 0))
            if confidence >= self.boxes.least:
                seen.append((kind, confidence, detection.get("bbox")))
        label, score = image.get("prediction"), image.get("prediction_score")
        if label is not None:
            if not isinstance(label, str) or label.count(";") != 6:
                raise self.malformed(what, f"the prediction {label!r} is not seven parts joined by ';'")
            return [found, [label, self.confidence(what, score)]]
        top = self._classified(what, image)
        if top is not None:
            return [found, top]
        return None if detections is None else [found, None]

    def _classified(self, what: str, image: Mapping[str, Any]) -> list[Any] | None:
        """Return the classifier's best class, where there is no prediction of the ensemble."""
        classifications = image.get("classifications")
        if classifications is None:
            return None
        try:
            label, score = classifications["classes"][0], classifications["scores"][0]
        except (KeyError, IndexError, TypeError):
            raise self.malformed(what, "has classifications without classes and scores") from None
        if not isinstance(label, str) or label.count(";") != 6:
            raise self.malformed(what, f"the class {label!r} is not seven parts joined by ';'")
        return [label, self.confidence(what, score)]

    def combine(self, payloads: Sequence[Any]) -> Combined:
        found = highest([seen for seen, _ in payloads])
        tops = [(str(top[0]), float(top[1])) for _, top in payloads if top is not None]
        for label, score in tops:
            kind = _kind(label)
            if kind in ("animal", "person", "vehicle"):
                found[kind] = max(score, found.get(kind, 0))
        blanks = [top for top in tops if _kind(top[0]) == "blank"]
        others = [top for top in tops if _kind(top[0]) not in ("blank", "")]
        chosen: tuple[str, float] | None = None
        if others:
            chosen = max(others, key=lambda top: top[1])
        elif blanks and len(blanks) == len(tops):
            chosen = min(blanks, key=lambda top: top[1])
        metadata: dict[str, Any] = {self.key(kind): found.get(kind, 0) for kind in _KINDS.values()}
        if chosen is not None:
            metadata[self.key("prediction")] = common_name(chosen[0])
            metadata[self.key("score")] = chosen[1]
            metadata[self.key("class")] = chosen[0]
        if others or (blanks and chosen is None):
            blank = 0.0
        elif chosen is not None:
            blank = chosen[1]
        else:
            blank = round(1 - max(found.values(), default=0.0), 6)
        return Combined(
            metadata,
            Scores(
                animal=found.get("animal", 0.0),
                person=found.get("person", 0.0),
                vehicle=found.get("vehicle", 0.0),
                blank=blank,
                species=None if chosen is None else common_name(chosen[0]),
                species_confidence=None if chosen is None else chosen[1],
            ),
        )

    def facts(self) -> FileFacts:
        return FileFacts(None, {"model_version": self._version} if self._version else {})


def common_name(label: str) -> str:
    """Return the name of a class: its common name, or the most exact part that it has."""
    return next((part for part in reversed(label.split(";")[1:]) if part), label)


def _kind(label: str) -> str:
    return _FIXED.get(label.split(";", 1)[0], "animal")
