"""Make the pictures of the docs, each of the demo's season.

python docs/make_picture.py demo    docs/demo.svg: what `ctstate demo` printed, its middle left out
python docs/make_picture.py pages   docs/live.png and docs/report.png: the live page while the demo uploads, and the
                                    report at its end, as Debian's Chromium shows them
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

from ctstate.ledger import Ledger, Selection, State

HERE = Path(__file__).parent

WIDTH = 100
TOP, BOTTOM = 3, 42
"""Lines that are shown of the beginning and of the end."""


def recorded() -> list[str]:
    """Run the demo; return what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ctstate", "demo", "--captures", "48"]
        done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=True)
        return done.stdout.replace(f"{folder}/", "").splitlines()


def draw(lines: list[str], file: Path) -> None:
    """Draw lines as a terminal shows them; what is longer ends in dots."""
    with open("/dev/null", "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        for line in ["$ ctstate demo --captures 48", *lines[:TOP], "...", *lines[-BOTTOM:]]:
            text = Text(line, style="bold" if line.startswith("$") else "")
            text.truncate(WIDTH, overflow="ellipsis")
            console.print(text, highlight=False)
        drawn = console.export_svg(title="ctstate demo", unique_id="ctstate")
    # The font is not fetched from anywhere: what the reader has does.
    file.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL), encoding="utf-8")


CAPTURES = 300
"""Of the season that the pages show: large enough that there is time to look."""


def photograph() -> None:
    """Run the demo, look at its live page half-way, and at the report of its end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ctstate", "demo", "--captures", str(CAPTURES)]
        demo = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        ledger = Path(folder) / "demo" / "season.db"
        while not _is_half_way(ledger):
            time.sleep(0.2)
        environment = {**os.environ, "CTSTATE_LEDGER": str(ledger)}
        serve = [sys.executable, "-m", "ctstate", "serve", "--port", "0", "--no-open"]
        page = subprocess.Popen(serve, env=environment, stdout=subprocess.PIPE, text=True)
        assert page.stdout is not None
        told = re.search(r"http://127\.0\.0\.1\S+", next(line for line in page.stdout if "http://" in line))
        assert told is not None
        _shoot(told.group(), HERE / "live.png", 675)
        page.terminate()
        page.wait()
        if demo.wait():
            raise SystemExit("the demo failed")
        report = Path(folder) / "season.html"
        subprocess.run(
            [sys.executable, "-m", "ctstate", "report", "-o", str(report)],
            env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        _shoot(report.as_uri(), HERE / "report.png", 975)


def _is_half_way(ledger: Path) -> bool:
    if not ledger.exists():
        return False
    with Ledger.open(ledger, read_only=True) as opened:
        return opened.count(Selection(states=[State.UPLOADED])) > CAPTURES * 0.55


def _shoot(address: str, file: Path, height: int) -> None:
    """Save the upper part of a page as a small picture."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        page = browser.new_page(viewport={"width": 960, "height": height}, locale="en-GB")
        page.goto(address)
        page.wait_for_timeout(1_000)
        taken = page.screenshot()
        browser.close()
    Image.open(io.BytesIO(taken)).quantize(64).save(file, optimize=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["pages"]:
        photograph()
    else:
        draw(recorded(), HERE / "demo.svg")
