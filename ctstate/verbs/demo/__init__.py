"""A rehearsal from nothing (`ctstate demo`): a made-up season, a sandbox with faults, a kill, a resume, a proof."""

import csv
import functools
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from ctstate.errors import CtstateError, UsageError
from ctstate.ledger import Ledger, Selection, State
from ctstate.sandbox import SandboxProcess, SandboxSettings
from ctstate.verbs.demo.invariant import violations
from ctstate.words import and_more, counted

FAULTS: dict[str, Any] = {
    "seed": 20,
    "latency_ms": {"create subject": 60, "put image": 30},
    "rules": [
        {
            "route": "create subject",
            "kind": "status_after",
            "status": 504,
            "probability": 0.06,
            "proxies_html": True,
        },
        {"route": "create subject", "kind": "status_before", "status": 502, "probability": 0.04},
        {"route": "create subject", "kind": "reset_after", "probability": 0.03},
        {"route": "put image", "kind": "reset_before", "probability": 0.04},
        {"route": "put image", "kind": "status_before", "status": 503, "probability": 0.03},
        {"route": "link subjects", "kind": "status_after", "status": 504, "nth": [1]},
    ],
}
"""What goes wrong in the demo: replies lost after the work was done, and before; images that do not arrive."""

SETTLE_S = 3
"""The sandbox is done with a request when its reply is lost: no need to wait as long as for Zooniverse."""


Say = Callable[[str], None]
"""Where the demo's words go."""


def make_season(
    folder: Path,
    captures: int,
    *,
    season: str = "DEMO_S1",
    sites: Sequence[str] = ("B04", "C11", "Wasserstelle_Süd"),
    size: tuple[int, int] = (1280, 960),
    seed: int = 1,
) -> Path:
    """Make a season of real JPEGs, 1 to 3 a capture, with a captures CSV; return the CSV.

    Args:
        folder: gets `captures.csv` and `images/`.
        captures: how many.
        season, sites: names.
        size: of the images, in pixels.
        seed: the same seed makes the same season.
    """
    rng = random.Random(seed)
    images = folder / "images"
    rows: list[dict[str, Any]] = []
    for number in range(1, captures + 1):
        site = sites[number % len(sites)]
        for rank in range(1, rng.choice((1, 2, 3, 3)) + 1):
            name = f"{season}_{site}_R1_IMAG{number:04d}_{rank}.JPG"
            path = images / season / site / f"{site}_R1" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _picture(rng, size, f"{site}  {number:04d}/{rank}").save(path, "JPEG", quality=88)
            rows.append(
                {
                    "season": season,
                    "site": site,
                    "roll": 1,
                    "capture": number,
                    "image": rank,
                    "path": path.relative_to(images).as_posix(),
                    "timestamp": f"2017:06:06 {number // 60 % 24:02}:{number % 60:02}:0{rank}",
                    "invalid": 0,
                }
            )
    captures_csv = folder / "captures.csv"
    with captures_csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return captures_csv


@functools.cache
def _noise(size: tuple[int, int]) -> Image.Image:
    """Noise for all pictures, each of which has it elsewhere: to make it takes longer than all the rest of one."""
    return Image.effect_noise(size, 40).convert("RGB")


def _picture(rng: random.Random, size: tuple[int, int], label: str) -> Image.Image:
    """Draw something like what a camera trap sees: sky, grass, an animal, noise, a label."""
    width, height = size
    sky = tuple(rng.randint(120, 220) for _ in range(3))
    grass = (rng.randint(90, 150), rng.randint(100, 150), rng.randint(40, 80))
    picture = Image.new("RGB", size, sky)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, height * 0.55, width, height), fill=grass)
    for _ in range(120):
        x, y = rng.randrange(width), rng.randrange(int(height * 0.5), height)
        shade = rng.randint(-30, 30)
        draw.line(
            (x, y, x + rng.randint(-8, 8), y - rng.randint(10, 60)), fill=tuple(c + shade for c in grass), width=2
        )
    x, y, w = rng.randrange(width // 4, width // 2), int(height * rng.uniform(0.45, 0.6)), width // 6
    coat = (rng.randint(60, 160), rng.randint(50, 110), rng.randint(30, 70))
    draw.ellipse((x, y, x + w, y + w // 2), fill=coat)
    draw.ellipse((x + w - w // 5, y - w // 5, x + w + w // 6, y + w // 6), fill=coat)
    for leg in (0.15, 0.3, 0.7, 0.85):
        draw.rectangle((x + w * leg, y + w * 0.4, x + w * leg + w * 0.06, y + w * 0.85), fill=coat)
    elsewhere = random.Random(label)
    noise = ImageChops.offset(_noise(size), elsewhere.randrange(width), elsewhere.randrange(height))
    picture = Image.blend(picture.filter(ImageFilter.BoxBlur(1)), noise, 0.12)
    ImageDraw.Draw(picture).text((12, height - 24), label, fill=(255, 255, 255))
    return picture


class _Commands:
    """Runs the command line as a user would, in processes of their own."""

    def __init__(self, environment: Mapping[str, str], say: Say) -> None:
        self._environment = {**os.environ, **environment}
        self._say = say

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        self._say(f"\n$ ctstate {shlex.join(arguments)}")
        return subprocess.Popen(
            [sys.executable, "-m", "ctstate", *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def run(self, *arguments: str, expected: Sequence[int] = (0,)) -> int:
        process = self.start(*arguments)
        assert process.stdout is not None
        for line in process.stdout:
            self._say(line.rstrip("\n"))
        code = process.wait()
        if code not in expected:
            raise CtstateError(f"`ctstate {arguments[0]}` ended with exit code {code}")
        return code


def run_demo(folder: Path, say: Say, *, captures: int = 48, keep_open: Callable[[str], None] | None = None) -> None:
    """Make a season, upload it to a sandbox that fails often, kill the upload on the way, and check the end.

    Args:
        folder: a folder of its own; one that an earlier demo made is replaced.
        say: gets every line.
        captures: how many.
        keep_open: called with the sandbox's address before it is closed.

    Raises:
        UsageError: the folder holds something else.
        CtstateError: a step failed, or something was lost or doubled.
    """
    marker = folder / ".ctstate-demo"
    if folder.exists() and any(folder.iterdir()):
        if not marker.exists():
            raise UsageError(f"{folder} holds something else; name an empty folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    say(f"Making a season of {counted(captures, 'capture')} in {folder} ...")
    captures_csv = make_season(folder, captures)
    passwords = folder / "passwords.ini"
    sandbox: AbstractContextManager[SandboxProcess] = SandboxProcess(folder / "sandbox", SandboxSettings())
    with sandbox as zooniverse:
        passwords.write_text(
            f"[zooniverse]\nusername = {zooniverse.login}\npassword = {zooniverse.password}\n", encoding="utf-8"
        )
        passwords.chmod(0o600)
        say(f"A sandbox answers at {zooniverse.url} in place of Zooniverse; look at it with a browser.")
        say("It loses replies after doing the work, drops connections and refuses images.")
        ledger_file = folder / "season.db"
        commands = _Commands({"CTSTATE_LEDGER": str(ledger_file), "PANOPTES_ENDPOINT": zooniverse.url}, say)
        commands.run(
            "manifest", str(captures_csv), "--images-root", str(folder / "images"),
            "--attribution", "University of Minnesota + Snapshot Safari", "--license", "Snapshot Safari",
        )  # fmt: skip
        commands.run("batch", "--number-of-batches", "2")
        zooniverse.set_faults(FAULTS)
        account = ("--project-id", str(zooniverse.project_id), "--password-file", str(passwords))
        upload = (
            "upload", *account, "--settle-seconds", str(SETTLE_S), "--link-batch-size", "10", "--connections", "4",
            "--log-dir", str(folder / "logs"), "--log-filename", "demo",
        )  # fmt: skip
        _kill_half_way(commands, upload, ledger_file, captures, say)
        commands.run("status")
        say("\nThe same command again: it resumes, and looks for what the kill and the lost replies left in doubt.")
        commands.run(*upload)
        zooniverse.clear_faults()
        commands.run("status")
        commands.run("verify", *account)
        with Ledger.open(ledger_file, read_only=True) as ledger:
            found = violations(ledger, zooniverse.state())
        struck = sum(zooniverse.requests()["faults"].values())
        if found:
            raise CtstateError(f"the invariant does not hold: {found[0]}{and_more(len(found) - 1)}")
        say(
            f"\nNothing lost, nothing doubled: {counted(captures, 'capture')}, each exactly once, "
            f"after {counted(struck, 'fault')} and a kill."
        )
        if keep_open is not None:
            keep_open(zooniverse.url)


def _kill_half_way(commands: _Commands, upload: Sequence[str], ledger_file: Path, captures: int, say: Say) -> None:
    process = commands.start(*upload)
    with Ledger.open(ledger_file, read_only=True) as ledger:
        while process.poll() is None and ledger.count(Selection(states=[State.UPLOADED])) < captures // 3:
            time.sleep(0.02)
    if process.poll() is not None:
        output = process.stdout.read() if process.stdout else ""
        raise CtstateError(f"the upload ended before it could be killed: {output.strip()[-300:]}")
    process.send_signal(signal.SIGKILL)
    process.wait()
    say("... kill -9, in the middle of it.")
