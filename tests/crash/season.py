"""The seasons that the crash harness plays with: new ones, of small or real-sized images, and some of 0.1.0."""

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ctstate.sandbox import SandboxProcess, SandboxSettings
from ctstate.verbs.demo import make_season
from tests import ledgers_of_0_1_0
from tests.ledgers_of_0_1_0 import revive

REAL = (2048, 1536)
SMALL_DISK = "12m"

STAGES = ("claimed", "announced", "in doubt", "created", "whole")
"""How far a claimed capture is, as the ledger tells: that its images have arrived is written in one commit."""

_STAGE_SQL = """
    SELECT r.pid, CASE
        WHEN c.ambiguous_at IS NOT NULL THEN 'in doubt'
        WHEN c.subject_id IS NULL AND c.create_sent_at IS NOT NULL THEN 'announced'
        WHEN c.subject_id IS NULL THEN 'claimed'
        WHEN i.arrived < i.wanted THEN 'created'
        ELSE 'whole' END
    FROM capture c
    JOIN run r ON r.id = c.run_id
    JOIN (SELECT capture_id, count(arrived_at) AS arrived, count(*) AS wanted FROM image WHERE problem IS NULL
          GROUP BY capture_id) i ON i.capture_id = c.id
    WHERE c.state = 'uploading'
"""


class Pool:
    """Real-sized photographs, painted once: to paint them anew for every season would take most of the time."""

    def __init__(self, folder: Path, count: int = 16) -> None:
        made = make_season(folder, count, size=REAL, seed=7)
        self._files = sorted(made.parent.glob("images/**/*.JPG"))

    def put_into(self, images: Path, chance: random.Random) -> None:
        """Put one in the place of each image of a season."""
        for path in sorted(images.glob("**/*.JPG")):
            path.unlink()
            os.link(chance.choice(self._files), path)


class CrashSeason:
    """A season in a ledger on a small disk, and a sandbox to upload it to.

    Args:
        folder: gets all of it.
        chance: decides what season it is.
        captures: how many, of a new season.
        pool: of real-sized images.
        tls: whether the sandbox is reached by https.
        old: the name of a fixture of `ledgers_of_0_1_0`, or None for a new season.

    Attributes:
        sandbox: running.
        ledger: the ledger's file.
        place: a disk for the ledger alone, where that can be made; else a folder.
        small_disk: whether it is.
        endpoint: the address that the ledger and the workers know.
        backups: copies of the ledger as it once was.
    """

    def __init__(
        self, folder: Path, chance: random.Random, captures: int, pool: Pool, tls: bool, old: str | None
    ) -> None:
        self.folder = folder
        self.place = folder / "ledger"
        self.place.mkdir()
        self.small_disk = _mount(self.place)
        self._shelf = self.place / "season"
        self._shelf.mkdir()
        self.ledger = self._shelf / "season.db"
        self.backups: list[Path] = []
        self._filler = self.place / "filler"
        if old is not None:
            revived = revive(old, folder / "old")
            settings, directory = replace(ledgers_of_0_1_0.SETTINGS, quota_cache=3600.0), revived.directory
        else:
            self.captures_csv = make_season(folder, captures, size=(48, 32), seed=chance.randrange(10**6))
            if chance.random() < 0.4:
                pool.put_into(folder / "images", chance)
            settings = SandboxSettings(
                counter_delay=0.0, discard_images=True, token_lifetime=chance.choice((5, 60, 7200))
            )
            directory = folder / "sandbox"
        self.sandbox = SandboxProcess(directory, settings).start()
        self.endpoint = self.sandbox.url.replace("http:", "https:") if tls else self.sandbox.url
        if old is not None:
            with contextlib.closing(sqlite3.connect(revived.path)) as ledger, ledger:
                ledger.execute("UPDATE meta SET value = ? WHERE name = 'endpoint'", (self.endpoint,))
            self._copy(revived.path, self.ledger)

    # -- what the ledger says ------------------------------------------------------------------------------

    def stages(self) -> dict[int, list[str]]:
        """Return how far claimed captures are, by the process that claims them; empty where that cannot be read."""
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=0.2)) as base:
                rows = base.execute(_STAGE_SQL).fetchall()
        except sqlite3.Error:
            return {}
        found: dict[int, list[str]] = {}
        for pid, stage in rows:
            found.setdefault(pid, []).append(stage)
        return found

    def pending(self) -> bool:
        """Tell whether captures are still to be uploaded, as far as can be read."""
        sql = "SELECT 1 FROM capture WHERE state IN ('manifested', 'predicted', 'batched', 'uploading') LIMIT 1"
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=0.2)) as base:
                return base.execute(sql).fetchone() is not None
        except sqlite3.Error:
            return True

    # -- what befalls the disk -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def out_of_reach(self) -> Iterator[None]:
        """The ledger is not there for a while."""
        away = self.place / "away"
        self._shelf.rename(away)
        try:
            yield
        finally:
            away.rename(self._shelf)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """The ledger's disk is full for a while."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        try:
            yield
        finally:
            self._filler.unlink()

    def take_backup(self) -> None:
        """Copy the ledger, as `sqlite3 .backup` does."""
        copy = self.folder / f"backup{len(self.backups)}.db"
        with contextlib.suppress(sqlite3.Error):
            self._copy(self.ledger, copy)
            self.backups.append(copy)

    def put_back(self, backup: Path) -> None:
        """Put an older copy in the ledger's place; nobody may be at work."""
        for path in self._shelf.glob("season.db*"):
            path.unlink()
        self._copy(backup, self.ledger)

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        with (
            contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=5)) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)

    def close(self) -> None:
        """End the sandbox, and let the ledger be an ordinary file."""
        self.sandbox.stop()
        if self.small_disk:
            kept = self.folder / "kept"
            shutil.copytree(self.place, kept)
            subprocess.run(["umount", "--lazy", str(self.place)], check=True)
            self.place.rmdir()
            kept.rename(self.place)


def _mount(place: Path) -> bool:
    """Make a small disk there; return whether that can be done."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(place)], capture_output=True
    )
    return made.returncode == 0
