"""Do locks hold where the ledger is? SQLite has only POSIX locks between two writers and a ruined file.

Between two processes of one host (`self_test`) nearly every file system passes. Between two hosts not: Lustre
mounted with `localflock` and NFS with `nolock` grant every node the same lock, without an error, and a database
there is damaged sooner or later (https://www.sqlite.org/howtocorrupt.html, section 2). `two_node_probe` finds
out: one node holds a lock, the other tries to take it.

The locks are the ones SQLite takes, on its own bytes (https://www.sqlite.org/src/file/src/os_unix.c): fcntl on
PENDING 0x40000000, RESERVED behind it, and the 510 bytes of SHARED. They are taken on a scratch file beside the
ledger, never on the ledger itself: closing any handle of a file drops all locks its process has on it.

This file is also the program that runs on each node, and therefore imports nothing of ctstate at its top.
"""

import enum
import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PENDING = 0x40000000
RESERVED = PENDING + 1
SHARED, SHARED_SIZE = PENDING + 2, 510

WAIT_S = 60.0
"""How long one side waits for the other to be seen; NFS may show a new file a minute late (nfs(5), acdirmax)."""


class Locks(enum.StrEnum):
    """What a test found."""

    HOLD = "hold"
    DO_NOT_HOLD = "do not hold"
    UNKNOWN = "could not be tested"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class LockVerdict:
    """The result of a test.

    Attributes:
        locks: whether they hold.
        between: whom it was tested between, such as `two processes of node1`.
        detail: what was seen, one line.
        advice: what to do, one line; empty where nothing is to be done.
    """

    locks: Locks
    between: str
    detail: str
    advice: str = ""


ADVICE_ONE_HOST = (
    "SQLite cannot be used on this file system: keep the ledger on a local disk of the host that runs all workers"
)
ADVICE_TWO_NODES = (
    "use workers of one node only; a system administrator can mount Lustre with `flock` "
    "instead of `localflock`, or NFS without `nolock` and `local_lock`"
)
ADVICE_NOT_SHARED = "the nodes do not see the same file: put the ledger on a file system that all of them share"
ADVICE_UNKNOWN = "until it is known that locks hold between nodes, run all workers on one node"


# -- tests ------------------------------------------------------------------------------------------------------


def self_test(path: str | os.PathLike[str]) -> LockVerdict:
    """Test locks between two processes of this host, on a scratch file beside the ledger.

    Args:
        path: of the ledger; it need not exist, its folder must.
    """
    between = f"two processes of {socket.gethostname()}"
    scratch = _scratch(path)
    try:
        with _Held(scratch):
            refused = _in_a_process("try", scratch)
        granted = _in_a_process("try", scratch)
        crashed = _crash_frees(scratch)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            detail = f"the file system takes no locks ({error.strerror})"
            return LockVerdict(Locks.DO_NOT_HOLD, between, detail, ADVICE_ONE_HOST)
        return LockVerdict(Locks.UNKNOWN, between, f"{scratch.parent}: {error.strerror or error}", ADVICE_UNKNOWN)
    except (subprocess.SubprocessError, ValueError) as error:
        return LockVerdict(Locks.UNKNOWN, between, f"the second process failed ({error})", ADVICE_UNKNOWN)
    finally:
        _remove(scratch)
    verdict = _judge(refused, between, ADVICE_ONE_HOST)
    if verdict.locks is Locks.HOLD and not granted["got"]:
        return LockVerdict(Locks.DO_NOT_HOLD, between, "a lock stays after it was released", ADVICE_ONE_HOST)
    if verdict.locks is Locks.HOLD and not crashed:
        return LockVerdict(Locks.DO_NOT_HOLD, between, "the lock of a killed process stays", ADVICE_ONE_HOST)
    return verdict


def two_node_probe(
    path: str | os.PathLike[str],
    *,
    partition: str | None = None,
    account: str | None = None,
    options: Sequence[str] = (),
    timeout: float = 300.0,
    wait: float = WAIT_S,
) -> LockVerdict:
    """Let two Slurm nodes contend for a lock on the ledger's file system.

    Args:
        path: of the ledger; it need not exist, its folder must.
        partition, account: as srun takes them.
        options: further options for srun.
        timeout: seconds to wait for two nodes, and for their answer.
        wait: how long the nodes wait to see each other's files; shorter only where nothing is cached.
    """
    from ctstate.cluster import tools

    scratch = _scratch(path)
    command = ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--time=5", "--job-name=ctstate-locks"]
    command += ["--quiet", "--kill-on-bad-exit=0", f"--chdir={os.sep}"]
    command += [f"--partition={partition}"] if partition else []
    command += [f"--account={account}"] if account else []
    command += [*options, sys.executable, "-I", os.path.abspath(__file__), "node", str(scratch), str(wait)]
    between = "two nodes"
    try:
        scratch.touch(exist_ok=False)
        printed = tools.call(command, timeout=timeout)
    except OSError as error:
        return LockVerdict(Locks.UNKNOWN, between, f"{scratch.parent}: {error.strerror or error}", ADVICE_UNKNOWN)
    except tools.SchedulerError as error:
        return LockVerdict(Locks.UNKNOWN, between, str(error), ADVICE_UNKNOWN)
    finally:
        _remove(scratch)
    return judge_nodes(printed)


def judge_nodes(printed: str) -> LockVerdict:
    """Return the verdict on what the two tasks of a probe printed: a line of JSON each."""
    sides = {}
    for line in printed.splitlines():
        try:
            found = json.loads(line)
            sides[found["role"]] = found
        except (ValueError, TypeError, KeyError):
            continue  # a site's greeting
    holder, other = sides.get("hold"), sides.get("try")
    if holder is None or other is None:
        return LockVerdict(Locks.UNKNOWN, "two nodes", "the nodes gave no answer", ADVICE_UNKNOWN)
    between = f"{holder['node']} and {other['node']}"
    if holder["node"] == other["node"]:
        return LockVerdict(Locks.UNKNOWN, between, "Slurm gave both tasks to one node", ADVICE_UNKNOWN)
    for side in (holder, other):
        if side.get("error"):
            if side.get("errno") in _NO_LOCKS:
                detail = f"the file system takes no locks on {side['node']} ({side['error']})"
                return LockVerdict(Locks.DO_NOT_HOLD, between, detail, ADVICE_TWO_NODES)
            return LockVerdict(Locks.UNKNOWN, between, f"{side['node']}: {side['error']}", ADVICE_UNKNOWN)
    if not other.get("seen"):
        detail = f"{other['node']} did not see what {holder['node']} wrote"
        return LockVerdict(Locks.DO_NOT_HOLD, between, detail, ADVICE_NOT_SHARED)
    if not holder.get("answered"):
        return LockVerdict(
            Locks.UNKNOWN, between, f"{holder['node']} did not see what {other['node']} wrote", ADVICE_UNKNOWN
        )
    return _judge(other, between, ADVICE_TWO_NODES)


def _judge(tried: dict[str, Any], between: str, advice: str) -> LockVerdict:
    if tried["got"]:
        got = " and ".join(tried["got"])
        return LockVerdict(Locks.DO_NOT_HOLD, between, f"both were given the same lock ({got})", advice)
    return LockVerdict(Locks.HOLD, between, "a lock that one held was refused to the other")


# -- the two sides ----------------------------------------------------------------------------------------------

_NO_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})
_REFUSED = frozenset({errno.EACCES, errno.EAGAIN})


def _scratch(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.abspath(path)).parent / f".ctstate-locks-{uuid.uuid4().hex[:12]}"


def _answer(scratch: Path) -> Path:
    return scratch.with_name(scratch.name + ".answer")


def _remove(scratch: Path) -> None:
    for leftover in (scratch, _answer(scratch)):
        try:
            leftover.unlink()
        except OSError:
            continue


class _Held:
    """The locks of a SQLite writer, held."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    def __enter__(self) -> "_Held":
        self._handle = os.open(self._scratch, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, RESERVED)
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_SIZE, SHARED)
        except BaseException:
            os.close(self._handle)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def write(self, text: str) -> None:
        os.pwrite(self._handle, text.encode(), 0)
        os.fsync(self._handle)


def _try(scratch: Path) -> list[str]:
    """Return which locks of another process are granted to this one as well."""
    got = []
    handle = os.open(scratch, os.O_RDWR)
    try:
        for name, kind, size, start in (
            ("a second writer", fcntl.LOCK_EX, 1, RESERVED),
            ("a reader beside the writer", fcntl.LOCK_SH, SHARED_SIZE, SHARED),
        ):
            try:
                fcntl.lockf(handle, kind | fcntl.LOCK_NB, size, start)
                got.append(name)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
    finally:
        os.close(handle)
    return got


def _in_a_process(role: str, scratch: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-I", os.path.abspath(__file__), role, str(scratch)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    if found.get("error"):
        raise OSError(found.get("errno"), found["error"])
    return found


def _crash_frees(scratch: Path) -> bool:
    child = subprocess.Popen(
        [sys.executable, "-I", os.path.abspath(__file__), "wait", str(scratch)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        held = child.stdout.readline().strip() == "held" and not _try(scratch)
        child.kill()
    return held and len(_try(scratch)) == 2


def _node(scratch: Path, wait: float) -> dict[str, Any]:
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    if os.environ.get("SLURM_PROCID") == "0":
        return {"role": "hold", "node": node, **_guarded(_hold_for_the_other, scratch, wait)}
    return {"role": "try", "node": node, **_guarded(_try_against_the_other, scratch, wait)}


def _hold_for_the_other(scratch: Path, wait: float) -> dict[str, Any]:
    with _Held(scratch) as held:
        held.write("held")
        return {"answered": _until(lambda: _answer(scratch).exists(), wait)}


def _try_against_the_other(scratch: Path, wait: float) -> dict[str, Any]:
    # Opened anew each time: NFS looks at the server only then (nfs(5), close-to-open).
    seen = _until(lambda: scratch.exists() and scratch.read_bytes() == b"held", wait)
    got = _try(scratch) if seen else []
    if seen:
        _answer(scratch).touch()
    return {"seen": seen, "got": got}


def _until(happened: Callable[[], bool], wait: float) -> bool:
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        if happened():
            return True
        time.sleep(0.1)
    return False


def _guarded(side: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    try:
        return side(*arguments)
    except OSError as error:
        return {"error": error.strerror or str(error), "errno": error.errno}


def _main(role: str, scratch: Path, wait: float = WAIT_S) -> None:
    if role == "wait":
        with _Held(scratch):
            sys.stdout.write("held\n")
            sys.stdout.flush()
            sys.stdin.read()
        return
    found = _node(scratch, wait) if role == "node" else _guarded(lambda: {"got": _try(scratch)})
    # In one write, so that the lines of two nodes do not mix; the leading one ends a line of somebody else.
    os.write(1, ("\n" + json.dumps(found) + "\n").encode())


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), *map(float, sys.argv[3:]))
