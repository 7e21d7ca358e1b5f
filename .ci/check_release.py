"""Check that a tag may be released: all must say one version. `python .ci/check_release.py TAG [--no-network]`"""

import re
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def problems(tag: str, root: Path = ROOT) -> Iterator[str]:
    """Yield, one line each, what stands in the way of releasing a tag.

    Args:
        tag: such as `v0.2.0`.
        root: the checkout.
    """
    if not re.fullmatch(r"v\d+\.\d+\.\d+(rc\d+)?", tag):
        yield f"tag {tag!r} is not like v0.2.0 or v0.2.0rc1"
        return
    version = tag.removeprefix("v")
    said = {
        "ctstate/__init__.py": r'^__version__ = "(.+)"$',
        "CITATION.cff": r"^version: (.+)$",
        "conda/recipe.yaml": r'^  version: "(.+)"$',
    }
    for name, pattern in said.items():
        found = re.findall(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
        if found != [version]:
            yield f"{name} says version {', '.join(found) or 'none'}, the tag {version}"
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(.+)\] - (.+)$", text, re.MULTILINE)
    if newest is None or newest[1] != version:
        yield f"CHANGELOG.md begins with version {newest[1] if newest else 'none'}, not with {version}"
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", newest[2]):
        yield f"CHANGELOG.md: version {version} has no date, but {newest[2]!r}"
    elif not re.search(r"^\* ", text[newest.end() :].partition("\n## ")[0], re.MULTILINE):
        yield f"CHANGELOG.md says nothing of version {version}"


def dead_links(root: Path = ROOT) -> Iterator[str]:
    """Yield the addresses in what a package index will show that do not answer: nobody else may own them."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for label, url in project["urls"].items():
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20):
                pass
        except (urllib.error.URLError, OSError) as error:
            yield f"{label}: {url} does not answer ({error})"


def main(tag: str, *options: str) -> int:
    """Print what is wrong; return 1 if anything is."""
    found = [*problems(tag), *([] if "--no-network" in options else dead_links())]
    print("\n".join(found) or f"{tag}: version, changelog and addresses are in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
