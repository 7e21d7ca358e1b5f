"""How the pages that are made from the code get into their folder."""

import sys
from collections.abc import Mapping
from pathlib import Path


def write(made: Mapping[str, str], below: str, ending: str) -> None:
    """Write pages into the folder that the command line names, else this one; what is gone of `below` goes too."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent
    (folder / below).mkdir(parents=True, exist_ok=True)
    for path, text in made.items():
        (folder / path).write_text(text, encoding="utf-8")
    for old in (folder / below).glob(f"*.{ending}"):
        if f"{below}/{old.name}" not in made:
            old.unlink()
