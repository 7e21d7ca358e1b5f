"""Make the SQL files beside this one, by real uploads of ctstate 0.1.0 to its sandbox; README.md says how.

Every run is killed (kill -9) while a fault plan holds its requests where the fixture wants them.
"""

import csv
import getpass
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ctstate import __version__
from ctstate.ledger.migrate import HEAD
from ctstate.sandbox import SandboxProcess
from ctstate.verbs.demo import make_season
from tests.ledgers_of_0_1_0 import ENDPOINT, HERE, ROOT, SEASON, SETTINGS

TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
BEGAN = datetime(2026, 1, 5, 6, tzinfo=UTC)
"""When every fixture began: long enough ago for all its runs to be dead, also where a clock is wrong."""

HANG = {"kind": "hang", "seconds": 600}
LOST = {"kind": "status_after", "status": 504, "proxies_html": True}
IN_DOUBT = "ambiguous_at IS NOT NULL"
ANNOUNCED = "state = 'uploading' AND create_sent_at IS NOT NULL AND ambiguous_at IS NULL"
LEASED = "SELECT name FROM batch WHERE lease_run_id IS NOT NULL AND lease_until IS NOT NULL"
UNTOUCHED = "subject_id IS NULL AND create_sent_at IS NULL"
WHOLE = (
    "subject_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM image WHERE image.capture_id = capture.id"
    " AND problem IS NULL AND arrived_at IS NULL)"
)


class Making:
    """A season on a sandbox, on its way to become a fixture."""

    def __init__(self, name: str, folder: Path, captures: int, seed: int) -> None:
        self.name, self.folder, self.path = name, folder, folder / "season.db"
        self.captures_csv = make_season(folder, captures, season=SEASON, size=(48, 32), seed=seed)
        self.z = SandboxProcess(folder / "sandbox", SETTINGS).start()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PANOPTES_", "CTSTATE_", "SLURM_"))}
        self.environment = {
            **kept,
            "CTSTATE_LEDGER": str(self.path),
            "PANOPTES_ENDPOINT": self.z.url,
            "PANOPTES_USERNAME": self.z.login,
            "PANOPTES_PASSWORD": self.z.password,
        }
        self.workers: list[subprocess.Popen[str]] = []
        self.stalled: dict[Path, bytes] = {}

    # -- what is done ------------------------------------------------------------------------------------

    def ctstate(self, *arguments: str, expected: int = 0) -> None:
        """A verb, as a user calls it."""
        done = subprocess.run(
            [sys.executable, "-m", "ctstate", *arguments], env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == expected, (arguments, done.returncode, done.stdout, done.stderr)

    def manifest(self, captures_csv: Path | None = None) -> None:
        self.ctstate(
            "manifest", str(captures_csv or self.captures_csv), "--images-root", str(self.folder / "images"),
            "--attribution", "a", "--license", "l",
        )  # fmt: skip

    def first(self, captures: int) -> Path:
        """A captures CSV with only the first captures of the season's."""
        path = self.folder / "first.csv"
        with self.captures_csv.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if int(row["capture"]) <= captures]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    def predict(self, *captures: int) -> None:
        """Attach predictions of the legacy empty model."""
        path = self.folder / "empty.json"
        entry = {"aggregated_pred": {"empty": {"empty": "0.9", "not_empty": 0.1}}, "predictions_top": {}}
        path.write_text(json.dumps({self.capture_id(number): entry for number in captures}))
        self.ctstate("predict", "--empty", str(path))

    def upload(self, *arguments: str, expected: int = 0) -> None:
        self.ctstate(*self._upload(*arguments), expected=expected)

    def start_upload(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a worker, to be killed."""
        worker = subprocess.Popen(
            [sys.executable, "-m", "ctstate", *self._upload(*arguments)],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def _upload(self, *arguments: str) -> tuple[str, ...]:
        # A long wait before lost creates are looked for: they stay in doubt until the kill.
        return (
            "upload", "--project-id", self.z.project_id, "--n-processes", "1", "--settle-seconds", "600", *arguments
        )  # fmt: skip

    def stall(self, batch: str, number: int) -> None:
        """Let the first image of the n-th capture of a batch be a file that never answers, as on a file server that
        hangs: what stands behind it is claimed, and never encoded."""
        path = self.images(batch, number)[0]
        self.stalled[path] = path.read_bytes()
        path.unlink()
        os.mkfifo(path)

    def kill(self) -> None:
        """Kill -9 to all workers; files answer again."""
        for worker in self.workers:
            assert worker.poll() is None, "it ended before it could be killed"
            worker.send_signal(signal.SIGKILL)
        for worker in self.workers:
            worker.wait()
        self.workers = []
        for path, content in self.stalled.items():
            path.unlink()
            path.write_bytes(content)
        self.stalled = {}

    def faults(self, *rules: dict[str, Any]) -> None:
        """Put a fault plan in place of the last one; requests that hang already go on hanging."""
        self.z.set_faults({"rules": list(rules)})

    # -- what is seen ------------------------------------------------------------------------------------

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=30)) as ledger:
            return ledger.execute(sql).fetchall()

    def count(self, condition: str) -> int:
        """How many captures fit."""
        return int(self.ask(f"SELECT count(*) FROM capture WHERE {condition}")[0][0])

    def capture_id(self, number: int) -> str:
        return str(self.ask(f"SELECT capture_id FROM capture WHERE capture_number = {number}")[0][0])

    def images(self, batch: str, number: int) -> list[Path]:
        """Files of the n-th capture of a batch, as an upload takes them up."""
        capture = f"SELECT capture.id FROM capture JOIN batch ON batch.id = batch_id WHERE name = '{batch}'"
        (key,) = self.ask(f"{capture} ORDER BY capture.id LIMIT 1 OFFSET {number - 1}")[0]
        found = self.ask(f"SELECT path FROM image WHERE capture_id = {key} ORDER BY rank")
        return [self.folder / "images" / path for (path,) in found]

    def struck(self) -> list[int]:
        """How often each rule of the fault plan struck."""
        return [rule["struck"] for rule in self.z.faults()["rules"]]

    def subjects(self) -> dict[str, list[dict[str, Any]]]:
        """The sandbox's subjects by capture."""
        found: dict[str, list[dict[str, Any]]] = {}
        for subject in self.z.state()["subjects"]:
            found.setdefault(subject["metadata"]["#capture_id"], []).append(subject)
        return found

    def on_zooniverse(self, condition: str) -> int:
        """How many captures fit and have a subject on the sandbox."""
        there = self.subjects()
        return sum(row[0] in there for row in self.ask(f"SELECT capture_id FROM capture WHERE {condition}"))

    def wait(self, what: str, until: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, f"{self.name}: waited in vain for: {what}"
            time.sleep(0.05)

    # -- what is kept ------------------------------------------------------------------------------------

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.z.stop()

    def dump(self) -> None:
        """Stop the sandbox and write both SQL files, without anything that names this machine, all times
        moved into the past by as much."""
        endpoint = self.z.url
        self.close()
        ledger = in_memory(self.path)
        ledger.execute(
            "UPDATE run SET username = 'someone', host = 'old-host', host_id = 'gone-boot gone-ns',"
            " pid = 1000 + id, pid_started = '1', slurm_job = NULL, slurm_task = NULL, log_file = NULL"
        )
        ledger.commit()
        (began,) = ledger.execute("SELECT min(started_at) FROM run").fetchone()
        shift = datetime.strptime(began, TIME).replace(tzinfo=UTC) - BEGAN
        sandbox = in_memory(self.folder / "sandbox" / "state.sqlite")
        # The owner's password is set anew when a sandbox starts.
        for statement in (
            "DELETE FROM tokens",
            "DELETE FROM sessions",
            "UPDATE users SET password = ''",
            f"UPDATE meta SET value = '{'0' * 64}' WHERE name = 'secret'",
        ):
            sandbox.execute(statement)
        for table, column in sandbox.execute(
            "SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c"
            " WHERE m.type = 'table' AND c.name IN ('created', 'updated', 'deactivated', 'at')"
        ).fetchall():
            sandbox.execute(
                f'UPDATE "{table}" SET "{column}" = round("{column}" - ?, 3) WHERE "{column}" > 0',
                (shift.total_seconds(),),
            )
        sandbox.commit()
        for kind, database in (("ledger", ledger), ("sandbox", sandbox)):
            text = "\n".join(database.iterdump()) + "\n"
            text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]{15}Z", lambda found: earlier(found[0], shift), text)
            text = text.replace(str(self.folder), ROOT).replace(endpoint, ENDPOINT)
            for name in (
                tempfile.gettempdir() + "/",
                "127.0.0.1",
                f"'{socket.gethostname()}'",
                f"'{getpass.getuser()}'",
            ):
                assert name not in text, f"{self.name}.{kind}: {name} is in it"
            (HERE / f"{self.name}.{kind}.sql").write_text(text, encoding="utf-8")


def earlier(moment: str, shift: timedelta) -> str:
    """Return a time of the ledger, moved into the past."""
    return (datetime.strptime(moment, TIME) - shift).strftime(TIME)


def in_memory(path: Path) -> sqlite3.Connection:
    """Copy a database into memory."""
    copy = sqlite3.connect(":memory:")
    with closing(sqlite3.connect(path)) as source:
        source.backup(copy)
    return copy


@contextmanager
def making(name: str, captures: int = 16, seed: int = 2) -> Iterator[Making]:
    """Make a season; keep it as the fixture `name` if all goes well."""
    with tempfile.TemporaryDirectory(prefix="old-ledger-") as folder:
        one = Making(name, Path(folder).resolve(), captures, seed)
        try:
            yield one
            one.dump()
        finally:
            one.close()
    print(name)


def create(nth: int | list[int], fault: dict[str, Any]) -> dict[str, Any]:
    """A rule about the n-th create."""
    return {"route": "create subject", "nth": nth, **fault}


def every_state() -> None:
    """A capture in each state, by the real verbs, and several ways to be batched, uploading and failed."""
    with making("every_state") as one:
        one.manifest(one.first(13))
        one.predict(1, 2, 7, 8)
        one.ctstate("batch", "--number-of-batches", "2", "--order", "sequential")
        for path in one.images("batch_1", 6):
            path.write_bytes(b"no JPEG")
        # One image is refused: its capture fails, and its subject stays behind in no set.
        one.faults({"route": "put image", "nth": 2, "kind": "status_before", "status": 413})
        one.upload("--batch", "batch_1", "--connections", "1", expected=1)
        one.z.clear_faults()
        uploaded = one.ask("SELECT capture_id FROM capture WHERE state = 'uploaded' ORDER BY id")
        on_project = ("--project-id", one.z.project_id, "--reason", "a test", "--yes")
        one.ctstate("remove", uploaded[0][0], *on_project)
        one.ctstate("delete", uploaded[1][0], *on_project)
        # Killed with one whole subject, one whose reply is on its way, some announced, one only claimed.
        one.faults(create(2, {**HANG, "work": True}))
        one.stall("batch_2", 6)
        one.start_upload("--batch", "batch_2", "--connections", "1")
        one.wait("a create that hangs", lambda: one.struck() == [1])
        one.wait("its subject", lambda: one.on_zooniverse(ANNOUNCED) == 1)
        one.wait("a whole one", lambda: one.count(f"{WHOLE} AND state = 'uploading'") == 1)
        one.wait("three more announced", lambda: one.count(ANNOUNCED) == 4)
        one.kill()
        # Another run recovers all that, takes some of it up, and is killed as well.
        one.z.clear_faults()
        one.start_upload("--batch", "batch_2", "--connections", "1", "--limit", "3")
        one.wait("the whole one linked", lambda: one.count("batch_id = 2 AND state = 'uploaded'") == 1)
        one.kill()
        one.manifest()
        one.predict(15)
        excluded = one.folder / "excluded.txt"
        excluded.write_text(f"{one.capture_id(16)}\n")
        one.ctstate("exclude", str(excluded), "--reason", "a test")
        states = dict(one.ask("SELECT state, count(*) FROM capture GROUP BY state"))
        assert set(states) == {
            "manifested", "predicted", "batched", "uploading", "uploaded", "failed", "removed", "deleted",
        }, states  # fmt: skip
        assert one.count("state = 'failed' AND subject_id IS NULL") == 1
        assert one.count("state = 'failed' AND subject_id IS NOT NULL") == 1
        assert one.count(f"state = 'uploading' AND {IN_DOUBT}") == 2
        assert one.count(f"state = 'batched' AND {IN_DOUBT}") >= 1
        assert one.count("state = 'batched' AND ambiguous_at IS NULL") >= 1
        assert one.on_zooniverse(f"state = 'uploading' AND {IN_DOUBT}") == 1


def mid_upload() -> None:
    """A run killed in mid-upload, after one that was stopped with creates in doubt."""
    # With this seed each of the first six captures of batch 2, any of which may be the sixth, has several images.
    with making("mid_upload", seed=7) as one:
        one.manifest()
        one.ctstate("batch", "--number-of-batches", "2", "--order", "site")
        one.faults(create(2, LOST), create(3, {"kind": "reset_before"}))
        worker = one.start_upload("--batch", "batch_1", "--connections", "1", "--limit", "3")
        one.wait("two in doubt", lambda: one.count(IN_DOUBT) == 2)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 75
        one.workers = []
        assert one.count(f"state = 'batched' AND {IN_DOUBT}") == 2
        # Two whole ones, two lost replies (with and without a subject), then one create that is not answered; the
        # next one is held until the plan for its images is in place.
        one.faults(
            create(3, {"kind": "reset_after"}),
            create(4, {"kind": "reset_before"}),
            create(5, {**HANG, "work": True}),
            create(6, {"kind": "latency", "ms": 3000}),
        )
        one.stall("batch_2", 10)
        one.start_upload("--batch", "batch_2", "--connections", "2")
        one.wait("the sixth create", lambda: one.struck() == [1, 1, 1, 1])
        one.faults({"route": "put image", "nth": 2, **HANG})
        one.wait("an image that hangs", lambda: one.struck() == [1])
        one.wait("two whole ones", lambda: one.count(f"{WHOLE} AND state = 'uploading'") == 2)
        one.wait("three subjects known", lambda: one.count("state = 'uploading' AND subject_id IS NOT NULL") == 3)
        one.wait("three more announced", lambda: one.count(ANNOUNCED) == 4)
        one.kill()
        assert one.count("state = 'uploading'") == 11
        assert one.count(f"state = 'uploading' AND {UNTOUCHED}") == 2
        assert one.count(f"state = 'uploading' AND {IN_DOUBT}") == 2
        assert one.on_zooniverse(f"state = 'uploading' AND {IN_DOUBT}") == 1
        assert one.on_zooniverse(f"state = 'batched' AND {IN_DOUBT}") == 1
        assert one.on_zooniverse(ANNOUNCED) == 1
        assert one.count(f"{WHOLE} AND state = 'uploading'") == 2
        arrived = [[image["whole"] for image in subject[0]["images"]] for subject in one.subjects().values()]
        assert sum(any(images) and not all(images) for images in arrived) == 1


def half_linked() -> None:
    """Three uploaded; three linked by a call whose reply was lost; two whole, waiting to be linked."""
    with making("half_linked", captures=8) as one:
        one.manifest()
        one.faults(
            {"route": "link subjects", "nth": 2, "kind": "reset_after"},
            {"route": "link subjects", "nth": 3, **HANG},
        )
        one.start_upload("--connections", "2", "--link-batch-size", "3")
        one.wait("a links call that hangs", lambda: one.struck() == [1, 1])
        one.wait("all whole", lambda: one.count(WHOLE) == 8)
        one.kill()
        assert one.count("state = 'uploaded'") == 3
        linked = [
            subject for subjects in one.subjects().values() for subject in subjects if subject["subject_sets"]
        ]
        assert len(linked) == 6
        assert one.ask(LEASED) == [("complete",)]


def two_batches_two_workers() -> None:
    """Two workers, killed together: one while it links (it holds the lease), one amid its creates."""
    with making("two_batches_two_workers") as one:
        one.manifest()
        one.predict(1, 2, 3, 4, 9, 10)
        one.ctstate("batch", "--number-of-batches", "2", "--order", "sequential")
        one.faults({"route": "link subjects", "nth": 2, **HANG})
        one.start_upload("--batch", "batch_2", "--connections", "2", "--link-batch-size", "3")
        one.wait("a links call that hangs", lambda: one.struck() == [1])
        one.wait("all whole", lambda: one.count(f"{WHOLE} AND batch_id = 2") == 8)
        one.faults(create(2, {**HANG, "work": True}))
        one.stall("batch_1", 5)
        one.start_upload("--batch", "batch_1", "--connections", "1")
        one.wait("a create that hangs", lambda: one.struck() == [1])
        one.wait("its subject", lambda: one.on_zooniverse(ANNOUNCED) == 1)
        one.wait("a whole one", lambda: one.count(f"{WHOLE} AND batch_id = 1") == 1)
        one.wait("two more announced", lambda: one.count(ANNOUNCED) == 3)
        one.kill()
        assert one.count("batch_id = 2 AND state = 'uploaded'") == 3
        assert one.count(f"batch_id = 1 AND state = 'uploading' AND {UNTOUCHED}") == 4
        assert one.ask(LEASED) == [("batch_2",)]


def main() -> None:
    assert (__version__, HEAD) == ("0.1.0", "0004"), "this is not ctstate 0.1.0: run it from a checkout of that"
    for make in (every_state, mid_upload, half_linked, two_batches_two_workers):
        if make.__name__ in (sys.argv[1:] or [make.__name__]):
            make()


if __name__ == "__main__":
    main()
