"""Changes the program on purpose and looks whether the tests notice: `python -m tests.mutation`.

    --seed 1 --mutants 300      so many, drawn from all of `ledger`, `verbs/upload` and `zooniverse`
    --only 17,203               of these only numbers 17 and 203
    --look                      print them, without running a test
    --map tests/ledger          note anew what these tests call; without a folder: all that the table below names

Each mutant lives in a copy of the tree, and gets tests that call the function it is in: 20 seconds of them, the
quickest of every module of tests first; the first one that fails ends it. What tests call, and how long they take,
is in build/mutation, from a run of them all that `--map` makes (half an hour on two cores).

A test that hangs is counted apart, as killed: `timeout` in the list says where to look. Every so often tests run
on an unchanged copy; one that fails there has killed nothing, and the score is worth nothing.
"""

import argparse
import ast
import contextlib
import importlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.mutation.mutants import Mutant, mutants_of

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "mutation"
ROOMS = ("ledger", "verbs/upload", "zooniverse")
SECONDS = 30.0
"""Of tests for each mutant, as the map has them: a test takes twice as long while it is watched."""
FIRST = [f"tests/simulation/test_seasons.py::test_seasons_hold[{first}]" for first in (0, 10)]
"""Find more than others in their time."""
BESIDES = {
    "ledger/schema.py": "tests/ledger/test_migrations.py::test_the_tables_in_the_code_are_those_of_the_migrations",
    "ledger/names.py": "tests/cli/test_completion.py",
}
"""What is about files of which nothing is called, or in other processes only."""
HANGS_AFTER = 300.0
CONTROL_EVERY = 25
IMPORTED_ONCE = (
    "alembic.command",
    "click",
    "greenlet",
    "hypothesis",
    "jinja2",
    "msgspec",
    "numpy",
    "pandas",
    "PIL.Image",
    "panoptes_client",
    "psycopg",
    "requests",
    "rich.console",
    "sqlalchemy.dialects.postgresql",
    "starlette.applications",
    "uvicorn",
    "xdist",
)
TESTS = """ledger zooniverse_http upload simulation/test_seasons.py reconcile batch exclusion manifest manifests
    predictions removal reports library workflows ledgers_of_0_1_0 doctor cli camtrap serve
    unit/test_credentials.py unit/test_states.py"""
ON_POSTGRES = (
    "ledger batch manifests exclusion reports simulation/test_sim_postgres.py upload/test_postgres_uploads.py"
)
POSTGRES = {"CTSTATE_TEST_LEDGER": "postgres"}
Map = dict[str, dict[str, Any]]


def room_of(file: str) -> str:
    """Return the room that a file of `ctstate` is in."""
    return next(room for room in ROOMS if file.startswith(f"{room}/"))


def all_mutants() -> list[Mutant]:
    """Return every mutant of the rooms."""
    files = (path for room in ROOMS for path in sorted((ROOT / "ctstate" / room).rglob("*.py")))
    return [mutant for path in files for mutant in mutants_of(ROOT, str(path.relative_to(ROOT / "ctstate")))]


def make_map(tests: Sequence[str]) -> None:
    """Run tests to see what they call, on SQLite and, those that can be, on PostgreSQL."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name, more, usual in (("sqlite", {}, TESTS), ("postgres", POSTGRES, ON_POSTGRES)):
        chosen = tests or [f"tests/{each}" for each in usual.split()]
        environment = {**os.environ, **more, "CTSTATE_MUTATION_MAP": str(KEPT / f"{name}.json")}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.mutation.seen", "--timeout", "900", *chosen]
        subprocess.run(command, cwd=ROOT, env=environment, check=False)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{4,}", text.lower()))


class Chooser:
    """Chooses tests for mutants.

    Args:
        maps: what tests call, and how long they take, by database.
        seconds: of tests for a mutant.
    """

    def __init__(self, maps: dict[str, Map], seconds: float) -> None:
        self._maps, self._seconds = maps, seconds
        self._words: dict[str, set[str]] = {}
        for file in {name.split("::")[0] for called in maps.values() for name in called}:
            text = (ROOT / file).read_text()
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    self._words[f"{file}::{node.name}"] = _words(ast.get_source_segment(text, node) or "")
        self._rare = Counter(word for words in self._words.values() for word in words)

    def tests_for(self, mutant: Mutant) -> tuple[list[str], dict[str, str]]:
        """Return tests that call what was changed, the quickest first, and what is to be in the environment.

        On PostgreSQL where none calls it on SQLite. Where none at all does: tests that call anything of the file.
        """
        exactly, besides = {f"{mutant.file}:{line}" for line in mutant.functions}, BESIDES.get(mutant.file, "-")
        for fits in (exactly.__contains__, lambda name: name.startswith(f"{mutant.file}:"), bool):
            for kind, called in self._maps.items():
                able = [name for name, of in called.items() if any(map(fits, of["calls"]))]
                able += [name for name in called if name.startswith(besides)]
                if able:
                    return self._chosen(mutant, able, called), POSTGRES if kind == "postgres" else {}
        raise AssertionError("no tests at all")

    def _chosen(self, mutant: Mutant, able: Sequence[str], called: Map) -> list[str]:
        lines = (ROOT / "ctstate" / mutant.file).read_text().splitlines()
        here = _words(" ".join(lines[max(0, mutant.line - 4) : mutant.line + 4]))

        def module(name: str) -> str:
            return name.split("::")[0]

        def seconds(name: str) -> float:
            return float(called[name]["seconds"])

        def speaks_of_it(name: str) -> float:
            return sum(1 / self._rare[word] for word in here & self._words.get(name.split("[")[0], set()))

        # A few that the simulator or their words recommend, and then of every module of tests the quickest.
        by_module = itertools.groupby(sorted(able, key=lambda name: (module(name), seconds(name))), key=module)
        rounds = itertools.zip_longest(*(list(names) for _, names in by_module))
        quickest = [name for each in rounds for name in sorted(filter(None, each), key=seconds)]
        recommended = sorted(able, key=speaks_of_it, reverse=True)[:10]
        chosen: list[str] = []
        left = self._seconds
        for name in dict.fromkeys([*(name for name in FIRST if name in able), *recommended, *quickest]):
            if seconds(name) <= left:
                chosen.append(name)
                left -= seconds(name)
        return sorted(chosen, key=seconds)


@dataclass
class Outcome:
    """What became of a mutant: killed, timeout or survived; with no mutant it is a control."""

    number: int
    mutant: Mutant | None
    tests: int
    outcome: str = "survived"
    by: str = ""
    seconds: float = field(default=0.0)


class Copy:
    """A copy of the tree in which one mutant at a time lives, and the process that tests it."""

    def __init__(self, folder: Path) -> None:
        listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
        for name in subprocess.run(
            listed, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        self._folder, self._temporary, self._said = folder, folder.with_suffix(".tmp"), folder.with_suffix(".txt")
        self._restore: Callable[[], object] = int
        self.pid = 0
        self.outcome: Outcome | None = None

    def begin(self, outcome: Outcome, tests: Sequence[str], more: dict[str, str]) -> None:
        """Start the tests on a mutant."""
        mutant = outcome.mutant
        if mutant is not None:
            place = self._folder / "ctstate" / mutant.file
            whole, modified = place.read_bytes(), place.stat().st_mtime_ns
            self._restore = lambda: (place.write_bytes(whole), os.utime(place, ns=(modified, modified)))
            place.write_bytes(mutant.text(whole))
        self._temporary.mkdir()
        self.outcome, self._began = outcome, time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._test(tests, more)
            finally:
                os._exit(9)

    def _test(self, tests: Sequence[str], more: dict[str, str]) -> None:
        os.setsid()
        os.dup2(os.open(self._said, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 1)
        os.dup2(1, 2)
        os.chdir(self._folder)
        os.environ.update(
            more, PYTHONPATH=str(self._folder), PYTHONDONTWRITEBYTECODE="1", TMPDIR=str(self._temporary)
        )
        sys.path[:] = [str(self._folder), *(path for path in sys.path if path not in ("", str(ROOT)))]
        for name in [*sys.modules]:
            if name.partition(".")[0] in ("tests", "ctstate"):
                del sys.modules[name]
        options = ("-x", "-q", "--tb=no", "-rfE", "--timeout", "60", "-p", "no:cacheprovider")
        os._exit(pytest.main([*options, *tests]))

    def ended(self) -> bool:
        """Tell whether the tests are over, and if so clear up and write down what they said."""
        assert self.outcome is not None
        hung = time.monotonic() - self._began > HANGS_AFTER
        if hung:
            os.kill(self.pid, signal.SIGKILL)
        pid, status = os.waitpid(self.pid, 0 if hung else os.WNOHANG)
        if pid == 0:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid_file in self._temporary.glob("*/data/postmaster.pid"):  # whose pytest could not stop it
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._restore()
        self._restore = int
        said = self._said.read_text(errors="replace")
        failed = re.search(r"^(?:FAILED|ERROR) (.*)", said, re.MULTILINE)
        self.outcome.by = failed[1] if failed else "" if status == 0 else said[-200:]
        self.outcome.seconds = round(time.monotonic() - self._began, 1)
        if hung or "Timeout (>" in self.outcome.by:
            self.outcome.outcome = "timeout"
        elif status != 0:
            self.outcome.outcome = "killed"
        return True


def run_all(jobs: Sequence[tuple[int, Mutant | None, list[str], dict[str, str]]], processes: int) -> list[Outcome]:
    """Test mutants, some side by side."""
    folder = Path(tempfile.mkdtemp(prefix="ctstate-mutants-"))
    folder.chmod(0o755)  # PostgreSQL's server is another user's
    free, busy, done, left = [Copy(folder / str(name)) for name in range(processes)], [], [], list(jobs)
    for name in IMPORTED_ONCE:
        importlib.import_module(name)
    while left or busy:
        while left and free:
            number, mutant, tests, more = left.pop(0)
            busy.append(free.pop())
            busy[-1].begin(Outcome(number, mutant, len(tests)), tests, more)
        time.sleep(0.05)
        for copy in [each for each in busy if each.ended()]:
            busy.remove(copy)
            free.append(copy)
            assert copy.outcome is not None
            done.append(copy.outcome)
            each = copy.outcome
            print(
                f"{each.number:4} {each.outcome:8} {each.seconds:5} s  {each.mutant}  [{each.by[:120]}]", flush=True
            )
    shutil.rmtree(folder)
    return sorted(done, key=lambda each: (each.mutant is None, each.number))


def report(outcomes: Sequence[Outcome]) -> None:
    """Print the survivors, and the score of each room."""
    print("\nsurvived:")
    for each in outcomes:
        if each.mutant is not None and each.outcome == "survived":
            print(f"{each.number:4} {each.mutant}")
    by_room = Counter((room_of(each.mutant.file), each.outcome) for each in outcomes if each.mutant is not None)
    print(f"\n{'':14}killed  timeout  survived  score")
    for room in (*ROOMS, ""):
        killed, hung, left = (
            sum(count for (where, how), count in by_room.items() if how == outcome and room in ("", where))
            for outcome in ("killed", "timeout", "survived")
        )
        score = f"{(killed + hung) / max(1, killed + hung + left):6.1%}"
        print(f"{room or 'all':14}{killed:6}{hung:9}{left:10} {score}")
    controls = [each for each in outcomes if each.mutant is None]
    print(f"unchanged: {len(controls)} runs, {sum(each.outcome != 'survived' for each in controls)} failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=lambda text: {int(number) for number in text.split(",")})
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--look", action="store_true")
    parser.add_argument("--map", nargs="*")
    told = parser.parse_args()
    if told.map is not None:
        make_map(told.map)
        return
    everything = all_mutants()
    sample = random.Random(told.seed).sample(everything, told.mutants)
    wanted = [(n, mutant) for n, mutant in enumerate(sample) if told.only is None or n in told.only]
    print(f"seed {told.seed}: {len(wanted)} of {len(everything)} mutants", flush=True)
    if told.look:
        print(*(f"{number:4} {mutant}" for number, mutant in wanted), sep="\n")
        return
    if not (KEPT / "sqlite.json").exists():
        make_map([])
    maps = {name: json.loads((KEPT / f"{name}.json").read_text()) for name in ("sqlite", "postgres")}
    chooser, began = Chooser(maps, told.seconds), time.monotonic()
    jobs = [(number, mutant, *chooser.tests_for(mutant)) for number, mutant in wanted]
    controls = [(number, None, tests, more) for number, _, tests, more in jobs[::CONTROL_EVERY]]
    outcomes = run_all([*jobs, *controls], told.processes)
    (KEPT / "outcomes.json").write_text(json.dumps([asdict(each) for each in outcomes], indent=1))
    report(outcomes)
    print(f"{(time.monotonic() - began) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
