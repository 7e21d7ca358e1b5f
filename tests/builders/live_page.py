"""A ledger with names that nobody should give a site, and a live page of it in a process of its own."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import requests
from PIL import Image
from sqlalchemy import text

from ctstate.ledger import Ledger
from ctstate.ledger.clock import now
from tests.builders.ledgers import new_ledger_at

SCRIPT, EMOJI, LONG = "<script>alert('site')</script>", "Ñandú 🦓", "L" * 200
SITES = (SCRIPT, EMOJI, LONG, "B04")
CAPTURES = 240


def make_ledger(folder: Path) -> str:
    """Make a ledger in which captures are in every state, 240 of them; return what names it."""
    images = folder / "images"
    images.mkdir(parents=True)
    picture = Image.new("RGB", (1200, 900), "olive")
    exif = Image.Exif()
    exif[0x010E] = "a secret position"
    picture.save(images / "there.jpg", exif=exif)
    picture.save(folder / "outside.jpg")
    (images / "link.jpg").symlink_to(folder / "outside.jpg")
    files = ("there.jpg", "gone.jpg", "../outside.jpg", "link.jpg")
    path = new_ledger_at(folder / "ledger.db")
    with Ledger.open(path) as ledger, ledger.write() as connection:
        run_id = ledger.begin_run(connection, "upload", {"site": SCRIPT})

        def do(statement: str, **values: object) -> None:
            connection.execute(text(statement), {"at": now(), "run": run_id, **values})

        for number, name in enumerate(("TST_S1", SCRIPT), start=1):
            connection.execute(
                text("INSERT INTO season (id, name, attribution, license, images_root, created_at)"
                     " VALUES (:id, :name, 'a', 'l', :root, :at)"),
                {"id": number, "name": name, "root": str(images), "at": now()},
            )  # fmt: skip
        for number in (1, 2):
            connection.execute(
                text("INSERT INTO batch (id, season_id, name, created_at, lease_token)"
                     " VALUES (:id, 1, :name, :at, 0)"),
                {"id": number, "name": f"batch_{number}", "at": now()},
            )  # fmt: skip
        for key in range(1, CAPTURES + 1):
            site = SITES[key % len(SITES)]
            connection.execute(
                text("INSERT INTO capture (id, capture_id, season_id, season, site, roll, capture, capture_number,"
                     " state, run_id, moved_at) VALUES (:id, :name, :season, :csv, :site, '1', :id_text, :id,"
                     " 'manifested', :run, :at)"),
                {"id": key, "name": f"TST_S1#{site}#1#{key}", "season": 2 if key > 200 else 1, "site": site,
                 "csv": f"S{key % 2}", "id_text": str(key), "run": run_id, "at": now()},
            )  # fmt: skip
            connection.execute(
                text("INSERT INTO image (capture_id, rank, path) VALUES (:key, 1, :path)"),
                {"key": key, "path": files[key % len(files)]},
            )
        do("UPDATE capture SET state = 'batched', batch_id = 1 + id % 2, moved_at = :at WHERE id <= 160")
        do("UPDATE capture SET excluded = 'a person' WHERE id % 11 = 0")
        do("UPDATE capture SET state = 'uploading', run_id = :run, moved_at = :at"
           " WHERE id <= 120 AND excluded IS NULL")  # fmt: skip
        do("UPDATE capture SET state = 'failed', reason = site || '/x.jpg: broken', reason_kind = 'image_broken',"
           " run_id = :run, moved_at = :at WHERE state = 'uploading' AND id % 13 = 0")  # fmt: skip
        do("UPDATE capture SET state = 'uploaded', subject_id = 7000000 + id, run_id = :run, moved_at = :at"
           " WHERE state = 'uploading' AND id <= 100")  # fmt: skip
    return path


class Served:
    """A live page in a process of its own, and a browser's cookies."""

    def __init__(self, process: subprocess.Popen[str], entrance: str) -> None:
        self.process = process
        self.entrance = entrance
        self.url = entrance.partition("/enter")[0]
        self.cookie = ""

    def enter(self) -> None:
        """Open the address that opens once."""
        reply = requests.get(self.entrance, timeout=30)
        assert reply.status_code == 200
        self.cookie = reply.headers["Set-Cookie"].partition(";")[0]

    def get(self, path: str, method: str = "GET", **more: str) -> requests.Response:
        """Ask for a page, with the cookie and more headers."""
        return requests.request(method, self.url + path, headers={"Cookie": self.cookie, **more}, timeout=30)

    def stop(self) -> tuple[int, str]:
        """Press Ctrl-C; return the exit code, and what was printed since."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=30)
        return self.process.returncode, said


@contextlib.contextmanager
def serving(ledger: str, *arguments: str) -> Iterator[Served]:
    """Run `ctstate serve`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ctstate", "--ledger", ledger, "serve", "--no-open", "--port", "0", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r"http://\S+", said)
        assert found is not None, said + process.stdout.read()
        yield Served(process, found[0])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
