"""A contact sheet: what a threshold does, seen before people are shown to the public.

Captures just above and just below each threshold, nearest first, then a random sample of every site, with what the
detector saw drawn over small pictures. The thresholds are those that captures were excluded by, or those given.
"""

import heapq
import math
import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ctstate.errors import BrokenImageError, UsageError
from ctstate.formats.predictions.records import kind_of
from ctstate.images.thumbnail import thumbnail
from ctstate.ledger import Ledger, contact
from ctstate.ledger.contact import Candidate, Scored, Shown
from ctstate.web.contact_sheet import Box, Card, ContactSheet, Picture, Section
from ctstate.words import counted

__all__ = ["ContactSheet", "Threshold", "contact_sheet"]

BAND = 0.1
"""So far from a threshold a score may be to be shown: a tenth of all that there is."""

MOST = 60
"""So many captures each side of a threshold are shown, and five times as many of the sample."""

PIXELS = 320
"""The longest side of a small picture."""

_MOST_BOXES = 20
_MOST_THRESHOLDS = 6


class Threshold(NamedTuple):
    """A comparison of a score, as it stands in a condition: `machine_person > 0.2`."""

    column: str
    sign: str
    value: float

    def __str__(self) -> str:
        return f"{self.column} {self.sign} {self.value:g}"

    def is_above(self, score: float) -> bool:
        """Tell on which side a score lies; one that is the threshold itself lies where the sign puts it."""
        return score > self.value if self.sign in (">", "<=") else score >= self.value

    @classmethod
    def of(cls, text: str) -> "Threshold":
        """Read one that a person gives: `machine_person=0.2`, or with the sign of a condition.

        Raises:
            UsageError: it is none.
        """
        found = re.fullmatch(r"\s*(?:machine_)?(\w+?)\s*(=|>=?|<=?)\s*([\d.]+)\s*", text, re.ASCII)
        column = f"machine_{found[1].lower()}" if found else ""
        value = _number(found[3]) if found else None
        if found is None or column not in contact.SCORES or value is None:
            raise UsageError(
                f"--around {text!r}: give a score and a number between 0 and 1, such as machine_person=0.2; the "
                f"scores are {', '.join(contact.SCORES)}"
            )
        return cls(column, ">" if found[2] == "=" else found[2], value)


_COMPARISON = re.compile(rf"\b({'|'.join(contact.SCORES)})\b\s*(>=?|<=?)\s*([\d.]+)", re.IGNORECASE | re.ASCII)


def thresholds_in(condition: str) -> list[Threshold]:
    """Return the thresholds in a condition on `v_captures`; what else it asks is not looked at."""
    found = []
    for column, sign, text in _COMPARISON.findall(re.sub(r"'[^']*'", " ", condition)):
        value = _number(text)
        if value is not None:
            found.append(Threshold(column.lower(), sign, value))
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def contact_sheet(
    ledger: Ledger,
    season: str | None = None,
    *,
    per_site: int = 3,
    around: Sequence[str | Threshold] = (),
    band: float = BAND,
    most: int = MOST,
    seed: int | None = None,
    images_root: str | os.PathLike[str] | None = None,
) -> ContactSheet:
    """Return what a person is to look at before an upload; the ledger is only read, in short transactions.

    Args:
        ledger: the ledger.
        season: manifest id; may be left out where the ledger holds one.
        per_site: so many captures of each site that are still to go up, chosen at random.
        around: thresholds, such as `machine_person=0.2`; without any, those that captures were excluded by.
        band: how far from a threshold.
        most: so many captures each side of a threshold, and five times as many of the sample.
        seed: the same gives the same sample of the same ledger.
        images_root: where the images are, if not where the ledger says.

    Raises:
        UsageError: no such season, or a threshold that is none, or a number that makes no sense.
        LedgerError: the ledger cannot be read.
    """
    if not 0 <= per_site <= 100 or not 1 <= most <= 200 or not 0 < band <= 1:
        raise UsageError("a contact sheet shows 0 to 100 captures a site, 1 to 200 a section, a band of 0 to 1")
    found = ledger.season(season)
    notes: list[str] = []
    thresholds = _thresholds(ledger, around, notes)
    columns = sorted({each.column for each in thresholds})
    sides = [_Side(each, above, columns, band, most) for each in thresholds for above in (True, False)]
    sample = _Sample(per_site, most * 5, random.Random(seed))
    captures = 0
    for scored in contact.scored(ledger.read, found.id, columns):
        captures += 1
        sample.see(scored)
        for side in sides:
            side.see(scored)
    root = os.fspath(images_root) if images_root is not None else found.images_root
    if images_root is not None and not os.path.isdir(images_root):
        raise UsageError(f"--images-root {root}: no such folder")
    root = os.path.realpath(root) if root is not None else None
    sections = []
    for side in sides:
        cards = _cards(ledger, root, side.chosen, side.threshold)
        condition = str(side.threshold)
        sections.append(Section(side.anchor, side.title, side.meaning, cards, side.found, condition, side.verdict))
    if per_site:
        title = f"A random sample: {counted(per_site, 'capture')} a site"
        meaning = "Of what is to go up: not excluded, and not on Zooniverse yet. Another sheet shows others."
        cards = _cards(ledger, root, sample.chosen(), None)
        sections.append(Section("sample", title, meaning, cards, sample.wanted))
    return ContactSheet(found.name, ledger.moment(), captures, sections, notes)


def _thresholds(ledger: Ledger, around: Sequence[str | Threshold], notes: list[str]) -> list[Threshold]:
    if around:
        given = [Threshold.of(each) if isinstance(each, str) else each for each in around]
        return list(dict.fromkeys(given))
    with ledger.read() as connection:
        conditions = contact.conditions(connection)
    found = list(dict.fromkeys(each for condition in conditions for each in thresholds_in(condition)))
    if not found:
        notes.append("Nothing was excluded by a threshold; --around machine_person=0.2 shows what lies around one.")
    elif len(found) > _MOST_THRESHOLDS:
        left_out = ", ".join(map(str, found[_MOST_THRESHOLDS:]))
        notes.append(f"Captures were excluded by further thresholds; --around shows them: {left_out}.")
    return found[:_MOST_THRESHOLDS]


# -- which captures --------------------------------------------------------------------------------------------


class _Side:
    """One side of a threshold: the captures that are nearest to it."""

    def __init__(self, threshold: Threshold, above: bool, columns: Sequence[str], band: float, most: int) -> None:
        self.threshold = threshold
        self.found = 0
        self._above, self._band, self._most = above, band, most
        self._place = columns.index(threshold.column)
        self._nearest: list[tuple[float, int]] = []  # the farthest first

    @property
    def anchor(self) -> str:
        name = f"{self.threshold.column}-{self.threshold.sign}-{self.threshold.value:g}"
        return re.sub(r"[^\w.-]", lambda sign: {">": "gt", "<": "lt", "=": "e"}[sign[0]], name) + (
            "-above" if self._above else "-below"
        )

    @property
    def title(self) -> str:
        return f"Just {'above' if self._above else 'below'} {self.threshold.column} = {self.threshold.value:g}"

    @property
    def meaning(self) -> str:
        return f"Within {self._band:g} of it, the nearest first."

    @property
    def verdict(self) -> str:
        if self._above == (self.threshold.sign[0] == ">"):
            return "holds for these: they are what it chooses."
        return "does not hold for these."

    @property
    def chosen(self) -> list[int]:
        return [key for _, key in sorted((-far, key) for far, key in self._nearest)]

    def see(self, scored: Scored) -> None:
        score = scored.scores[self._place]
        if score is None or self.threshold.is_above(score) is not self._above:
            return
        far = abs(score - self.threshold.value)
        if far > self._band and not math.isclose(far, self._band):
            return
        self.found += 1
        if len(self._nearest) < self._most:
            heapq.heappush(self._nearest, (-far, scored.key))
        elif -far > self._nearest[0][0]:
            heapq.heapreplace(self._nearest, (-far, scored.key))


@dataclass
class _Site:
    seen: int = 0
    kept: list[int] = field(default_factory=list)


class _Sample:
    """So many captures of each site, each as likely as any other (a reservoir a site)."""

    def __init__(self, per_site: int, most: int, dice: random.Random) -> None:
        self._per_site, self._most, self._dice = per_site, most, dice
        self._sites: dict[str, _Site] = {}

    def see(self, scored: Scored) -> None:
        if not scored.waits or not self._per_site:
            return
        site = self._sites.setdefault(scored.site, _Site())
        site.seen += 1
        if len(site.kept) < self._per_site:
            site.kept.append(scored.key)
        else:
            place = self._dice.randrange(site.seen)
            if place < self._per_site:
                site.kept[place] = scored.key

    @property
    def wanted(self) -> int:
        return sum(len(site.kept) for site in self._sites.values())

    def chosen(self) -> list[int]:
        """Return the sample, site by site; where it is too large, one of each site before any has a second."""
        names = sorted(self._sites)
        turns = [(turn, name) for turn in range(self._per_site) for name in self._dice.sample(names, len(names))]
        left = [(turn, name) for turn, name in turns if turn < len(self._sites[name].kept)][: self._most]
        return [self._sites[name].kept[turn] for name, turn in sorted((name, turn) for turn, name in left)]


# -- cards -----------------------------------------------------------------------------------------------------


def _cards(ledger: Ledger, root: str | None, keys: Sequence[int], threshold: Threshold | None) -> list[Card]:
    return [_card(each, root, threshold) for each in contact.shown(ledger.read, keys)]


def _card(shown: Shown, root: str | None, threshold: Threshold | None) -> Card:
    deciding = threshold.column if threshold is not None else None
    usable = [each for each in shown.images if each.problem in (None, "sampled")]
    best = _most_telling(usable, deciding)
    picture, why_none = None, "none of its images is usable"
    if best is not None:
        picture, why_none = _picture(best, root)
    elif shown.images:
        why_none += f": {shown.images[0].reason or shown.images[0].problem}"
    known = [
        (name.removeprefix("machine_").replace("_", " "), value, name == deciding)
        for name, value in zip(contact.SCORES, shown.scores, strict=True)
        if value is not None
    ]
    return Card(
        capture_id=shown.capture_id,
        site=shown.site,
        taken_at=shown.taken_at,
        state=shown.state,
        subject_id=shown.subject_id,
        excluded=shown.excluded,
        species=shown.species,
        scores=tuple(sorted(known, key=lambda score: (not score[2], -score[1]))),
        picture=picture,
        why_none=why_none,
        path=None if best is None else best.path,
        image=0 if best is None else shown.images.index(best) + 1,
        images=len(shown.images),
    )


def _most_telling(images: Sequence[Candidate], deciding: str | None) -> Candidate | None:
    """Return the image with the surest box of what the section is about, else of anything, else the first.

    Where a section is about what is blank, or of a species, any box will do.
    """
    about = deciding.removeprefix("machine_") if deciding else ""

    def telling(image: Candidate) -> tuple[float, float]:
        boxes = [(box.confidence, kind_of(box.category) == about) for box in image.boxes]
        return (
            max((confidence for confidence, fits in boxes if fits), default=0),
            max((confidence for confidence, _ in boxes), default=0),
        )

    return max(images, key=telling, default=None)


def _picture(image: Candidate, root: str | None) -> tuple[Picture | None, str]:
    """Return an image made small, with its boxes; or none, and why."""
    try:
        small = thumbnail(os.path.join(root or "", image.path), PIXELS, root)
    except BrokenImageError as error:
        return None, error.reason
    surest = sorted(image.boxes, key=lambda box: -box.confidence)[:_MOST_BOXES]
    boxes = tuple(Box(kind_of(box.category), *box) for box in surest)
    return Picture(small.data, small.width, small.height, boxes), ""
