"""Record what a real PBS answers, for the tests that hold scripts and parsers to it.

    python -m tests.pbs.record tests/pbs/answers/openpbs-23.06.06.json

OpenPBS is none of Debian's packages. Version 23.06.06 builds in some minutes: `./autogen.sh`, `./configure
--prefix=/opt/pbs`, `make install` (with Python 3.11 write Python.h for eval.h in src/lib/Libpython), then
libexec/pbs_postinstall, PBS_START_MOM=1 in /etc/pbs.conf, chmod 4755 on sbin/pbs_iff and sbin/pbs_rcp, PostgreSQL's
programs on PATH, libexec/pbs_init.d start. The host's name must have an address that is not loopback's.

Needs a PBS whose server lets this user submit (for root: `qmgr -c "set server acl_roots=root"`), with one node of
two cores and nothing else to do, and a queue `short` of ten minutes beside the default one. Takes a minute.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ctstate.cluster.pbs import Pbs
from ctstate.cluster.queue import Stand
from ctstate.cluster.scripts import JobOptions, Program, pbs_workers

Answer = dict[str, Any]


class Recorder:
    """Runs programs, and keeps what they said by a name."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, Answer] = {}
        self._folder = folder
        # What PBS keeps of the environment is no business of the answers.
        self._environment = {"PATH": "/opt/pbs/bin:/usr/bin:/bin", "HOME": "/root"}

    def __call__(self, name: str, *command: str, text: str | None = None) -> Answer:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self._folder,
            env=self._environment,
        )
        answer = {"command": list(command), "code": done.returncode, "out": done.stdout, "err": done.stderr}
        if text is not None:
            answer["in"] = text
        self.answers[name] = answer
        print(f"{name}: {done.returncode} {(done.stdout + done.stderr).strip()[:100]}", file=sys.stderr)
        return answer


def script(folder: Path, *, workers: int, seconds: int = 300, name: str = "ctstate-WLD S6", **more: Any) -> str:
    """Return the script of workers that write their environment down and wait."""
    program = Program(("env",), python="/bin/sh")
    made = pbs_workers(
        JobOptions(workers=workers, job_name=name, **more), program, folder, folder / "my logs", pro=True
    )
    lines = made.strip().splitlines()
    return "\n".join([*lines[:-1], f"env > '{folder}'/env.$PBS_JOBID", f"exec sleep {seconds}"]) + "\n"


def until(happened: Any, what: str) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain: {what}")
        time.sleep(0.5)


def main() -> None:
    """Record."""
    folder = Path("/tmp/pbs answers")
    (folder / "my logs").mkdir(parents=True)
    record, pbs = Recorder(folder), Pbs()
    record("version", "qstat", "--version")
    record("server", "qstat", "-B", "-f")
    record("nothing selected", "qselect", "-u", "root")

    # What an earlier version of the script was refused for, and what the queue does not allow.
    plain = script(folder, workers=2)
    quoted = f'-o "{folder}/my logs/"'
    assert quoted in plain
    record("log folder with a blank, unquoted", "qsub", text=plain.replace(quoted, f"-o {folder}/my logs/"))
    record("array of one", "qsub", text=plain.replace("-J 1-2", "-J 1-1"))
    record("name with a blank", "qsub", text=plain.replace("-N ctstate-WLD_S6", "-N ctstate-WLD S6"))
    record(
        "more time than the queue allows", "qsub", text=script(folder, workers=2, time="5:00:00", partition="short")
    )
    record("no such queue", "qsub", text=script(folder, workers=2, partition="shrot"))

    array = record("array taken", "qsub", text=script(folder, workers=5))["out"].strip()
    single = record("single taken", "qsub", text=script(folder, workers=1))["out"].strip()

    def waiting() -> bool:
        queue = pbs.ask()
        assert queue is not None
        return any(task.stand is Stand.WAITING and task.reason for task in queue.tasks.values())

    until(lambda: len(list(folder.glob("env.*"))) == 2, "two tasks at work")
    until(waiting, "reasons of the others")
    ids = record("selected", "qselect", "-u", "root")["out"].split()
    record("two of five at work", "qstat", "-f", "-t", *ids)
    record("one does not exist", "qstat", "-f", "-t", *ids, "999999")
    number = pbs.number(array)
    record("a task that waits deleted", "qdel", f"{number}[5]")
    record("a task at work deleted", "qdel", f"{number}[1]")
    time.sleep(2.0)
    record("while a deleted one ends", "qstat", "-f", "-t", *ids)
    until(lambda: len(list(folder.glob("env.*"))) == 3, "the next task at work")
    record("after it has ended", "qstat", "-f", "-t", *ids)
    record("deleted once more", "qdel", f"{number}[1]")
    record("held", "qhold", single)
    time.sleep(1.0)
    record("while one is held", "qstat", "-f", "-t", *ids)
    record("all deleted", "qdel", array, single)
    until(lambda: not subprocess.run(["qselect"], capture_output=True, text=True).stdout, "an empty queue")
    record("after all", "qselect", "-u", "root")
    record.answers["environment of a task"] = _environment(sorted(folder.glob("env.*"))[0])
    only = record("only one taken", "qsub", text=script(folder, workers=1, seconds=1))["out"].strip()
    until(lambda: (folder / f"env.{only}").exists(), "the single job")
    record.answers["environment of a single job"] = _environment(folder / f"env.{only}")
    shutil.rmtree(folder)
    Path(sys.argv[1]).write_text(json.dumps(record.answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _environment(path: Path) -> Answer:
    lines = [line for line in path.read_text().splitlines() if line.startswith(("PBS_", "NCPUS", "OMP_"))]
    lines = [line for line in lines if not line.startswith("PBS_JOBCOOKIE")]
    return {"command": ["env"], "code": 0, "out": "\n".join(sorted(lines)) + "\n", "err": ""}


if __name__ == "__main__":
    main()
