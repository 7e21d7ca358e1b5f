"""How many cores this process may use: what the node has is not what the job was given."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

from ctstate.words import whole_number

MOST = 8
"""More would wait for the network: a core makes 20 images a second and more (benchmarks/images.py),
and the eight connections of an upload take about a hundred."""

_VARIABLES = ("SLURM_CPUS_PER_TASK", "NCPUS", "PBS_NCPUS", "OMP_NUM_THREADS")
"""What Slurm, PBS and careful users say of a job's cores; the first that says something counts."""


def usable_cores(environment: Mapping[str, str] | None = None, cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores encoding may use: at least 1, at most MOST.

    The fewest of: the cores that the kernel lets this process run on, the share of its control groups
    (`cpu.max`, https://docs.kernel.org/admin-guide/cgroup-v2.html), and what its job was given.

    Args:
        environment: instead of this process' own.
        cgroups: where control groups of version 2 are shown.
    """
    source = os.environ if environment is None else environment
    numbers = (whole_number(source.get(name, "")) for name in _VARIABLES)
    given = next((number for number in numbers if number is not None), MOST)
    return max(1, min(len(os.sched_getaffinity(0)), _share(cgroups), given, MOST))


def _share(cgroups: Path) -> int:
    """Return the cores that the control groups of this process leave it."""
    try:
        own = next(line[3:].strip() for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::"))
    except StopIteration:
        return MOST
    most = float(MOST)
    folder = cgroups / own.lstrip("/")
    for place in (folder, *folder.parents):
        quota, _, period = _read(place / "cpu.max").partition(" ")
        used, of = whole_number(quota), whole_number(period.strip())
        if used is not None and of:
            most = min(most, used / of)
        if place == cgroups:
            break
    return math.ceil(most)


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""  # another system, or no right to look: nothing is known
