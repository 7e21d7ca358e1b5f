"""`ctstate workflows`, `link`, `unlink`, `sets`, `progress`, end to end over HTTP."""

import json
import time
from typing import Any

import pytest

from ctstate.ledger import Ledger
from tests.builders.season_on_sandbox import delete_set
from tests.builders.uploaded_season import CAPTURES, UploadedSeason


def _sets_of_workflow(world: UploadedSeason) -> list[int]:
    flows = {w["id"]: w for w in world.sandbox.state()["workflows"]}
    return [int(key) for key in flows[world.sandbox.workflow_id]["subject_sets"]]


def _link(world: UploadedSeason, verb: str, batch: str = "batch_1", workflow: str = "") -> Any:
    return world.on_project(verb, "--batch", batch, "--workflow-id", workflow or world.sandbox.workflow_id)


def test_link_and_unlink_touch_one_set_only_and_can_be_repeated(world: UploadedSeason) -> None:
    one, two = world.set_of("batch_1"), world.set_of("batch_2")
    before = _sets_of_workflow(world)
    assert _link(world, "link").returncode == 0
    assert _link(world, "link", "batch_2").returncode == 0
    assert set(_sets_of_workflow(world)) == {*before, one, two}  # a bare string would leave the last one only
    again = _link(world, "link")
    assert again.returncode == 0, again.stdout
    assert "Linked already" in again.stdout
    listed = json.loads(world.on_project("workflows", "--json").stdout)
    mine = next(flow for flow in listed if flow["id"] == int(world.sandbox.workflow_id))
    assert {"id": one, "name": "DEMO_S1_batch_1"} in mine["sets"]
    assert "DEMO_S1_batch_2" in world.on_project("workflows").stdout
    assert _link(world, "unlink").returncode == 0
    assert set(_sets_of_workflow(world)) == {*before, two}
    again = _link(world, "unlink")
    assert again.returncode == 0, again.stdout
    assert "Was not linked" in again.stdout
    assert world.query("SELECT verb, outcome FROM run WHERE verb LIKE '%link' ORDER BY id") == [
        ("link", "done"), ("link", "done"), ("link", "done"), ("unlink", "done"), ("unlink", "done")
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["status_after", "reset_after", "truncated", "unknown_token", "expired_token"])
def test_a_lost_reply_is_no_failure(world: UploadedSeason, kind: str) -> None:
    world.sandbox.set_faults(
        {
            "rules": [
                {"route": "* /api/workflows/*/links/subject_sets", "kind": kind, "nth": [1]},
                {"route": "* /api/workflows/*/links/subject_sets/*", "kind": kind, "nth": [1]},
            ]
        }
    )
    linked = _link(world, "link")
    assert linked.returncode == 0, linked.stdout
    assert world.set_of("batch_1") in _sets_of_workflow(world)
    unlinked = _link(world, "unlink")
    assert unlinked.returncode == 0, unlinked.stdout
    assert world.set_of("batch_1") not in _sets_of_workflow(world)
    assert all(rule["struck"] for rule in world.sandbox.faults()["rules"])


def test_what_link_refuses(world: UploadedSeason) -> None:
    before = _sets_of_workflow(world)
    assert "no workflow 999" in _link(world, "link", workflow="999").stdout
    assert "no batch 'batch_7'" in _link(world, "link", "batch_7").stdout
    # A set of another project would be copied.
    zooniverse = world.zooniverse()
    made = world.sandbox.call(
        "PUT", "account", {"login": world.sandbox.login, "collaborator": world.sandbox.foreign_project_id}
    )
    assert made
    foreign = zooniverse.create_set(int(world.sandbox.foreign_project_id), "far away", {}).id
    world.do("UPDATE batch SET subject_set_id = ? WHERE name = 'batch_1'", foreign)
    refused = _link(world, "link")
    assert refused.returncode == 2, refused.stdout
    assert "copy" in refused.stdout
    world.do("UPDATE batch SET subject_set_id = NULL WHERE name = 'batch_1'")
    assert "no subject set yet" in _link(world, "link").stdout
    world.sandbox.set_account(banned=True)
    assert "banned" in _link(world, "link", "batch_2").stdout
    world.sandbox.set_account(banned=False)
    assert _sets_of_workflow(world) == before
    assert len(world.sandbox.state()["subject_sets"]) == 3  # the two of the season and the one made here


def test_sets_says_what_the_ledger_thinks_of_each(world: UploadedSeason) -> None:
    zooniverse = world.zooniverse()
    stranger = zooniverse.create_set(world.project_id, "of somebody else", {}).id
    zooniverse.delete_subject(world.captures()[0].subject_id)
    _link(world, "link", "batch_2")
    world.sandbox.set_faults({"rules": [{"route": "list subjects", "kind": "unknown_token", "nth": [1, 3]}]})
    told = {row["id"]: row for row in json.loads(world.on_project("sets", "--json").stdout)}
    assert all(rule["struck"] for rule in world.sandbox.faults()["rules"])
    one, two = told[world.set_of("batch_1")], told[world.set_of("batch_2")]
    assert (one["subjects"], one["uploaded"], one["batch"]) == (5, 6, "batch_1")
    assert "differ" in one["verdict"]
    assert (two["subjects"], two["uploaded"], two["verdict"]) == (6, 6, "ok")
    assert two["workflows"] == [int(world.sandbox.workflow_id)]
    assert told[stranger]["batch"] is None
    assert "no batch" in told[stranger]["verdict"]
    delete_set(zooniverse, int(two["id"]))
    gone = {row["id"]: row for row in json.loads(world.on_project("sets", "--json").stdout)}[two["id"]]
    assert gone["subjects"] is None
    assert "no longer on Zooniverse" in gone["verdict"]


def test_sets_without_a_ledger(world: UploadedSeason) -> None:
    done = world.run("--ledger", str(world.folder / "none.db"), "sets", "--project-id", world.sandbox.project_id)
    assert done.returncode == 0, done.stdout
    assert "DEMO_S1_batch_1" in done.stdout
    assert not (world.folder / "none.db").exists()


def _classifications(world: UploadedSeason) -> dict[int, tuple[int, bool]]:
    rows = world.query("SELECT subject_id, classifications_count, retired_at IS NOT NULL FROM v_classifications")
    return {row[0]: (row[1], bool(row[2])) for row in rows}


def test_progress_reads_what_volunteers_did(world: UploadedSeason) -> None:
    first, second, third, *_ = (c.subject_id for c in world.captures())
    _link(world, "link")
    workflow = world.sandbox.workflow_id
    world.sandbox.classify(str(first), workflow, 3)
    world.sandbox.classify(str(second), workflow, 15, True)
    rule = {"route": "GET /api/subject_workflow_statuses", "kind": "unknown_token", "nth": [1, 2]}
    world.sandbox.set_faults({"rules": [rule]})
    done = world.on_project("progress", "--json")
    assert done.returncode == 0, done.stdout
    assert all(rule["struck"] for rule in world.sandbox.faults()["rules"])
    (row,) = json.loads(done.stdout)
    assert (row["batch"], row["subjects"], row["classified"], row["classifications"], row["retired"]) == (
        "batch_1", 6, 2, 18, 1
    )  # fmt: skip
    seen = _classifications(world)
    assert len(seen) == 6
    assert (seen[first], seen[second], seen[third]) == ((3, False), (15, True), (0, False))
    world.sandbox.classify(str(third), workflow, 1)
    assert world.on_project("progress").returncode == 0
    assert _classifications(world)[third] == (1, False)
    # A workflow that does not show the batch is asked where it is named.
    assert json.loads(world.on_project("progress", "--batch", "batch_2", "--json").stdout) == []
    named = json.loads(
        world.on_project("progress", "--batch", "batch_2", "--workflow-id", workflow, "--json").stdout
    )
    assert named[0]["subjects"] == 6
    # A capture that is uploaded anew begins anew.
    world.zooniverse().delete_subject(first)
    world.do("UPDATE capture SET state = 'deleted' WHERE subject_id = ?", first)
    world.do("UPDATE capture SET state = 'batched', subject_id = NULL WHERE subject_id = ?", first)
    assert first not in _classifications(world)


def test_progress_goes_on_where_it_was_killed(world: UploadedSeason, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctstate.verbs import progress as library

    monkeypatch.setattr(library, "PAGE_SIZE", 2)
    workflow = int(world.sandbox.workflow_id)
    route = "GET /api/subject_workflow_statuses"
    world.sandbox.set_faults(
        {"rules": [{"route": route, "kind": "status_before", "status": 403, "from_request": 3}]}
    )
    zooniverse = world.zooniverse()
    with world.open() as ledger:
        with pytest.raises(Exception, match="403"):
            library.read_progress(ledger, zooniverse, world.project_id, workflow_id=workflow)
        world.sandbox.clear_faults()
        half = len(_classifications(world))
        assert 0 < half < CAPTURES
        looked: list[int] = []
        (one, two) = library.read_progress(
            ledger, zooniverse, world.project_id, workflow_id=workflow, on_progress=looked.append
        )
        assert looked[-1] == CAPTURES - half
        assert one.subjects + two.subjects == CAPTURES
        # The round is complete: the next one looks at all of them again.
        library.read_progress(ledger, zooniverse, world.project_id, workflow_id=workflow, on_progress=looked.append)
        assert looked[-1] == CAPTURES


def _predict(world: UploadedSeason, position: int, source: str, **keys: Any) -> None:
    """What `predict` leaves behind for a capture that is on Zooniverse."""
    capture = world.captures()[position]
    made = json.dumps({f"#machine_{key}": value for key, value in keys.items()})
    world.do(
        "INSERT OR REPLACE INTO prediction (capture_id, source, metadata, made_at) VALUES (?, ?, ?, '2026-01-01')",
        capture.id,
        source,
        made,
    )
    world.do("UPDATE capture SET metadata_pending = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = ?", capture.id)


def _metadata(world: UploadedSeason, position: int) -> dict[str, Any]:
    subject = world.captures()[position].subject_id
    found: dict[str, Any] = world.active()[subject]["metadata"]
    return found


def test_update_metadata_pushes_what_changed_and_keeps_what_others_put_there(world: UploadedSeason) -> None:
    theirs = world.captures()[0].subject_id
    world.zooniverse().update_metadata(theirs, {"note of the team": "hello", "#machine_of_others": 1})
    _predict(world, 0, "empty", old="0.9", both="0.1")
    assert world.on_project("update-metadata").returncode == 0
    assert _metadata(world, 0)["#machine_old"] == "0.9"
    _predict(world, 0, "empty", new="0.8", both="0.2")
    _predict(world, 1, "species", zebra="0.7")
    dry = world.on_project("update-metadata", "--dry-run")
    assert "2 subjects differ" in dry.stdout
    assert "#machine_new" not in _metadata(world, 0)
    done = world.on_project("update-metadata")
    assert done.returncode == 0, done.stdout
    assert "2 subjects updated" in done.stdout
    carried = _metadata(world, 0)
    assert "#machine_old" not in carried
    assert (carried["#machine_new"], carried["#machine_both"]) == ("0.8", "0.2")
    assert (carried["note of the team"], carried["#machine_of_others"]) == ("hello", 1)
    assert carried["#capture_id"] == world.captures()[0].capture_id
    assert _metadata(world, 1)["#machine_zebra"] == "0.7"
    assert world.query("SELECT count(*) FROM capture WHERE metadata_pending IS NOT NULL") == [(0,)]
    assert world.query("SELECT count(*) FROM replaced_prediction") == [(0,)]
    assert "No subject waits" in world.on_project("update-metadata").stdout
    assert world.violations() == []


def test_update_metadata_of_all_finds_what_nobody_marked(world: UploadedSeason) -> None:
    subject = world.captures()[3].subject_id
    world.zooniverse().update_metadata(subject, {"license": "somebody's"})
    assert "No subject waits" in world.on_project("update-metadata").stdout
    done = world.on_project("update-metadata", "--all")
    assert "1 subject updated, 11 carried it already" in done.stdout
    assert _metadata(world, 3)["license"] == "L"


def test_update_metadata_survives_412_504_and_dead_tokens(world: UploadedSeason) -> None:
    for position in range(6):
        _predict(world, position, "empty", value=str(position))
    route = "PUT /api/subjects/*"
    world.sandbox.set_faults(
        {
            "rules": [
                {"route": route, "kind": "status_before", "status": 412, "nth": [1], "proxies_html": False},
                {"route": route, "kind": "status_after", "status": 504, "nth": [3]},
                {"route": route, "kind": "expired_token", "nth": [5]},
                {"route": "show subject", "kind": "unknown_token", "nth": [2]},
                {"route": "list subjects", "kind": "unknown_token", "nth": [1]},
            ]
        }
    )
    done = world.on_project("update-metadata", "--connections", "1")
    assert done.returncode == 0, done.stdout
    assert all(rule["struck"] for rule in world.sandbox.faults()["rules"])
    assert [_metadata(world, position)["#machine_value"] for position in range(6)] == list("012345")
    assert world.query("SELECT count(*) FROM capture WHERE metadata_pending IS NOT NULL") == [(0,)]
    assert world.violations() == []


def test_update_metadata_killed_and_run_again(world: UploadedSeason) -> None:
    for position in range(CAPTURES):
        _predict(world, position, "empty", value=str(position))
    world.sandbox.set_faults({"latency_ms": {"PUT /api/subjects/*": 200, "show subject": 150, "*": 1}})
    process = world.start("update-metadata", "--project-id", world.sandbox.project_id, "--connections", "1")
    while sum("#machine_value" in s["metadata"] for s in world.active().values()) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    world.sandbox.clear_faults()
    assert world.query("SELECT count(*) FROM capture WHERE metadata_pending IS NOT NULL")[0][0] > 0
    assert world.on_project("update-metadata").returncode == 0
    assert [_metadata(world, position)["#machine_value"] for position in range(CAPTURES)] == [
        str(position) for position in range(CAPTURES)
    ]
    assert world.query("SELECT count(*) FROM capture WHERE metadata_pending IS NOT NULL") == [(0,)]


def test_what_changes_during_an_update_stays_marked(world: UploadedSeason, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctstate.verbs import update_metadata as library
    from ctstate.zooniverse import Zooniverse

    _predict(world, 0, "empty", value="first")
    before = Zooniverse.update_metadata

    def meanwhile(self: Zooniverse, *arguments: Any, **more: Any) -> None:
        before(self, *arguments, **more)
        _predict(world, 0, "empty", value="second")

    monkeypatch.setattr(Zooniverse, "update_metadata", meanwhile)
    with world.open() as ledger:
        library.update_metadata(ledger, world.zooniverse(), world.project_id)
        monkeypatch.setattr(Zooniverse, "update_metadata", before)
        assert _metadata(world, 0)["#machine_value"] == "first"
        report = library.update_metadata(ledger, world.zooniverse(), world.project_id)
    assert report.updated == 1
    assert _metadata(world, 0)["#machine_value"] == "second"


def test_a_subject_that_is_gone_stays_marked_and_is_named(world: UploadedSeason) -> None:
    capture = world.captures()[0]
    _predict(world, 0, "empty", value="1")
    world.zooniverse().delete_subject(capture.subject_id)
    done = world.on_project("update-metadata")
    assert done.returncode == 1
    assert capture.capture_id in done.stdout
    assert world.query("SELECT count(*) FROM capture WHERE metadata_pending IS NOT NULL") == [(1,)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE prediction SET metadata = '{\"#machine_new\": 1}'",
        "DELETE FROM prediction",
        "INSERT OR REPLACE INTO prediction (capture_id, source, metadata, made_at)"
        " SELECT capture_id, source, '{\"#machine_new\": 1}', made_at FROM prediction",
        "INSERT INTO prediction (capture_id, source, metadata, made_at)"
        " SELECT capture_id, source, '{\"#machine_new\": 1}', made_at FROM prediction WHERE true"
        " ON CONFLICT (capture_id, source) DO UPDATE SET metadata = excluded.metadata",
    ],
)
def test_replaced_predictions_are_remembered_however_they_are_replaced(world: UploadedSeason, change: str) -> None:
    _predict(world, 0, "empty", old="1")
    world.do(change)
    kept = {row[0] for row in world.query("SELECT metadata FROM replaced_prediction")}
    assert kept == {'{"#machine_old": "1"}'}
    # Where nothing is on Zooniverse there is nothing to remember.
    with Ledger.open(world.path) as ledger, ledger.read() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


def test_predict_after_the_upload_reaches_the_subjects(world: UploadedSeason) -> None:
    capture_id = world.captures()[0].capture_id
    for labels in ({"blank": "0.9", "not_blank": "0.1"}, {"empty": "0.7"}):
        file = world.folder / "empty.json"
        top = {"predictions_top": {"empty": next(iter(labels))}, "confidences_top": {"empty": "0.9"}}
        file.write_text(json.dumps({capture_id: {"images": [], "aggregated_pred": {"empty": labels}, **top}}))
        predicted = world.run("predict", str(file))
        assert predicted.returncode == 0, predicted.stdout
        updated = world.on_project("update-metadata")
        assert updated.returncode == 0, updated.stdout
        assert "1 subject updated" in updated.stdout
        carried = {key: value for key, value in _metadata(world, 0).items() if key.startswith("#machine_")}
        assert carried == {f"#machine_confidence_{label}": value for label, value in labels.items()}
    assert world.violations() == []
