"""Python, SQLite and the packages that ctstate needs."""

import contextlib
import importlib
import importlib.metadata
import re
import sys
from pathlib import Path

from ctstate import __version__
from ctstate.ledger import checkup
from ctstate.verbs.doctor.findings import FAIL, OK, WARN, Facts, Result

_NAME = re.compile(r"[A-Za-z0-9._-]+")
OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 26, 0)
"""What RHEL 8 and its relatives have, which many clusters still run."""


def python(facts: Facts) -> Result:
    """Return whether the Python is one that ctstate works with."""
    seen = f"Python {sys.version.split()[0]} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return FAIL, seen, "ctstate needs Python 3.11 or newer: load another module or make a new environment"
    return OK, seen, ""


def versions() -> str:
    """Return for a log what runs here: ctstate, Python, SQLite, and the packages that ctstate makes use of."""
    found = [f"ctstate {__version__}", f"Python {sys.version.split()[0]}", f"SQLite {checkup.sqlite_version()}"]
    for requirement in _requirements():
        name = _NAME.match(requirement)
        if name is not None and ("extra ==" not in requirement or "fast" in requirement):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found.append(f"{name[0]} {importlib.metadata.version(name[0])}")
    return ", ".join(found)


def libraries(facts: Facts) -> Result:
    """Return whether all that ctstate needs is installed, and new enough."""
    missing, old, found = [], [], []
    requirements = _requirements()
    if not requirements:
        return WARN, "what ctstate needs is unknown: it is not installed", "run `pip install ctstate`"
    for requirement in requirements:
        if "extra ==" in requirement:
            continue
        match = re.match(r"([A-Za-z0-9._-]+)(?:.*?>=\s*([0-9.]+))?", requirement)
        assert match is not None
        name, least = match[1], match[2] or "0"
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        found.append(f"{name} {version}")
        if version_tuple(version) < version_tuple(least):
            old.append(f"{name} {version} (needs {least})")
    advice = "run `pip install -U ctstate` in this environment"
    if missing:
        return FAIL, f"missing: {', '.join(missing)}", advice
    if old:
        return FAIL, f"too old: {', '.join(old)}", advice
    return OK, ", ".join(found), ""


def _requirements() -> list[str]:
    """Return what ctstate needs, such as `click>=8.1`; in a checkout that is not installed, by its project file."""
    try:
        return importlib.metadata.requires("ctstate") or []
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).resolve().parents[3] / "pyproject.toml"
        text = project.read_text(encoding="utf-8") if project.is_file() else ""
        block = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
        return re.findall(r'"([^"]+)"', block[1]) if block else []


def version_tuple(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: `2.0.25rc1` -> (2, 0, 25)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def sqlite(facts: Facts) -> Result:
    """Return whether SQLite is new enough."""
    version = checkup.sqlite_version()
    seen = f"SQLite {version}"
    if version_tuple(version) < OLDEST_SQLITE:
        return FAIL, seen, "ctstate needs SQLite 3.26 or newer: use a Python from conda or python.org"
    return OK, seen, ""


def client(facts: Facts) -> Result:
    """Return whether the official client can be imported, and knows images by their content."""
    library = importlib.import_module("panoptes_client.subject")
    detection = getattr(library, "MEDIA_TYPE_DETECTION", "")
    if detection != "magic":
        # ctstate knows its images by itself; the CLI tells a file's type by its name then.
        return (
            WARN,
            "libmagic is not here; ctstate does without, but the panoptes CLI goes by file names",
            "if you use that CLI for images: install libmagic (`conda install libmagic`)",
        )
    return OK, "panoptes_client works, with libmagic", ""
