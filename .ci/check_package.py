"""Check what lies in a wheel and in a source archive: `python .ci/check_package.py WHEEL SDIST`."""

import re
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def names_below(folder: str, pattern: str) -> set[str]:
    """Return the files of the checkout below a folder."""
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob(pattern)}


def check_wheel(path: Path) -> list[str]:
    """Return what is wrong with a wheel."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        about = Parser().parsestr(archive.read(metadata).decode("utf-8"))
    wanted = names_below("ctstate", "**/*.py") | {"ctstate/py.typed"}
    wanted |= {f"ctstate/{name}" for name in names_below("migrations", "**/*.py")}
    found = [f"the wheel lacks {name}" for name in sorted(wanted - names)]
    strangers = {name for name in names if not name.startswith("ctstate")}
    found += [f"the wheel has {name}" for name in sorted(strangers)]
    if not any(name.endswith("licenses/LICENSE") for name in names):
        found.append("the wheel has no licence")
    return found + check_metadata(about)


def check_metadata(about: Message) -> list[str]:
    """Return what is wrong with what a package index shows."""
    text = str(about.get_payload())
    found = [f"a link of the README leads nowhere on a package index: {link}" for link in relative_links(text)]
    for name, wanted in {
        "License-Expression": "Apache-2.0",
        "Author": "the ctstate developers",
        "Requires-Python": ">=3.11",
    }.items():
        if about[name] != wanted:
            found.append(f"{name} is {about[name]!r}, not {wanted!r}")
    labels = {str(entry).partition(",")[0] for entry in about.get_all("Project-URL", [])}
    return found + [f"no URL for {label}" for label in ("Documentation", "Source", "Issues") if label not in labels]


def relative_links(text: str) -> list[str]:
    """Return the links of a Markdown text that only a checkout can follow."""
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"https?://|#|mailto:", link)]


def check_sdist(path: Path) -> list[str]:
    """Return what is wrong with a source archive."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "Makefile", "alembic.ini"}
    for folder in ("ctstate", "migrations", "tests", "benchmarks", "docs"):
        wanted |= names_below(folder, "**/*.py")
    wanted |= names_below("docs", "**/*.md")
    return [f"the source archive lacks {name}" for name in sorted(wanted - names)]


def main(wheel: str, sdist: str) -> int:
    """Print what is wrong; return 1 if anything is."""
    found = check_wheel(Path(wheel)) + check_sdist(Path(sdist))
    print("\n".join(found) or "wheel and source archive: complete")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
