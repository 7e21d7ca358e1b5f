"""Slurm's partitions: how long a job may run in each, so that none is submitted that would wait for ever."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ctstate.cluster import tools
from ctstate.cluster.scripts import WALLTIME, in_hours, walltime_seconds
from ctstate.errors import UsageError


@dataclass(frozen=True)
class Partition:
    """A partition.

    Attributes:
        name: of it.
        most: seconds that a job may run; None: as long as it likes.
        is_default: jobs that name none go there.
    """

    name: str
    most: int | None = None
    is_default: bool = False


@dataclass(frozen=True)
class Place:
    """Where a job is to run, as far as that is known before it is submitted.

    Attributes:
        names: of the partitions that it may choose among; empty: not known.
        most: seconds that it may run there; None: as long as it likes, or not known.
        others: partitions where it might run instead.
    """

    names: tuple[str, ...] = ()
    most: int | None = None
    others: tuple[Partition, ...] = ()

    def wall_time(self, wanted: str | None) -> str:
        """Return the wall time of a worker: as wanted, or the usual one where nothing is said, or what is allowed.

        Raises:
            UsageError: more is wanted than is allowed: Slurm would take the job and never begin it.
        """
        if wanted is None:
            return WALLTIME if self.most is None or self.most >= walltime_seconds(WALLTIME) else in_hours(self.most)
        seconds = walltime_seconds(wanted)
        if self.most is None or seconds <= self.most:
            return wanted
        longer = next((one for one in self.others if one.most is None or one.most >= seconds), None)
        other = f", or --partition {longer.name}" if longer is not None else ""
        raise UsageError(
            f"--time {wanted} is more than partition {' or '.join(self.names)} allows, where such a job would wait "
            f"for ever: say --time {in_hours(self.most)}{other}"
        )

    def at_most(self, seconds: int) -> str:
        """Return so many seconds as a wall time, or what is allowed where that is less."""
        return in_hours(seconds if self.most is None else min(seconds, self.most))


def ask() -> list[Partition]:
    """Ask Slurm for its partitions; none where it is not there or does not answer, as sbatch has the last word."""
    if not tools.available("scontrol"):
        return []
    try:
        # All: a hidden one may be meant.
        return parsed(tools.call(["scontrol", "show", "partition", "--all", "--oneliner"], timeout=tools.QUICK_S))
    except tools.SchedulerError:
        return []


def parsed(printed: str) -> list[Partition]:
    """Return what `scontrol show partition --oneliner` printed."""
    found = []
    for line in printed.splitlines():
        said = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "PartitionName" in said:
            found.append(
                Partition(said["PartitionName"], _limit(said.get("MaxTime", "")), said.get("Default") == "YES")
            )
    return found


def _limit(said: str) -> int | None:
    try:
        return walltime_seconds(said)
    except UsageError:
        return None  # UNLIMITED, or what nobody knows yet: sbatch has the last word


def place(
    partition: str | None,
    more: Sequence[str],
    known: Sequence[Partition],
    environment: Mapping[str, str] | None = None,
) -> Place:
    """Return where a job will run.

    Args:
        partition: the one that was named, or several with commas between.
        more: further options for sbatch, which win.
        known: from `ask`.
        environment: has the site's or user's usual partition; None: of this process.

    Raises:
        UsageError: there is no partition of that name.
    """
    said = dict(option.partition("=")[::2] for option in more)
    if not known or said.keys() & {"--clusters", "-M"}:  # on another cluster are other partitions
        return Place()
    env = os.environ if environment is None else environment
    wanted = said.get("--partition") or said.get("-p") or partition or env.get("SBATCH_PARTITION")
    usual = [one.name for one in known if one.is_default]
    names = tuple(wanted.split(",")) if wanted else tuple(usual)
    chosen = {one.name: one for one in known if one.name in names}
    missing = [name for name in names if name not in chosen]
    if missing:
        raise UsageError(
            f"there is no partition {missing[0]!r} here; there are: {', '.join(one.name for one in known)}"
        )
    limits = [one.most for one in chosen.values()]
    # Where it may choose, it is the longest that counts: Slurm begins it in any that lets it.
    most = None if None in limits or not limits else max(limit for limit in limits if limit is not None)
    return Place(names, most, tuple(one for one in known if one.name not in chosen))
