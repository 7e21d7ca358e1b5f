"""How far a long verb is: a bar on a terminal; a line now and then elsewhere, and in the log file."""

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from ctstate.verbs.upload import Progress
from ctstate.words import counted

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

LOG_EVERY_S = 30.0
DRAW_EVERY_S = 0.2

log = logging.getLogger("ctstate")


def on_terminal() -> bool:
    """Tell whether a person looks on, at a terminal on which a line can be drawn anew."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


class Picture(Protocol):
    """How far something is."""

    @property
    def total(self) -> int:
        """All there is to do."""
        ...

    @property
    def done(self) -> int:
        """What of it is done."""
        ...


P = TypeVar("P", bound=Picture)


class Bar(Generic[P]):
    """Shows the progress; used in a `with`, and called with each picture of it.

    Args:
        words: what stands beside the bar.
    """

    def __init__(self, words: Callable[[P], str]) -> None:
        self._words = words
        self._drawn: RichProgress | None = _new_bar() if on_terminal() else None
        self._drawn_at = 0.0
        self._said_at = time.monotonic()

    def __enter__(self) -> Self:
        self._live().__enter__()
        if self._drawn is not None:
            # Whatever ends the process, the shell has its cursor.
            self._drawn.console.show_cursor(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live().__exit__(kind, error, trace)

    def _live(self) -> AbstractContextManager[object]:
        return self._drawn if self._drawn is not None else nullcontext()

    def __call__(self, progress: P) -> None:
        """Show how far all is, if it is time to."""
        now = time.monotonic()
        if now - self._said_at >= LOG_EVERY_S:
            self._said_at = now
            log.info(self._words(progress))
        if self._drawn is not None and now - self._drawn_at >= DRAW_EVERY_S:
            self._drawn_at = now
            (task,) = self._drawn.task_ids or (self._drawn.add_task(""),)
            self._drawn.update(
                task, total=progress.total, completed=progress.done, description=self._words(progress), refresh=True
            )


def _new_bar() -> "RichProgress":
    # Loaded only where there is a terminal: a worker of a cluster has none.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Words(ProgressColumn):
        """What a narrow terminal has no room for is left off here, and the bar stays."""

        def render(self, task: Task) -> Text:
            return Text(task.description, no_wrap=True, overflow="ellipsis")

    return Progress(
        BarColumn(bar_width=20, table_column=Column(no_wrap=True)),
        TextColumn("{task.percentage:>3.0f}%"),
        Words(),
        console=Console(stderr=True, highlight=False),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,  # its lines are a program's, perhaps
    )


def in_words(progress: Progress) -> str:
    """Return how far an upload is, in one line."""
    left = progress.seconds_left
    parts = [
        f"{progress.done:,} of {counted(progress.total, 'capture')}",
        f"{progress.rate:.1f}/s" if progress.rate is not None else "",
        f"{duration(left)} left" if left else "",
        f"{progress.failed:,} failed" if progress.failed else "",
        f"{progress.in_doubt:,} in doubt" if progress.in_doubt else "",
        f"{progress.uploading:,} uploading" if progress.uploading else "",
        f"{progress.waiting:,} to be linked" if progress.waiting else "",
        counted(progress.workers, "worker") if progress.workers > 1 else "",
    ]
    return ", ".join(filter(None, parts))


def duration(seconds: float) -> str:
    """Return a time with its two largest units, as an estimate knows no more: `2 d 03 h`, `5 min 20 s`, `20 s`."""
    whole = max(round(seconds), 1)
    for unit, in_it, size, next_size in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size:,} {unit} {whole % size // next_size:02} {in_it}"
    return f"{whole} s"
