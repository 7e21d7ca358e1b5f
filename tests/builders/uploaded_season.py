"""A season that is uploaded to a sandbox: made once, copied for each test that changes it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import update

from ctstate.images import ImageOptions
from ctstate.ledger import Ledger
from ctstate.ledger.schema import meta
from ctstate.sandbox import SandboxProcess, SandboxSettings
from ctstate.verbs.batch import batch
from ctstate.verbs.demo import make_season
from ctstate.verbs.demo.invariant import violations
from ctstate.verbs.manifest import manifest
from ctstate.verbs.upload import UploadOptions, upload
from ctstate.zooniverse import Backoff, Credentials, Zooniverse
from tests.builders.command_line import called
from tests.builders.ledgers import ON_POSTGRES, copy_ledger, no_ledger_at, with_parameters

QUICK = SandboxSettings(link_seconds=0.0, counter_delay=0.0, removal_delay=0.0, quota_cache=0.0)
CAPTURES = 12


class UploadedSeason:
    """A ledger and the sandbox that its season is on: two batches of six captures, three sites."""

    def __init__(self, folder: Path, sandbox: SandboxProcess) -> None:
        self.folder = folder
        self.path = no_ledger_at(folder / "ledger.db")
        self.sandbox = sandbox

    def zooniverse(self) -> Zooniverse:
        account = Credentials(self.sandbox.login, self.sandbox.password)
        return Zooniverse(self.sandbox.url, account, backoff=Backoff(0.05, 0.2, 20.0))

    @property
    def project_id(self) -> int:
        return int(self.sandbox.project_id)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CTSTATE_LEDGER": str(self.path),
            "PANOPTES_ENDPOINT": self.sandbox.url,
            "PANOPTES_USERNAME": self.sandbox.login,
            "PANOPTES_PASSWORD": self.sandbox.password,
            "PYTHONIOENCODING": "utf-8",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ctstate", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line's `main()` in this process: a new interpreter for each call takes a second."""
        return called(*arguments, environment=self.environment, together=True)

    def on_project(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(*arguments, "--project-id", self.sandbox.project_id)

    def open(self) -> Ledger:
        return Ledger.open(self.path)

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.open() as ledger, ledger.read() as connection:
            return [
                tuple(row) for row in connection.exec_driver_sql(with_parameters(statement, parameters), parameters)
            ]

    def do(self, statement: str, *parameters: Any) -> None:
        with self.open() as ledger, ledger.write() as connection:
            connection.exec_driver_sql(with_parameters(statement, parameters), parameters)

    def captures(self) -> list[Any]:
        """The captures, by id."""
        with self.open() as ledger:
            return list(ledger.captures())

    def states(self) -> dict[str, int]:
        return dict(self.query("SELECT state, count(*) FROM capture GROUP BY state"))  # type: ignore[arg-type]

    def active(self) -> dict[int, dict[str, Any]]:
        """The subjects that are there, by id."""
        return {int(s["id"]): s for s in self.sandbox.state()["subjects"] if s["active"]}

    def set_of(self, batch: str) -> int:
        return int(self.query("SELECT subject_set_id FROM batch WHERE name = ?", batch)[0][0])

    def violations(self, *, complete: bool = True) -> list[str]:
        with self.open() as ledger:
            return violations(ledger, self.sandbox.state(), complete=complete)


def make(folder: Path) -> Path:
    """Upload a season, once; return the folder to copy."""
    captures_csv = make_season(folder, CAPTURES, size=(64, 48))
    with (
        SandboxProcess(folder / "sandbox", QUICK) as sandbox,
        Ledger.open(no_ledger_at(folder / "ledger.db"), create=True) as ledger,
    ):
        manifest(ledger, captures_csv, attribution="A", license="L", images_root=folder / "images")
        batch(ledger, number_of_batches=2, order="sequential")
        world = UploadedSeason(folder, sandbox)
        upload(
            ledger,
            world.zooniverse(),
            UploadOptions(
                project_id=world.project_id, images=ImageOptions(compress=False), processes=1, settle=0.5
            ),
        )
        assert violations(ledger, sandbox.state()) == []
    return folder


@contextmanager
def copy_of(template: Path, folder: Path) -> Iterator[UploadedSeason]:
    """A copy with a sandbox of its own."""
    shutil.copytree(template, folder)
    path = no_ledger_at(folder / "ledger.db")
    if ON_POSTGRES:
        copy_ledger(no_ledger_at(template / "ledger.db"), path)
    with SandboxProcess(folder / "sandbox", QUICK) as sandbox:
        with Ledger.open(path) as ledger, ledger.write() as connection:
            # It has moved: the copy's sandbox has a port of its own.
            connection.execute(update(meta).where(meta.c.name == "endpoint").values(value=sandbox.url))
        yield UploadedSeason(folder, sandbox)
