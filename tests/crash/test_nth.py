"""SQLite's own loop: fail the n-th request, for n = 1, 2, 3, ... until a run meets no fault.

Of each kind every second n is tried, of one kind the odd and of the next, which is much like it, the even ones.
After each, one more upload must bring the season to its end, and the invariant must hold.
"""

import contextlib
import os
import subprocess
import sys
from typing import Any

import pytest

from ctstate.errors import ZooniverseError
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


def test_killed_at_the_nth_request(new_season) -> None:
    """The process ends (as by kill -9) when its n-th request is answered, for every third n."""
    code = (
        "import os, sys\n"
        "from ctstate.zooniverse.connections import Connections\n"
        "left = [int(os.environ['KILL_AT'])]\n"
        "send = Connections.request\n"
        "def counted(self, *a, **k):\n"
        "    answer = send(self, *a, **k)\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0: os._exit(137)\n"
        "    return answer\n"
        "Connections.request = counted\n"
        "if __name__ == '__main__':\n"
        "    from ctstate.commands import main\n"
        "    main()\n"
    )
    n = 1
    while True:
        season: Season = new_season(CAPTURES)
        done = subprocess.run(
            [
                sys.executable, "-c", code, "--ledger", str(season.path), "--endpoint", season.z.url, "upload",
                "--project-id", season.z.project_id, "--connections", "1", "--n-processes", "1",
                "--link-batch-size", "2", "--settle-seconds", "0.1",
            ],
            env={
                **os.environ, "KILL_AT": str(n), "PANOPTES_USERNAME": season.z.login,
                "PANOPTES_PASSWORD": season.z.password,
            },
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        season.check(complete=False) if done.returncode == 137 else season.check()
        if done.returncode == 0:
            break
        assert done.returncode == 137, done.stderr
        season.upload(backoff=PATIENT, settle=0.05)
        season.check()
        n += 3
    assert n > 10
