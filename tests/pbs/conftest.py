"""A real PBS, where one answers, and small seasons to upload with it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctstate.cluster.pbs import Pbs
from ctstate.sandbox import SandboxProcess
from tests.pbs.rehearsal import OnPbs
from tests.slurm.conftest import jpeg, sandbox

__all__ = ["jpeg", "sandbox"]


@pytest.fixture
def rehearsal(sandbox: SandboxProcess, tmp_path: Path, jpeg: bytes) -> Iterator[OnPbs]:
    """See `OnPbs`. OpenPBS is none of Debian's packages: where none answers, the recorded answers must do."""
    if Pbs().ask() is None:
        pytest.skip("no PBS answers here")
    if os.geteuid() == 0:
        pytest.skip("PBS ends no process of root's jobs: run these tests as another user")
    made = OnPbs(sandbox, tmp_path, jpeg)
    yield made
    subprocess.run(["qdel", "-W", "force", *made.queued()], capture_output=True, check=False)
