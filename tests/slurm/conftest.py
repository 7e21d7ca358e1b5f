"""One real Slurm for the whole folder, and small seasons to upload with it."""

import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctstate.sandbox import SandboxProcess, SandboxSettings
from tests.slurm.cluster import Cluster, missing
from tests.slurm.rehearsal import Rehearsal, sftp_server, share_command, skip_or_fail


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Four nodes; `n3` and `n4` see `shared` through a network file system without locks between hosts."""
    reason = missing()
    if reason:
        skip_or_fail(reason)
    folder = Path(tempfile.mkdtemp(prefix="cs", dir="/tmp"))
    before = {}
    if sftp_server():
        command = share_command(folder)
        before = {"n3": command, "n4": command}
    made = Cluster(folder, 4, before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(made.conf))
        try:
            yield made.start()
        finally:
            made.stop()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    """A Zooniverse that answers after 50 ms."""
    plan = {"latency_ms": {"*": 50}}
    with SandboxProcess(tmp_path / "zooniverse", SandboxSettings(), faults=plan) as made:
        yield made


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A tiny image."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (16, 12), (90, 120, 60)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def rehearsal(cluster: Cluster, sandbox: SandboxProcess, tmp_path: Path, jpeg: bytes) -> Iterator[Rehearsal]:
    """A ledger, a folder of images and an account file; see `Rehearsal`."""
    made = Rehearsal(cluster, sandbox, tmp_path, jpeg)
    yield made
    made.cancel()
