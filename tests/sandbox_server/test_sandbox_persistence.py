"""What was acknowledged is still there after the server was killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from ctstate.errors import CtstateError
from ctstate.sandbox import SandboxProcess


def test_everything_survives_a_kill(start: Any) -> None:
    client = start(removal_delay=60)
    sandbox = client.sandbox
    subject_set = client.new_set("kept", metadata={"season": "S1", "deep": {"é": [1, None]}})
    gone, kept = client.new_subject(images=2), client.new_subject(external_id="x", metadata={"#Priority": 3})
    half = client.new_subject(images=2, whole=False)
    client.link(subject_set, kept["id"], gone["id"], half["id"])
    client("DELETE", f"/subjects/{gone['id']}", if_match=gone["etag"])
    client("POST", f"/workflows/{sandbox.workflow_id}/links/subject_sets", {"subject_sets": [subject_set]})
    sandbox.classify(kept["id"], sandbox.workflow_id, 2, retired=True)
    sandbox.set_account(banned=False, subject_limit=77)
    before, etag = sandbox.state(), client("GET", f"/subjects/{kept['id']}").headers["ETag"]
    statuses = client("GET", f"/subject_workflow_statuses?subject_id={kept['id']}").json()
    url = sandbox.url

    sandbox.restart()

    assert sandbox.url == url
    assert sandbox.state() == before
    assert client("GET", "/me").json()["users"][0]["subject_limit"] == 77, "the token is good as well"
    assert client("GET", f"/subjects/{kept['id']}").headers["ETag"] == etag
    assert client("GET", f"/subject_workflow_statuses?subject_id={kept['id']}").json() == statuses
    assert client.put(half["locations"][1]["image/jpeg"]).status_code == 201, "signed URLs stay good"
    assert int(client.new_subject()["id"]) > int(half["id"])


def test_nothing_acknowledged_is_lost_when_killed_at_work(start: Any, client_of: Any) -> None:
    client = start()
    sandbox = client.sandbox
    acknowledged: list[str] = []
    arrived: list[str] = []

    def work() -> None:
        mine = client_of(sandbox)
        try:
            while True:
                subject = mine.new_subject(whole=False)
                acknowledged.append(subject["id"])
                if mine.put(subject["locations"][0]["image/jpeg"]).status_code == 201:
                    arrived.append(subject["id"])
        except requests.RequestException:
            return

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    sandbox.kill()
    for thread in threads:
        thread.join(20)
    sandbox.start()
    found = {s["id"]: s for s in sandbox.state()["subjects"]}
    assert len(acknowledged) > 20
    assert set(acknowledged) <= set(found)
    assert all(found[s]["images"][0]["whole"] for s in arrived)
    for subject in arrived[-3:]:
        key = found[subject]["images"][0]["key"]
        assert requests.get(f"{sandbox.url}/blob/{key}", timeout=20).status_code == 200


def test_a_fault_plan_is_kept_over_a_restart(start: Any) -> None:
    client = start()
    client.sandbox.set_faults({"rules": [{"route": "me", "kind": "status_before"}]})
    client.sandbox.restart()
    assert client("GET", "/me").status_code == 503


def test_a_directory_serves_one_sandbox_at_a_time(start: Any) -> None:
    sandbox = start().sandbox
    with pytest.raises(CtstateError, match="another sandbox is using it"):
        SandboxProcess(sandbox.directory).start()


def test_a_port_that_is_taken_is_one_clear_line(start: Any, tmp_path: Path) -> None:
    sandbox = start().sandbox
    with pytest.raises(CtstateError, match=f"cannot listen on 127.0.0.1:{sandbox.port}"):
        SandboxProcess(tmp_path / "other", port=sandbox.port).start()


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"something else entirely " * 100)
    with pytest.raises(CtstateError, match="not a sandbox's state"):
        SandboxProcess(tmp_path).start()


def test_it_dies_with_the_process_that_made_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from ctstate.sandbox import SandboxProcess\n"
        f"sandbox = SandboxProcess({str(tmp_path / 'sandbox')!r}).start()\n"
        "print(sandbox.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    parent.stdout.close()
    until = time.monotonic() + 10
    while time.monotonic() < until and alive(child):
        time.sleep(0.05)
    survived = alive(child)
    if survived:
        os.kill(child, signal.SIGKILL)
    assert not survived


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
