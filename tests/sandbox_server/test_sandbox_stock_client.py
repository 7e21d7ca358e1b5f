"""The official command line, as it is, against the sandbox."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

STOCK = Path(__file__).resolve().parents[2] / ".venv-stock-cli"
"""An environment of its own (`make test` makes it): the stock command line wants an older click than users get."""


@pytest.fixture
def panoptes(client: Any, tmp_path: Path) -> Any:
    """Runs `panoptes`; it takes endpoint and password from a file in the home directory."""
    if not (STOCK / "installed").exists() and not os.environ.get("CI"):
        pytest.skip(f"no stock command line: `make {STOCK.name}/installed` installs it")
    sandbox = client.sandbox
    home = tmp_path / "home"
    (home / ".panoptes").mkdir(parents=True)
    config = {"endpoint": sandbox.url, "username": sandbox.login, "password": sandbox.password}
    (home / ".panoptes" / "config.yml").write_text(json.dumps(config))

    def run(*arguments: str) -> str:
        code = "from panoptes_cli.scripts.panoptes import cli; cli()"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment = {**kept, "HOME": str(home), "PANOPTES_ENDPOINT": sandbox.url}
        done = subprocess.run(
            [str(STOCK / "bin" / "python"), "-W", "ignore", "-c", code, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_projects_workflows_and_sets(client: Any, panoptes: Any) -> None:
    sandbox = client.sandbox
    assert f"*{sandbox.project_id} demo/" in panoptes("project", "ls")
    assert "Sandbox camera traps" in panoptes("project", "info", sandbox.project_id)
    assert panoptes("workflow", "ls", "-p", sandbox.project_id).startswith(f"{sandbox.workflow_id} ")
    created = panoptes("subject-set", "create", "-q", sandbox.project_id, "by the stock client").strip()
    assert panoptes("subject-set", "ls", "-p", sandbox.project_id) == f"{created} by the stock client\n"
    panoptes("workflow", "add-subject-sets", sandbox.workflow_id, created)
    assert panoptes("subject-set", "ls", "-q", "-w", sandbox.workflow_id) == f"{created}\n"


def test_an_upload_with_a_manifest(client: Any, panoptes: Any, tmp_path: Path) -> None:
    subject_set = client.new_set("by a manifest")
    rows = ["id,site,image_1,image_2"]
    for n in range(3):
        for side in "ab":
            (tmp_path / f"{n}{side}.jpg").write_bytes(bytes.fromhex("ffd8ffe000104a464946") + bytes([n]) * 99)
        rows.append(f"{n},B{n},{n}a.jpg,{n}b.jpg")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")

    panoptes("subject-set", "upload-subjects", subject_set, str(tmp_path / "manifest.csv"))

    state = client.sandbox.state()
    uploaded = [s for s in state["subjects"] if s["subject_sets"] == [subject_set]]
    assert sorted(s["metadata"]["site"] for s in uploaded) == ["B0", "B1", "B2"]
    assert all([i["whole"] for i in s["images"]] == [True, True] for s in uploaded)
    shown = panoptes("subject", "info", uploaded[0]["id"])
    assert f"id: '{uploaded[0]['id']}'" in shown
    assert len(panoptes("subject", "ls", "-q", "-s", subject_set).split()) == 3
