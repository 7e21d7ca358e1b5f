"""The seasons that the crash harness plays with: new ones, of small or real-sized images, and some of 0.1.0."""

import contextlib
import os
import random
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ctstate.sandbox import SandboxProcess, SandboxSettings
from ctstate.verbs.demo import make_season
from tests import ledgers_of_0_1_0
from tests.crash.ledger_in_file import LedgerInFile, LedgerPlace, copy_file
from tests.ledgers_of_0_1_0 import revive

REAL = (2048, 1536)

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
    """A season in a ledger, and a sandbox to upload it to.

    Args:
        folder: gets all of it.
        chance: decides what season it is.
        captures: how many, of a new season.
        pool: of real-sized images.
        tls: whether the sandbox is reached by https.
        old: the name of a fixture of `ledgers_of_0_1_0`, which are files; or None for a new season.
        new_place: makes the place for the ledger, given the folder.

    Attributes:
        sandbox: running.
        place: where the ledger is.
        endpoint: the address that the ledger and the workers know.
    """

    def __init__(
        self,
        folder: Path,
        chance: random.Random,
        captures: int,
        pool: Pool,
        tls: bool,
        old: str | None,
        new_place: Callable[[Path], LedgerPlace] = LedgerInFile,
    ) -> None:
        self.folder = folder
        self.place = new_place(folder)
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
            assert isinstance(self.place, LedgerInFile)
            with contextlib.closing(sqlite3.connect(revived.path)) as ledger, ledger:
                ledger.execute("UPDATE meta SET value = ? WHERE name = 'endpoint'", (self.endpoint,))
            copy_file(revived.path, self.place.path)

    def stages(self) -> dict[int, list[str]]:
        """Return how far claimed captures are, by the process that claims them; empty where that cannot be read."""
        found: dict[int, list[str]] = {}
        for pid, stage in self.place.rows(_STAGE_SQL) or ():
            found.setdefault(pid, []).append(stage)
        return found

    def pending(self) -> bool:
        """Tell whether captures are still to be uploaded, as far as can be read."""
        sql = "SELECT 1 FROM capture WHERE state IN ('manifested', 'predicted', 'batched', 'uploading') LIMIT 1"
        return self.place.rows(sql) != []

    def close(self) -> None:
        """End the sandbox, and put the ledger where it can be looked at."""
        self.sandbox.stop()
        self.place.close()
