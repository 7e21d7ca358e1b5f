"""Real processes of ctstate, begun quickly: forked from one that has imported it already.

To begin `python -m ctstate` takes most of a second of CPU, nearly all of it imports; a worker that is killed two
seconds later is hardly worth that. Here one process imports everything once and forks for each call: the child has
its own pid, its own environment and its own end, and runs the command line's `main()` as any other.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MODULES = (
    "upload",
    "reconcile",
    "verify",
    "adopt",
    "retry",
    "remove",
    "delete",
    "update_metadata",
    "predict",
    "exclude",
    "status",
)
"""Commands that are imported before the first fork."""


class Forked:
    """A process that the launcher began; as `subprocess.Popen`, as far as the harness needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def end(self, code: int) -> None:
        """It has ended; called by the launcher."""
        self.returncode = code
        self._ended.set()

    def poll(self) -> int | None:
        """Return its exit code, a signal's as a negative number; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not.
        """
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Launcher:
    """The process that forks, and its line to us.

    Args:
        environment: of the process: what is read when modules are imported must stand in it.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.launcher"], env=dict(environment), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._begun: dict[int, Forked] = {}
        self._answers: list[Forked] = []
        self._condition = threading.Condition()
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def begin(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
        """Begin `ctstate ARGUMENTS`; all it says goes to a file."""
        order = {"arguments": list(arguments), "environment": dict(environment), "log": str(log)}
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            with self._condition:
                if not self._condition.wait_for(lambda: bool(self._answers), 60):
                    raise TimeoutError("the launcher does not answer")
                return self._answers.pop()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said: dict[str, Any] = json.loads(line)
            with self._condition:
                if "begun" in said:
                    forked = self._begun[said["begun"]] = Forked(said["begun"])
                    self._answers.append(forked)
                    self._condition.notify_all()
                else:
                    self._begun.pop(said["ended"]).end(said["code"])


def _child(order: Mapping[str, Any]) -> None:
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, 64)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["ctstate", *order["arguments"]]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    from ctstate.commands import main

    main()


def serve() -> None:
    """Read orders, fork, tell who has ended."""
    for name in MODULES:
        importlib.import_module(f"ctstate.commands.{name}")
    tell = os.dup(1)

    def say(**what: Any) -> None:
        os.write(tell, (json.dumps(what) + "\n").encode())

    def bury(*_: Any) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                say(ended=ended[0], code=os.waitstatus_to_exitcode(ended[1]))

    signal.signal(signal.SIGCHLD, bury)
    for line in sys.stdin:
        order = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # begun is told before ended
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            _child(order)
        say(begun=pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


if __name__ == "__main__":
    serve()
