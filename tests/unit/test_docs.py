"""The docs say what the code does: every verb, every view and column, the CLI reference."""

import keyword
import re
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

import ctstate
from ctstate.commands.root import VERBS
from ctstate.formats.season_file import read_season_file
from ctstate.ledger import Ledger
from ctstate.verbs.survey.findings import ACTED_ON, KINDS

ROOT = Path(__file__).resolve().parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_cli_reference_is_what_help_says(tmp_path: Path) -> None:
    # In a process of its own: click remembers help options of commands that other tests called.
    subprocess.run([sys.executable, str(ROOT / "docs" / "make_cli.py"), str(tmp_path)], check=True)
    pages = ["cli.md", *(f"verbs/{page.name}" for page in sorted((ROOT / "docs" / "verbs").glob("*.md")))]
    made = sorted(page.relative_to(tmp_path).as_posix() for page in tmp_path.rglob("*.md"))
    assert pages == made, "run `make docs`"
    for page in made:
        assert read(f"docs/{page}") == (tmp_path / page).read_text(encoding="utf-8"), f"{page}: run `make docs`"


def test_what_json_prints_is_described(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "docs" / "make_json.py"), str(tmp_path)], check=True)
    pages = ["json.md", *(f"schemas/{page.name}" for page in sorted((ROOT / "docs" / "schemas").glob("*")))]
    assert pages == ["json.md", *(f"schemas/{page.name}" for page in sorted((tmp_path / "schemas").glob("*")))]
    for page in pages:
        assert read(f"docs/{page}") == (tmp_path / page).read_text(encoding="utf-8"), f"{page}: run `make docs`"


NAMESAKES = {"include": "exclude", "unlink": "link", "sets": "workflows"}
"""Verbs that share the module of another."""


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_s_module_command_and_page_bear_its_name(verb: str) -> None:
    name = NAMESAKES.get(verb, verb).replace("-", "_")
    name += "_" if keyword.iskeyword(name) else ""
    verbs = ROOT / "ctstate" / "verbs"
    assert (verbs / f"{name}.py").exists() or (verbs / name / "__init__.py").exists()
    assert VERBS[verb] == f"ctstate.commands.{name}"
    assert (ROOT / "ctstate" / "commands" / f"{name}.py").exists()
    assert f"## ctstate {verb}\n" in read(f"docs/verbs/{name}.md")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_first_page_names_every_verb(verb: str) -> None:
    assert re.search(rf"^\|.*\| .*`{verb}[`\s]", read("docs/index.md"), re.MULTILINE)


def test_the_readme_is_a_page_and_has_the_two_commands() -> None:
    readme = read("README.md")
    assert len(readme.splitlines()) < 120
    makefile = read("Makefile")
    for command in re.findall(r"^make (\w+) +#", readme, re.MULTILINE):
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)
    assert re.findall(r"^make (\w+) +#", readme, re.MULTILINE) == ["demo", "test"]


def test_the_readme_s_season_file_is_one(tmp_path: Path) -> None:
    (file,) = re.findall(r"^```toml\n(.+?)^```", read("README.md"), re.MULTILINE | re.DOTALL)
    (tmp_path / "season.toml").write_text(file, encoding="utf-8")
    assert read_season_file(tmp_path / "season.toml").season == "WLD_S6"


def test_every_column_of_every_view_is_described(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "l.db", create=True).close()
    page = read("docs/columns.md")
    sections = dict(re.findall(r"^## (\w+)\n(.+?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    with closing(sqlite3.connect(tmp_path / "l.db")) as connection:
        views = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'")]
        assert sorted(sections) == sorted(views)
        assert sorted(re.findall(r"^\| (v_\w+) \|", read("docs/views.md"), re.MULTILINE)) == sorted(views)
        for view in views:
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({view})")}
            rows = re.findall(r"^\| ([\w, ]+) \| (.+) \|$", sections[view], re.MULTILINE)
            described = [name for names, _ in rows[1:] for name in names.split(", ")]
            assert sorted(described) == sorted(columns), view


def test_every_move_is_described(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "docs" / "make_states.py"), str(tmp_path)], check=True)
    assert read("docs/states.md") == (tmp_path / "states.md").read_text(encoding="utf-8"), "run `make docs`"


def test_every_error_and_finding_is_explained() -> None:
    page = read("docs/errors.md")
    classes = re.findall(r"^class (\w+)\(", read("ctstate/errors.py"), re.MULTILINE)
    assert [
        name for name in classes[1:] if not re.search(rf"^\| {name} \| \S.* \| \S.* \|$", page, re.MULTILINE)
    ] == []
    for kind, meaning in KINDS.items():
        acted_on = "yes" if kind in ACTED_ON else "no"
        assert f"| {kind} | {meaning} | {acted_on} |" in page


def test_every_public_name_is_in_the_reference() -> None:
    named = re.findall(r"^\.\. auto\w+:: ctstate\.(\w+)$", read("docs/api.md"), re.MULTILINE)
    assert sorted(named) == sorted(name for name in ctstate.__all__ if name != "__version__")


def test_every_page_is_in_the_site() -> None:
    listed = set(re.findall(r"^([\w-]+)$", read("docs/index.md"), re.MULTILINE))
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert pages - listed == {"index"}
    assert listed <= pages


@pytest.mark.parametrize(
    "page", sorted(p.relative_to(ROOT).as_posix() for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", read(page)):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


def test_every_document_that_the_code_cites_is_there() -> None:
    cited = {
        name
        for path in ROOT.glob("ctstate/**/*.py")
        for name in re.findall(r"docs/[\w-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert cited
    assert [name for name in cited if not (ROOT / name).exists()] == []


def test_every_module_that_the_docs_name_is_there() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]
    named = {name for page in pages for name in re.findall(r"`([\w/]+/\w+\.py)", page.read_text(encoding="utf-8"))}
    assert len(named) > 10
    assert [n for n in named if not any((ROOT / below / n).exists() for below in ("", "ctstate"))] == []


def test_the_dependencies_have_their_reasons() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    described = read("docs/dependencies.md")
    names = [re.match(r"[\w-]+", text)[0] for text in project["dependencies"]]  # type: ignore[index]
    assert [
        n for n in names if not re.search(rf"^\| [^|]*\b{n}\b[^|]* \| \d+ \|.*\w", described, re.MULTILINE)
    ] == []
    assert re.findall(r"^\| `ctstate\[(\w+)\]`", described, re.MULTILINE) == [*project["optional-dependencies"]]
