"""A plain CSV of predictions, keyed by capture id or image path.

* The key: a column `capture_id`, or one of image paths (`path`, `file`, `filepath`, `image_path_rel`).
* Either long: columns `label` (or `species`, `category`, `prediction`, `class`) and `confidence` (or `conf`,
  `score`, `probability`), one row per key and label.
* Or wide: a column per label, named `animal`, `person`, `human`, `people`, `vehicle`, `blank`, `empty` or
  `machine_LABEL`; an empty cell says nothing. Other columns are not read.

A label's value for the capture is the highest over its rows; that of `blank` and `empty` the lowest over its images
(in the long form an image without such a row is not blank at all). The species is the label of highest confidence
among those that are neither animal, person, vehicle nor blank.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctstate.capture import Scores
from ctstate.errors import InputError
from ctstate.formats.opening import text
from ctstate.formats.predictions.records import Combined, Entry, Reader, highest, kind_of, most

CAPTURE_COLUMNS = ("capture_id", "#capture_id")
PATH_COLUMNS = ("path", "file", "filepath", "image_path_rel")
LABEL_COLUMNS = ("label", "species", "category", "prediction", "class")
CONFIDENCE_COLUMNS = ("confidence", "conf", "score", "probability")
_MISSING = frozenset({"", "NA", "NaN", "nan", "NULL", "None"})


class Table(Reader):
    """A plain CSV; its header is read at once, so that it can be refused early.

    Raises:
        InputError: no column for the key, or none with predictions.
    """

    format = "csv"

    def __init__(self, file: str, source: str) -> None:
        super().__init__(file, source)
        with text(self.name) as stream:
            self._delimiter = _delimiter(stream.readline())
            stream.seek(0)
            names = [n.strip().lower() for n in next(csv.reader(stream, delimiter=self._delimiter), [])]
        if names:
            names[0] = names[0].lstrip("\ufeff")
        key = _first(names, CAPTURE_COLUMNS)
        self.keyed_by_path = key is None
        key = _first(names, PATH_COLUMNS) if key is None else key
        if key is None:
            raise InputError(
                f"{self.name}, row 1: no column capture_id or path; the columns are: {', '.join(names[:8])}"
            )
        self._key = key
        self._width = len(names)
        label, confidence = _first(names, LABEL_COLUMNS), _first(names, CONFIDENCE_COLUMNS)
        self._long = (label, confidence) if label is not None and confidence is not None else None
        self._wide = {index: _label(name) for index, name in enumerate(names) if _label(name)}
        if self._long is None and not self._wide:
            raise InputError(
                f"{self.name}, row 1: neither the columns label and confidence nor one such as animal, person or "
                f"machine_zebra; the columns are: {', '.join(names[:8])}"
            )

    def entries(self) -> Iterator[Entry]:
        number = 0
        with text(self.name, place=lambda: f", row {number + 2}", hint="; save it as UTF-8") as stream:
            rows = csv.reader(stream, delimiter=self._delimiter)
            next(rows, None)
            for number, cells in enumerate(rows, start=1):
                if not any(cells):
                    continue
                if len(cells) > self._width and any(cells[self._width :]):
                    # A decimal comma, perhaps: its number would be another one.
                    raise self.malformed(f"row {number + 1}", f"has {len(cells)} fields, its header {self._width}")
                key = cells[self._key].strip() if self._key < len(cells) else ""
                if not key:
                    raise self.malformed(f"row {number + 1}", "names no capture and no image")
                yield Entry(number, key, self._payload(f"row {number + 1} ({key})", cells, key))

    def _payload(self, what: str, cells: Sequence[str], key: str) -> Any:
        found: dict[str, float] = {}
        if self._long is not None:
            label, confidence = (cells[index].strip() if index < len(cells) else "" for index in self._long)
            if not label:
                raise self.malformed(what, "has no label")
            found[label] = self._number(what, confidence)
        else:
            for index, name in self._wide.items():
                value = cells[index].strip() if index < len(cells) else ""
                if value not in _MISSING:
                    found[name] = self._number(what, value)
        return [key, found]

    def _number(self, what: str, value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            raise self.malformed(what, f"the confidence {value!r} is not a number between 0 and 1") from None
        return self.confidence(what, number)

    def combine(self, payloads: Sequence[Any]) -> Combined:
        images: dict[str, list[Mapping[str, float]]] = {}
        for key, found in payloads:
            images.setdefault(key, []).append(found)
        by_image = [highest(rows) for rows in images.values()]
        best = highest(by_image)
        blanks = [most(image, "blank") for image in by_image]
        stated: list[float] = [
            0.0 if value is None else value for value in blanks if value is not None or self._long is not None
        ]
        blank: float | None = min(stated) if any(value is not None for value in blanks) else None
        metadata = {
            self.key(label): blank if kind_of(label) == "blank" else score for label, score in sorted(best.items())
        }
        species = max(
            ((label, score) for label, score in best.items() if not kind_of(label)),
            key=lambda pair: pair[1],
            default=None,
        )
        return Combined(
            metadata,
            Scores(
                animal=most(best, "animal"),
                person=most(best, "person"),
                vehicle=most(best, "vehicle"),
                blank=blank,
                species=None if species is None else species[0],
                species_confidence=None if species is None else species[1],
            ),
        )


def _first(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _label(column: str) -> str:
    for prefix in ("#machine_", "machine_"):
        if column.startswith(prefix):
            return column[len(prefix) :]
    return column if kind_of(column) else ""


def _delimiter(head: str) -> str:
    return max(",;\t", key=head.count)
