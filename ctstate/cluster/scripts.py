"""Batch scripts as text. Nothing here talks to a scheduler, a ledger or Zooniverse.

The worker is `exec`ed: it takes the place of the script's shell, so that the signal Slurm sends to the shell
(`--signal=B:TERM@...`) and the one that comes with a cancelled job reach it and nobody in between.
"""

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctstate.errors import UsageError

SCHEDULERS = ("slurm", "pbs", "pbspro")
WALLTIME = "96:00:00"
"""docs/legacy-formats.md, section 9."""

STOP_BEFORE_S = 300
"""A worker needs a minute to finish what is under way (the server may take 65 s for one request), and Slurm sends
signals up to a minute late (sbatch(1), --signal)."""

_OPTION = re.compile(r"--?[A-Za-z][A-Za-z-]*(=.*)?\Z")


@dataclass(frozen=True)
class JobOptions:
    """What the scheduler is told.

    Attributes:
        workers: tasks of the job array, each an upload worker.
        at_once: so many of them at the same time; None: all.
        time: wall time, as sbatch takes it (minutes, H:M:S, D-H:M:S, ...).
        cpus: per worker; None: the scheduler's default.
        memory: per worker, such as 4G.
        partition, account, mail_user: as sbatch and qsub take them; mail comes on all events.
        requeue: start a worker again whose node was lost or that was preempted.
        stop_before: seconds before the wall time ends when a worker is asked to stop.
        more: further options for sbatch, each as one word (`--qos=normal`).
        job_name: for listings.
    """

    workers: int = 4
    at_once: int | None = None
    time: str = WALLTIME
    cpus: int | None = None
    memory: str | None = None
    partition: str | None = None
    account: str | None = None
    mail_user: str | None = None
    requeue: bool = True
    stop_before: int = STOP_BEFORE_S
    more: tuple[str, ...] = ()
    job_name: str = "ctstate"

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError("--workers must be 1 or more")
        if self.at_once is not None and self.at_once < 1:
            raise UsageError("--at-once must be 1 or more")
        if self.stop_before < 1:
            raise UsageError("--stop-before must be 1 or more seconds")
        if walltime_seconds(self.time) <= self.stop_before:
            # Told to stop right after its start, round after round.
            raise UsageError(f"--time {self.time} leaves no time before --stop-before {self.stop_before} s")
        for option in self.more:
            if not _OPTION.match(option):
                raise UsageError(f"{option!r} is no option for the scheduler: write it as one word, --name=value")
        for text in (
            self.job_name,
            self.time,
            self.memory,
            self.partition,
            self.account,
            self.mail_user,
            *self.more,
        ):
            if text is not None and not text.isprintable():
                raise UsageError(f"{text!r}: an option of a job is one line of printable text")


@dataclass(frozen=True)
class Program:
    """How a job calls ctstate: by the same Python as now, wherever its node's PATH points.

    Attributes:
        arguments: of ctstate, from `--ledger` on.
        python: the interpreter.
        import_path: folder to import ctstate from, where it is not installed (a checkout).
    """

    arguments: tuple[str, ...]
    python: str = sys.executable
    import_path: str | None = None

    def lines(self, before: Sequence[str] = ()) -> list[str]:
        """Return the lines of the script that call it; `before` are words in front of the program."""
        lines = ["export PYTHONUNBUFFERED=1"]
        if self.import_path is not None:
            lines.append(f'export PYTHONPATH={shlex.quote(self.import_path)}"${{PYTHONPATH:+:$PYTHONPATH}}"')
        words = [*before, self.python, "-m", "ctstate", *self.arguments]
        return [*lines, "exec " + " ".join(shlex.quote(word) for word in words)]


def import_path() -> str | None:
    """Return the folder that ctstate must be imported from, or None where it is installed."""
    import site
    import sysconfig

    home = Path(__file__).resolve().parents[2]
    installed = [Path(sysconfig.get_paths()[key]).resolve() for key in ("purelib", "platlib")]
    if home in installed or str(home) == str(Path(site.getusersitepackages()).resolve()):
        return None
    return str(home)


def walltime_seconds(text: str) -> int:
    """Return a wall time in seconds: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S, as sbatch takes it.

    Raises:
        UsageError: it is none of them, or nothing.
    """
    found = re.match(r"(?:(\d{1,9})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?\Z", text)
    if found is None:
        raise UsageError(f"--time {text!r} is no wall time: write minutes, HH:MM:SS or D-HH:MM:SS")
    days, *rest = found.groups()
    first, second, third = (int(part) if part is not None else None for part in rest)
    assert first is not None
    if days is not None:
        seconds = int(days) * 86400 + first * 3600 + (second or 0) * 60 + (third or 0)
    elif third is not None:
        seconds = first * 3600 + (second or 0) * 60 + third
    else:
        seconds = first * 60 + (second or 0)
    if seconds < 1:
        raise UsageError(f"--time {text!r}: a job needs some time")
    return seconds


def in_hours(seconds: int) -> str:
    """Return a wall time as every scheduler takes it: H:M:S."""
    hours, rest = divmod(seconds, 3600)
    return f"{hours:02}:{rest // 60:02}:{rest % 60:02}"


def _quoted(value: str) -> str:
    # sbatch splits its #SBATCH lines like a shell: backslash and quotes (slurm: src/sbatch/opt.c, _get_argument).
    if re.match(r"[A-Za-z0-9_@%+=:,./-]+\Z", value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _sbatch(name: str, value: object = None) -> str:
    return f"#SBATCH --{name}" if value is None else f"#SBATCH --{name}={_quoted(str(value))}"


def _resources(options: JobOptions) -> list[str]:
    return [
        _sbatch(name, value)
        for name, value in (
            ("partition", options.partition),
            ("account", options.account),
        )
        if value is not None
    ]


def _mail(options: JobOptions) -> list[str]:
    if options.mail_user is None:
        return []
    return [_sbatch("mail-user", options.mail_user), _sbatch("mail-type", "ALL")]


def _more(more: Sequence[str]) -> list[str]:
    lines = []
    for option in more:
        name, equals, value = option.partition("=")
        lines.append(f"#SBATCH {name}={_quoted(value)}" if equals else f"#SBATCH {name}")
    return lines


def _place(folder: Path, name: str) -> str:
    # A % in the folder's name would begin one of sbatch's replacements; twice it stands for itself.
    return f"{str(folder).replace('%', '%%')}/{name}"


def slurm_workers(
    options: JobOptions, program: Program, folder: Path, log_folder: Path, begin: str | None = None
) -> str:
    """Return the script of a job array of upload workers.

    Args:
        options: what the scheduler is told.
        program: the worker.
        folder: where it works.
        log_folder: where the output of each task goes.
        begin: not before then, as sbatch takes it (`now+1hour`).
    """
    throttle = f"%{options.at_once}" if options.at_once is not None else ""
    lines = [
        "#!/bin/bash",
        _sbatch("job-name", options.job_name),
        _sbatch("array", f"1-{options.workers}{throttle}"),
        _sbatch("nodes", 1),
        _sbatch("ntasks", 1),
        *([_sbatch("cpus-per-task", options.cpus)] if options.cpus is not None else []),
        *([_sbatch("mem", options.memory)] if options.memory is not None else []),
        _sbatch("time", options.time),
        *([_sbatch("begin", begin)] if begin is not None else []),
        *_resources(options),
        *_mail(options),
        _sbatch("chdir", folder),
        _sbatch("output", _place(log_folder, "%x_%A_%a.out")),
        _sbatch("open-mode", "append"),
        _sbatch("requeue" if options.requeue else "no-requeue"),
        # B: the script's shell only, which is the worker (see the last line).
        _sbatch("signal", f"B:TERM@{options.stop_before}"),
        *_more(options.more),
        "",
        *program.lines(),
    ]
    return "\n".join(lines) + "\n"


def directives(text: str) -> list[str]:
    """Return the options that a script for sbatch holds, as words of a command line.

    On the command line they win over SBATCH_* variables, which win over what stands in the script (sbatch(1), INPUT
    ENVIRONMENT VARIABLES).
    """
    found = []
    for line in text.splitlines():
        if line.startswith("#SBATCH "):
            found += shlex.split(line.removeprefix("#SBATCH "))
    return found


ONCE = ("--begin", "-b", "--dependency", "-d")
"""Options that say when to begin: meant for the first array of a chain only."""

_ARRAY_ONLY = (
    *ONCE, "--array", "-a", "--signal", "--output", "-o", "--error", "-e", "--time", "-t", "--job-name", "-J",
    "--cpus-per-task", "-c", "--ntasks", "-n", "--nodes", "-N", "--exclusive", "--mail-type",
)  # fmt: skip


def slurm_small(
    options: JobOptions,
    program: Program,
    folder: Path,
    log_folder: Path,
    *,
    name: str,
    time: str,
    after: str | None,
) -> str:
    """Return the script of a small job that follows others: the link of a chain, or its last job.

    Args:
        options, program, folder, log_folder: as for `slurm_workers`.
        name: what the job's name ends with.
        time: its wall time.
        after: id of the job that ends before, however it ends; None: none.
    """
    lines = [
        "#!/bin/bash",
        _sbatch("job-name", f"{options.job_name}-{name}"),
        *([_sbatch("dependency", f"afterany:{after}")] if after is not None else []),
        _sbatch("nodes", 1),
        _sbatch("ntasks", 1),
        *([_sbatch("mem", options.memory)] if options.memory is not None else []),
        _sbatch("time", time),
        *_resources(options),
        *([_sbatch("mail-user", options.mail_user), _sbatch("mail-type", "FAIL")] if options.mail_user else []),
        _sbatch("chdir", folder),
        _sbatch("output", _place(log_folder, "%x_%j.out")),
        _sbatch("open-mode", "append"),
        _sbatch("requeue"),
        *_more([option for option in options.more if option.partition("=")[0] not in _ARRAY_ONLY]),
        "",
        *program.lines(),
    ]
    return "\n".join(lines) + "\n"


def pbs_workers(options: JobOptions, program: Program, folder: Path, log_folder: Path, *, pro: bool) -> str:
    """Return the script of a PBS job array of upload workers.

    PBS sends no signal ahead of the wall time's end: `timeout` does, and hands on the worker's exit code.

    Args:
        options, program, folder, log_folder: as for `slurm_workers`.
        pro: for PBS Professional and OpenPBS; else for Torque.
    """
    seconds = walltime_seconds(options.time)
    runs_for = seconds - options.stop_before
    walltime = in_hours(seconds)
    throttle = f"%{options.at_once}" if options.at_once is not None else ""
    cpus = options.cpus or 1
    memory = f"{options.memory.lower().rstrip('b')}b" if options.memory else ""
    if pro:
        memory = f":mem={memory}" if memory else ""
        size = [f"-l select=1:ncpus={cpus}{memory}", f"-l walltime={walltime}"]
    else:
        memory = f",mem={memory}" if memory else ""
        size = [f"-l walltime={walltime},nodes=1:ppn={cpus}{memory}"]
    if options.workers > 1:  # an array of one is refused: `qsub: illegal -J value` (OpenPBS 23.06)
        size.append(f"{'-J' if pro else '-t'} 1-{options.workers}{throttle}")
    said = [
        f"-N {_pbs_name(options.job_name)}",
        *size,
        *([f"-q {options.partition}"] if options.partition is not None else []),
        *([f"-A {options.account}"] if options.account is not None else []),
        *([f"-M {options.mail_user}", "-m abe"] if options.mail_user is not None else []),
        "-j oe",
        f"-o {_pbs_quoted(f'{log_folder}/')}",
        "-r y" if options.requeue else "-r n",
        *options.more,
    ]
    kill_after = max(1, options.stop_before - 10)
    before = ("timeout", "--preserve-status", "--signal=TERM", f"--kill-after={kill_after}", str(runs_for))
    lines = [
        "#!/bin/bash",
        *(f"#PBS {line}" for line in said),
        "",
        # Where the output goes when the job has ended.
        f"mkdir -p {shlex.quote(str(log_folder))}",
        f"cd {shlex.quote(str(folder))} || exit 1",
    ]
    return "\n".join([*lines, *program.lines(before)]) + "\n"


def _pbs_name(name: str) -> str:
    """Return a job's name as every PBS takes it: a letter first, no blank, 15 characters at most."""
    legal = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    return (legal if legal[:1].isalpha() else f"j{legal}")[:15]


def _pbs_quoted(value: str) -> str:
    """Return a value for a directive of PBS, which is split at blanks (`qsub: directive error`, OpenPBS 23.06)."""
    return f'"{value}"' if re.search(r"\s", value) else value
