"""What a long run says: on the terminal, and with times in a log file, where one is wanted."""

import logging
import os
import socket
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import click

from ctstate.cluster.schedulers import job_of_this_process

_LIBRARY = logging.getLogger("ctstate")
_FORM = logging.Formatter("%(asctime)s %(levelname)s %(message)s")


class _Terminal(logging.Handler):
    """Prints to whatever the error stream is at that moment: a bar may have put itself in front of it."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


class Journal:
    """Everything that a run says goes through here; used in a `with`.

    Args:
        folder, name: where the log file goes, and how its name begins; both None: there is none.
        terse: the terminal is shown warnings alone of what the library logs, as a bar has the floor there.
        aside: what is said goes to the error stream, as a program reads the other.

    Attributes:
        path: the log file.
    """

    def __init__(self, folder: str | None, name: str | None, *, terse: bool, aside: bool = False) -> None:
        self._aside = aside
        terminal = _Terminal(logging.WARNING if terse else logging.INFO)
        terminal.setFormatter(_FORM)
        self._of_library: list[logging.Handler] = [terminal]
        self._file: logging.Handler = logging.NullHandler()
        self.path: str | None = None
        if folder is not None or name is not None:
            place = Path(folder or ".")
            place.mkdir(parents=True, exist_ok=True)
            self.path = str((place / f"{name or 'upload'}_{_whose()}.log").resolve())
            self._file = logging.FileHandler(self.path, encoding="utf-8")
            self._file.setFormatter(_FORM)
            self._of_library.append(self._file)

    def __enter__(self) -> Self:
        _LIBRARY.setLevel(logging.INFO)
        for handler in self._of_library:
            _LIBRARY.addHandler(handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, SystemExit):
            self.note(f"exit code {error.code}")
        elif error is not None:  # `main` says it on the terminal
            self.note(f"Error: {error or type(error).__name__}", logging.ERROR)
        else:
            self.note("exit code 0")
        for handler in self._of_library:
            _LIBRARY.removeHandler(handler)
            handler.close()

    def say(self, text: str, *, err: bool = False) -> None:
        """Print a line, and note it."""
        click.echo(text, err=err or self._aside)
        self.note(text, logging.WARNING if err else logging.INFO)

    def note(self, text: str, level: int = logging.INFO) -> None:
        """Write a line into the log file alone."""
        line = text.replace("\n", " ")  # a line of the file is one that ctstate wrote, whatever a server says
        self._file.handle(logging.LogRecord("ctstate", level, __file__, 0, line, None, None))


def _whose() -> str:
    """Return a name for a log file that no other run has: workers on many nodes begin in the same second."""
    job = job_of_this_process()
    here = [socket.gethostname().partition(".")[0], str(os.getpid())]
    of_job = [part for part in (job.job, job.task) if part is not None] if job is not None else []
    return "_".join([datetime.now().strftime("%Y%m%d_%H%M%S"), *of_job, *here])
