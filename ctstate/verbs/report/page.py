"""Facts -> the page: which picture shows what, and how much of a long list is shown."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ctstate import __version__
from ctstate.ledger.overview import Hour
from ctstate.ledger.scans import Guess
from ctstate.verbs.report.cameras import Camera, Cameras
from ctstate.verbs.report.facts import Facts, Site
from ctstate.verbs.report.outlook import ClassificationAhead
from ctstate.verbs.report.sentence import sentence
from ctstate.web import charts
from ctstate.web.charts import Column, Line, Part
from ctstate.web.pages import Markup, render, when
from ctstate.words import counted

SITES, CAMERAS, SPECIES, REASONS = 40, 60, 20, 12
"""So many of each are drawn."""

LISTED = 1000
"""So many lines has a table; a larger one is for `ctstate sql`."""

MOST_COLUMNS = 400
"""What took longer is shown by larger units."""

UNITS = (
    ("hour", timedelta(hours=1)),
    ("day", timedelta(days=1)),
    ("week", timedelta(weeks=1)),
    ("quarter", timedelta(weeks=13)),
)

STATES = ("uploaded", "failed", "pending", "removed", "deleted", "excluded")
_KIND = {"pending": "batched"}
_LABEL = {"pending": "still to come"}

SURE = {4: "90% and more", 3: "70 to 90%", 2: "50 to 70%", 1: "below 50%", 0: "not said"}


def draw(facts: Facts) -> str:
    """Return the page."""
    return render(
        "report.html",
        f=facts,
        version=__version__,
        sentence=sentence(facts),
        funnel=_funnel(facts),
        excluded=_reasons(facts.captures.excluded),
        sites=_sites(facts.sites),
        site_legend=charts.legend(_parts(facts.totals), numbers=True),
        batches=_batches(facts),
        cameras=_cameras(facts.cameras),
        camera_legend=charts.strip_legend(facts.cameras.levels, gaps=_has_gaps(facts.cameras)),
        hours=_hours(facts.hours, facts.at["hours"]),
        classification=_curve(facts.classification),
        species=_species(facts.guesses),
        species_legend=charts.legend(
            [Part(SURE[s], 0, f"sure{s}") for s in SURE if s in {guess.sure for guess in facts.guesses}]
        ),
        requests=_requests(facts.figures),
        listed=LISTED,
        sure=SURE,
    )


# -- the funnel ------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """A step of the funnel: how many captures come so far; `share` of the widest step in per cent."""

    name: str
    captures: int
    share: float
    kind: str
    note: str


def _funnel(facts: Facts) -> list[Step]:
    totals, images = facts.totals, facts.images
    seen, classified, retired = _classified(facts)
    up = [f"{totals.failed:,} failed"] if totals.failed else []
    up += [f"{totals.pending:,} still to come"] if totals.pending else []
    gone = totals.removed + totals.deleted
    wanted = [f"{gone:,} were taken back"] if gone else []
    wanted += [f"{totals.in_doubt:,} in doubt, to be looked for"] if totals.in_doubt else []
    looked = f"of {counted(seen, 'subject')} that `ctstate progress` looked at" if seen else "nobody has looked yet"
    steps = (
        ("read", totals.captures, "manifested", f"{counted(images.images, 'image')}, a row each"),
        ("excluded", totals.excluded, "excluded", _first_reasons(facts)),
        ("to go up", totals.wanted, "batched", ", ".join(wanted)),
        ("uploaded", totals.uploaded, "uploaded", ", ".join(up)),
        ("classified", classified, "predicted", looked),
        ("retired", retired, "removed", ""),
    )
    widest = max(totals.captures, 1)
    return [Step(name, number, 100 * number / widest, kind, note) for name, number, kind, note in steps]


def _first_reasons(facts: Facts) -> str:
    found = facts.captures.excluded.most_common(3)
    more = len(facts.captures.excluded) - len(found)
    words = [f"{number:,} as “{reason if len(reason) < 60 else reason[:57] + '...'}”" for reason, number in found]
    return ", ".join([*words, *([f"and {counted(more, 'other reason')}"] if more > 0 else [])])


def _classified(facts: Facts) -> tuple[int, int, int]:
    """Return subjects, classified, retired: of each batch in the workflow that is farthest."""
    last = facts.classification.farthest
    return sum(p.subjects for p in last), sum(p.classified for p in last), sum(p.retired for p in last)


def _reasons(reasons: Counter[str]) -> list[tuple[str, int]]:
    shown = reasons.most_common(REASONS)
    rest = sum(reasons.values()) - sum(number for _, number in shown)
    return [*shown, *([(counted(len(reasons) - REASONS, "other reason"), rest)] if rest else [])]


# -- sites and batches -----------------------------------------------------------------------------------------


def _parts(of: Any) -> list[Part]:
    return [
        Part(_LABEL.get(name, name), getattr(of, name), _KIND.get(name, name))
        for name in STATES
        if getattr(of, name)
    ]


def _sites(sites: Sequence[Site]) -> list[tuple[Site, Markup]]:
    return [(site, charts.bar(_parts(site), of=site.site)) for site in sites[:SITES]]


def _batches(facts: Facts) -> list[dict[str, Any]]:
    found: dict[str | None, Counter[str]] = {}
    sets: dict[str | None, int | None] = {}
    for row in facts.batches:
        count = found.setdefault(row.batch, Counter())
        sets[row.batch] = row.subject_set_id
        what = row.state if row.state in STATES else "pending"
        count[what] += row.captures
        count["excluded"] += row.excluded
    return [{"batch": name, "set": sets[name], **{state: count[state] for state in STATES}} for name, count in
            found.items()]  # fmt: skip


# -- cameras ---------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A camera, its strip of days, and what is said beside it."""

    camera: Camera
    strip: Markup
    said: str


def _cameras(cameras: Cameras) -> list[Row]:
    found = []
    for camera in cameras.rows[:CAMERAS]:
        said = camera.notes[0] if camera.notes else counted(camera.captures, "capture")
        what = f"{camera.site}: {counted(camera.captures, 'capture')}"
        if camera.first:
            what += f" from {camera.first} to {camera.last}"
        of = "; ".join([what, *camera.notes])
        found.append(Row(camera, charts.strip(camera.cells, levels=cameras.levels, of=of), said))
    return found


def _has_gaps(cameras: Cameras) -> bool:
    return any(charts.GAP in camera.cells for camera in cameras.rows[:CAMERAS])


# -- over time -------------------------------------------------------------------------------------------------


class OverTime(NamedTuple):
    """Uploads by hour or day: its legend, the picture, and the same as rows (label, uploaded, failed)."""

    unit: str
    legend: Markup
    picture: Markup
    rows: Sequence[tuple[str, int, int]]


def _hours(hours: Sequence[Hour], now: str) -> OverTime | None:
    if not hours:
        return None
    begin, end = _hour(hours[0].hour), _hour(hours[-1].hour)
    unit, step = next(each for each in UNITS if end - begin < MOST_COLUMNS * each[1] or each is UNITS[-1])
    if unit != "hour":
        begin = begin.replace(hour=0)
    total = [[0, 0] for _ in range((end - begin) // step + 1)]
    for hour in hours:
        cell = total[(_hour(hour.hour) - begin) // step]
        cell[0] += hour.uploaded
        cell[1] += hour.failed
    form = "%d %b, %H:00" if unit == "hour" else "%d %b %Y"
    rows = [
        ((begin + number * step).strftime(form).lstrip("0"), up, failed)
        for number, (up, failed) in enumerate(total)
    ]
    shown = [
        Column(label, (Part("uploaded", up, "uploaded"), Part("failed", failed, "failed")))
        for label, up, failed in rows
    ]
    happened = [row for row in rows if row[1] or row[2]]
    key = [Part(f"uploaded each {unit} (UTC)", 0, "uploaded")]
    if any(failed for _, _, failed in rows):
        key.append(Part("failed", 0, "failed"))
    legend = charts.legend(key)
    return OverTime(unit, legend, charts.columns(shown, of=f"Captures each {unit}"), happened)


def _hour(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H")


def _curve(ahead: ClassificationAhead) -> Markup | None:
    if len(ahead.seen) < 2:
        return None
    first, last = ahead.seen[0], ahead.seen[-1]
    lines = [
        Line("classified at least once", "predicted", [(_x(one.at), one.classified) for one in ahead.seen]),
        Line("retired", "uploaded", [(_x(one.at), one.retired) for one in ahead.seen]),
    ]
    end = last.at
    if ahead.done_at is not None and ahead.per_day is not None:
        # As far ahead as it was looked back, and at most to the end.
        span = _x(last.at) - _x(first.at)
        until = min(_x(ahead.done_at), _x(last.at) + 2 * span)
        there = last.retired + ahead.per_day * (until - _x(last.at)) / 86400
        lines.append(
            Line("retired, forecast", "uploaded", [(_x(last.at), last.retired), (until, there)], ahead=True)
        )
        moved = datetime.fromisoformat(last.at) + timedelta(seconds=until - _x(last.at))
        end = moved.isoformat()
    return charts.curve(lines, most=max(one.subjects for one in ahead.seen), ticks=(when(first.at), when(end)),
                        of="Subjects")  # fmt: skip


def _x(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


# -- what machines say, and what runs sent ---------------------------------------------------------------------


class Species(NamedTuple):
    """What machines saw: how often, and how sure they were."""

    label: str
    source: str
    captures: int
    sure: Mapping[int, int]
    bar: Markup | None


def _species(guesses: Counter[Guess]) -> list[Species]:
    found: dict[tuple[str, str], Counter[int]] = {}
    for guess, captures in guesses.items():
        found.setdefault((guess.label or "nothing said", guess.source), Counter())[guess.sure] += captures
    ranked = sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    most = max((sum(sure.values()) for _, sure in ranked), default=0)
    return [
        Species(
            label,
            source,
            sum(sure.values()),
            sure,
            charts.bar(
                [Part(f"{SURE[step]} sure", sure[step], f"sure{step}") for step in SURE], of=label, most=most
            )
            if number < SPECIES
            else None,
        )
        for number, ((label, source), sure) in enumerate(ranked[:LISTED])
    ]


def _requests(figures: Mapping[str, float]) -> list[tuple[str, int]]:
    named = [(name.removeprefix("requests: "), round(value)) for name, value in figures.items() if
             name.startswith("requests: ")]  # fmt: skip
    return sorted(named, key=lambda item: (-item[1], item[0]))
