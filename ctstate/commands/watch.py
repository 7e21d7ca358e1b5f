"""ctstate watch"""

import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import places
from ctstate.ledger.clock import age
from ctstate.verbs.status import STATES, BatchStatus
from ctstate.verbs.watch import Picture, WatchedRun
from ctstate.verbs.watch import watch as look_on
from ctstate.words import counted, lasting, rate

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS = {"uploading": "yellow", "uploaded": "green", "failed": "red", "in doubt": "yellow", "lost": "red"}

_MOST_BATCHES = 12
_MOST_RUNS = 12


@click.command()
@click.option("--once", is_flag=True, help="Print one picture and end.")
@click.option(
    "--every",
    type=click.FloatRange(min=5, max=3600),
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
@places
def watch(where: Places, once: bool, every: float) -> None:
    """Watch uploads in the terminal: how far each batch is, the workers and their rates, how long it will take.

    It looks at the ledger only, from any machine that can read it, and slows no worker. Ctrl-C ends it. Where no
    terminal takes what it prints, it prints one picture and ends, as with --once. In a browser: `ctstate serve`.

    \b
    Example:
      ctstate watch
    """
    on_terminal = sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
    with where.open(read_only=True) as ledger:
        pictures = look_on(ledger, every)
        if once or not on_terminal:
            _print(next(pictures))
            return
        from rich.live import Live

        try:
            with Live(auto_refresh=False, screen=False) as live:
                for picture in pictures:
                    live.update(_drawn(picture, ledger.name), refresh=True)
        except KeyboardInterrupt:
            return


def _print(picture: Picture) -> None:
    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 160
    Console(highlight=False, markup=False, emoji=False, width=width).print(_drawn(picture, None))


def _drawn(picture: Picture, name: str | None) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text.assemble(*_headline(picture, name))]
    if picture.batches:
        parts += [Text(), _batches(picture)]
    if picture.runs:
        parts += [Text(), _runs(picture)]
    parts += [Text(line, style="dim") for line in _notes(picture)]
    if picture.trouble is not None:
        parts.append(Text(f"This picture is old: {picture.trouble}", style="bold red"))
    return Group(*parts)


def _headline(picture: Picture, name: str | None) -> list[tuple[str, str]]:
    if not picture.total:
        return [("The ledger holds no captures yet: begin with `ctstate manifest`.", "")]
    uploaded, wanted = picture.count("uploaded"), picture.total - picture.excluded
    words = [
        (f"{name}  " if name else "", "dim"),
        (f"{uploaded:,} of {counted(wanted, 'capture', 'are')} up", "bold"),
    ]
    if picture.workers:
        words.append((f", {counted(len(picture.workers), 'worker')}, {rate(picture.rate)}/s", ""))
    if picture.seconds_left is not None:
        words.append((f", {lasting(picture.seconds_left)} to go", ""))
    return [*words, (f"  ({picture.at[11:19]} UTC)", "dim")]


def _table(*titles: str, left: int) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, title in enumerate(titles):
        table.add_column(title, justify="left" if number < left else "right", overflow="fold", max_width=40)
    return table


def _batches(picture: Picture) -> "RenderableType":
    def of_state(state: str) -> Callable[[BatchStatus], int]:
        return lambda batch: batch.counts[state]

    counts = {state: of_state(state) for state in STATES}
    counts |= {"excluded": lambda batch: batch.excluded, "in doubt": lambda batch: batch.in_doubt}
    shown = {name: count for name, count in counts.items() if any(map(count, picture.batches))}
    table = _table("season", "batch", "done", *shown, "total", left=2)
    from rich.text import Text

    # What is under way first: a season of a hundred batches is longer than a terminal.
    ordered = sorted(picture.batches, key=lambda batch: not batch.counts["uploading"])
    for batch in ordered[:_MOST_BATCHES]:
        wanted = batch.total - batch.excluded
        done = f"{int(100 * batch.counts['uploaded'] / wanted)}%" if wanted else ""
        cells = [
            Text(f"{count(batch):,}", style=_COLOURS.get(name, "") if count(batch) else "dim")
            for name, count in shown.items()
        ]
        table.add_row(Text(batch.season), Text(batch.batch or "(no batch)"), done, *cells, f"{batch.total:,}")
    if len(ordered) > _MOST_BATCHES:
        table.add_row(Text(f"and {counted(len(ordered) - _MOST_BATCHES, 'more batch')}", style="dim"))
    return table  # type: ignore[no-any-return]


def _runs(picture: Picture) -> "RenderableType":
    from rich.text import Text

    table = _table(
        "run", "verb", "state", "host", "job", "uploaded", "failed", "under way", "per s", "began", left=5
    )
    for run in [*filter(_is_live, picture.runs), *(one for one in picture.runs if not one.is_live)][:_MOST_RUNS]:
        facts = run.facts
        job = facts.slurm_job or ""
        table.add_row(
            str(facts.id),
            Text(facts.verb),
            Text(run.state, style="green" if run.state == "live" else _COLOURS.get(run.state, "")),
            Text(f"{facts.host}:{facts.pid}"),
            Text(f"{job}_{facts.slurm_task}" if job and facts.slurm_task else job),
            f"{run.uploaded:,}",
            Text(f"{run.failed:,}", style="red" if run.failed else "dim"),
            f"{run.uploading:,}" if run.uploading else "",
            rate(run.rate) if run.rate is not None else "",
            f"{lasting(age(facts.started_at))} ago",
        )
    return table  # type: ignore[no-any-return]


def _is_live(run: WatchedRun) -> bool:
    return run.is_live


def _notes(picture: Picture) -> list[str]:
    notes = []
    failed = picture.count("failed")
    if failed:
        asks = 'ctstate sql "SELECT reason, count(*) FROM v_failures GROUP BY reason"'
        notes.append(f"{counted(failed, 'capture')} failed: `{asks}` says why, `ctstate retry` tries again.")
    if picture.verified is not None:
        seen = picture.verified
        said = counted(seen.findings, "finding") if seen.findings else "all was well"
        of = f", only {seen.of}" if seen.of else ""
        notes.append(f"Verified {lasting(age(seen.ended_at))} ago ({seen.season}{of}): {said}.")
    return ["", *notes] if notes else []
