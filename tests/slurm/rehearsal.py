"""A small season, uploaded by jobs to a sandbox."""

import os
import shlex
import shutil
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from ctstate.cluster.schedulers import CLUSTER
from ctstate.ledger import Ledger
from ctstate.ledger.schema import run
from ctstate.sandbox import SandboxProcess
from ctstate.verbs.manifest import manifest
from ctstate.verbs.runs import RunStatus, list_runs
from tests.builders.command_line import called
from tests.builders.ledgers import make_empty
from tests.slurm.cluster import Cluster, wait_until

PASSWORD_IN_ENVIRONMENT = "never-to-be-seen-in-a-job"
QUICK = ("--connections", "1", "--settle-seconds", "2", "--link-batch-size", "20")
WORKER = ("--n-processes", "1", "--dont-compress-images", *QUICK)


def skip_or_fail(reason: str) -> None:
    """Skip where Slurm is not installed; in CI that is a failure, so that these tests never go missing there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def sftp_server() -> str | None:
    """Return OpenSSH's sftp-server, where sshfs can be used with it."""
    places = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")
    found = [place for place in places if os.access(place, os.X_OK)]
    return found[0] if found and shutil.which("sshfs") and os.path.exists("/dev/fuse") else None


def share_command(folder: Path) -> str:
    """Return a shell command that mounts `folder`/export on `folder`/shared with sshfs, and make what it needs.

    sshfs is a real network file system, and has no locks between hosts: each mount grants its own.
    """
    for name in ("export", "shared"):
        (folder / name).mkdir(exist_ok=True)
    fake = folder / "fake-ssh"
    fake.write_text(f"#!/bin/sh\nexec {sftp_server()}\n")
    fake.chmod(0o755)
    options = f"ssh_command={fake},cache=no,direct_io"
    return f"sshfs -o {shlex.quote(options)} nowhere:{folder}/export {folder}/shared"


class Rehearsal:
    """A season on its way to a sandbox.

    Args:
        cluster, sandbox: where jobs run, and where captures go.
        folder: for the ledger and the images.
        jpeg: the image of every capture.
    """

    def __init__(self, cluster: Cluster, sandbox: SandboxProcess, folder: Path, jpeg: bytes) -> None:
        self.cluster = cluster
        self.sandbox = sandbox
        self.folder = folder
        self.ledger = folder / "ledger of a season.db"  # with blanks: paths are quoted everywhere
        self.password_file = folder / "passwords.ini"
        self.password_file.write_text(
            f"[zooniverse]\nusername = {sandbox.login}\npassword = {sandbox.password}\n", encoding="utf-8"
        )
        self._jpeg = jpeg

    def season(self, captures: int) -> None:
        """Make a season of so many captures, of one image each."""
        images = self.folder / "images"
        images.mkdir()
        rows = ["season,site,roll,capture,image,path"]
        for number in range(1, captures + 1):
            (images / f"{number}.jpg").write_bytes(self._jpeg)
            rows.append(f"TST_S1,A01,1,{number},1,{number}.jpg")
        csv = self.folder / "captures.csv"
        csv.write_text("\n".join(rows) + "\n", encoding="utf-8")
        make_empty(self.ledger)
        with Ledger.open(self.ledger) as ledger:
            manifest(ledger, csv, attribution="a", license="l", images_root=images)

    def ctstate(self, *arguments: str, code: int = 0) -> str:
        """Call ctstate as on a login node and return what it printed (both streams where it is to fail)."""
        environment = {
            **self.cluster.environment,
            "PANOPTES_PASSWORD": PASSWORD_IN_ENVIRONMENT,
            "HOME": str(self.folder),
        }
        where = ("--ledger", str(self.ledger), "--endpoint", self.sandbox.url)
        done = called(*where, *arguments, environment=environment, folder=self.folder)
        assert done.returncode == code, f"{done.returncode}: {done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stdout + done.stderr

    def upload_options(self, worker: tuple[str, ...] = WORKER) -> tuple[str, ...]:
        return ("--project-id", self.sandbox.project_id, "--password-file", str(self.password_file), *worker)

    def submit(self, *options: str, worker: tuple[str, ...] = WORKER) -> str:
        """Submit workers and return the number of the job array."""
        printed = self.ctstate("submit", *self.upload_options(worker), *options)
        assert "Round 1: job " in printed, printed
        return printed.split("Round 1: job ")[1].split()[0]

    def runs(self, verb: str = "upload") -> list[RunStatus]:
        """Return the runs of a verb."""
        with Ledger.open(self.ledger, read_only=True, jobs=CLUSTER) as ledger:
            return [one for one in list_runs(ledger, most=None) if one.verb == verb]

    def hosts(self) -> list[str]:
        """Return what tells one host from another, run by run."""
        with Ledger.open(self.ledger, read_only=True) as ledger, ledger.read() as connection:
            return list(connection.execute(select(run.c.host_id).where(run.c.verb == "upload")).scalars())

    def states(self) -> dict[str, int]:
        """Return how many captures are in each state."""
        with Ledger.open(self.ledger, read_only=True) as ledger:
            return dict(Counter(row.state for row in ledger.captures()))

    def wait_for_live(self, least: int) -> list[RunStatus]:
        """Wait until so many workers live, and return them."""

        def live() -> list[RunStatus]:
            found = [one for one in self.runs() if one.state == "live"]
            return found if len(found) >= least else []

        found: list[RunStatus] = wait_until(live, 30, f"{least} live workers")
        return found

    def wait_for_uploaded(self, least: int, seconds: float = 40) -> None:
        """Wait until so many captures are uploaded."""
        wait_until(lambda: self.states().get("uploaded", 0) >= least, seconds, f"{least} uploaded")

    def wait_until_settled(self, seconds: float = 90) -> None:
        """Wait until no job of this rehearsal is in the queue."""
        wait_until(lambda: not self.queued(), seconds, "an empty queue")

    def queued(self) -> list[str]:
        """Return the jobs of this rehearsal in the queue."""
        lines = self.cluster.run("squeue", "--noheader", "--format=%i|%T|%Z").splitlines()
        return [line for line in lines if line.endswith(f"|{self.folder}")]

    def cancel(self) -> None:
        """Take away what a failed test left in the queue."""
        for line in self.queued():
            self.cluster.run("scancel", line.partition("|")[0])

    def logs(self) -> str:
        """Return all that jobs and workers wrote into their logs."""
        folder = self.folder / "ctstate-logs"
        return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.iterdir()))

    def check(self, captures: int) -> None:
        """Each capture has exactly one active subject, in the one set there is, whole before it was published; and
        the ledger says so."""
        world = self.sandbox.state()
        sets = [row for row in world["subject_sets"] if not row["deleted"]]
        assert [row["display_name"] for row in sets] == ["TST_S1_complete"]
        active = [row for row in world["subjects"] if row["active"]]
        by_capture = Counter(row["metadata"]["#capture_id"] for row in active)
        assert by_capture == Counter({f"TST_S1#A01#1#{number}": 1 for number in range(1, captures + 1)})
        assert sorted(sets[0]["subjects"]) == sorted(row["id"] for row in active)
        assert all(image["whole"] for row in active for image in row["images"]), active[0]["images"]
        assert all(len(row["images"]) == 1 for row in active)
        assert world["published_incomplete"] == []
        with Ledger.open(self.ledger, read_only=True) as ledger:
            rows = {row.capture_id: row for row in ledger.captures()}
        assert {row.state for row in rows.values()} == {"uploaded"}, self.states()
        assert {row["metadata"]["#capture_id"]: int(row["id"]) for row in active} == {
            key: row.subject_id for key, row in rows.items()
        }
