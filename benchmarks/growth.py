"""How the verbs grow with the season: each at several sizes, with CPU time, peak memory, and the ledger's bytes.

    python benchmarks/growth.py [--captures 10000 100000 1000000] [--subjects 10000 100000] [--folder /data]

A season is read, predicted, batched, taken to have been uploaded, looked at, exported, copied, imported, each verb
by its command line in a process of its own; then the verbs that hold it against Zooniverse, whose part a sandbox
plays that has the subjects already. CPU is user and system, less that of a process that opens an empty ledger and
looks at it; MB is the peak of the process. `growth` is of the CPU time from the last size but one to the last, over
what n log n would take: above 1 is worse than that. A million captures need some 12 GB and 20 minutes.
"""

import argparse
import base64
import hashlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from report import AT
from season import Files, make
from sqlalchemy import text

from ctstate.capture import pages
from ctstate.ledger import Ledger
from ctstate.ledger.claims import read_captures
from ctstate.ledger.counts import MANY, counted_once
from ctstate.sandbox import SandboxProcess, SandboxSettings
from ctstate.sandbox.state import World
from ctstate.zooniverse.subject import LEDGER_KEY, external_id, subject_metadata, subject_set_name

SEASON = "SER_S1"
SANDBOX = SandboxSettings(subject_limit=10_000_000, discard_images=True)
START = "status, no season"


class Cost(NamedTuple):
    """What a process took: seconds, seconds, MB."""

    cpu: float
    wall: float
    mb: float


class Step(NamedTuple):
    """A call of ctstate.

    Attributes:
        name: in the table.
        words: of the command line.
        exits: codes that are as they should be.
        ledger: in the folder.
    """

    name: str
    words: Sequence[object]
    exits: Sequence[int] = (0,)
    ledger: str = "ledger.db"


# -- the steps -------------------------------------------------------------------------------------------------


def before_upload(files: Files, folder: Path) -> list[Step]:
    """Prepare a season, all of it still to come."""
    images = ("--images-root", files.images)
    manifest = ("manifest", files.csv, *images, "--attribution", "a", "--license", "l")
    people = ("--where", "machine_person > 0.9")
    out = ("--output-dir", folder / "out")
    return [
        Step(START, ["status"]),
        Step("manifest", manifest),
        Step("manifest, nothing new", manifest),
        Step(
            "predict, two files keyed by capture", ["predict", "--empty", files.empty, "--species", files.species]
        ),
        Step("predict, MegaDetector", ["predict", files.megadetector]),
        Step("predict, nothing new", ["predict", files.megadetector]),
        Step("exclude --where", ["exclude", *people, "--reason", "people"]),
        Step("include --where", ["include", "--where", "excluded = 'people'"]),
        Step("exclude, a list of images", ["exclude", folder / "listed.csv", "--reason", "people"]),
        Step("include, a list of images", ["include", folder / "listed.csv"]),
        Step("sample 2", ["sample", 2]),
        Step("sample --all", ["sample", "--all"]),
        Step("batch", ["batch", "--max-batch-size", 10_000]),
        Step("batch, anew", ["batch", "--max-batch-size", 10_000, "--order", "site"]),
        Step("export manifest", ["export", "manifest", *out]),
        Step("export speciesnet-instances", ["export", "speciesnet-instances", "-o", folder / "out" / "sn.json"]),
        Step("export tracker, nothing uploaded", ["export", "tracker", *out]),
        Step("report --before-upload", ["report", "--before-upload", "-o", folder / "sheet.html"]),
    ]


COUNTING = {
    name: f"SELECT * FROM {name}"
    for name in ("v_progress", "v_sites", "v_hourly", "v_runs", "v_polls", "v_verifications", "v_days")
} | {"v_captures by state": "SELECT state, count(*) FROM v_captures GROUP BY state"}


def after_upload(folder: Path) -> list[Step]:
    """Look at a season that is uploaded, one in twenty failed; take it elsewhere."""
    out = ("--output-dir", folder / "out")
    return [
        Step("status", ["status"]),
        Step("watch --once", ["watch", "--once"]),
        Step("runs", ["runs"]),
        Step("history", ["history", f"{SEASON}#S000#1#1"]),
        *(Step(f"sql, {name}", ["sql", "--csv", question]) for name, question in COUNTING.items()),
        *(
            Step(f"sql, all of {name}", ["sql", "--csv", f"SELECT * FROM {name}"])
            for name in ("v_captures", "v_images", "v_events", "v_failures")
        ),
        Step("report", ["report", "-o", folder / "report.html"]),
        Step("doctor, without an account", ["doctor"], exits=(0, 1)),
        Step("export captures", ["export", "captures", "-o", folder / "out" / "captures.csv"]),
        Step("export uploaded-manifest", ["export", "uploaded-manifest", *out]),
        Step("export tracker, all uploaded", ["export", "tracker", *out]),
        Step(
            "import manifest",
            ["import", "manifest", folder / "out" / f"{SEASON}__complete__manifest_uploaded.json", "--images-root",
             folder / "images"],
            ledger="old.db",
        ),
        Step(
            "import tracker",
            ["import", "tracker", folder / "out" / f"{SEASON}__complete__upload_tracker_file.txt"],
            ledger="old.db",
        ),
        Step("retry", ["retry"]),
        Step("backup", ["backup", "--to", folder / "backup.db"]),
        Step("copy", ["copy", folder / "ledger.db", folder / "copy.db"]),
    ]  # fmt: skip


ON_ZOONIVERSE = [
    Step("reconcile", ["reconcile", "--project-id", 1001]),
    Step("verify", ["verify", "--project-id", 1001]),
    Step("update-metadata --all --dry-run", ["update-metadata", "--project-id", 1001, "--all", "--dry-run"]),
    Step(
        "remove --dry-run",
        ["remove", "--project-id", 1001, "--season", SEASON, "--reason", "people", "--dry-run"],
    ),
    Step(
        "reconcile, an old copy of the ledger",
        ["reconcile", "--project-id", 1001],
        exits=(1,),
        ledger="before.db",
    ),
]


# -- what no verb does alone: in a process of its own, as the peak of this one counts in that of the next ---------


def made(folder: Path, captures: int) -> None:
    """Write the season's files, and a list of one image in seventeen; make ledgers for it."""
    files = make(folder, captures)
    with files.csv.open() as rows, (folder / "listed.csv").open("w") as listed:
        listed.write("path\n")
        listed.writelines(f"{row.split(',')[5]}\n" for number, row in enumerate(rows) if number % 17 == 5)
    for name in ("ledger.db", "old.db"):
        Ledger.open(folder / name, create=True).close()
    (folder / "out").mkdir()


def uploaded(folder: Path) -> None:
    """Write down what an upload would: all is there but one capture in twenty, which failed."""
    with (
        Ledger.open(folder / "ledger.db") as ledger,
        ledger.atomic_run("upload", {}) as (connection, run_id),
        counted_once(connection, MANY),
    ):
        for statement in (
            "UPDATE batch SET project_id = 1001, subject_set_id = 5000 + id, subject_set_name = 'set ' || id",
            "UPDATE image SET md5 = lower(hex(randomblob(16))), bytes = 200000 + id % 1000,"
            " arrived_at = '2026-11-23T19:02:43.123456Z' WHERE problem IS NULL",
            "UPDATE capture SET state = 'uploading', claim = 1, run_id = :run, moved_at = '2'"
            " WHERE state = 'batched' AND excluded IS NULL",
            "UPDATE capture SET state = 'failed', reason = 'broken', reason_kind = 'image_broken',"
            f" moved_at = {AT} || ':30:00.000000Z' WHERE state = 'uploading' AND id % 20 = 7",
            f"UPDATE capture SET state = 'uploaded', subject_id = 100000 + id, moved_at = {AT} || ':00:00.000000Z'"
            " WHERE state = 'uploading'",
        ):
            connection.execute(text(statement), {"run": run_id} if ":run" in statement else {})


NOTE_SET = text("UPDATE batch SET project_id = :p, subject_set_id = :s, subject_set_name = :n WHERE id = :b")
CLAIM = text("UPDATE capture SET state = 'uploading', claim = 1, run_id = :run WHERE state = 'batched'")
CLAIMED = text("SELECT id, batch_id FROM capture WHERE state = 'uploading' ORDER BY id")
ARRIVED = text("UPDATE image SET md5 = :md5, bytes = 200000, arrived_at = 't' WHERE id = :key")
LINKED = text("UPDATE capture SET state = 'uploaded', subject_id = :subject WHERE id = :key")
NOTE_RUN = text("UPDATE run SET project_id = :p, uploader_id = :u, watermark = :w WHERE id = :run")


def on_sandbox(folder: Path) -> None:
    """Make the subjects of all captures, with their images, in a sandbox that is not running; write them down."""
    world = World(folder / "sandbox", SANDBOX)
    project, me = world.project.id, world.owner
    sets = {}
    with Ledger.open(folder / "ledger.db") as ledger, ledger.write() as connection:
        for each in ledger.batches(None):
            name = subject_set_name(SEASON, each.name)
            sets[each.id] = world.create_set(project, name, {LEDGER_KEY: ledger.ledger_id})
            connection.execute(NOTE_SET, {"p": project, "s": sets[each.id].id, "n": name, "b": each.id})
    shutil.copy(folder / "ledger.db", folder / "before.db")
    with (
        Ledger.open(folder / "ledger.db") as ledger,
        ledger.atomic_run("upload", {}) as (connection, run_id),
        counted_once(connection, MANY),
        world.store.together(),
    ):
        connection.execute(CLAIM, {"run": run_id})
        for page in pages(connection.execute(CLAIMED).all()):
            subjects = {}
            for row in read_captures(connection, [key for key, _ in page]):
                locations = [("image/jpeg", "")] * len(row.images)
                mark = external_id(ledger.ledger_id, row.id, 1)
                subject = world.create_subject(project, me, locations, subject_metadata(row), mark, [])
                for there, image in zip(subject.images, row.images, strict=True):
                    md5 = hashlib.md5(image.path.encode(), usedforsecurity=False)
                    world.received(there, 200_000, base64.b64encode(md5.digest()).decode(), "image/jpeg")
                    connection.execute(ARRIVED, {"md5": md5.hexdigest(), "key": image.id})
                subjects[row.id] = subject
            for batch_id, into in sets.items():
                world.link(into, [subjects[key] for key, its in page if its == batch_id], "link")
            connection.execute(LINKED, [{"subject": made.id, "key": key} for key, made in subjects.items()])
        connection.execute(NOTE_RUN, {"p": project, "u": me.id, "w": max(world.subjects), "run": run_id})
    world.close()


def tied(folder: Path, url: str) -> None:
    """Tie the ledgers to the sandbox that runs now."""
    for name in ("ledger.db", "before.db"):
        with Ledger.open(folder / name) as ledger:
            ledger.bind_endpoint(url)


PARTS = {each.__name__: each for each in (made, uploaded, on_sandbox, tied)}


def apart(part: str, *given: object) -> None:
    """Do one of these in a process of its own."""
    subprocess.run([sys.executable, __file__, "--part", part, *map(str, given)], check=True)


# -- measuring -------------------------------------------------------------------------------------------------


def cost_of(command: Sequence[object], exits: Sequence[int], more: Mapping[str, str]) -> Cost:
    """Run a command; what it prints goes nowhere."""
    with tempfile.TemporaryFile() as complaints:
        began = time.monotonic()
        child = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            env={**os.environ, **more},
        )
        _, status, used = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in exits:
            complaints.seek(0)
            raise SystemExit(f"{command} exits with {child.returncode}: {complaints.read().decode()}")
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024)


class Table:
    """What was measured: for each step, by size."""

    def __init__(self) -> None:
        self.costs: dict[str, dict[int, Cost]] = {}
        self.start = 0.0

    def take(self, size: int, folder: Path, steps: Iterable[Step], more: Mapping[str, str] | None = None) -> None:
        """Take steps, one after another, and note what each costs."""
        for step in steps:
            command = [sys.executable, "-m", "ctstate", "--ledger", folder / step.ledger, *step.words]
            cost = cost_of(command, step.exits, more or {})
            if step.name == START:
                self.start = min(cost_of(command, step.exits, more or {}).cpu for _ in range(5))
                print(f"a process that looks at an empty ledger: {self.start:.2f} s, {cost.mb:.0f} MB", flush=True)
                continue
            cost = cost._replace(cpu=max(cost.cpu - self.start, 0.0))
            self.costs.setdefault(step.name, {})[size] = cost
            print(f"{size:9,}  {step.name:38} {cost.cpu:8.2f} {cost.wall:8.2f} {cost.mb:5.0f}", flush=True)

    def show(self, sizes: Sequence[int]) -> None:
        """Print it."""
        print("\n| verb |" + "".join(f" {size:,}: CPU s, MB |" for size in sizes) + " growth |")
        print("| --- |" + " --- |" * (len(sizes) + 1))
        for name, costs in self.costs.items():
            of_sizes = [f"{cost.cpu:.2f}, {cost.mb:.0f}" for cost in map(costs.get, sizes) if cost is not None]
            if len(of_sizes) == len(sizes):
                print(f"| {name} | {' | '.join(of_sizes)} | {_growth(costs, sizes)} |")


def _growth(costs: Mapping[int, Cost], sizes: Sequence[int]) -> str:
    """Return how CPU time grew over what n log n would take; nothing where it is too short to say."""
    if len(sizes) < 2 or costs[sizes[-2]].cpu < 0.2:
        return ""
    few, many = sizes[-2:]
    return f"{costs[many].cpu / costs[few].cpu / (many * math.log(many) / few / math.log(few)):.2f}"


def measure(table: Table, folder: Path, captures: int) -> None:
    """Take a season of so many captures through all verbs that read or write the ledger alone."""
    files = Files(*(folder / name for name in ("captures.csv", "images", "md.json", "empty.json", "species.json")))
    apart("made", folder, captures)
    for step in before_upload(files, folder):
        table.take(captures, folder, [step])
        if step.name in ("manifest", "predict, MegaDetector", "batch"):
            show_bytes(folder / "ledger.db", captures)
    for made_from in (files.empty, files.species, files.megadetector, *(folder / "out").iterdir()):
        made_from.unlink()
    apart("uploaded", folder)
    show_bytes(folder / "ledger.db", captures)
    table.take(captures, folder, after_upload(folder))


def show_bytes(ledger: Path, captures: int) -> None:
    """Print how large the ledger is."""
    print(f"{captures:9,}  {ledger.stat().st_size / captures:.0f} bytes a capture", flush=True)


def measure_on_zooniverse(table: Table, folder: Path, captures: int) -> None:
    """Hold a season of so many subjects against a sandbox."""
    files = Files(*(folder / name for name in ("captures.csv", "images", "md.json", "empty.json", "species.json")))
    apart("made", folder, captures)
    table.take(captures, folder, [step for step in before_upload(files, folder) if step.name in FOR_SUBJECTS])
    apart("on_sandbox", folder)
    with SandboxProcess(folder / "sandbox", SANDBOX) as sandbox:
        apart("tied", folder, sandbox.url)
        account = {
            "PANOPTES_ENDPOINT": sandbox.url,
            "PANOPTES_USERNAME": sandbox.login,
            "PANOPTES_PASSWORD": sandbox.password,
        }
        table.take(captures, folder, ON_ZOONIVERSE, account)


FOR_SUBJECTS = (START, "manifest", "predict, MegaDetector", "batch")


def main() -> None:
    """Measure, and print tables."""
    if sys.argv[1:2] == ["--part"]:
        part, folder, *given = sys.argv[2:]
        PARTS[part](Path(folder), *(int(each) if each.isdigit() else each for each in given))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--subjects", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--folder")
    given = parser.parse_args()
    for sizes, measured in ((given.captures, measure), (given.subjects, measure_on_zooniverse)):
        table = Table()
        for size in sizes:
            folder = Path(tempfile.mkdtemp(prefix="bench-growth-", dir=given.folder))
            try:
                measured(table, folder, size)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        if sizes:
            table.show(sizes)


if __name__ == "__main__":
    main()
