"""A real Slurm on this machine: slurmctld, munged and a slurmd per node, all below one folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "scontrol", "srun", "unshare")

CONF = """\
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ctld_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/spool.%n
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=15
KillWait=10
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=8 RealMemory=2000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=10 State=UP
"""


def missing() -> str:
    """Return why no Slurm can be run here; '' where it can."""
    lacking = [program for program in PROGRAMS if _which(program) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)} (apt-get install slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "slurmd must be run by root to start jobs"


def _which(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def wait_until(happened: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until a call returns something true, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        found = happened()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.2)


class Cluster:
    """A cluster of `nodes` nodes; `start` returns when all are idle.

    Args:
        folder: for everything it writes; a short path, as sockets are in it.
        nodes: how many; each has 8 (pretended) cores.
        before: by node: a shell command that its slurmd's mount namespace begins with.
    """

    def __init__(self, folder: Path, nodes: int = 3, before: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.names = [f"n{index + 1}" for index in range(nodes)]
        self.conf = folder / "slurm.conf"
        self._before = before or {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> "Cluster":
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self._spawn(
            "munged", "--force", "--foreground", f"--key-file={key}", f"--socket={self.folder}/munge.sock",
            f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log",
            f"--seed-file={self.folder}/seed",
        )  # fmt: skip
        wait_until(lambda: (self.folder / "munge.sock").exists(), 10, "munged")
        ports = _free_ports(len(self.names) + 1)
        self.conf.write_text(
            CONF.format(
                cluster="ctest",
                host=socket.gethostname().partition(".")[0],
                folder=self.folder,
                ctld_port=ports[0],
                nodes=len(self.names),
                first=ports[1],
                last=ports[-1],
            )
        )
        self._spawn("slurmctld", "-D", "-f", str(self.conf))
        for name in self.names:
            self.start_node(name)
        wait_until(self._idle, 30, f"idle nodes; see {self.folder}")
        return self

    def start_node(self, name: str) -> None:
        """Start a node's slurmd, also after `lose_node`.

        Each has pids and mounts of its own, as a host would have: a pid of one means nothing on another.
        """
        before = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        before += ["sh", "-c", f'{self._before.get(name, "true")}; exec "$@"', "sh"]
        self._spawn("slurmd", "-D", "-N", name, "-f", str(self.conf), key=name, before=before)

    def _spawn(self, program: str, *arguments: str, key: str = "", before: Sequence[str] = ()) -> None:
        path = _which(program)
        assert path is not None
        log = self.folder / f"{key or program}.out"
        with log.open("ab") as out:
            self._children[key or program] = subprocess.Popen(
                [*before, path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "SLURM_CONF": str(self.conf)},
                start_new_session=True,
            )

    def _idle(self) -> bool:
        try:
            states = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T").split()
        except AssertionError:
            return False
        return states == ["idle"] * len(self.names)

    def stop(self) -> None:
        """End the daemons by pid; a node's jobs end with it."""
        for name in (*self.names, "slurmctld", "munged"):
            child = self._children.pop(name, None)
            if child is not None:
                child.kill()
                child.wait()

    # -- using it -----------------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.conf)}

    def run(self, *command: str, **more: Any) -> str:
        """Run one of Slurm's programs and return what it printed."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False, **more
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def job(self, job: str) -> dict[str, str]:
        """Return what `scontrol show job` says of a job (17) or task (17_3)."""
        words = self.run("scontrol", "show", "job", job).split()
        return dict(word.partition("=")[::2] for word in words if "=" in word)  # type: ignore[misc]

    def wait_for(self, job: str, seconds: float = 60) -> dict[str, str]:
        """Wait until all of a job has left the queue; return how its last task ended."""

        def ended() -> bool:
            listed = self.run("squeue", "--noheader", "--format=%F|%A").split()
            return not any(job in line.split("|") for line in listed)

        wait_until(ended, seconds, f"end of job {job}: {self.run('squeue')}")
        return self.job(job)

    def processes_of(self, job: str) -> list[int]:
        """Return the processes of a job array's tasks, by what Slurm put into their environment."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environment = (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                # Job numbers are those of one cluster; another test process may have a cluster of its own.
                wanted = {f"SLURM_ARRAY_JOB_ID={job}".encode(), f"SLURM_CONF={self.conf}".encode()}
                if wanted <= set(environment):
                    found.append(int(entry.name))
        return found

    def lose_node(self, name: str) -> None:
        """Let a node vanish: its slurmd and all processes of its jobs are killed at once."""
        child = self._children.pop(name)
        child.kill()  # unshare --kill-child: the first process of its pid namespace goes, and all others with it
        child.wait()


def _free_ports(count: int) -> list[int]:
    """Return free ports in a row."""
    for first in range(17000 + os.getpid() % 1000 * 10, 60000, 20):
        ports = list(range(first, first + count))
        if all(_is_free(port) for port in ports):
            return ports
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
