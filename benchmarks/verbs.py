"""The verbs that read or write the ledger alone, each beside its floor: the same work in the leanest plain Python.

    python benchmarks/verbs.py [--captures 50000 200000] [--steps manifest batch ...]

Each step runs in a process of its own on a copy of the same ledger: ctstate, and the floor (benchmarks/floors,
a readable file each); both must have made the same of it. CPU is user and system, imports apart; MB is the peak of
the process. `ratio` is by CPU. What may be quoted is ratios of one run.
"""

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from season import Files, make

HERE = Path(__file__).parent
BATCHES = 10


def _manifest(ledger: str, csv: str, root: str) -> None:
    from ctstate.verbs.manifest import manifest

    _clocked(ledger, lambda opened: manifest(opened, csv, attribution="a", license="l", images_root=root))


def _predict(ledger: str, *files: str) -> None:
    from ctstate.verbs.predict import PredictionFile, predict

    _clocked(ledger, lambda opened: predict(opened, [PredictionFile(file) for file in files]))


def _batch(ledger: str, batches: str) -> None:
    from ctstate.verbs.batch import batch

    _clocked(ledger, lambda opened: batch(opened, number_of_batches=int(batches)))


def _export_manifest(ledger: str, file: str) -> None:
    from ctstate.verbs.export import export_manifest

    _clocked(ledger, lambda opened: export_manifest(opened, folder=_folder(file)))


def _export_tracker(ledger: str, file: str) -> None:
    from ctstate.verbs.export import export_tracker

    _clocked(ledger, lambda opened: export_tracker(opened, folder=_folder(file)))


def _folder(file: str) -> Path:
    folder = Path(f"{file}.ctstate")
    folder.mkdir()
    return folder


def _clocked(ledger: str, work: Callable[[Any], Any]) -> None:
    sys.path.insert(0, str(HERE / "floors"))
    from common import clocked

    from ctstate.ledger import Ledger

    def opened() -> None:
        with Ledger.open(ledger) as found:
            work(found)

    clocked(opened)


class Step(NamedTuple):
    """A verb and its floor.

    Attributes:
        do: the verb.
        floor: its file.
        arguments: of both, beside the ledger.
        made: a question, to which both ledgers must have the same answer after it; None: it changes nothing.
    """

    do: Callable[..., None]
    floor: str
    arguments: Callable[[Files, Path], tuple[object, ...]]
    made: str | None = None


STEPS = {
    "manifest": Step(
        _manifest,
        "manifest",
        lambda files, _: (files.csv, files.images),
        "SELECT count(*), sum(capture_number), (SELECT count(*) FROM image WHERE problem IS NULL),"
        " (SELECT count(*) FROM event) FROM capture",
    ),
    "predict": Step(
        _predict,
        "predict",
        lambda files, _: (files.empty, files.species),
        "SELECT source, count(*), sum(length(metadata)), total(machine_blank), total(machine_species_confidence),"
        " (SELECT count(*) FROM event) FROM prediction GROUP BY source",
    ),
    "predict images": Step(
        _predict,
        "predict_images",
        lambda files, _: (files.megadetector,),
        "SELECT count(*), total(machine_animal), total(machine_blank) FROM prediction WHERE source LIKE 'mega%'",
    ),
    "batch": Step(
        _batch,
        "batch",
        lambda files, _: (BATCHES,),
        "SELECT b.name, count(*), sum(position * capture_number), (SELECT count(*) FROM event)"
        " FROM capture c JOIN batch b ON b.id = c.batch_id GROUP BY b.name",
    ),
    "export manifest": Step(_export_manifest, "export_manifest", lambda _, folder: (folder / "manifest.json",)),
    "export tracker": Step(_export_tracker, "export_tracker", lambda _, folder: (folder / "none.txt",)),
    "export tracker, all": Step(_export_tracker, "export_tracker", lambda _, folder: (folder / "all.txt",)),
}
"""In this order: each begins with the ledger that the one before has left."""

UPLOAD_ALL = (
    "UPDATE capture SET state = 'uploading', moved_at = 't4'",
    "UPDATE capture SET state = 'uploaded', moved_at = 't5', subject_id = id",
)
"""What an upload does to the ledger, in short."""


class Cost(NamedTuple):
    """What a process took: seconds, seconds, MB."""

    cpu: float
    wall: float
    mb: float


def cost_of(*command: object) -> Cost:
    """Run Python on a script that ends with `clocked`."""
    done = subprocess.run([sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True, check=True)
    said = json.loads(done.stdout)
    return Cost(said["cpu"], said["wall"], said["mb"])


def answer(ledger: Path, question: str) -> list[Any]:
    """Return what a ledger says."""
    with closing(sqlite3.connect(ledger)) as connection:
        return [
            tuple(round(v, 3) if isinstance(v, float) else v for v in row) for row in connection.execute(question)
        ]


def measure(folder: Path, captures: int, steps: list[str]) -> None:
    """Take all steps with so many captures, and print those that are asked for."""
    from ctstate.ledger import Ledger

    files = make(folder, captures)
    ledger, floors = folder / "ledger.db", folder / "floor.db"
    Ledger.open(ledger, create=True).close()
    for name, step in STEPS.items():
        if name == "export tracker, all":
            with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
                for change in UPLOAD_ALL:
                    connection.execute(change)
        with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(floors)) as copy:
            source.backup(copy)
        arguments = step.arguments(files, folder)
        ours = cost_of(HERE / "verbs.py", "--do", name, ledger, *arguments)
        if name not in steps:
            continue
        floor = cost_of(HERE / "floors" / f"{step.floor}.py", floors, *arguments)
        if step.made is not None:
            here, there = answer(ledger, step.made), answer(floors, step.made)
            assert here == there, f"{name}: {here} is not {there}"
        print(
            f"{captures:9,}  {name:20}  {ours.cpu:7.2f} {ours.wall:7.2f} {ours.mb:5.0f}"
            f"  {floor.cpu:7.2f} {floor.wall:7.2f} {floor.mb:5.0f}  {ours.cpu / floor.cpu:5.2f}",
            flush=True,
        )


def main() -> None:
    if sys.argv[1:2] == ["--do"]:
        STEPS[sys.argv[2]].do(*sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    arguments = parser.parse_args()
    print("                                    ctstate                  floor")
    print(" captures  step                  CPU s  wall s    MB    CPU s  wall s    MB  ratio")
    for captures in arguments.captures:
        folder = Path(tempfile.mkdtemp(prefix="bench-verbs-"))
        try:
            measure(folder, captures, arguments.steps)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
