"""Which process a run is, and whether a process of this host still lives."""

import getpass
import os
import socket
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process of some host: enough to tell later, on the same host, whether it still lives."""

    host: str
    host_id: str
    pid: int
    pid_started: str


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _host_id() -> str:
    # A pid means something only within one boot of one host and one pid namespace (containers).
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{_read('/proc/sys/kernel/random/boot_id')} {namespace}".strip() or socket.gethostname()


def _state_and_start(pid: int) -> tuple[str, str]:
    # Fields 3 and 22 of /proc/PID/stat; the command name before them may hold spaces and parentheses.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (fields[0], fields[19]) if len(fields) > 19 else ("", "")


def this_process() -> Process:
    """Return this process."""
    pid = os.getpid()
    return Process(socket.gethostname(), _host_id(), pid, _state_and_start(pid)[1])


def gone_from_here(here: Process, other: Process) -> bool:
    """Tell whether another process was of this very host and is no more."""
    if other.host_id != here.host_id:
        return False
    try:
        os.kill(other.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    state, started = _state_and_start(other.pid)
    return state in ("Z", "X") or (bool(other.pid_started) and started != other.pid_started)


def username() -> str:
    """Return the name of the user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
