"""Requests and time of an upload while replies are lost, beside the same upload without faults, in one run.

    python benchmarks/faults.py [--captures 300] [--seed 7]

A season goes to a sandbox that answers after 20 ms, three times:

* without faults;
* where 4% of the creates are made and their reply is lost, so that nothing has to be waited for;
* where, besides, 3% of the creates are lost before they reach the server, and 2% of the image PUTs and of the links
  calls fail.

Printed are the requests a subject by kind, beyond POSTs of creates and PUTs of images, and how much longer than
without faults the upload took.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ctstate.ledger import Ledger
from ctstate.sandbox import SandboxProcess, SandboxSettings
from ctstate.verbs.demo import make_season
from ctstate.verbs.demo.invariant import violations
from ctstate.verbs.manifest import manifest

LATENCY = {"*": 20}


def every(share: float, offset: int, captures: int) -> list[int]:
    """Return the numbers of a share of the creates, evenly spread."""
    return [int((number + 0.5) / share) + offset for number in range(int(captures * share))]


def lost(captures: int) -> list[dict[str, Any]]:
    """4% of the creates: made, and the reply lost."""
    return [
        {"route": "create subject", "kind": "status_after", "status": 504, "nth": every(0.02, 1, captures)},
        {"route": "create subject", "kind": "reset_after", "nth": every(0.02, 7, captures)},
    ]


def more(captures: int) -> list[dict[str, Any]]:
    """3% of the creates: lost on their way; and images and links calls that fail."""
    return [
        {"route": "create subject", "kind": "reset_before", "nth": every(0.03, 3, captures)},
        {"route": "put image", "kind": "status_before", "status": 502, "probability": 0.02},
        {"route": "link subjects", "kind": "status_after", "status": 504, "probability": 0.02},
    ]


def uploaded(folder: Path, captures: int, plan: dict[str, Any]) -> tuple[float, dict[str, int], int]:
    """Upload a season; return seconds, requests by route, and images."""
    folder.mkdir()
    with SandboxProcess(folder / "zooniverse", SandboxSettings(discard_images=True)) as sandbox:
        csv = make_season(folder, captures, size=(160, 120))
        with Ledger.open(folder / "season.db", create=True) as ledger:
            manifest(ledger, csv, attribution="a", license="l", images_root=folder / "images")
            with ledger.read() as connection:
                images = int(connection.exec_driver_sql("SELECT count(*) FROM image").scalar() or 0)
        sandbox.set_faults(plan)
        command = [
            sys.executable,
            "-m",
            "ctstate",
            "--ledger",
            str(folder / "season.db"),
            "--endpoint",
            sandbox.url,
        ]
        command += ["upload", "--project-id", sandbox.project_id, "--n-processes", "2"]
        account = {"PANOPTES_USERNAME": sandbox.login, "PANOPTES_PASSWORD": sandbox.password}
        began = time.monotonic()
        subprocess.run(command, env={**os.environ, **account}, check=True, capture_output=True)
        took = time.monotonic() - began
        with Ledger.open(folder / "season.db") as ledger:
            found = violations(ledger, sandbox.state(), complete=True)
        assert found == [], found
        return took, {name: int(count) for name, count in sandbox.requests()["routes"].items()}, images


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    some = lost(given.captures)
    plans: dict[str, dict[str, Any]] = {
        "without faults": {"latency_ms": LATENCY},
        "replies of creates lost": {"seed": given.seed, "latency_ms": LATENCY, "rules": some},
        "all kinds of losses": {"seed": given.seed, "latency_ms": LATENCY, "rules": some + more(given.captures)},
    }
    plain = math.nan
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, plan) in enumerate(plans.items()):
            took, requests, images = uploaded(Path(folder) / str(number), given.captures, plan)
            plain = took if number == 0 else plain
            again = requests.pop("create subject") - given.captures, requests.pop("put image") - images
            rest = dict(sorted(requests.items()))
            share = sum(rest.values()) / given.captures
            print(f"{name}: {took:.1f} s ({took - plain:+.1f} s), {share:.3f} requests a subject")
            print("  " + ", ".join(f"{route} {count}" for route, count in rest.items()))
            print(f"  and {again[0]} creates and {again[1]} images sent again")


if __name__ == "__main__":
    main()
