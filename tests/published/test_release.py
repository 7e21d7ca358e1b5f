"""`make release` refuses what would not be one version."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

import ctstate

ROOT = Path(__file__).resolve().parents[2]
TAG = "v9.8.7"
FILES = ("ctstate/__init__.py", "CITATION.cff", "conda/recipe.yaml", "CHANGELOG.md")


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A checkout that is ready to be released as 9.8.7."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    now = ctstate.__version__
    for name in FILES[:3]:
        text = (tmp_path / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace(now, "9.8.7").replace(now.partition(".dev")[0], "9.8.7"))
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changes\n\n## [9.8.7] - 2027-01-31\n\n### Added\n\n* a thing\n\n## [0.1.0] - x\n"
    )
    return tmp_path


def found(root: Path, tag: str = TAG) -> list[str]:
    return list(module("check_release").problems(tag, root))


def test_what_is_ready_is_released(ready: Path) -> None:
    assert found(ready) == []


@pytest.mark.parametrize("name", FILES)
def test_each_file_must_say_the_tag_s_version(name: str, ready: Path) -> None:
    text = (ready / name).read_text(encoding="utf-8")
    (ready / name).write_text(text.replace("9.8.7", "9.8.6"))
    assert [line.split()[0].rstrip(":") for line in found(ready)] == [name]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ("## [9.8.7] - unreleased\n\n* a thing\n", "no date"),
        ("## [9.8.7] - 2027-01-31\n\n## [9.8.6] - 2026-01-31\n\n* a thing\n", "says nothing"),
        ("nothing\n", "not with 9.8.7"),
    ],
)
def test_the_changelog_must_tell_of_it(changes: str, complaint: str, ready: Path) -> None:
    (ready / "CHANGELOG.md").write_text(changes)
    (line,) = found(ready)
    assert complaint in line


@pytest.mark.parametrize("tag", ["9.8.7", "v9.8", "v9.8.7.dev0", "version9.8.7"])
def test_a_tag_of_another_form_is_refused(tag: str, ready: Path) -> None:
    assert len(found(ready, tag)) == 1


def test_a_site_s_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html#there">x</a><a href="https://example.org">y</a><h1 id="t">t</h1>'
    )
    (tmp_path / "b.html").write_text('<h1 id="there">b</h1><a href="a.html#gone">x</a><a href="c.html">y</a>')
    assert [line.partition(":")[2] for line in module("check_site").broken(tmp_path)] == [
        " a.html#gone: no such place in it",
        " c.html: no such file",
    ]


def test_links_that_only_a_checkout_can_follow_are_found() -> None:
    text = "[a](docs/a.md) [b](https://example.org/b) [c](#c) ![d](d.svg)"
    assert module("check_package").relative_links(text) == ["docs/a.md", "d.svg"]
