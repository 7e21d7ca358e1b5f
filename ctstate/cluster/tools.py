"""The scheduler's programs (sbatch, squeue, ...), called safely."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from ctstate.errors import CtstateError

QUICK_S = 10.0
"""For questions: a scheduler that takes longer is ill, and the answer is worth nothing."""

_SECRET = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN", re.IGNORECASE)


class SchedulerError(CtstateError):
    """The scheduler refused or did not answer."""


def available(program: str) -> bool:
    """Tell whether a program of the scheduler is on PATH."""
    return shutil.which(program) is not None


def clean_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for the scheduler's programs.

    Left out is what would end up in a job (sbatch hands its whole environment on, and the scheduler keeps it): all
    that looks like a password. Also what the user has set to filter listings (SQUEUE_*) or to talk to another
    cluster (SLURM_CLUSTERS), and what a surrounding job says of itself, which sbatch and srun would take for
    options of theirs. What a site or user has set as the usual partition, account, QOS and reservation stays; what
    ctstate says of them wins, as it stands on sbatch's command line.
    """
    source = os.environ if environment is None else environment
    kept = {
        "SLURM_CONF", "SLURM_TIME_FORMAT", "SBATCH_PARTITION", "SBATCH_ACCOUNT", "SBATCH_QOS", "SBATCH_RESERVATION",
    }  # fmt: skip
    return {
        name: value
        for name, value in source.items()
        if not _SECRET.search(name)
        and (name in kept or not name.startswith(("SLURM_", "SQUEUE_", "SBATCH_", "SALLOC_", "SCANCEL_", "SRUN_")))
    }


def call(command: Sequence[str], *, text: str | None = None, timeout: float = 60.0) -> str:
    """Run a program of the scheduler and return what it printed.

    Args:
        command: the program and its arguments.
        text: for its standard input.
        timeout: in seconds.

    Raises:
        SchedulerError: it is not there, refused (with its own words), or took too long.
    """
    try:
        done = subprocess.run(
            list(command),
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=clean_environment(),
        )
    except FileNotFoundError:
        raise SchedulerError(
            f"{command[0]} is not here: run this on a login node of the cluster, or look at the script with --print"
        ) from None
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{command[0]} did not answer for {timeout:.0f} s") from None
    except OSError as error:
        raise SchedulerError(f"{command[0]} cannot be run: {error.strerror or error}") from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise SchedulerError(f"{command[0]} refused: {said or f'exit code {done.returncode}'}")
    return done.stdout
