"""A season on one page (`ctstate report`): one HTML file, without network or script, beside live uploads.

`facts` reads the ledger, `sentence` says the most of it in one, `page` draws; `cameras`, `failures` and `outlook`
each answer one of its questions. What it looks like is in `ctstate/web`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from ctstate.ledger import Ledger
from ctstate.verbs.files import written
from ctstate.verbs.report.facts import gather
from ctstate.verbs.report.page import draw
from ctstate.verbs.report.sentence import sentence


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        file: where the page is.
        bytes: its size.
        sentence: how far the season is.
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
