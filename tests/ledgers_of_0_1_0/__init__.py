"""Ledgers that ctstate 0.1.0 wrote, each with the sandbox it uploaded to, kept as SQL text (see README.md).

revived = revive("mid_upload", tmp_path)
with revived.sandbox() as zooniverse:
    ...
"""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ctstate.sandbox import SandboxProcess, SandboxSettings

HERE = Path(__file__).parent
NAMES = ("every_state", "mid_upload", "half_linked", "two_batches_two_workers")
SEASON = "OLD_S1"
ROOT, ENDPOINT = "@ROOT@", "@ENDPOINT@"
SETTINGS = SandboxSettings(
    discard_images=True, link_seconds=0.0, link_seconds_per_subject=0.0, counter_delay=0.0, quota_cache=0.0
)


@dataclass(frozen=True)
class Revived:
    """A ledger of 0.1.0 and the state of its sandbox, as files again.

    Attributes:
        folder: holds all of it, the images in `images/`.
        path: of the ledger.
        directory: of the sandbox.
    """

    name: str
    folder: Path
    path: Path
    directory: Path

    @contextmanager
    def sandbox(self) -> Iterator[SandboxProcess]:
        """Start the sandbox, without faults, and write its address into the ledger."""
        with SandboxProcess(self.directory, SETTINGS) as zooniverse:
            with closing(sqlite3.connect(self.path)) as ledger, ledger:
                ledger.execute("UPDATE meta SET value = ? WHERE name = 'endpoint'", (zooniverse.url,))
            yield zooniverse


def revive(name: str, folder: Path) -> Revived:
    """Make the files of the fixture `name` (one of NAMES) in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    revived = Revived(name, folder, folder / "season.db", folder / "sandbox")
    revived.directory.mkdir()
    load(f"{name}.sandbox.sql", revived.directory / "state.sqlite")
    load(f"{name}.ledger.sql", revived.path, folder)
    with closing(sqlite3.connect(revived.path)) as ledger:
        for (path,) in ledger.execute("SELECT path FROM image"):
            picture(folder / "images" / path)
    return revived


def load(dump: str, path: Path, root: Path | None = None) -> None:
    """Make a database from one of the SQL files here."""
    text = (HERE / dump).read_text(encoding="utf-8")
    if root is not None:
        text = text.replace(ROOT, str(root).replace("'", "''"))
    with closing(sqlite3.connect(path)) as database:
        database.executescript(text)


def picture(path: Path) -> None:
    """Make a small JPEG; the same path makes the same picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = zlib.crc32(path.name.encode())
    Image.new("RGB", (48, 32), (number & 255, number >> 8 & 255, number >> 16 & 255)).save(path, "JPEG")
