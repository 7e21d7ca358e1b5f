"""Simulated seasons: they hold, a seed is a whole season, a defect is found, and what broke is made smaller.

For longer: `make simulate`, or `python -m tests.simulation --help`.
"""

import os
import signal
import subprocess
import sys
from typing import NoReturn

import pytest

from tests.simulation import __main__ as simulator
from tests.simulation.defects import DEFECTS
from tests.simulation.season import Season
from tests.simulation.shrink import shrink
from tests.simulation.sim_ledger import SimDatabase, new_database


@pytest.fixture(scope="module")
def database() -> SimDatabase:
    return new_database()


@pytest.mark.parametrize("first", [0, 10, 20, 30])
def test_seasons_hold(database: SimDatabase, first: int) -> None:
    for seed in range(first, first + 10):
        season = Season(seed, database=database)
        found = season.play()
        assert found == [], f"season {seed}: {found[0]}\n{season.kernel.trace}"


def test_a_seed_is_a_whole_season() -> None:
    """The same steps, also in another process."""
    code = (
        "from tests.simulation.season import Season\n"
        "season = Season(4)\nseason.play()\nprint(season.kernel.fingerprint, season.kernel.steps)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    told = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120
        ).stdout
        for _ in range(2)
    }
    assert len(told) == 1


@pytest.mark.parametrize("how", ["an error", "SIGKILL"])
def test_a_simulator_that_breaks_itself_says_so_and_ends(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Else whoever waits for its processes waits for ever."""

    def broken(seed: int, *_: object, **__: object) -> NoReturn:
        if how == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError(f"season {seed} cannot be played")

    monkeypatch.setattr(simulator, "Season", broken)
    with pytest.raises(SystemExit, match="the simulator itself broke"):
        simulator.run(1, minutes=1.0, seasons=2, kills=10**12, processes=2, deadly=False)


def test_there_are_enough_defects_and_each_can_still_be_made() -> None:
    assert len(DEFECTS) >= 25
    for defect in DEFECTS.values():
        with defect():
            pass


@pytest.mark.parametrize(
    "name",
    [
        "the last image of a subject is not put",
        "a subject is put into its set as soon as it is made",
        "what a dead run had announced is not in doubt",
        "a lost create that was found is made again",
    ],
)
def test_a_defect_is_found(database: SimDatabase, name: str) -> None:
    with DEFECTS[name]():
        assert any(Season(seed, database=database, tracing=False).play() for seed in range(1000, 1150))


def test_a_season_that_broke_is_told_in_words_and_made_smaller(database: SimDatabase) -> None:
    with DEFECTS["what a dead run had announced is not in doubt"]():
        broken = next(seed for seed in range(1000, 1150) if Season(seed, database=database, tracing=False).play())
        struck = len(Season(broken).kernel.struck)
        told = shrink(broken, patience_s=8.0)
    assert "accidents are left" in told
    assert "POST /api/subjects: 201" in told
    assert int(told.split(" accidents are left")[0].rsplit("\n", 1)[-1]) <= max(struck, 60)
