"""Record `ctstate demo` as a picture, docs/demo.svg: what it printed, its middle left out, paths shortened."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

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


if __name__ == "__main__":
    draw(recorded(), Path(__file__).parent / "demo.svg")
