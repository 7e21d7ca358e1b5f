"""The crash harness' ledger as a file, on a small disk of its own where that can be had."""

import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

SMALL_DISK = "12m"


class LedgerPlace(Protocol):
    """Where a round's ledger is, and what can befall it there.

    Attributes:
        name: what names it to the workers.
        direct: what names it to the harness, past all that can befall it.
        small_disk: whether its disk can be full.
        backups: copies of the ledger as it once was.
        trouble: what else befalls it, by its name: called to let it happen, and back when it is over.
        commits_lost: COMMITs that had no reply.
    """

    name: str
    direct: str
    small_disk: bool
    backups: list[Any]
    trouble: dict[str, Callable[[], None]]
    commits_lost: int

    def harm(self, likely: float, met: Callable[[str, str], object], kill: Callable[[str], object]) -> None:
        """Let what is between the workers and the ledger fail from now on.

        Args:
            likely: how likely, per transaction; 0 for never.
            met: told of each accident: the process' name, and its kind.
            kill: kills a process, by its name.
        """
        ...

    def environment(self, process: str) -> dict[str, str]:
        """What a process of that name needs to reach it."""
        ...

    def rows(self, question: str) -> list[Any] | None:
        """Ask the ledger; None where it cannot be read."""
        ...

    def out_of_reach(self) -> AbstractContextManager[None]:
        """The ledger is not there for a while."""
        ...

    def full(self) -> AbstractContextManager[None]:
        """The ledger's disk is full for a while."""
        ...

    def take_backup(self) -> None:
        """Copy the ledger, as people do, to `backups`."""
        ...

    def put_back(self, backup: Any) -> None:
        """Put an older copy in the ledger's place; nobody may be at work."""
        ...

    def close(self) -> None:
        """Nobody is at work any more; keep the ledger in the season's folder, should the round have broken."""
        ...


class LedgerInFile:
    """Serves `LedgerPlace`.

    Args:
        folder: of the season; gets the ledger, in a folder of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._disk = folder / "ledger"
        self._disk.mkdir()
        self.small_disk = mount(self._disk, SMALL_DISK)
        self._shelf = self._disk / "season"
        self._shelf.mkdir()
        self.path = self._shelf / "season.db"
        self.name = self.direct = str(self.path)
        self.backups: list[Path] = []
        self.trouble: dict[str, Callable[[], None]] = {}
        self.commits_lost = 0

    def harm(self, likely: float, met: Callable[[str, str], object], kill: Callable[[str], object]) -> None:
        """Do nothing: there is nothing in between."""

    def environment(self, process: str) -> dict[str, str]:
        """Nothing."""
        return {}

    def rows(self, question: str) -> list[Any] | None:
        """Ask the file."""
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=0.2)) as base:
                return base.execute(question).fetchall()
        except sqlite3.Error:
            return None

    @contextlib.contextmanager
    def out_of_reach(self) -> Iterator[None]:
        """The disk is not there."""
        away = self._disk / "away"
        self._shelf.rename(away)
        try:
            yield
        finally:
            away.rename(self._shelf)

    def full(self) -> AbstractContextManager[None]:
        """See `filled`."""
        return filled(self._disk)

    def take_backup(self) -> None:
        """As `sqlite3 .backup` does."""
        copy = self._folder / f"backup{len(self.backups)}.db"
        with contextlib.suppress(sqlite3.Error):
            copy_file(self.path, copy)
            self.backups.append(copy)

    def put_back(self, backup: Path) -> None:
        """Put a copy in its place."""
        for path in self._shelf.glob("season.db*"):
            path.unlink()
        copy_file(backup, self.path)

    def close(self) -> None:
        """Let the ledger be an ordinary file."""
        if self.small_disk:
            kept = self._folder / "kept"
            shutil.copytree(self._disk, kept)
            unmount(self._disk)
            self._disk.rmdir()
            kept.rename(self._disk)


def copy_file(source: Path, target: Path) -> None:
    """Copy a ledger that may be in use."""
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=5)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)


def mount(place: Path, size: str) -> bool:
    """Make a small disk there; return whether that can be done."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True)
    return made.returncode == 0


def unmount(place: Path) -> None:
    """Take a small disk away."""
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Let a disk be full for a while, to the last byte."""
    filler = disk / "filler"
    for size in (1 << 16, 512):
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(size))
    try:
        yield
    finally:
        filler.unlink()
