"""Where the promise once had seams: ledgers that are behind, answers that prove nothing, runs that end badly."""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ctstate.errors import CtstateError, FencedError, LedgerBehindError, LoginError, NotFoundError
from ctstate.ledger import Ledger, Selection, claims, clock, set_lease
from ctstate.ledger.facts import Moved, write_down
from ctstate.ledger.states import State
from ctstate.verbs.adopt import adopt
from ctstate.verbs.batch import batch
from ctstate.verbs.manifest import manifest
from ctstate.verbs.reconcile import reconcile
from ctstate.verbs.retry import retry
from ctstate.verbs.survey import survey
from ctstate.verbs.upload import StopSignal
from ctstate.verbs.upload.linking import Whole, link_together
from ctstate.verbs.upload.lost_creates import Lost, look
from ctstate.verbs.upload.story import Doubt
from ctstate.zooniverse import Backoff
from tests.builders.season_on_sandbox import Season, delete_set, foreign_subject, mark_of, set_of


def mend(season: Season) -> Counter[str]:
    """`ctstate reconcile --apply`."""
    with Ledger.open(season.path) as ledger:
        ledger.recover()
        found = survey(ledger, season.connect(), int(season.z.project_id))
        return Counter(reconcile(ledger, season.connect(), int(season.z.project_id), found, {}))


def copy_of(season: Season) -> Path:
    copy = season.folder / "backup.db"
    with (
        contextlib.closing(sqlite3.connect(season.path)) as source,
        contextlib.closing(sqlite3.connect(copy)) as to,
    ):
        source.backup(to)
    return copy


def put_back(season: Season, copy: Path) -> None:
    for more in ("-wal", "-shm"):
        Path(f"{season.path}{more}").unlink(missing_ok=True)
    shutil.copyfile(copy, season.path)


def creates(season: Season) -> int:
    return season.z.requests()["routes"].get("create subject", 0)


# -- a ledger that is behind -----------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_backup_that_was_put_back_uploads_nothing_again(new_season, before: int) -> None:
    season = new_season(8)
    if before:
        season.upload(limit=before)
    backup = copy_of(season)
    season.upload()
    season.z.reset_requests()
    put_back(season, backup)
    with pytest.raises(LedgerBehindError, match=r"ctstate (reconcile|adopt)"):
        season.upload()
    assert creates(season) == 0
    if before:
        mend(season)
    else:
        # The backup does not even know the set.
        set_id = set_named_after(season)
        with Ledger.open(season.path) as ledger:
            adopt(ledger, season.connect(), int(season.z.project_id), subject_set_id=set_id)
    season.upload()
    assert creates(season) == 0
    season.check()


def test_a_backup_is_noticed_also_by_what_was_made_and_not_linked(new_season) -> None:
    season = new_season(6)
    season.upload(limit=1)
    backup = copy_of(season)
    season.z.set_faults({"rules": [{"route": "link subjects", "kind": "status_before", "status": 502}]})
    season.upload(backoff=Backoff(first=0.01, most=0.02, give_up=0.1))
    season.z.clear_faults()
    put_back(season, backup)
    with pytest.raises(LedgerBehindError, match=r"older copy.*reconcile"):
        season.upload()
    assert mend(season)["finish"] > 0
    season.upload()
    season.check()


def test_a_backup_is_noticed_also_by_a_capture_that_it_has_never_heard_of(new_season) -> None:
    """All that it knows to be made is there; what a later `manifest` brought it does not know."""
    season = new_season(3)
    season.upload(limit=2)
    ((ledger_id,),) = season.rows("SELECT value FROM meta WHERE name = 'ledger_id'")
    later = foreign_subject(season, "X#1", 1, mark=f"ctstate:{ledger_id}:999:1")
    with pytest.raises(LedgerBehindError, match=f"subject {later} of capture number 999"):
        season.upload()


def test_a_backup_is_mended_also_where_its_subjects_are_older_than_any_set(new_season) -> None:
    """Found by the simulator: a colleague deleted the set they were made for, and the backup knows of no upload."""
    season = new_season(4)
    backup = copy_of(season)
    season.z.set_faults({"rules": [{"route": "link subjects", "kind": "status_before", "status": 502}]})
    never_linked = Backoff(first=0.01, most=0.02, give_up=0.1)
    season.upload(backoff=never_linked)
    delete_set(season.connect(), set_named_after(season))
    mend(season)
    season.upload(backoff=never_linked)  # into a set that is made anew
    season.z.clear_faults()
    put_back(season, backup)
    season.z.reset_requests()
    with pytest.raises(LedgerBehindError, match="reconcile"):
        season.upload()
    assert mend(season) == {"own set": 1, "finish": 4}
    season.upload()
    assert creates(season) == 0
    season.check()


def test_a_backup_from_before_the_batches_names_the_verb_that_takes_their_sets_in(new_season) -> None:
    season = new_season(6)
    backup = copy_of(season)
    with Ledger.open(season.path) as ledger:
        batch(ledger, number_of_batches=2)
    season.upload()
    put_back(season, backup)
    season.z.reset_requests()
    for _ in range(2):
        with pytest.raises(LedgerBehindError) as told:
            season.upload()
        named = re.search(r"ctstate adopt --subject-set-id (\d+)", str(told.value))
        assert named is not None
        with Ledger.open(season.path) as ledger:
            adopt(ledger, season.connect(), int(season.z.project_id), subject_set_id=int(named[1]))
    season.upload()
    assert creates(season) == 0
    season.check()


@pytest.mark.parametrize("linked", [True, False])
def test_a_backup_with_a_claim_of_a_run_elsewhere_is_mended_once_that_run_is_gone(new_season, linked: bool) -> None:
    """Nobody can tell yet whether that run lives; the message says when the mending helps."""
    season = new_season(6)
    season.upload(limit=1)
    with sqlite3.connect(season.path) as ledger:
        moment = clock.now()
        run = ledger.execute(
            "INSERT INTO run (verb, arguments, version, username, host, host_id, pid, pid_started, started_at, "
            "heartbeat_at) VALUES ('upload', '{}', '0', 'u', 'elsewhere', 'elsewhere', 1, '', :at, :at)",
            {"at": moment},
        ).lastrowid
        ledger.execute(
            "UPDATE capture SET state = 'uploading', run_id = ?, claim = claim + 1, moved_at = ? WHERE id = 2",
            (run, moment),
        )
    ledger.close()
    backup = copy_of(season)
    with sqlite3.connect(season.path) as ledger:
        ledger.execute("UPDATE run SET ended_at = ? WHERE id = ?", (moment, run))
    ledger.close()
    if not linked:
        season.z.set_faults({"rules": [{"route": "link subjects", "kind": "status_before", "status": 502}]})
    season.upload(backoff=Backoff(first=0.01, most=0.02, give_up=0.1))
    season.z.clear_faults()
    put_back(season, backup)
    mend(season)
    with pytest.raises(LedgerBehindError, match=r"ctstate runs.*at most.*reconcile"):
        season.upload()
    long_ago = clock.shifted(clock.now(), -901)
    with sqlite3.connect(season.path) as ledger:
        ledger.execute("UPDATE run SET heartbeat_at = ? WHERE id = ?", (long_ago, run))
    ledger.close()
    mend(season)
    season.upload()
    season.check()


def test_a_ledger_made_anew_by_manifest_takes_no_set_over(new_season) -> None:
    season = new_season(5)
    season.upload()
    season.path = season.folder / "anew.db"
    with Ledger.open(season.path, create=True) as ledger:
        manifest(ledger, season.captures_csv, attribution="a", license="l", images_root=season.folder / "images")
    season.z.reset_requests()
    with pytest.raises(LedgerBehindError, match=r"another ledger.*ctstate adopt --subject-set-id"):
        season.upload()
    assert creates(season) == 0
    with Ledger.open(season.path) as ledger:
        found = survey(ledger, season.connect(), int(season.z.project_id))
        assert [f.kind for f in found.findings if f.kind != "not uploaded"] == ["unknown set"]
        assert "ctstate adopt" in found.advice
        assert "ctstate upload" not in found.advice
        set_id = set_named_after(season)
        report = adopt(ledger, season.connect(), int(season.z.project_id), subject_set_id=set_id)
        assert report.adopted == 5
    season.upload()
    assert creates(season) == 0
    season.check()


def set_named_after(season: Season) -> int:
    sets = season.z.state()["subject_sets"]
    return next(int(row["id"]) for row in sets if row["display_name"].startswith(season.name))


def test_two_ledgers_do_not_feed_the_same_set(new_season) -> None:
    season = new_season(6)
    first, second = season.path, season.folder / "second.db"
    with Ledger.open(second, create=True) as ledger:
        manifest(ledger, season.captures_csv, attribution="a", license="l", images_root=season.folder / "images")
    outcomes: list[Any] = []

    def run(path: Path) -> None:
        from ctstate.verbs.upload import upload

        with Ledger.open(path) as ledger:
            try:
                outcomes.append(upload(ledger, season.connect(), season.options()))
            except CtstateError as error:
                outcomes.append(error)

    season.z.set_faults({"latency_ms": {"create subject": 50}})
    threads = [threading.Thread(target=run, args=(path,)) for path in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, LedgerBehindError) for outcome in outcomes) == 1, outcomes
    counts = Counter(subject["metadata"]["#capture_id"] for subject in season.subjects())
    assert set(counts.values()) == {1}


def test_a_stranger_in_a_set_is_noticed_though_other_sets_are_full(new_season) -> None:
    """Each set's members are held against its own captures, not against all that the ledger ever uploaded."""
    season = new_season(6)
    with Ledger.open(season.path) as ledger:
        batch(ledger, number_of_batches=2)
    season.upload(batch="batch_1")
    season.upload(batch="batch_2", limit=1)
    z = season.connect()
    stranger = foreign_subject(season, "X#1", 1, link=False)
    ((second,),) = season.rows("SELECT subject_set_id FROM batch WHERE name = 'batch_2'")
    z.link_subjects(second, [stranger])
    with pytest.raises(LedgerBehindError, match=str(stranger)):
        season.upload(batch="batch_2")


def test_a_set_that_another_ledger_feeds_meanwhile_is_noticed_by_the_next_run(new_season) -> None:
    season = new_season(4)
    season.upload(limit=2)
    ((capture_id,),) = season.rows("SELECT capture_id FROM capture WHERE state = 'batched' LIMIT 1")
    foreign_subject(season, capture_id, 1, mark=f"ctstate:{'f' * 12}:1:1")
    with pytest.raises(LedgerBehindError, match="1 subject of another ledger"):
        season.upload()


def test_only_a_set_that_is_surely_new_is_not_searched_for_strangers(new_season) -> None:
    season = new_season(1)
    z, project = season.connect(), int(season.z.project_id)
    made, is_new = z.ensure_set(project, "mine", {})
    assert is_new
    again, is_new = z.ensure_set(project, "mine", {})
    assert (again.id, is_new) == (made.id, False)
    season.z.set_faults({"rules": [{"route": "create set", "kind": "reset_after", "nth": 1}]})
    lost, is_new = z.ensure_set(project, "perhaps another's", {})
    assert (lost.display_name, is_new) == ("perhaps another's", False)


# -- lost creates ----------------------------------------------------------------------------------------------


def test_an_older_subject_with_our_mark_does_not_hide_the_one_that_a_lost_create_made(new_season) -> None:
    """Of two captures in doubt, one has the lower floor; the other's older subject lies above that, and is not
    it."""
    season = new_season(2)
    season.upload(limit=1)
    rows = season.rows("SELECT id, capture_id FROM capture ORDER BY id")
    old = foreign_subject(season, rows[0][1], 1, link=False, mark=mark_of(season, rows[0][1]))
    new = foreign_subject(season, rows[0][1], 1, link=False, mark=mark_of(season, rows[0][1], 2))
    ((run_id,),) = season.rows("SELECT id FROM run WHERE verb = 'upload'")
    with Ledger.open(season.path) as ledger:
        lost = [Lost(rows[0][0], Doubt(run_id, floor=old)), Lost(rows[1][0], Doubt(run_id, floor=old - 10))]
        assert look(ledger, season.connect(), lost).found == {rows[0][0]: new}


def test_of_two_lost_creates_the_one_with_the_lower_floor_is_found_too(new_season) -> None:
    season = new_season(2)
    season.upload(limit=1)
    rows = season.rows("SELECT id, capture_id FROM capture ORDER BY id")
    made = [foreign_subject(season, name, 1, link=False, mark=mark_of(season, name, 2)) for _, name in rows]
    ((run_id,),) = season.rows("SELECT id FROM run WHERE verb = 'upload'")
    with Ledger.open(season.path) as ledger:
        lost = [Lost(key, Doubt(run_id, floor=subject - 1)) for (key, _), subject in zip(rows, made, strict=True)]
        assert look(ledger, season.connect(), lost).found == {rows[0][0]: made[0], rows[1][0]: made[1]}


def test_a_clean_stop_while_a_lost_create_is_waited_for(new_season) -> None:
    season = new_season(3)
    season.z.set_faults({"rules": [{"route": "create subject", "kind": "status_after"}]})
    stop = StopSignal()

    def when_in_doubt() -> None:
        while not season.rows("SELECT 1 FROM capture WHERE ambiguous_at IS NOT NULL"):
            time.sleep(0.02)
        stop.request("the test says so")

    threading.Thread(target=when_in_doubt, daemon=True).start()
    report = season.upload(stop, settle=600.0)
    assert report.stopped == "the test says so"
    assert report.left.in_doubt > 0
    assert season.rows("SELECT count(*) FROM capture WHERE state = 'uploading'") == [(0,)]
    assert season.rows("SELECT outcome FROM run ORDER BY id DESC LIMIT 1") == [("stopped",)]
    season.check(complete=False)
    season.z.clear_faults()
    season.upload()
    season.check()


def test_a_stop_while_another_run_changes_the_set_links_nothing(new_season) -> None:
    season = new_season(2)
    season.z.set_faults({"latency_ms": {"create subject": 1000}})
    stop, ready = StopSignal(), threading.Event()

    def take_the_set_and_stop() -> None:
        with Ledger.open(season.path) as ledger, ledger.live_run("reconcile", {}) as other:
            ready.set()
            while not season.rows("SELECT 1 FROM capture WHERE state = 'uploading'"):
                time.sleep(0.02)
            assert ledger.do(lambda connection: set_lease.take(connection, 1, other.id)) is not None
            while season.rows("SELECT 1 FROM image WHERE arrived_at IS NULL"):
                time.sleep(0.02)
            time.sleep(0.3)  # the upload waits for its turn
            stop.request("the test says so")
            while season.rows("SELECT 1 FROM run WHERE verb = 'upload' AND ended_at IS NULL"):
                time.sleep(0.02)

    other = threading.Thread(target=take_the_set_and_stop, daemon=True)
    other.start()
    assert ready.wait(60.0)
    report = season.upload(stop, link_batch_size=1)
    other.join(60.0)
    assert (report.counts.uploaded, report.counts.given_back) == (0, 2)
    assert season.connect().count_in_set(set_of(season)) == 0
    season.upload()
    season.check()


def test_what_another_run_has_claimed_since_is_not_linked(new_season) -> None:
    """It may have another subject there by now, and then volunteers would see it twice."""
    season = new_season(2)
    season.upload(limit=1)
    z = season.connect()
    with Ledger.open(season.path) as ledger, ledger.live_run("upload", {}) as live:
        (claim,) = ledger.do(lambda connection: claims.claim(connection, live.id, 1, 1, 1))
        made = foreign_subject(season, claim.capture_id, 1, link=False)
        ledger.do(lambda connection: write_down(connection, [(claim, [Moved(State.BATCHED)])]))
        ledger.do(lambda connection: claims.claim(connection, live.id, 1, 1, 1))
        told: list[CtstateError | None] = []
        link_together(
            ledger, live, z, 1, set_of(season), [Whole(claim, made)], lambda seconds: False,
            lambda item, error: told.append(error),
        )  # fmt: skip
    (error,) = told
    assert isinstance(error, FencedError)
    assert z.count_in_set(set_of(season)) == 1


# -- answers that prove nothing --------------------------------------------------------------------------------


def test_an_image_that_no_store_vouched_for_and_nobody_finds_is_not_uploaded(new_season, monkeypatch) -> None:
    """A captive portal answers every PUT with 200 and a page."""
    season = new_season(2)
    from ctstate.zooniverse import Zooniverse

    put = Zooniverse.put_image
    monkeypatch.setattr(Zooniverse, "put_image", lambda self, url, data, mime, md5: False)
    report = season.upload()
    assert report.counts.uploaded == 0
    assert "portal" in report.stopped
    assert season.rows("SELECT count(*) FROM capture WHERE state = 'uploaded'") == [(0,)]
    # A store that keeps the image but does not say its MD5 is asked for it.
    monkeypatch.setattr(Zooniverse, "put_image", lambda *a: put(*a) and False)
    assert season.upload().counts.uploaded == 2
    season.check()


# -- runs that end badly ---------------------------------------------------------------------------------------


def test_a_fatal_error_while_captures_wait_to_be_encoded_ends_the_run(new_season, sandbox) -> None:
    season = new_season(80, sandbox)
    season.z.set_faults({"latency_ms": {"create subject": 100}})

    def revoke() -> None:
        while not season.rows("SELECT 1 FROM capture WHERE subject_id IS NOT NULL"):
            time.sleep(0.02)
        sandbox.set_account(password="changed")
        sandbox.set_faults({"rules": [{"route": "*", "kind": "unknown_token"}]})

    threading.Thread(target=revoke, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(LoginError):
        season.upload()
    assert time.monotonic() - began < 60
    assert season.rows("SELECT count(*) FROM capture WHERE state = 'uploading'") == [(0,)]
    assert season.rows("SELECT outcome FROM run WHERE verb = 'upload'") == [("failed",)]
    sandbox.clear_faults()
    sandbox.set_account(password=sandbox.password)
    season.check(complete=False)
    season.upload()
    season.check()


def test_a_program_without_a_main_guard_fails_no_capture(new_season) -> None:
    """Its encoding processes import it anew, and upload once more: they never start."""
    season = new_season(3)
    program = season.folder / "program.py"
    program.write_text(
        "from ctstate.zooniverse import Credentials\n"
        "from ctstate.ledger import Ledger\n"
        "from ctstate.verbs.upload import UploadOptions, upload\n"
        "from ctstate.zooniverse import Zooniverse\n"
        f"with Ledger.open({str(season.path)!r}) as ledger:\n"
        f"    z = Zooniverse({season.z.url!r}, Credentials({season.z.login!r}, {season.z.password!r}))\n"
        f"    upload(ledger, z, UploadOptions(project_id={season.z.project_id}, processes=1))\n"
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "if __name__ == '__main__':" in done.stderr
    assert season.rows("SELECT count(*) FROM capture WHERE state = 'failed'") == [(0,)]
    season.upload()
    season.check()


def test_a_ledger_that_cannot_be_written_any_more_ends_the_run(new_season, monkeypatch) -> None:
    from ctstate.errors import LedgerError
    from ctstate.verbs.upload import commits

    season = new_season(20)
    write_down = commits.write_down
    calls = []

    def full(connection, pages):
        calls.append(pages)
        if len(calls) == 3:
            raise LedgerError("the disk is full")
        write_down(connection, pages)

    monkeypatch.setattr(commits, "write_down", full)
    with pytest.raises(LedgerError, match="the disk is full"):
        season.upload()
    monkeypatch.undo()
    season.upload()
    season.check()


# -- what the last line says, and the exit code ----------------------------------------------------------------


def test_failed_captures_are_told_every_time(new_season, ctstate) -> None:
    season = new_season(3)
    for (path,) in season.rows("SELECT path FROM image WHERE capture_id = 1"):
        (season.folder / "images" / path).write_bytes(b"no image")
    for _ in range(2):
        done = ctstate(season, "upload")
        assert done.code == 1, done
        assert "1 capture is failed" in done.stdout
        assert "ctstate retry" in done.stdout.splitlines()[-1]
    checked = ctstate(season, "verify")
    assert checked.code == 1
    assert "ctstate retry" in checked.stdout
    assert "ctstate upload" not in checked.stdout


def test_a_limit_leaves_something_to_do(new_season, ctstate) -> None:
    season = new_season(3)
    done = ctstate(season, "upload", "--limit", "2")
    assert (done.code, done.stdout.splitlines()[-1]) == (
        75, "1 capture is left (--limit): run the same command again."
    )  # fmt: skip
    assert ctstate(season, "upload", "--limit", "2").code == 0
    season.check()


def test_a_set_that_was_deleted_is_told_also_when_nothing_is_left(new_season, ctstate) -> None:
    season = new_season(2)
    season.upload()
    delete_set(season.connect(), set_of(season))
    with pytest.raises(NotFoundError):
        season.upload()
    done = ctstate(season, "upload")
    assert done.code == 1
    assert "no longer on Zooniverse; `ctstate reconcile` shows" in done.error()


def test_a_stranger_is_accepted_by_its_id(new_season, ctstate) -> None:
    season = new_season(2)
    season.upload()
    extra = foreign_subject(season, "no capture of ours", 1)
    assert ctstate(season, "verify").code == 1
    assert "--accept" in ctstate(season, "reconcile").stdout
    done = ctstate(season, "reconcile", "--accept", str(extra))
    assert (done.code, "1 subject accepted" in done.stdout) == (0, True)
    checked = ctstate(season, "verify")
    assert checked.code == 0, checked
    assert "All is well" in checked.stdout


def test_a_ledger_is_not_compared_with_another_zooniverse(new_season, sandbox, ctstate) -> None:
    season = new_season(1)
    season.upload()
    season.z = sandbox
    for verb in ("verify", "reconcile"):
        assert "belongs to" in ctstate(season, verb).error()


def test_failed_captures_of_one_worker_do_not_stop_the_others_work(new_season) -> None:
    season = new_season(4)
    (season.folder / "images" / season.rows("SELECT path FROM image WHERE capture_id = 2")[0][0]).unlink()
    report = season.upload()
    assert (report.left.failed, report.left.pending) == (1, 0)
    with Ledger.open(season.path) as ledger:
        assert retry(ledger) == 1
        assert ledger.count(Selection(states=[State.BATCHED])) == 1


def test_an_image_swapped_for_a_link_after_the_manifest_is_not_uploaded(new_season, tmp_path: Path) -> None:
    season = new_season(2)
    ((path,),) = season.rows("SELECT path FROM image WHERE capture_id = 1 AND rank = 1")
    image = season.folder / "images" / path
    elsewhere = tmp_path / "private.jpg"
    image.rename(elsewhere)
    image.symlink_to(elsewhere)
    report = season.upload()
    assert (report.counts.uploaded, report.counts.failed) == (1, 1)
    ((reason,),) = season.rows("SELECT reason FROM capture WHERE state = 'failed'")
    assert "leads out of" in reason


def test_a_pipe_among_the_images_holds_up_nobody(new_season) -> None:
    season = new_season(2)
    ((path,),) = season.rows("SELECT path FROM image WHERE capture_id = 1 AND rank = 1")
    image = season.folder / "images" / path
    image.unlink()
    os.mkfifo(image)
    report = season.upload()
    assert (report.counts.uploaded, report.counts.failed) == (1, 1)
    ((reason,),) = season.rows("SELECT reason FROM capture WHERE state = 'failed'")
    assert "no regular file" in reason
