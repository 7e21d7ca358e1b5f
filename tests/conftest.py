"""What several folders of tests share: the real command line, captures CSVs, ledgers, a sandbox.

* `ledger_path`: where this test's ledger is (or will be); see `tests/builders/ledgers.py`.
* `season_csv(rows, ...)`: writes a captures CSV and small image files; see `SeasonCsv`.
* `run_ctstate(*arguments, **environment)`: `ctstate` in a process of its own; gives code, stdout, stderr.
* `call_ctstate(*arguments)`: the same `main()` in this process, for the many cases where a second counts.
* `dump(path)`: a ledger's whole contents as SQL, to tell that it is as it was.
* `sandbox`: a Zooniverse for one test; `module_sandbox`: one for a module, for tests that only add to it.
"""

import contextlib
import csv
import ctypes
import gc
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ctstate.sandbox import SandboxProcess, SandboxSettings
from tests.builders.command_line import called
from tests.builders.fixtures import new_season, season, template, world
from tests.builders.ledgers import ON_POSTGRES, contents, is_ledger, no_ledger_at, raw

__all__ = ["new_season", "season", "template", "world"]  # fixtures for every folder

ACCOUNT = ("--attribution", "University of Minnesota", "--license", "Snapshot Safari")
IMAGE = b"\xff\xd8\xff\xd9"  # enough for `manifest`, which looks at names and sizes only


WAITING = (
    ("tests/slurm/test_slurm_losses.py", "tests/slurm/test_slurm_waiting.py"),
    ("tests/slurm/", "tests/browser/test_live_page.py"),
)
"""Tests that take long and compute little: they wait for a queue's next look, or for a page's."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let two processes begin with what waits, and the others compute meanwhile: each gets a run of neighbours
    (`--dist worksteal`), and who is done first takes over from the end of another's."""
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    if processes <= len(WAITING):
        return
    rest = list(items)
    items.clear()
    share = len(rest) // processes
    for files in WAITING:
        waiting = [item for item in rest if item.nodeid.startswith(files)]
        rest = [item for item in rest if not item.nodeid.startswith(files)]
        beside = max(0, share - len(waiting))
        items += waiting + rest[:beside]
        rest = rest[beside:]
    items += rest


def pytest_sessionstart() -> None:
    """What is made while tests are collected stays until the end: to look through it for garbage, then and again
    and again while they run, took a sixth of their time."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


class Result(NamedTuple):
    """How a call of the command line ended."""

    code: int
    stdout: str
    stderr: str

    def error(self) -> str:
        """The one line that a refusal prints; anything else fails the test."""
        lines = self.stderr.splitlines()
        assert "Traceback" not in self.stderr, self.stderr
        assert self.code in (1, 2), self
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("Error: "), lines
        return lines[0]


class SeasonCsv:
    """A folder with a captures CSV and the images it names.

    Attributes:
        folder: holds both.
        root: the images' folder, for `--images-root`.
        csv: the CSV written last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "images"
        self.root.mkdir(exist_ok=True)
        self.csv = folder / "captures.csv"

    def __call__(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        name: str = "captures.csv",
        images: bool = True,
        encoding: str = "utf-8",
        **how: Any,
    ) -> Path:
        """Write a CSV (`how` goes to csv.DictWriter) and, unless told otherwise, the images; return the CSV."""
        self.csv = self.folder / name
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with self.csv.open("w", newline="", encoding=encoding) as file:
            writer = csv.DictWriter(file, columns, **how)
            writer.writeheader()
            writer.writerows(rows)
        for row in rows if images else ():
            if row.get("path"):
                self.image(str(row["path"]))
        return self.csv

    def text(self, text: str | bytes, name: str = "captures.csv") -> Path:
        """Write a CSV byte for byte; return it."""
        self.csv = self.folder / name
        self.csv.write_bytes(text.encode() if isinstance(text, str) else text)
        return self.csv

    def image(self, path: str, content: bytes = IMAGE) -> Path:
        """Make an image file below the root."""
        place = self.root / path.replace("\\", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return place

    def arguments(self, *more: str) -> tuple[str, ...]:
        """`manifest` with all that it needs."""
        return ("manifest", str(self.csv), "--images-root", str(self.root), "--allow-missing", *ACCOUNT, *more)


def row(number: int = 1, rank: int = 1, site: str = "B04", season: str = "TST_S1", **more: Any) -> dict[str, Any]:
    """One row of a captures CSV with the old header."""
    path = f"{season}/{site}/{site}_R1/IMAG{number:04}_{rank}.JPG"
    base = {"season": season, "site": site, "roll": 1, "capture": number, "image": rank, "path": path}
    return {**base, **more}


@pytest.fixture(name="row", scope="session")
def row_maker() -> Callable[..., dict[str, Any]]:
    """`row(number, rank, site, season, **more)`: one row of a captures CSV."""
    return row


@pytest.fixture
def season_csv(tmp_path: Path) -> SeasonCsv:
    return SeasonCsv(tmp_path)


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path | str:
    """A path, or on PostgreSQL the URL of an empty database."""
    place = no_ledger_at(tmp_path / "season.db")
    return place if ON_POSTGRES else Path(place)


def give_up_privileges() -> None:
    """Take from root (for the programs it then starts) the power to read and write what permissions forbid."""
    if os.getuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert libc.prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP


@pytest.fixture
def run_ctstate(tmp_path: Path, ledger_path: Path) -> Callable[..., Result]:
    """`run_ctstate("status", "--json", PANOPTES_ENDPOINT=...)`: a user's call, from the test's folder.

    The ledger is the test's (by CTSTATE_LEDGER); an environment value of None takes the variable away.
    `unprivileged` binds root to file permissions like anybody else; `largest_file` (bytes) is a full disk.
    """

    def run(
        *arguments: str,
        unprivileged: bool = False,
        largest_file: int | None = None,
        **environment: str | None,
    ) -> Result:
        def before() -> None:
            if unprivileged:
                give_up_privileges()
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PANOPTES_", "CTSTATE_"))}
        wanted = {**kept, "CTSTATE_LEDGER": str(ledger_path), "HOME": str(tmp_path), **environment}
        done = subprocess.run(
            [sys.executable, "-m", "ctstate", *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            preexec_fn=before if unprivileged or largest_file is not None else None,
            cwd=tmp_path,
            env={key: value for key, value in wanted.items() if value is not None},
            timeout=120,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def call_ctstate(tmp_path: Path, ledger_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line's `main()` in this process: same parsing, same messages and codes, no new interpreter.

    The ledger is the test's, as with `run_ctstate`; an environment value of None takes the variable away.
    """
    for name in [*os.environ]:
        if name.startswith(("PANOPTES_", "CTSTATE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CTSTATE_LEDGER", str(ledger_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, **environment: str | None) -> Result:
        wanted = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
        done = called(*arguments, environment=wanted)
        return Result(done.returncode, done.stdout, done.stderr)

    return call


def dump_ledger(path: Path) -> str | None:
    """Return everything in a ledger as text; None where there is none."""
    if not is_ledger(path):
        return None
    if ON_POSTGRES:
        return repr(contents(path))
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return "\n".join(connection.iterdump())


@pytest.fixture(scope="session")
def dump() -> Callable[[Path], str | None]:
    return dump_ledger


@pytest.fixture
def ask(ledger_path: Path) -> Callable[..., list[tuple[Any, ...]]]:
    """`ask("SELECT ...")`: straight from the ledger, past all of ctstate."""

    def question(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with raw(ledger_path, read_only=True) as connection:
            return list(connection.execute(sql, parameters).fetchall())

    return question


QUICK = SandboxSettings(link_seconds=0.0, link_seconds_per_subject=0.0, counter_delay=0.0)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    """A Zooniverse of this test's own, that does not dawdle."""
    with SandboxProcess(tmp_path / "sandbox", QUICK) as process:
        yield process


@pytest.fixture(scope="module")
def module_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """A Zooniverse that a module's tests share."""
    with SandboxProcess(tmp_path_factory.mktemp("zooniverse"), QUICK) as process:
        yield process


def write_passwords(folder: Path, zooniverse: SandboxProcess) -> Path:
    """Write the password file of a sandbox's owner; return it."""
    path = folder / "passwords.ini"
    path.write_text(f"[zooniverse]\nusername = {zooniverse.login}\npassword = {zooniverse.password}\n")
    return path


@pytest.fixture(scope="session")
def passwords() -> Callable[[Path, SandboxProcess], Path]:
    return write_passwords
