"""What a report says, read from the ledger: one question after the other, each as of its own moment.

No question holds a read transaction for long (`overview`, `scans`): uploads go on beside it, and what one question
saw may have moved on when the next is asked. Each answer says as of when it is.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from ctstate.capture import Season
from ctstate.ledger import Ledger, counts, overview, runs, scans
from ctstate.ledger.clock import age
from ctstate.ledger.counts import StateCount
from ctstate.ledger.dialect import Finding, Stored
from ctstate.ledger.live import RunFacts, newest_runs
from ctstate.ledger.overview import Copy, Hour, Looked
from ctstate.ledger.scans import CapturesSeen, Guess, ImagesSeen
from ctstate.ledger.states import PENDING, State
from ctstate.verbs.pages import Pages
from ctstate.verbs.report.cameras import Cameras, cameras
from ctstate.verbs.report.failures import Failures, failures
from ctstate.verbs.report.outlook import (
    ClassificationAhead,
    RunSpeed,
    UploadsAhead,
    classification_ahead,
    uploads_ahead,
)

T = TypeVar("T")

RUNS = 20
"""So many runs that have ended are told of."""

LOOKS = 5
"""So many comparisons with Zooniverse, and copies of the ledger."""

_ENOUGH = 20
"""An upload of fewer captures says nothing about how fast uploads are."""

_SAMPLED = 300
"""Of at most so many images the file's size is asked for."""


class Site(NamedTuple):
    """How far a site is; `pending` is all that an upload has still to bring there."""

    site: str
    captures: int
    uploaded: int
    pending: int
    failed: int
    removed: int
    deleted: int
    excluded: int
    in_doubt: int

    @property
    def bad(self) -> tuple[float, float, int]:
        """How badly it stands: by what failed, then by what is still to come."""
        return (self.failed / self.captures, self.pending / self.captures, self.captures)


class Totals(NamedTuple):
    """A season's captures by what became of them; all add up to `captures`."""

    captures: int
    uploaded: int
    pending: int
    failed: int
    removed: int
    deleted: int
    excluded: int
    in_doubt: int

    @property
    def wanted(self) -> int:
        """All that are to be on Zooniverse."""
        return self.uploaded + self.pending + self.failed


class RunTold(NamedTuple):
    """A run, whether it lives, and what it brought."""

    run: RunFacts
    state: str  # live, lost, or its outcome
    seconds: float
    uploaded: int
    failed: int

    @property
    def rate(self) -> float | None:
        """Captures a second; None: it brought none up."""
        return self.uploaded / self.seconds if self.uploaded and self.seconds > 0 else None


class Saved(NamedTuple):
    """What compression saved: bytes that went up, and what the files would have been, by a sample of them."""

    sent: int
    files: int | None
    sampled: int


@dataclass(frozen=True)
class Facts:
    """All that a report says; `at` tells by question as of when."""

    season: Season
    ledger: str
    project_url: str | None
    at: dict[str, str]
    totals: Totals
    sites: Sequence[Site]
    batches: Sequence[StateCount]
    captures: CapturesSeen
    images: ImagesSeen
    cameras: Cameras
    failures: Sequence[Failures]
    hours: Sequence[Hour]
    uploads: UploadsAhead
    classification: ClassificationAhead
    guesses: Counter[Guess]
    saved: Saved
    runs: Sequence[RunTold]
    figures: dict[str, float]
    looks: Sequence[Looked]
    stored: Stored
    health: Sequence[Finding]
    copies: Sequence[Copy]


def gather(ledger: Ledger, season: str | None) -> Facts:
    """Read what a report says.

    Raises:
        UsageError: no such season, or several and none was named.
    """
    of = ledger.season(season)
    at: dict[str, str] = {}

    def ask(name: str, question: Callable[[Any], T]) -> T:
        at[name] = ledger.moment()
        with ledger.read() as connection:
            return question(connection)

    cells = ask("sites", lambda c: overview.count_sites(c, of.id))
    batches = ask("batches", lambda c: counts.count_states(c, of.name, None))
    hours = ask("hours", lambda c: overview.hours(c, of.id))
    polls = ask("classification", lambda c: overview.polls(c, of.id))
    looks = ask("looks", lambda c: overview.last_looks(c, of.id, LOOKS))
    stays = ask("cameras", lambda c: overview.stays(c, of.id))
    copies = ask("ledger", lambda c: overview.copies(c, LOOKS))
    told = _runs(ledger, at)
    figures = ask("figures", overview.run_figures)
    seen = scans.look_at_captures(ledger.read, of.id)
    at["images"] = ledger.moment()
    whose = scans.whose(ledger.read, of.id)
    images = scans.look_at_images(ledger.read, whose)
    at["predictions"] = ledger.moment()
    guesses = scans.look_at_predictions(ledger.read, whose)
    at["failures"] = ledger.moment()
    sites = _sites(cells)
    totals = _totals(sites)
    live = any(each.state == "live" and each.run.verb == "upload" for each in told)
    return Facts(
        season=of,
        ledger=ledger.name,
        project_url=_project_url(ledger, of.id),
        at=at,
        totals=totals,
        sites=sites,
        batches=batches,
        captures=seen,
        images=images,
        cameras=cameras(seen.days, stays, at["cameras"][:10]),
        failures=failures(ledger, seen, of.name, of.images_root),
        hours=hours,
        uploads=uploads_ahead(totals.pending, hours, _speed(told), at["hours"], live=live),
        classification=classification_ahead(polls),
        guesses=guesses,
        saved=_saved(images, of.images_root),
        runs=told,
        figures=figures,
        looks=looks,
        stored=ledger.stored(),
        health=ledger.health(),
        copies=copies,
    )


def _sites(cells: Sequence[overview.SiteCount]) -> list[Site]:
    by_site: dict[str, Counter[str]] = {}
    pending = {state.value for state in PENDING}
    for cell in cells:
        count = by_site.setdefault(cell.site, Counter())
        count["captures"] += cell.captures
        count["in_doubt"] += cell.captures if cell.in_doubt else 0
        what = "excluded" if cell.kept_off else "pending" if cell.state in pending else cell.state
        count[what] += cell.captures
    sites = [
        Site(site, **{name: count[name] for name in Site._fields if name != "site"})
        for site, count in by_site.items()
    ]
    return sorted(sites, key=lambda site: (*(-part for part in site.bad), site.site))


def _totals(sites: Sequence[Site]) -> Totals:
    return Totals(**{name: sum(getattr(site, name) for site in sites) for name in Totals._fields})


def _project_url(ledger: Ledger, season_id: int) -> str | None:
    pages = Pages(ledger)
    found = (pages.of_project(batch.project_id) for batch in ledger.batches(season_id))
    return next((url for url in found if url is not None), None)


def _runs(ledger: Ledger, at: dict[str, str]) -> list[RunTold]:
    ledger.look_at_jobs()
    at["runs"] = ledger.moment()
    with ledger.read() as connection:
        gone = set(ledger.dead_runs(connection))
        rows = newest_runs(connection, RUNS)
    told = []
    for row in rows:
        live = row.ended_at is None and row.id not in gone
        until = row.ended_at or (at["runs"] if live else row.heartbeat_at)
        moved = [
            overview.count_moves(ledger.read, row.id, state) if row.verb == "upload" else 0
            for state in (State.UPLOADED, State.FAILED)
        ]
        state = "live" if live else row.outcome or runs.LOST
        told.append(RunTold(row, state, max(0.0, age(row.started_at, until)), *moved))
    return told


def _speed(told: Sequence[RunTold]) -> RunSpeed | None:
    fit = (each for each in told if each.uploaded >= _ENOUGH and each.seconds > 0)
    return next((RunSpeed(each.uploaded, each.seconds) for each in fit), None)


def _saved(images: ImagesSeen, root: str | None) -> Saved:
    """Compare what went up with the files of some images, as far as they are still there."""
    step = max(1, len(images.sample) // _SAMPLED)
    sent, files, sampled = 0, 0, 0
    for path, size in images.sample[::step]:
        try:
            there = os.stat(os.path.join(root or "", path)).st_size
        except (OSError, ValueError):  # moved away since: the others tell
            continue
        sent, files, sampled = sent + size, files + there, sampled + 1
    return Saved(images.bytes, round(images.bytes * files / sent) if sent else None, sampled)
