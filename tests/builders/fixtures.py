"""Seasons as fixtures; tests/conftest.py hands them to every folder."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ctstate.sandbox import SandboxProcess
from tests.builders.season_files import SeasonFiles
from tests.builders.season_on_sandbox import Season
from tests.builders.uploaded_season import UploadedSeason, copy_of, make

_numbers = itertools.count(1)


@pytest.fixture
def season(tmp_path: Path) -> SeasonFiles:
    """A season's files, and a ledger that knows them."""
    made = SeasonFiles(tmp_path)
    made.load()
    return made


@pytest.fixture
def new_season(tmp_path: Path, module_sandbox: SandboxProcess) -> Callable[..., Season]:
    """`new_season(captures)`: a season of a name of its own, on the sandbox that the module's tests share."""
    module_sandbox.clear_faults()

    def make_one(captures: int = 6, zooniverse: SandboxProcess = module_sandbox) -> Season:
        number = next(_numbers)
        return Season(tmp_path / f"season{number}", zooniverse, captures, f"UP{number}_S1")

    return make_one


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A season that is uploaded, made once."""
    return make(tmp_path_factory.mktemp("uploaded"))


@pytest.fixture
def world(template: Path, tmp_path: Path) -> Iterator[UploadedSeason]:
    """A copy of it, ledger and sandbox, for one test to change."""
    with copy_of(template, tmp_path / "world") as made:
        yield made
