"""docs/library.md is run as it stands, by a program of its own, against the embedded sandbox."""

import json
import re
import subprocess
import sys
from pathlib import Path

from ctstate.ledger import Ledger
from ctstate.sandbox import SandboxProcess
from ctstate.verbs.demo import make_season

ROOT = Path(__file__).resolve().parents[2]


def test_the_season_in_thirty_lines(tmp_path: Path, sandbox: SandboxProcess) -> None:
    (program,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(encoding="utf-8"), re.DOTALL
    )
    make_season(tmp_path, 7, season="WLD_S6", size=(48, 32)).rename(tmp_path / "captures.csv")
    first = sorted((tmp_path / "images").rglob("*.JPG"))[0].relative_to(tmp_path / "images").as_posix()
    detections = {
        "info": {"format_version": "1.3"},
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "images": [{"file": first, "detections": [{"category": "2", "conf": 0.9, "bbox": [0, 0, 1, 1]}]}],
    }
    (tmp_path / "detections.json").write_text(json.dumps(detections), encoding="utf-8")
    places = (
        f"ENDPOINT, PROJECT = {sandbox.url!r}, {int(sandbox.project_id)}\n"
        f"USER, PASSWORD = {sandbox.login!r}, {sandbox.password!r}\n"
    )
    (tmp_path / "season.py").write_text(places + program, encoding="utf-8")
    done = subprocess.run([sys.executable, "season.py"], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("6 uploaded; 0 failed\n")
    assert re.search(r"^\d? *site +captures +up$", done.stdout, re.MULTILINE), done.stdout
    with Ledger.open(tmp_path / "season.db") as ledger:
        table = ledger.query("SELECT subject_id, excluded FROM v_captures ORDER BY subject_id")
        assert str(table["subject_id"].dtype) == "Int64"  # one capture has none
        assert table["subject_id"].count() == 6
        assert list(table["excluded"].dropna()) == ["people"]
    assert len([s for s in sandbox.state()["subjects"] if s["active"]]) == 6
