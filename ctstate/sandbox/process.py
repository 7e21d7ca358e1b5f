"""A sandbox in a process of its own, which can be killed and started again."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from ctstate.errors import CtstateError
from ctstate.sandbox.settings import SETTINGS, SandboxSettings

START_SECONDS = 30.0


class SandboxProcess:
    """A sandbox as a child process; a context manager that starts and stops it.

    It dies with the process that made it.

    Args:
        directory: where its state is kept.
        settings: how it behaves.
        port: port to listen on; 0 for a free one, which a restart keeps.
        faults: a fault plan to begin with (see `ctstate.sandbox.faults`).
    """

    def __init__(
        self,
        directory: str | Path,
        settings: SandboxSettings | None = None,
        port: int = 0,
        faults: dict[str, Any] | None = None,
    ) -> None:
        self.directory = Path(directory)
        self.settings = settings or SandboxSettings()
        self.port = port
        self._plan = faults
        self._about: dict[str, str] = {}
        self._child: subprocess.Popen[str] | None = None

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> "SandboxProcess":
        """Start it, and wait until it answers.

        Raises:
            CtstateError: it could not start; says why.
        """
        command: list[str] = [sys.executable, "-m", "ctstate.sandbox"]
        command += ["--directory", str(self.directory), "--port", str(self.port), "--json"]
        command += ["--parent", str(os.getpid())]
        self._child = subprocess.Popen(
            command,
            env={
                **os.environ,
                SETTINGS: self.settings.to_json(),
            },  # others see arguments, and a password is in them
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self._first_line(self._child)
        if not line:
            self._child.kill()
            _, complaint = self._child.communicate()
            self._child = None
            lines = complaint.strip().splitlines()
            raise CtstateError(lines[-1] if lines else "the sandbox did not start in time")
        threading.Thread(target=_drain, args=(self._child.stderr,), daemon=True).start()
        self._about = json.loads(line)
        self.port = int(self._about["url"].rpartition(":")[2])
        if self._plan is not None:
            self.set_faults(self._plan)
        return self

    @staticmethod
    def _first_line(child: subprocess.Popen[str]) -> str:
        stdout = child.stdout
        if stdout is None:
            return ""
        timer = threading.Timer(START_SECONDS, child.kill)
        timer.start()
        try:
            return stdout.readline()
        finally:
            timer.cancel()

    def stop(self) -> None:
        """Stop it in an orderly way; nothing if it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as a crash would end it."""
        self._end(signal.SIGKILL)

    def _end(self, how: int) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.send_signal(how)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()

    def restart(self) -> "SandboxProcess":
        """Start it again (killing it first if it runs) with the same port, state and fault plan, whose counts
        begin anew."""
        self.kill()
        return self.start()

    @property
    def pid(self) -> int:
        """Its process id; 0 when it is not running."""
        return self._child.pid if self._child is not None else 0

    def __enter__(self) -> "SandboxProcess":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- what one needs to use it -----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Its address, as `PANOPTES_ENDPOINT` wants it."""
        return self._about["url"]

    @property
    def login(self) -> str:
        """User name of the project's owner."""
        return self._about["login"]

    @property
    def password(self) -> str:
        """Password of the project's owner."""
        return self._about["password"]

    @property
    def project_id(self) -> str:
        """The owner's project."""
        return self._about["project_id"]

    @property
    def foreign_project_id(self) -> str:
        """Somebody else's project."""
        return self._about["foreign_project_id"]

    @property
    def workflow_id(self) -> str:
        """The active workflow of the owner's project."""
        return self._about["workflow_id"]

    # -- behind the scenes ------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A request to the sandbox's own API below `/sandbox/`.

        Raises:
            CtstateError: it refused; says why.
        """
        import requests  # here, as the server itself does not need it

        reply = requests.request(method, f"{self.url}/sandbox/{path}", json=body, timeout=60)
        if reply.status_code >= 400:
            raise CtstateError(f"sandbox: {reply.json().get('error')}")
        return reply.json() if reply.content else None

    def state(self) -> dict[str, Any]:
        """Everything in it: `subject_sets`, `subjects`, `published_incomplete` and more."""
        found: dict[str, Any] = self.call("GET", "state")
        return found

    def requests(self) -> dict[str, Any]:
        """How many requests of each route it had (`total`, `routes`, `statuses`) and the `faults` that struck."""
        found: dict[str, Any] = self.call("GET", "requests")
        return found

    def reset_requests(self) -> None:
        """Count from zero."""
        self.call("DELETE", "requests")

    def set_faults(self, plan: dict[str, Any]) -> None:
        """Put a fault plan in place; a restart keeps it."""
        self._plan = plan
        self.call("PUT", "faults", plan)

    def faults(self) -> dict[str, Any]:
        """The fault plan with how often each rule matched and struck."""
        found: dict[str, Any] = self.call("GET", "faults")
        return found

    def clear_faults(self) -> None:
        """Let everything go well again."""
        self._plan = None
        self.call("DELETE", "faults")

    def set_account(self, **values: Any) -> dict[str, Any]:
        """Change the account (subject_limit, banned, recount), or make another (login, password, collaborator)."""
        found: dict[str, Any] = self.call("PUT", "account", values)
        return found

    def classify(
        self, subject_id: str, workflow_id: str, classifications: int = 1, retired: bool | None = None
    ) -> None:
        """Let volunteers classify a subject."""
        values = {"subject_id": subject_id, "workflow_id": workflow_id, "classifications": classifications}
        self.call("POST", "classify", {**values, "retired": retired})


def _drain(stream: Any) -> None:
    """Read what the child complains about, so that it never waits for a reader."""
    try:
        for line in stream:
            sys.stderr.write(f"sandbox: {line}")
    except ValueError:
        return
