"""SQLite's own loop: fail the n-th request, for n = 1, 2, 3, ... until a run meets no fault.

Of each kind every second n is tried, of one kind the odd and of the next, which is much like it, the even ones.
After each, one more upload must bring the season to its end, and the invariant must hold.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ctstate.errors import ZooniverseError
from ctstate.sandbox import SandboxProcess
from ctstate.zooniverse import Backoff
from tests.builders.season_on_sandbox import Season

CAPTURES = 3
PATIENT = Backoff(first=0.01, most=0.05, give_up=20.0)

KINDS: dict[str, dict[str, Any]] = {
    "reply lost after the work": {"kind": "status_after", "status": 504, "proxies_html": True},
    "refused before the work": {"kind": "status_before", "status": 502},
    "connection dropped after the work": {"kind": "reset_after"},
    "connection dropped before the work": {"kind": "reset_before"},
    "reply cut off": {"kind": "truncated", "how": "short"},
    "JSON cut off": {"kind": "truncated", "how": "cut"},
    "token forgotten": {"kind": "unknown_token"},
    "token expired": {"kind": "expired_token"},
    "told to wait": {"kind": "retry_after", "status": 429, "seconds": 0},
}


def faults(season: Season) -> int:
    return sum(season.z.requests()["faults"].values())


@pytest.mark.parametrize("name", KINDS)
def test_the_nth_request_fails(new_season, name: str) -> None:
    n = list(KINDS).index(name) % 2 - 1
    while True:
        n += 2
        season: Season = new_season(CAPTURES)
        season.z.reset_requests()
        season.z.set_faults({"rules": [{"route": "*", "nth": n, **KINDS[name]}]})
        with contextlib.suppress(ZooniverseError):  # a log-in that fails ends a run; the next one does it
            season.upload(backoff=PATIENT, connections=1, link_batch_size=2, settle=0.05)
        struck = faults(season)
        season.z.clear_faults()
        if not struck:
            break
        season.check(complete=False)
        season.upload(backoff=PATIENT, settle=0.05)
        season.check()
    season.check()
    assert n > 10, "too few requests: does the fault strike at all?"


DOOMED = """
import json, os, sys
import ctstate.commands.upload
from ctstate.commands import main
from ctstate.zooniverse import log_in
from ctstate.zooniverse.connections import Connections

def die_at(n):
    left, send = [n], Connections.request
    def counted(self, *a, **k):
        answer = send(self, *a, **k)
        left[0] -= 1
        if left[0] == 0:
            os._exit(137)
        return answer
    Connections.request = counted

for line in sys.stdin:
    n, *arguments = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        die_at(n)
        sys.argv = ["ctstate", *arguments]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Reads n and the arguments of a call; forks a process for each, as all is loaded already; tells how it ended."""


def test_killed_at_the_nth_request(new_season, module_sandbox: SandboxProcess, tmp_path: Path) -> None:
    """The process ends (as by kill -9) when its n-th request is answered, for every third n."""
    account = {"PANOPTES_USERNAME": module_sandbox.login, "PANOPTES_PASSWORD": module_sandbox.password}
    n = 1
    with (
        (tmp_path / "stderr").open("w+") as said,
        subprocess.Popen(
            [sys.executable, "-c", DOOMED], env={**os.environ, **account}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
        ) as doomed,
    ):  # fmt: skip
        assert doomed.stdin is not None
        assert doomed.stdout is not None
        while True:
            season: Season = new_season(CAPTURES)
            call = (
                n, "--ledger", str(season.path), "--endpoint", season.z.url, "upload",
                "--project-id", season.z.project_id, "--connections", "1", "--n-processes", "1",
                "--link-batch-size", "2", "--settle-seconds", "0.1",
            )  # fmt: skip
            print(json.dumps(call), file=doomed.stdin, flush=True)
            code = int(doomed.stdout.readline())
            season.check(complete=False) if code == 137 else season.check()
            if code == 0:
                break
            assert code == 137, (tmp_path / "stderr").read_text()
            season.upload(backoff=PATIENT, settle=0.05)
            season.check()
            n += 3
    assert n > 10
