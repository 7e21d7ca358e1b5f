"""Subjects a second that one upload can carry, where neither the network nor the server is the limit.

    python benchmarks/rate.py [--captures 6000] [--connections 8] [--rounds 3]

Each capture has one tiny image, sent as it is; the server (lean_server.py) answers at once and keeps nothing. The
floor is the same creates and PUTs through `http.client`, one request after another, with no ledger and no images
to read. Counted is the time between the first create and the last image that the server saw; the whole command
stands beside it, with its processor time.
"""

import argparse
import http.client
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from workers import make_season

HERE = Path(__file__).parent


def floor(port: int, captures: int) -> None:
    """Send what must be sent through the leanest client."""
    image = b"x" * 700
    link = http.client.HTTPConnection("127.0.0.1", port)
    for number in range(captures):
        metadata = {"#capture_id": f"BEN_S1#A01#1#{number}", "#site": "A01", "#roll": 1, "#season": "BEN_S1"}
        body = {"subjects": {"locations": ["image/jpeg"], "metadata": metadata, "links": {"project": "1"}}}
        link.request("POST", "/api/subjects", json.dumps(body), {"Authorization": "Bearer t"})
        place = json.loads(link.getresponse().read())["subjects"][0]["locations"][0]["image/jpeg"]
        link.request("PUT", place.partition(str(port))[2], image, {"Content-MD5": "t"})
        link.getresponse().read()


def upload(port: int, ledger: str, connections: int) -> None:
    """Run the command."""
    environment = {
        **os.environ,
        "PANOPTES_USERNAME": "lean",
        "PANOPTES_PASSWORD": "p",
        "PANOPTES_ENDPOINT": f"http://127.0.0.1:{port}",
        "CTSTATE_LEDGER": ledger,
    }
    command = [sys.executable, "-m", "ctstate", "upload", "--project-id", "1", "--dont-compress-images"]
    command += ["--connections", str(connections)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def rate(send: Callable[[int], None]) -> float:
    """Return the subjects a second that something sends, by the server's clock."""
    command = [sys.executable, str(HERE / "lean_server.py")]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    send(int(server.stdout.readline()))
    server.stdin.close()
    images, seconds = server.stdout.read().split()
    server.wait()
    return int(images) / float(seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captures", type=int, default=6000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print("a round: subjects/s of the floor, of an upload, and the whole command: wall and processor seconds")
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as name:
            ledger = str(Path(name) / "season.db")
            make_season(Path(name), given.captures, ledger)
            least = rate(lambda port: floor(port, given.captures))
            used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            found = rate(lambda port, ledger=ledger: upload(port, ledger, given.connections))
            wall, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
            print(f"{least:7.0f} {found:7.0f} {wall:7.1f} {cpu:7.1f} (the server's, too)", flush=True)


if __name__ == "__main__":
    main()
