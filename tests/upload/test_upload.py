"""Uploads end to end, through the real client to the sandbox; the invariant after each."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import msgspec
import pytest

from ctstate.errors import (
    FencedError,
    LoginError,
    NotFoundError,
    UsageError,
    ZooniverseError,
)
from ctstate.images import ImageOptions
from ctstate.ledger import Ledger, Selection, claims, runs
from ctstate.ledger.states import State
from ctstate.verbs.batch import batch
from ctstate.verbs.demo import make_season
from ctstate.verbs.manifest import manifest
from ctstate.verbs.upload import StopSignal
from ctstate.verbs.upload.gauge import Counts
from ctstate.zooniverse import Backoff
from ctstate.zooniverse.subject import anonymized
from tests.builders.season_on_sandbox import Season


def once_something_is_there(season: Season, act: Callable[[], None]) -> None:
    """Call `act` in a thread of its own as soon as the ledger knows a subject."""

    def wait() -> None:
        while not season.rows("SELECT 1 FROM capture WHERE subject_id IS NOT NULL"):
            time.sleep(0.02)
        act()

    threading.Thread(target=wait, daemon=True).start()


def test_a_season_that_was_never_split_is_one_batch_named_complete(new_season) -> None:
    season = new_season(5)
    report = season.upload()
    ((images, size),) = season.rows("SELECT count(*), sum(bytes) FROM image")
    assert report.counts == Counts(claimed=5, whole=5, uploaded=5, images=images, bytes=size)
    assert (report.counts.under_way, report.stopped) == (0, "")
    season.check()
    (made,) = season.rows("SELECT name, subject_set_name FROM batch")
    assert tuple(made) == ("complete", f"{season.name}_complete")


def test_another_season_of_the_ledger_is_left_alone(new_season, tmp_path) -> None:
    season = new_season(2)
    other = make_season(tmp_path / "other", 3, season="OTHER_S1", size=(48, 32))
    with Ledger.open(season.path) as ledger:
        manifest(ledger, other, attribution="a", license="l", images_root=tmp_path / "other" / "images")
    assert season.upload(season=season.name).counts.uploaded == 2
    assert set(season.rows("SELECT season, state, count(batch_id) FROM capture GROUP BY season, state")) == {
        (season.name, "uploaded", 2), ("OTHER_S1", "manifested", 0)
    }  # fmt: skip


def test_a_batch_stays_in_the_project_that_it_was_begun_in(new_season) -> None:
    season = new_season(2)
    season.upload(limit=1)
    with Ledger.open(season.path) as ledger, ledger.write() as connection:
        connection.exec_driver_sql("UPDATE batch SET project_id = 4711")
    season.z.reset_requests()
    with pytest.raises(UsageError, match=f"batch complete belongs to project 4711, not to {season.z.project_id}"):
        season.upload()
    assert "create subject" not in season.z.requests()["routes"]


def test_what_a_subject_carries(new_season) -> None:
    season = new_season(1)
    season.upload()
    (capture_id,) = season.rows("SELECT capture_id FROM capture")[0]
    (subject,) = [s for s in season.subjects() if s["metadata"]["#capture_id"] == capture_id]
    metadata = subject["metadata"]
    assert metadata["#season"] == season.name
    assert (metadata["attribution"], metadata["license"]) == ("a", "l")
    assert metadata["capture_id_anonymized"] == anonymized(capture_id)
    paths = [path for (path,) in season.rows("SELECT path FROM image ORDER BY rank")]
    assert metadata["#original_images"] == paths
    assert len(subject["images"]) == len(paths)


def test_running_it_again_sends_nothing(new_season) -> None:
    season = new_season(3)
    season.upload()
    season.z.reset_requests()
    report = season.upload()
    assert report.counts.claimed == 0
    assert "create subject" not in season.z.requests()["routes"]
    season.check()


def test_batches_are_sets_of_their_own_and_one_can_go_first(new_season) -> None:
    season = new_season(6)
    with Ledger.open(season.path) as ledger:
        batch(ledger, number_of_batches=2)
    assert season.upload(batch="batch_2").left.pending == 0
    with Ledger.open(season.path) as ledger:
        assert ledger.count(Selection(batch="batch_2", states=[State.UPLOADED])) == 3
        assert ledger.count(Selection(batch="batch_1", states=[State.BATCHED])) == 3
    season.upload()
    season.check()


def test_requests_are_few(new_season) -> None:
    # An account that has uploaded nothing yet is asked for once more: an empty list is not believed by itself.
    new_season(1).upload()
    season = new_season(40)
    season.z.reset_requests()
    season.upload(link_batch_size=100)
    routes = season.z.requests()["routes"]
    assert routes["create subject"] == 40
    assert routes["put image"] == season.rows("SELECT count(*) FROM image")[0][0]
    assert sum(routes.values()) - routes["create subject"] - routes["put image"] <= 13


def test_limit(new_season) -> None:
    season = new_season(5)
    assert season.upload(limit=2).counts.uploaded == 2
    season.check(complete=False)
    assert season.upload(limit=2).counts.uploaded == 2
    season.upload()
    season.check()


def test_a_broken_image_fails_its_capture_with_the_file_named(new_season) -> None:
    season = new_season(4)
    (path, capture_id), *_ = season.rows(
        "SELECT i.path, c.capture_id FROM image i JOIN capture c ON c.id = i.capture_id"
        " WHERE (SELECT count(*) FROM image j WHERE j.capture_id = c.id) > 1 AND i.rank = 2"
    )
    (season.folder / "images" / path).write_bytes(b"no image at all")
    report = season.upload()
    assert (report.counts.uploaded, report.counts.failed) == (3, 1)
    failure = f"SELECT reason, reason_kind, attempts FROM v_failures WHERE capture_id = '{capture_id}'"
    ((reason, kind, attempts),) = season.rows(failure)
    assert path in reason
    assert (kind, attempts) == ("image_broken", 1)
    images = f"SELECT rank, problem, problem_reason FROM v_images WHERE capture_id = '{capture_id}' ORDER BY rank"
    why = "it is no JPEG, PNG, TIFF, BMP, WebP or GIF"
    assert season.rows(images)[:2] == [(1, None, None), (2, "broken", why)]
    with Ledger.open(season.path) as ledger:
        from ctstate.verbs.retry import retry

        assert retry(ledger) == 1
    report = season.upload(skip_broken_images=True)
    assert (report.counts.uploaded, report.counts.failed) == (1, 0)
    season.check()
    ((problem,),) = season.rows("SELECT problem FROM image WHERE problem IS NOT NULL")
    assert problem == "broken"
    (subject,) = [s for s in season.subjects() if s["metadata"]["#capture_id"] == capture_id]
    assert path not in subject["metadata"]["#original_images"]


def test_a_capture_whose_every_image_is_broken_fails_also_when_skipping(new_season) -> None:
    season = new_season(2)
    for (path,) in season.rows("SELECT path FROM image WHERE capture_id = 1"):
        (season.folder / "images" / path).write_bytes(b"nothing")
    report = season.upload(skip_broken_images=True)
    assert (report.counts.uploaded, report.counts.failed) == (1, 1)


def test_an_image_that_vanished_fails_its_capture(new_season) -> None:
    season = new_season(2)
    (path,) = season.rows("SELECT path FROM image WHERE capture_id = 1")[0]
    (season.folder / "images" / path).unlink()
    assert season.upload().counts.failed == 1
    assert season.rows("SELECT reason_kind FROM v_failures") == [("image_missing",)]
    assert season.rows(f"SELECT problem, problem_reason FROM v_images WHERE path = '{path}'") == [
        ("missing", "there is no such file")
    ]
    with Ledger.open(season.path) as ledger:
        from ctstate.verbs.retry import retry

        retry(ledger)
    # What made it fail is no property of the image: another try looks for itself.
    assert season.rows("SELECT problem FROM v_images WHERE problem IS NOT NULL") == []
    assert season.upload().counts.failed == 1
    assert season.rows("SELECT attempts FROM v_failures") == [(2,)]


def test_images_can_be_elsewhere(new_season, tmp_path) -> None:
    season = new_season(2)
    (season.folder / "images").rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="--image-root-path"):
        season.upload()
    season.upload(images_root=str(tmp_path / "moved"))
    season.check()


def test_lost_replies_are_looked_for_and_never_sent_again_blindly(new_season) -> None:
    season = new_season(6)
    season.z.set_faults({"rules": [{"route": "create subject", "kind": "status_after", "nth": [1, 3, 4]}]})
    season.z.reset_requests()
    season.upload()
    season.check()
    assert season.z.requests()["routes"]["create subject"] == 6


def test_a_failure_long_ago_is_no_reason_to_stop_where_all_went_well_since(new_season) -> None:
    season = new_season(8)
    season.z.set_faults(
        {
            "latency_ms": {"create subject": 250},
            "rules": [{"route": "create subject", "kind": "status_after", "nth": [1]}],
        }
    )
    report = season.upload(connections=1, backoff=Backoff(first=0.02, most=0.1, give_up=1.0))
    assert report.stopped == ""
    season.check()


def test_a_create_that_was_lost_before_it_was_done_is_sent_again_after_looking(new_season) -> None:
    season = new_season(4)
    season.z.set_faults({"rules": [{"route": "create subject", "kind": "reset_before", "nth": [2]}]})
    season.z.reset_requests()
    season.upload()
    season.check()
    routes = season.z.requests()["routes"]
    assert routes["create subject"] == 5
    assert routes["list subjects"] >= 2  # the watermark, and the look


def test_an_empty_list_of_a_dead_token_is_not_believed(new_season) -> None:
    season = new_season(3)
    season.z.set_faults(
        {
            "rules": [
                {"route": "create subject", "kind": "status_after", "nth": [2]},
                {"route": "list subjects", "kind": "unknown_token", "nth": [2]},
                {"route": "find set", "kind": "unknown_token", "nth": [1]},
            ]
        }
    )
    season.upload()
    season.check()


def test_expired_urls_are_renewed(new_season) -> None:
    season = new_season(3)
    season.z.set_faults({"rules": [{"route": "put image", "kind": "status_before", "status": 403, "nth": [2]}]})
    season.upload()
    season.check()


@pytest.mark.parametrize("conflicts", [1, 4])
def test_conflicts_of_linking_are_repeated(new_season, conflicts) -> None:
    season = new_season(3)
    plan = {"route": "link subjects", "kind": "status_before", "status": 409, "nth": list(range(1, conflicts + 1))}
    season.z.set_faults({"rules": [plan]})
    season.upload()
    season.check()


def test_a_killed_run_is_resumed_without_anything_else_to_do(new_season) -> None:
    season = new_season(24)
    season.z.set_faults({"latency_ms": {"create subject": 40, "put image": 30}})
    command = [
        sys.executable, "-m", "ctstate", "--ledger", str(season.path), "--endpoint", season.z.url, "upload",
        "--project-id", season.z.project_id, "--link-batch-size", "3", "--connections", "2", "--n-processes", "1",
    ]  # fmt: skip
    environment = {"PANOPTES_USERNAME": season.z.login, "PANOPTES_PASSWORD": season.z.password, "PATH": "/usr/bin"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Ledger.open(season.path, read_only=True) as ledger:
        while ledger.count(Selection(states=[State.UPLOADED])) < 6:
            assert process.poll() is None
            time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    season.check(complete=False)
    season.upload()
    season.check()
    ((lost,),) = season.rows("SELECT count(*) FROM run WHERE outcome = 'lost'")
    assert lost == 1


def test_a_clean_stop_finishes_what_is_under_way_and_gives_the_rest_back(new_season) -> None:
    season = new_season(30)
    season.z.set_faults({"latency_ms": {"create subject": 50}})
    stop = StopSignal()

    once_something_is_there(season, lambda: stop.request("the test says so"))
    report = season.upload(stop)
    assert report.stopped == "the test says so"
    assert 0 < report.counts.uploaded < 30
    assert season.rows("SELECT count(*) FROM capture WHERE state = 'uploading'")[0][0] == 0
    assert season.rows("SELECT outcome FROM run ORDER BY id DESC LIMIT 1")[0][0] == "stopped"
    # What was under way was finished: no subject is left without its set.
    assert all(subject["subject_sets"] for subject in season.subjects())
    season.check(complete=False)
    season.upload()
    season.check()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_signals_stop_the_command_cleanly(new_season, name) -> None:
    season = new_season(40)
    season.z.set_faults({"latency_ms": {"create subject": 100}})
    command = [
        sys.executable, "-m", "ctstate", "--ledger", str(season.path), "--endpoint", season.z.url, "upload",
        "--project-id", season.z.project_id, "--connections", "2", "--n-processes", "1",
    ]  # fmt: skip
    environment = {"PANOPTES_USERNAME": season.z.login, "PANOPTES_PASSWORD": season.z.password, "PATH": "/usr/bin"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not season.rows("SELECT 1 FROM capture WHERE subject_id IS NOT NULL"):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert "Traceback" not in output
    assert f"asked to stop by {name}. Run the same command again to go on." in output
    season.check(complete=False)


def test_the_allowance_stops_it_cleanly_and_says_what_to_ask_for(new_season, sandbox) -> None:
    sandbox.set_account(subject_limit=4, recount=True)
    season = new_season(7, sandbox)
    report = season.upload()
    assert "raise" in report.plan.warning
    assert "subject limit" in report.stopped
    assert report.counts.uploaded == 4
    season.check(complete=False)
    sandbox.set_account(subject_limit=100)
    season.upload()
    season.check()


def test_an_outage_ends_in_a_clean_stop(new_season) -> None:
    season = new_season(4)
    season.z.set_faults({"rules": [{"route": "create subject", "kind": "outage", "status": 503}]})
    report = season.upload(backoff=Backoff(first=0.05, most=0.2, give_up=1.0))
    assert report.stopped
    assert report.counts.uploaded == 0
    season.z.clear_faults()
    season.upload()
    season.check()


def test_a_banned_account_is_told_before_anything_is_claimed(new_season, sandbox) -> None:
    season = new_season(2, sandbox)
    sandbox.set_account(banned=True)
    with pytest.raises(ZooniverseError):
        season.upload(backoff=Backoff(first=0.01, most=0.05, give_up=0.5))
    assert season.rows("SELECT count(*) FROM capture WHERE state <> 'manifested'")[0][0] == 0


def test_a_wrong_password_and_a_project_that_is_not_there(new_season) -> None:
    season = new_season(1)
    with Ledger.open(season.path) as ledger:
        from ctstate.verbs.upload import upload

        with pytest.raises(LoginError, match="refused"):
            upload(ledger, season.connect(password="wrong"), season.options())
        with pytest.raises(NotFoundError, match="no project 424242"):
            upload(ledger, season.connect(), season.options(project_id=424242))
    assert season.rows("SELECT verb FROM run") == [("manifest",)]


def test_a_set_of_another_name_is_refused(new_season) -> None:
    season = new_season(1)
    other = season.connect().create_set(int(season.z.project_id), f"{season.name} other", {})
    with pytest.raises(UsageError, match="is named"):
        season.upload(batch="complete", subject_set_id=other.id)
    season.upload(batch="complete", subject_set_id=other.id, subject_set_name=f"{season.name} other")
    season.check()
    assert season.rows("SELECT subject_set_id FROM batch") == [(other.id,)]


def test_a_set_of_another_project_is_refused(new_season, monkeypatch) -> None:
    season = new_season(1)
    z = season.connect()
    there = z.create_set(int(season.z.project_id), f"{season.name}_complete", {})
    elsewhere = msgspec.structs.replace(there, links=msgspec.structs.replace(there.links, project=4711))
    monkeypatch.setattr(type(z), "subject_set", lambda self, set_id: elsewhere)
    season.z.reset_requests()
    with pytest.raises(UsageError, match=f"belongs to project 4711, not to {season.z.project_id}"):
        season.upload(batch="complete", subject_set_id=there.id)
    assert "create subject" not in season.z.requests()["routes"]


def test_what_was_sent_is_told_and_what_captures_waited_for(new_season) -> None:
    season = new_season(3)
    began = time.monotonic()
    report = season.upload()
    elapsed, counts = time.monotonic() - began, report.counts
    assert season.rows("SELECT count(*), sum(bytes) FROM image") == [(counts.images, counts.bytes)]
    assert report.plan.project == season.connect().project(int(season.z.project_id)).display_name
    figures = season.rows("SELECT name, value FROM run_figure")
    waited = {name: seconds for name, seconds in figures if name.startswith("seconds: captures waited for ")}
    wants = {name.rpartition(" ")[2] for name in waited}
    assert wants == {"Announce", "Create", "Encode", "Link", "Put", "Write"}
    assert all(0.0 <= seconds <= 3 * elapsed for seconds in waited.values())


def test_a_batch_that_has_a_set_gets_no_other(new_season) -> None:
    season = new_season(2)
    season.upload(limit=1)
    ((there,),) = season.rows("SELECT subject_set_id FROM batch")
    other = season.connect().create_set(int(season.z.project_id), f"{season.name} other", {})
    with pytest.raises(UsageError, match=f"has subject set {there} in the ledger, not {other.id}"):
        season.upload(batch="complete", subject_set_id=other.id)


def test_a_set_of_that_name_is_used_again(new_season) -> None:
    season = new_season(2)
    there = season.connect().create_set(int(season.z.project_id), f"{season.name}_complete", {})
    season.upload()
    season.check()
    assert season.rows("SELECT subject_set_id FROM batch") == [(there.id,)]


def test_a_ledger_belongs_to_one_zooniverse(new_season, sandbox) -> None:
    season = new_season(1)
    season.upload()
    season.z = sandbox
    with pytest.raises(UsageError, match="belongs to"):
        season.upload()


def test_a_subject_deleted_meanwhile_fails_its_capture_and_no_other(new_season) -> None:
    season = new_season(3)
    season.z.set_faults({"rules": [{"route": "link subjects", "kind": "status_before", "status": 500}]})
    stopped = season.upload(backoff=Backoff(first=0.01, most=0.02, give_up=0.3))
    assert stopped.stopped
    season.z.clear_faults()
    ((key, subject_id),) = season.rows("SELECT id, subject_id FROM capture WHERE subject_id IS NOT NULL LIMIT 1")
    season.connect().delete_subject(subject_id)
    report = season.upload()
    assert (report.counts.uploaded, report.counts.failed) == (2, 1)
    ((reason, kind, left),) = season.rows(
        f"SELECT c.reason, v.reason_kind, c.subject_id FROM capture c JOIN v_failures v USING (capture_id)"
        f" WHERE c.id = {key}"
    )
    assert "no longer on Zooniverse" in reason
    assert (kind, left) == ("subject_gone", None)


def test_a_worker_that_slept_through_its_lease_sends_nothing(new_season, monkeypatch) -> None:
    season = new_season(2)
    monkeypatch.setattr("ctstate.ledger.LiveRun.surely_alive", lambda self: False)
    monkeypatch.setattr(runs, "beat", lambda connection, run_id: runs.LOST)
    season.z.reset_requests()
    with pytest.raises(FencedError):
        season.upload()
    assert "create subject" not in season.z.requests()["routes"]
    monkeypatch.undo()
    season.upload()
    season.check()


def test_a_run_that_others_took_for_dead_stops(new_season, monkeypatch) -> None:
    season = new_season(40)
    season.z.set_faults({"latency_ms": {"create subject": 250}})
    monkeypatch.setattr(runs, "HEARTBEAT_S", 0.1)
    taken: list[claims.Claim] = []

    def take_over() -> None:
        with Ledger.open(season.path) as ledger, ledger.write() as connection:
            (live,) = connection.exec_driver_sql("SELECT id FROM run WHERE ended_at IS NULL").scalars()
            runs.recover(connection, [live])
            successor = runs.start(connection, "upload", {})
            taken.extend(claims.claim(connection, successor, 1, 1, 500))
            runs.end(connection, successor, "done")

    once_something_is_there(season, take_over)
    # Its heartbeat tells it, unless every one of its captures was refused to it before that.
    with contextlib.suppress(FencedError):
        assert season.upload().counts.uploaded < 40
    assert taken
    assert all(state != "uploaded" for (state,) in season.rows(
        f"SELECT state FROM capture WHERE id IN ({','.join(str(c.row.id) for c in taken)})"
    ))  # fmt: skip
    season.z.clear_faults()
    season.upload()
    # A create that was on its way when the run was declared dead can leave a surplus: reconcile takes it back.
    from ctstate.verbs.reconcile import reconcile
    from ctstate.verbs.survey import survey

    with Ledger.open(season.path) as ledger:
        found = survey(ledger, season.connect(), int(season.z.project_id))
        reconcile(ledger, season.connect(), int(season.z.project_id), found, {})
    season.check()


def test_images_are_made_as_asked(new_season) -> None:
    season = new_season(1)
    season.upload(images=ImageOptions(max_pixels=20))
    sizes = season.rows("SELECT bytes FROM image")
    assert all(0 < size < 2000 for (size,) in sizes)
    season.check()


def test_the_allowance_is_watched_while_it_goes_on(new_season, sandbox, caplog) -> None:
    from ctstate.verbs.upload.allowance import AllowanceWatch

    season = new_season(3, sandbox)
    season.upload(limit=1)
    with Ledger.open(season.path) as ledger:
        watch = AllowanceWatch(ledger, season.connect(), [1], warned=False)
        watch.look()
        assert caplog.text == ""
        sandbox.set_account(subject_limit=2, recount=True)
        watch.look()
        watch.look()
        watch.close()
    assert caplog.text.count("may upload 1 more subject, pending: 2") == 1


def test_a_short_settle_is_for_a_sandbox(new_season) -> None:
    season = new_season(1)
    with pytest.raises(UsageError, match="settle"):
        season.options(settle=-1)
    with pytest.raises(UsageError, match="settle"):
        season.options(settle=float("nan"))
    from ctstate.verbs.upload import plan_upload
    from ctstate.zooniverse import Credentials, Zooniverse

    real = Zooniverse("https://zooniverse.invalid", Credentials("a", "b"))
    with Ledger.open(season.path) as ledger, pytest.raises(UsageError, match="for a sandbox"):
        plan_upload(ledger, real, season.options(settle=5))
