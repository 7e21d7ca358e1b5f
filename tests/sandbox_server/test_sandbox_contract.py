"""The sandbox answers like the real server: the recorded requests, asked again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "contract"


def begin(sandbox: Any, replies: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "contract.py"), "check", sandbox.url, "--replies", str(replies)]
    command += ["--login", sandbox.login, "--password", sandbox.password, "--project", sandbox.project_id]
    command += ["--workflow", sandbox.workflow_id, "--foreign-project", sandbox.foreign_project_id]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_every_recorded_reply_is_matched(start: Any, shared: Any, tmp_path: Path) -> None:
    """And, at the same time: the comparison does find a difference where there is one."""
    lines = (HERE / "replies.jsonl").read_text().splitlines()
    changed = [json.loads(line) for line in lines]
    for reply in changed:
        if reply["step"] == "link: one twice in a call":
            reply["status"] = 200
    (tmp_path / "changed.jsonl").write_text("\n".join(map(json.dumps, changed)))

    sandbox = start(link_seconds=0.05, counter_delay=60.0).sandbox
    real, spoilt = begin(sandbox, HERE / "replies.jsonl"), begin(shared, tmp_path / "changed.jsonl")
    said, complained = real.communicate(timeout=120)[0], spoilt.communicate(timeout=120)[0]

    assert "105 steps, 105 as recorded, 0 differ" in said, said
    assert (real.returncode, len(lines)) == (0, 105)
    assert "105 steps, 104 as recorded, 1 differ" in complained, complained
    assert spoilt.returncode == 1
