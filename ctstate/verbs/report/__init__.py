"""A season on one page (`ctstate report`): one HTML file, without network or script, beside live uploads.

Before the upload, it is a contact sheet.

`facts` reads the ledger, `sentence` says the most of it in one, `page` draws; `cameras`, `failures` and `outlook`
each answer one of its questions. What it looks like is in `ctstate/web`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctstate.ledger import Ledger
from ctstate.verbs.contact_sheet import contact_sheet
from ctstate.verbs.files import written
from ctstate.verbs.report.facts import gather
from ctstate.verbs.report.page import draw
from ctstate.verbs.report.sentence import sentence
from ctstate.web.contact_sheet import page as contact_sheet_page
from ctstate.words import counted


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        file: where the page is.
        bytes: its size.
        sentence: how far the season is; of a contact sheet, how much of it there is to look at.
    """

    file: str
    bytes: int
    sentence: str


def report(ledger: Ledger, file: str | os.PathLike[str], season: str | None = None) -> Report:
    """Write a page about a season; the file is in its place when it is whole, or not at all.

    Args:
        ledger: may be open for reading only.
        file: where the page goes; one that is there is replaced.
        season: manifest id; may be left out where the ledger holds one.

    Raises:
        UsageError: no such season, or no file can be there.
    """
    ledger.season(season)
    with written(Path(file)) as stream:
        facts = gather(ledger, season)
        page = draw(facts)
        stream.write(page)
    return Report(os.fspath(file), len(page.encode()), sentence(facts))


def report_before_upload(
    ledger: Ledger,
    file: str | os.PathLike[str],
    season: str | None = None,
    *,
    around: Sequence[str] = (),
    per_site: int = 3,
    images_root: str | os.PathLike[str] | None = None,
) -> Report:
    """Write a contact sheet of a season, to be looked at before anybody else sees its images.

    Args:
        ledger, file, season: as for `report`.
        around, per_site, images_root: as for `contact_sheet`.

    Raises:
        UsageError: as for `report` and `contact_sheet`.
    """
    with written(Path(file), private=True) as stream:  # people are on it who are to be left out
        sheet = contact_sheet(ledger, season, around=around, per_site=per_site, images_root=images_root)
        stream.write(contact_sheet_page(sheet))
    without = (
        f", {counted(sheet.without_picture, 'capture')} of them without a picture" if sheet.without_picture else ""
    )
    said = f"{counted(sheet.cards, 'capture')} of {sheet.captures:,} to look at{without}."
    return Report(os.fspath(file), os.path.getsize(file), " ".join([said, *sheet.notes]))
