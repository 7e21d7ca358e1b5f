"""The snippets of the docs work: SQL by `ctstate sql`, Python by pandas, R where there is an R."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.command_line import called
from tests.builders.ledgers import of_files

pytestmark = of_files

ROOT = Path(__file__).resolve().parents[2]
REPORT = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
VIEWS = (ROOT / "docs" / "views.md").read_text(encoding="utf-8")


def snippets(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with DEMO_S1.db, a season that is uploaded."""
    made = tmp_path_factory.mktemp("report")
    shutil.copy(template / "ledger.db", made / "DEMO_S1.db")
    return made


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder), "LANG": "C.UTF-8"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


QUESTIONS = snippets(REPORT, "sql") + re.findall(r'^ctstate sql(?: --csv)? "(.+?)"', VIEWS, re.MULTILINE)


@pytest.mark.parametrize("question", QUESTIONS)
def test_sql(question: str, folder: Path) -> None:
    arguments = ("--ledger", "DEMO_S1.db", "sql", "--csv", question)
    done = called(*arguments, environment={"HOME": str(folder)}, folder=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines
    about_what_is_not_there = ("v_classifications", "v_failures", "<> 'uploaded'")
    assert len(lines) > 1 or any(word in question for word in about_what_is_not_there)


@pytest.mark.parametrize("program", snippets(REPORT, "python"))
def test_python(program: str, folder: Path) -> None:
    assert "uploaded" in run(folder, sys.executable, "-W", "error", "-c", program)


@pytest.mark.parametrize("program", snippets(REPORT, "r"))
def test_r(program: str, folder: Path) -> None:
    r = shutil.which("Rscript")
    if r is None:
        pytest.skip("there is no R here")
    found = subprocess.run([r, "-e", 'stopifnot(requireNamespace("RSQLite"))'], capture_output=True, timeout=60)
    if found.returncode != 0:
        pytest.skip("this R has no RSQLite")
    assert "uploaded" in run(folder, r, "-e", program)


def test_there_are_snippets_of_each_kind() -> None:
    assert [bool(snippets(REPORT, language)) for language in ("sql", "python", "r")] == [True] * 3
    assert len(QUESTIONS) > 6
