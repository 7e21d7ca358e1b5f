"""An upload encodes with the cores that its job was given, not with those of the node."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ctstate.images.cores import MOST, usable_cores

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("environment", "cores"),
    [
        ({}, min(HERE, MOST)),
        ({"SLURM_CPUS_PER_TASK": "1"}, 1),
        ({"NCPUS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"SLURM_CPUS_PER_TASK": "64"}, min(HERE, MOST)),
        ({"SLURM_CPUS_PER_TASK": "2(x3)"}, min(HERE, MOST)),
        ({"SLURM_CPUS_PER_TASK": "0"}, 1),
        ({"OMP_NUM_THREADS": "9" * 5000}, min(HERE, MOST)),
    ],
)
def test_the_job_says_how_many(environment: dict[str, str], cores: int, tmp_path: Path) -> None:
    assert usable_cores(environment, tmp_path) == cores


def test_one_that_may_run_on_one_core_uses_one() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from ctstate.images.cores import usable_cores; print(usable_cores({}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.skipif(HERE < 2, reason="there is only one core here")
@pytest.mark.parametrize(
    ("said", "cores"),
    [("100000 100000", 1), ("150000 100000", 2), ("max 100000", min(HERE, MOST)), ("1 0", min(HERE, MOST))],
)
def test_a_control_group_leaves_so_many(said: str, cores: int, tmp_path: Path) -> None:
    own = next(line[3:].strip() for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::")
    folder = tmp_path / own.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(f"{said}\n")
    assert usable_cores({}, tmp_path) == cores
