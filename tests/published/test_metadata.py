"""What package indexes are told says one thing: pyproject.toml, the conda recipe, ctstate itself."""

import re
import tomllib
from pathlib import Path
from typing import Any

import ctstate

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RECIPE = (ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8")


def test_the_recipe_asks_for_what_pyproject_asks_for() -> None:
    run = RECIPE.partition("  run:\n")[2].partition("\n\n")[0]
    asked = {line.strip("- ").replace(" ", "") for line in run.splitlines()}
    project = PYPROJECT["project"]
    wanted = {text.lower() for text in project["dependencies"]} | {f"python{project['requires-python']}"}
    assert asked == wanted


def test_the_recipe_is_of_this_version_or_of_what_it_becomes() -> None:
    (version,) = re.findall(r'^  version: "(.+)"$', RECIPE, re.MULTILINE)
    assert version == re.sub(r"\.dev\d+$", "", ctstate.__version__)


def test_every_python_that_the_classifiers_name_may_be_used() -> None:
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PYPROJECT["project"]["classifiers"]))
    assert min(named, key=lambda name: int(name.partition(".")[2])) == PYPROJECT["project"][
        "requires-python"
    ].strip(">=")


def test_the_urls_are_of_one_home() -> None:
    urls = PYPROJECT["project"]["urls"]
    home = urls["Source"]
    readme = PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    owner_and_name = home.removeprefix("https://github.com/")
    assert all(owner_and_name in rule["replacement"] for rule in readme)
    assert all(url.startswith(home) for label, url in urls.items() if label != "Documentation")
    assert f"repository: {home}\n" in RECIPE
    assert f"documentation: {urls['Documentation']}\n" in RECIPE


def test_the_citation_is_of_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    urls = PYPROJECT["project"]["urls"]
    assert f"\nversion: {ctstate.__version__}\n" in citation
    assert f"\nlicense: {PYPROJECT['project']['license']}\n" in citation
    assert f"\nrepository-code: {urls['Source']}\nurl: {urls['Documentation']}\n" in citation
    assert f"- name: {PYPROJECT['project']['authors'][0]['name']}\n" in citation


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings
    for heading in headings:
        version, _, rest = heading.partition(" - ")
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\]", version), heading
        assert re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", rest), heading
        assert f"\n{version}: https://" in text, f"{version} leads nowhere"
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
    assert headings[0].startswith(f"[{re.sub(r'[.]dev[0-9]+$', '', ctstate.__version__)}]")
