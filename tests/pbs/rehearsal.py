"""A small season, uploaded by jobs of a PBS to a sandbox."""

import os
import subprocess
from pathlib import Path
from typing import Any

from sqlalchemy import update

from ctstate.ledger import Ledger
from ctstate.ledger.schema import run
from ctstate.sandbox import SandboxProcess
from tests.slurm.rehearsal import Rehearsal


class Server:
    """The PBS that answers here, with one node of two cores."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)

    def run(self, *command: str, **more: Any) -> str:
        """Run one of its programs and return what it printed."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout


class OnPbs(Rehearsal):
    """A season on its way to a sandbox; see `Rehearsal`."""

    cluster: Server  # type: ignore[assignment]

    def __init__(self, sandbox: SandboxProcess, folder: Path, jpeg: bytes) -> None:
        super().__init__(Server(), sandbox, folder, jpeg)  # type: ignore[arg-type]

    def queued(self) -> list[str]:
        """Return the jobs and arrays in the queue."""
        return self.cluster.run("qselect").split()

    def move_elsewhere(self) -> None:
        """Let the workers be of another host: whether their processes live cannot be seen from here."""
        with Ledger.open(self.ledger) as ledger, ledger.write() as connection:
            connection.execute(update(run).where(run.c.verb == "upload").values(host_id="elsewhere"))
