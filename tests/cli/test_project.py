"""The project is said once: what needs one later takes it from the ledger."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ctstate.ledger import Ledger
from tests.builders.uploaded_season import UploadedSeason


@pytest.mark.parametrize(
    "words",
    [
        ("verify",), ("reconcile",), ("upload", "--dry-run"), ("update-metadata", "--dry-run"), ("progress",),
        ("adopt",), ("remove", "--batch", "batch_1", "--reason", "x", "--dry-run"),
        ("delete", "--batch", "batch_1", "--reason", "x", "--dry-run"),
        ("sets",), ("workflows",),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_what_comes_after_the_upload_need_not_name_it(words: tuple[str, ...], world: UploadedSeason) -> None:
    done = world.run(*words)
    assert "project-id" not in done.stdout
    assert done.returncode == 0, done.stdout
    assert world.run(*words, "--project-id", str(world.project_id)).returncode == 0


def test_it_must_be_named_where_the_ledger_knows_none(season_csv: Any, row: Any, call_ctstate: Any) -> None:
    in_the_wrong_folder = call_ctstate("verify").error()
    assert "say which project: --project-id" in in_the_wrong_folder
    assert "no such file; `ctstate manifest` makes one" in in_the_wrong_folder or "holds no" in in_the_wrong_folder
    season_csv([row()])
    assert call_ctstate(*season_csv.arguments()).code == 0
    refused = call_ctstate("upload")
    assert refused.code == 2
    assert "say which project: --project-id" in refused.error()


def test_it_must_be_named_where_the_ledger_knows_two(world: UploadedSeason, tmp_path: Path) -> None:
    path = Path(shutil.copy(world.path, tmp_path / "two.db"))
    with Ledger.open(path) as ledger, ledger.write() as connection:
        connection.execute(text("UPDATE batch SET project_id = 7 WHERE id = (SELECT max(id) FROM batch)"))
    said = world.run("--ledger", str(path), "verify")
    assert said.returncode == 2
    assert f"name a project with --project-id: the ledger has sets in 7, {world.project_id}" in said.stdout
