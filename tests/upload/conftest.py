"""A season on a sandbox for each test."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from ctstate.sandbox import SandboxProcess
from tests.upload_help import Season

_numbers = itertools.count(1)


@pytest.fixture
def new_season(tmp_path: Path, module_sandbox: SandboxProcess) -> Callable[..., Season]:
    """`new_season(captures)`: a season of a name of its own, on the sandbox that the module's tests share."""
    module_sandbox.clear_faults()

    def make(captures: int = 6, zooniverse: SandboxProcess = module_sandbox) -> Season:
        number = next(_numbers)
        return Season(tmp_path / f"season{number}", zooniverse, captures, f"UP{number}_S1")

    return make
