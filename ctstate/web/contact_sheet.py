"""A contact sheet as a page: small pictures with boxes drawn over them, one file, no scripts."""

import base64
from dataclasses import dataclass, field

from ctstate.web.pages import render

_LETTER, _LINE = 7.1, 16  # of a label, in the small picture's pixels
_LONGEST_LABEL = 30


@dataclass(frozen=True)
class Box:
    """Something that a detector saw: `kind` is animal, person, vehicle or '', the others fractions of the image."""

    kind: str
    name: str
    confidence: float
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Picture:
    """A small JPEG, with the boxes on it."""

    data: bytes
    width: int
    height: int
    boxes: tuple[Box, ...]

    @property
    def uri(self) -> str:
        """The picture as a `data:` address."""
        return "data:image/jpeg;base64," + base64.b64encode(self.data).decode()

    @property
    def marks(self) -> list["Mark"]:
        """The boxes in pixels, the surest last: on top."""
        return [Mark.of(box, self) for box in sorted(self.boxes, key=lambda box: box.confidence)]


@dataclass(frozen=True)
class Mark:
    """A box in pixels of the small picture, with its label where there is room."""

    kind: str
    label: str
    x: float
    y: float
    width: float
    height: float
    label_x: float
    label_y: float
    label_width: float

    @classmethod
    def of(cls, box: Box, picture: Picture) -> "Mark":
        """Return where a box is drawn: its label above it, else below, else within."""
        x, y = box.x * picture.width, box.y * picture.height
        bottom = y + box.height * picture.height
        label_y = y - _LINE if y >= _LINE else bottom if bottom + _LINE <= picture.height else y
        name = box.name if len(box.name) <= _LONGEST_LABEL else f"{box.name[: _LONGEST_LABEL - 1]}…"
        label = f"{name} {box.confidence:.2f}"
        label_width = len(label) * _LETTER + 6
        return cls(
            kind=box.kind or "other",
            label=label,
            x=round(x, 1),
            y=round(y, 1),
            width=round(box.width * picture.width, 1),
            height=round(box.height * picture.height, 1),
            label_x=round(max(0, min(x, picture.width - label_width)), 1),
            label_y=round(label_y, 1),
            label_width=round(label_width, 1),
        )


@dataclass(frozen=True)
class Card:
    """A capture on the sheet.

    Attributes:
        picture: None: there is none, and `why_none` says why.
        image, images: which of its images it is, of how many.
        scores: name, value, and whether the section is about it; that one first, then the highest.
    """

    capture_id: str
    site: str
    taken_at: str | None
    state: str
    subject_id: int | None
    excluded: str | None
    species: str | None
    scores: tuple[tuple[str, float, bool], ...]
    picture: Picture | None
    why_none: str
    path: str | None
    image: int
    images: int


@dataclass(frozen=True)
class Section:
    """A part of the sheet.

    Attributes:
        anchor, title, meaning: how it is named, and what it shows.
        condition, verdict: a condition, and what it says of these; '' where it is about none.
        cards: the captures.
        found: so many would belong here, of which `left_out` are not shown.
    """

    anchor: str
    title: str
    meaning: str
    cards: list[Card]
    found: int
    condition: str = ""
    verdict: str = ""

    @property
    def left_out(self) -> int:
        """How many are not shown."""
        return self.found - len(self.cards)


@dataclass(frozen=True)
class ContactSheet:
    """What a person is to look at before others do.

    Attributes:
        season, made_at: of which, and when it was asked.
        captures: of the season.
        sections: around each threshold, then the sample.
        notes: what else is to be said, such as conditions that no threshold could be read from.
    """

    season: str
    made_at: str
    captures: int
    sections: list[Section]
    notes: list[str] = field(default_factory=list)

    @property
    def cards(self) -> int:
        """How many captures are shown, each counted once, however many sections it is in."""
        return len({card.capture_id for section in self.sections for card in section.cards})

    @property
    def without_picture(self) -> int:
        """How many of these have no picture."""
        cards = (card for section in self.sections for card in section.cards)
        return len({card.capture_id for card in cards if card.picture is None})


def page(sheet: ContactSheet) -> str:
    """Return the sheet as a page of HTML that needs nothing else."""
    return render("contact_sheet.html", sheet=sheet)
