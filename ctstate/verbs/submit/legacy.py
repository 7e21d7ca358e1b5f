"""The script of old: a drop-in for `upload_manifest.sh`."""

import shlex
import sys
from pathlib import Path

from ctstate.cluster import scripts as script

LEGACY_SCRIPT = Path(script.__file__).parent / "upload_manifest.sh"


def legacy_script(ledger: str, *, python: str | None = None) -> str:
    """Return the drop-in for the old `upload_manifest.sh`, with this Python and this ledger filled in."""
    text = LEGACY_SCRIPT.read_text(encoding="utf-8")
    path = script.import_path()
    for name, value in (
        ("PYTHON", python or sys.executable),
        ("CTSTATE_LEDGER", ledger),
        ("CTSTATE_HOME", path or ""),
    ):
        before = text
        text = "".join(
            f"DEFAULT_{name}={shlex.quote(value)}\n" if line.startswith(f"DEFAULT_{name}=") else line
            for line in text.splitlines(keepends=True)
        )
        assert text != before or value == "", name
    return text
