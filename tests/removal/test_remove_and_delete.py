"""`ctstate remove` and `ctstate delete`, end to end over HTTP."""

import hashlib
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctstate.ledger import Selection
from ctstate.verbs.choose import Wanted
from ctstate.verbs.delete import delete, plan_deletion
from ctstate.verbs.remove import plan_removal, remove
from tests.builders.uploaded_season import CAPTURES, UploadedSeason

BECAUSE = ("--reason", "people on it")
JPEG = bytes.fromhex("ffd8ffd9") * 50


def test_remove_takes_a_batch_out_and_a_retry_puts_it_in_again(world: UploadedSeason) -> None:
    set_id = world.set_of("batch_1")
    done = world.on_project("remove", "--batch", "batch_1", *BECAUSE, "--yes")
    assert done.returncode == 0, done.stdout
    assert "6 subjects taken out" in done.stdout
    assert world.states() == {"removed": 6, "uploaded": 6}
    assert not [s for s in world.active().values() if str(set_id) in s["subject_sets"]]
    assert len(world.active()) == CAPTURES
    assert world.query("SELECT DISTINCT reason FROM event WHERE target = 'removed'") == [("people on it",)]
    assert world.violations() == []
    # Again: nothing is asked of Zooniverse's sets, and that is fine.
    world.sandbox.reset_requests()
    again = world.on_project("remove", "--batch", "batch_1", *BECAUSE, "--yes")
    assert again.returncode == 0, again.stdout
    assert "Nothing to do" in again.stdout
    # A retry links it again and sends nothing anew.
    assert world.run("retry", "--state", "removed").returncode == 0
    world.sandbox.reset_requests()
    assert world.on_project("upload", "--settle-seconds", "2").returncode == 0
    routes = world.sandbox.requests()["routes"]
    assert not {"create subject", "put image"} & set(routes), routes
    assert world.states() == {"uploaded": CAPTURES}
    assert world.violations() == []


def test_delete_by_capture_subject_and_file(world: UploadedSeason, tmp_path: Path) -> None:
    captures = world.captures()
    listed = tmp_path / "list.csv"
    listed.write_text(
        f"capture_id,subject_id\n{captures[2].capture_id},{captures[2].subject_id}\n,{captures[3].subject_id}\n"
    )
    done = world.on_project(
        "delete",
        captures[0].capture_id,
        "--subject-id",
        str(captures[1].subject_id),
        "--from-file",
        str(listed),
        *BECAUSE,
        "--yes",
    )
    assert done.returncode == 0, done.stdout
    assert world.states() == {"deleted": 4, "uploaded": 8}
    assert {c.subject_id for c in captures[:4]} & set(world.active()) == set()
    assert world.violations() == []


def test_criteria_restrict_and_where_reads_the_view(world: UploadedSeason) -> None:
    site = world.captures()[-1].site
    condition = "batch = 'batch_2' AND state = 'uploaded' AND CAST(capture AS INTEGER) > 6"
    of_site = world.query("SELECT count(*) FROM v_captures WHERE site = ?", site)[0][0]
    expected = world.query(f"SELECT count(*) FROM v_captures WHERE site = ? AND {condition}", site)[0][0]
    everywhere = world.query(f"SELECT count(*) FROM v_captures WHERE {condition}")[0][0]
    assert 0 < expected < min(of_site, everywhere)
    done = world.on_project("remove", "--site", site, "--where", condition, *BECAUSE, "--yes")
    assert done.returncode == 0, done.stdout
    assert world.states() == {"removed": expected, "uploaded": CAPTURES - expected}
    wrong = world.on_project("remove", "--where", "1); DELETE FROM event; --", *BECAUSE, "--yes")
    assert wrong.returncode == 2


def test_what_is_refused_changes_nothing(world: UploadedSeason, tmp_path: Path) -> None:
    before = world.states(), sorted(world.active())
    stranger = tmp_path / "list.txt"
    stranger.write_text(world.captures()[0].capture_id + "\nNOT#IN#THE#LEDGER\n")
    for arguments, words in (
        ((), "say which"),
        (("--where", "site = 'nowhere'"), "no capture fits"),
        (("--batch", "batch_9"), "no batch 'batch_9'"),
        (("--subject-id", "999999"), "no capture's of this ledger"),
        (("--from-file", str(stranger)), "row 2"),
        (("NOT#IN#THE#LEDGER",), "not in the ledger"),
    ):
        for verb in ("remove", "delete"):
            refused = world.on_project(verb, *arguments, *BECAUSE, "--yes")
            assert refused.returncode in (1, 2), (verb, arguments, refused.stdout)
            assert words in refused.stdout, (verb, arguments, refused.stdout)
            assert "Traceback" not in refused.stdout
    nobody = world.on_project("delete", "--batch", "batch_1", *BECAUSE)
    assert nobody.returncode == 2
    assert "--yes" in nobody.stdout
    assert "6" in nobody.stdout  # the plan was shown all the same
    dry = world.on_project("delete", "--batch", "batch_1", *BECAUSE, "--dry-run")
    assert dry.returncode == 0
    foreign = world.run(
        "delete", "--batch", "batch_1", *BECAUSE, "--yes", "--project-id", world.sandbox.foreign_project_id
    )
    assert foreign.returncode == 1 or foreign.returncode == 2
    assert (world.states(), sorted(world.active())) == before


def _asked(world: UploadedSeason, answer: str) -> int:
    """Run a delete at a terminal, and answer its question."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ctstate",
            "delete",
            "--batch",
            "batch_1",
            "--project-id",
            world.sandbox.project_id,
            *BECAUSE,
        ],
        env=world.environment,
        stdin=follower,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(follower)
    os.write(leader, answer.encode())
    try:
        return process.wait(60)
    finally:
        os.close(leader)


def test_it_asks_and_takes_no_for_an_answer(world: UploadedSeason) -> None:
    assert _asked(world, "n\n") == 1
    assert world.states() == {"uploaded": CAPTURES}
    assert _asked(world, "y\n") == 0
    assert world.states() == {"deleted": 6, "uploaded": 6}


def test_shared_and_classified_are_spared_and_named(world: UploadedSeason) -> None:
    shared, classified, retired = (c.subject_id for c in world.captures()[:3])
    zooniverse = world.zooniverse()
    other = zooniverse.create_set(world.project_id, "of somebody else", {}).id
    zooniverse.link_subjects(other, [shared])
    world.sandbox.classify(str(classified), world.sandbox.workflow_id)
    world.sandbox.classify(str(retired), world.sandbox.workflow_id, 0, True)
    done = world.on_project("delete", "--batch", "batch_1", *BECAUSE, "--yes")
    assert done.returncode == 1, done.stdout
    for subject in (shared, classified, retired):
        assert f"subject {subject}" in done.stdout
    assert world.states() == {"deleted": 3, "uploaded": 9}
    assert {shared, classified, retired} <= set(world.active())
    one = world.on_project("delete", "--batch", "batch_1", "--even-if-shared", *BECAUSE, "--yes")
    assert one.returncode == 1
    assert world.states() == {"deleted": 4, "uploaded": 8}
    rest = world.on_project("delete", "--batch", "batch_1", "--even-if-classified", *BECAUSE, "--yes")
    assert rest.returncode == 0, rest.stdout
    assert world.states() == {"deleted": 6, "uploaded": 6}
    assert world.violations() == []


def test_classified_between_plan_and_deletion_is_spared(world: UploadedSeason) -> None:
    zooniverse = world.zooniverse()
    with world.open() as ledger:
        plan = plan_deletion(ledger, zooniverse, world.project_id, Wanted(Selection(batch="batch_1")))
        assert len(plan.todo) == 6
        late = plan.todo[2].subject_id
        world.sandbox.classify(str(late), world.sandbox.workflow_id)
        report = delete(ledger, zooniverse, plan, "test")
    assert [target.subject_id for target in report.classified] == [late]
    assert report.done == 5
    assert late in world.active()


def test_foreign_subjects_only_by_force(world: UploadedSeason) -> None:
    zooniverse = world.zooniverse()
    set_id = world.set_of("batch_1")
    strangers = []
    for number in range(2):
        made = zooniverse.create_subject(
            world.project_id, ["image/jpeg"], {"#capture_id": f"STRANGER#{number}"}, ""
        )
        zooniverse.put_image(made.urls[0], JPEG, "image/jpeg", hashlib.md5(JPEG).hexdigest())
        zooniverse.link_subjects(set_id, [made.id])
        strangers.append(made.id)
    out = world.on_project("remove", "--subject-id", str(strangers[0]), "--force-foreign", *BECAUSE, "--yes")
    assert out.returncode == 0, out.stdout
    assert world.active()[strangers[0]]["subject_sets"] == []
    again = world.on_project("remove", "--subject-id", str(strangers[0]), "--force-foreign", *BECAUSE, "--yes")
    assert again.returncode == 0, again.stdout
    assert "Nothing to do" in again.stdout
    other = zooniverse.create_set(world.project_id, "of somebody else", {}).id
    zooniverse.link_subjects(other, [strangers[0]])
    elsewhere = world.on_project("remove", "--subject-id", str(strangers[0]), "--force-foreign", *BECAUSE, "--yes")
    assert elsewhere.returncode == 2  # a set of somebody else's is none of ours
    assert world.active()[strangers[0]]["subject_sets"] == [str(other)]
    gone = world.on_project("delete", "--subject-id", str(strangers[1]), "--force-foreign", *BECAUSE, "--yes")
    assert gone.returncode == 0, gone.stdout
    assert strangers[1] not in world.active()
    assert world.states() == {"uploaded": CAPTURES}
    arguments = json.loads(world.query("SELECT arguments FROM run WHERE verb = 'delete'")[0][0])
    assert arguments["foreign"] == [strangers[1]]
    assert world.violations() == []


def test_claimed_and_unfinished_captures_are_left_alone(world: UploadedSeason) -> None:
    claimed, unfinished, excluded, *_ = world.captures()
    # A live run has the first; the second and third were left behind half done.
    world.do("UPDATE capture SET state = 'batched' WHERE id IN (?, ?, ?)", claimed.id, unfinished.id, excluded.id)
    world.do("UPDATE capture SET excluded = 'people' WHERE id IN (?, ?)", excluded.id, claimed.id)
    with world.open() as ledger:
        live = ledger.live_run("upload", {})
        world.do(
            "UPDATE capture SET state = 'uploading', run_id = ?, claim = claim + 1 WHERE id = ?",
            live.id,
            claimed.id,
        )
        done = world.on_project("delete", "--batch", "batch_1", *BECAUSE, "--yes")
        live.end("done")
    assert done.returncode == 1, done.stdout
    assert claimed.capture_id in done.stdout
    assert "a run is uploading them" in done.stdout
    assert unfinished.capture_id in done.stdout
    assert {claimed.subject_id, unfinished.subject_id} <= set(world.active())
    assert excluded.subject_id not in world.active()
    assert world.query("SELECT state, subject_id FROM capture WHERE id = ?", excluded.id) == [("batched", None)]
    assert world.states() == {"uploading": 1, "batched": 2, "deleted": 3, "uploaded": 6}


def test_gone_already_counts_as_done(world: UploadedSeason) -> None:
    first, second, third, *_ = (c.subject_id for c in world.captures())
    zooniverse = world.zooniverse()
    for subject in (first, second, third):
        assert zooniverse.delete_subject(subject)
    one = world.on_project("delete", "--subject-id", str(first), *BECAUSE, "--yes")
    assert one.returncode == 0, one.stdout
    two = world.on_project("remove", "--subject-id", str(second), *BECAUSE, "--yes")
    assert two.returncode == 0, two.stdout
    assert "gone already" in two.stdout
    assert world.states() == {"deleted": 2, "uploaded": 10}


def test_kill_in_the_middle_of_a_delete_and_run_it_again(world: UploadedSeason) -> None:
    world.sandbox.set_faults({"latency_ms": {"delete subject": 150}})
    command = (
        "delete",
        "--season",
        "DEMO_S1",
        "--connections",
        "1",
        *BECAUSE,
        "--yes",
        "--project-id",
        world.sandbox.project_id,
    )
    process = world.start(*command)
    while len(world.active()) > CAPTURES - 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    left = len(world.active())
    assert 0 < left < CAPTURES
    world.sandbox.clear_faults()
    again = world.run(*command)
    assert again.returncode == 0, again.stdout
    assert world.states() == {"deleted": CAPTURES}
    assert world.active() == {}
    assert world.violations() == []
    assert world.query("SELECT outcome FROM run WHERE verb = 'delete' ORDER BY id") == [("lost",), ("done",)]


def test_faults_of_every_kind(world: UploadedSeason) -> None:
    world.sandbox.set_faults(
        {
            "rules": [
                {"route": "delete subject", "kind": "status_after", "status": 504, "nth": [1]},
                {
                    "route": "delete subject",
                    "kind": "status_before",
                    "status": 412,
                    "nth": [3],
                    "proxies_html": False,
                },
                {"route": "delete subject", "kind": "reset_after", "nth": [5]},
                {"route": "delete subject", "kind": "expired_token", "nth": [7]},
                {"route": "show subject", "kind": "unknown_token", "nth": [4]},
                {"route": "list subjects", "kind": "unknown_token", "nth": [1, 2, 4]},
                {"route": "unlink subjects", "kind": "status_after", "status": 504, "nth": [1]},
                {
                    "route": "unlink subjects",
                    "kind": "status_before",
                    "status": 409,
                    "nth": [2],
                    "proxies_html": False,
                },
                {"route": "GET /api/subject_workflow_statuses", "kind": "unknown_token", "nth": [1, 3]},
            ]
        }
    )
    removed = world.on_project("remove", "--batch", "batch_1", *BECAUSE, "--yes")
    assert removed.returncode == 0, removed.stdout
    deleted = world.on_project("delete", "--batch", "batch_2", "--connections", "1", *BECAUSE, "--yes")
    assert deleted.returncode == 0, deleted.stdout
    struck = world.sandbox.faults()["rules"]
    assert all(rule["struck"] for rule in struck), struck
    world.sandbox.clear_faults()
    assert world.states() == {"removed": 6, "deleted": 6}
    assert len(world.active()) == 6
    assert world.violations() == []


def test_a_dead_token_never_makes_classified_subjects_look_untouched(world: UploadedSeason) -> None:
    for capture in world.captures():
        world.sandbox.classify(str(capture.subject_id), world.sandbox.workflow_id)
    world.sandbox.set_faults(
        {
            "rules": [
                {"route": "GET /api/subject_workflow_statuses", "kind": "unknown_token", "nth": [1, 2, 4, 6]},
                {"route": "GET /api/workflows", "kind": "unknown_token", "nth": [1, 3]},
            ]
        }
    )
    done = world.on_project("delete", "--season", "DEMO_S1", *BECAUSE, "--yes")
    assert done.returncode == 1, done.stdout
    assert all(rule["struck"] for rule in world.sandbox.faults()["rules"])
    assert len(world.active()) == CAPTURES


def test_a_banned_account_is_not_believed(world: UploadedSeason) -> None:
    from ctstate.errors import ZooniverseError

    zooniverse = world.zooniverse()
    with world.open() as ledger:
        for make_plan, carry_out in ((plan_removal, remove), (plan_deletion, delete)):
            plan = make_plan(ledger, zooniverse, world.project_id, Wanted(Selection(batch="batch_1")))
            world.sandbox.set_account(banned=True)
            with pytest.raises(ZooniverseError, match="did not"):
                carry_out(ledger, zooniverse, plan, "test")
            world.sandbox.set_account(banned=False)
    assert world.states() == {"uploaded": CAPTURES}
    assert len(world.active()) == CAPTURES
    world.sandbox.set_account(banned=True)
    assert "banned" in world.on_project("delete", "--batch", "batch_1", *BECAUSE, "--yes").stdout


def test_another_zooniverse_is_refused(world: UploadedSeason) -> None:
    world.do("UPDATE meta SET value = 'https://www.zooniverse.org' WHERE name = 'endpoint'")
    refused = world.on_project("delete", "--batch", "batch_1", *BECAUSE, "--yes")
    assert refused.returncode == 2
    assert "belongs to https://www.zooniverse.org" in refused.stdout
    assert len(world.active()) == CAPTURES


def test_kill_in_the_middle_of_a_remove_and_run_it_again(world: UploadedSeason) -> None:
    # The first DELETE of links is done; its reply, and the word to the ledger, never come.
    world.sandbox.set_faults({"rules": [{"route": "unlink subjects", "kind": "hang", "seconds": 30, "work": True}]})
    command = ("remove", "--season", "DEMO_S1", *BECAUSE, "--yes", "--project-id", world.sandbox.project_id)
    process = world.start(*command)
    while all(subject["subject_sets"] for subject in world.active().values()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert world.states() == {"uploaded": CAPTURES}
    world.sandbox.clear_faults()
    began = time.monotonic()
    again = world.run(*command)  # the dead run had the lease of the set
    assert again.returncode == 0, again.stdout
    assert time.monotonic() - began < 20
    assert world.states() == {"removed": CAPTURES}
    assert world.violations() == []


def test_remove_waits_for_a_run_that_links(world: UploadedSeason) -> None:
    from ctstate.ledger import set_lease

    with world.open() as ledger:
        live = ledger.live_run("upload", {})
        with ledger.write() as connection:
            batch = world.captures()[0].batch_id
            lease = set_lease.take(connection, batch, live.id)
            assert lease is not None
        process = world.start(
            "remove", "--batch", "batch_1", *BECAUSE, "--yes", "--project-id", world.sandbox.project_id
        )
        while not world.query("SELECT 1 FROM run WHERE verb = 'remove'"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(0.7)
        assert "unlink subjects" not in world.sandbox.requests()["routes"]
        with ledger.write() as connection:
            set_lease.drop(connection, lease)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        live.end("done")
    assert world.states() == {"removed": 6, "uploaded": 6}


def test_a_capture_that_moved_since_the_plan_is_left_to_who_moved_it(world: UploadedSeason) -> None:
    zooniverse = world.zooniverse()
    with world.open() as ledger:
        for make_plan, carry_out, batch in (
            (plan_deletion, delete, "batch_1"),
            (plan_removal, remove, "batch_2"),
        ):
            plan = make_plan(ledger, zooniverse, world.project_id, Wanted(Selection(batch=batch)))
            moved = plan.todo[1]
            assert moved.seen is not None
            world.do("UPDATE capture SET state = 'batched' WHERE id = ?", moved.seen.id)
            report = carry_out(ledger, zooniverse, plan, "test")
            assert [target.subject_id for target in report.moved] == [moved.subject_id]
            assert report.done == 5
            assert world.active()[moved.subject_id]["subject_sets"] == [str(world.set_of(batch))]


def test_stop_ends_it_between_two_parts(world: UploadedSeason, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctstate.ledger import LiveRun
    from ctstate.verbs import delete as module

    monkeypatch.setattr(module, "DELETED_AT_ONCE", 2)
    zooniverse = world.zooniverse()
    runs: list[LiveRun] = []
    with world.open() as ledger:
        start = ledger.live_run
        monkeypatch.setattr(
            ledger, "live_run", lambda *given, **more: runs.append(start(*given, **more)) or runs[-1]
        )
        plan = plan_deletion(ledger, zooniverse, world.project_id, Wanted(Selection(batch="batch_1")))
        report = delete(ledger, zooniverse, plan, "test", on_progress=lambda done: runs[-1].stop_requested.set())
    assert (report.stopped, report.done) == (True, 2)
    assert world.states() == {"deleted": 2, "uploaded": 10}
    assert world.query("SELECT outcome FROM run WHERE verb = 'delete'") == [("stopped",)]
