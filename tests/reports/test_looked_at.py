"""What was looked at stays in the ledger: comparisons, classifications, requests; and copies of it."""

import json
import os
import sqlite3
from pathlib import Path

import pytest

from ctstate.errors import LedgerError, UsageError
from ctstate.ledger import Ledger, history
from ctstate.ledger.clock import age
from ctstate.ledger.sqlite import _take_name
from ctstate.verbs import backup as backup_module
from ctstate.verbs.backup import backup
from ctstate.verbs.survey import Share
from ctstate.verbs.verify import verify
from tests.builders.ledgers import of_files
from tests.builders.uploaded_season import UploadedSeason


def test_each_verify_leaves_a_line(world: UploadedSeason) -> None:
    assert world.on_project("verify").returncode == 0
    assert world.on_project("verify", "--batch", "batch_1", "--part", "1/2").returncode == 0
    world.do("UPDATE image SET md5 = 'ff' WHERE id = 1")
    assert world.on_project("verify").returncode == 1
    assert world.on_project("reconcile").returncode == 0  # it looks only where the ledger is in doubt
    rows = world.query(
        "SELECT verb, batch, part, captures, subjects, findings, found FROM v_verifications ORDER BY run_id"
    )
    assert [row[0] for row in rows] == ["verify", "verify", "verify", "reconcile"]
    whole, part, bad, _ = rows
    assert whole[1:6] == (None, None, 12, 12, 0)
    assert part[1:6] == ("batch_1", "1/2", 6, 6, 0)
    assert bad[5] == 1
    assert json.loads(bad[6]) == {"images": 1}
    asked = [row[0] for row in world.query("SELECT images_asked FROM v_verifications ORDER BY run_id")]
    images = world.query("SELECT count(*) FROM image WHERE problem IS NULL")[0][0]
    assert asked[0] == asked[2] == images
    assert 0 < asked[1] < images / 2 + 1
    assert asked[3] == 0  # nothing was in doubt


def test_parts_are_all_images_and_no_image_twice(world: UploadedSeason) -> None:
    with world.open() as ledger:
        parts = [
            verify(ledger, world.zooniverse(), world.project_id, share=Share.one_of(f"{part}/3"))
            for part in (1, 2, 3)
        ]
        every = verify(ledger, world.zooniverse(), world.project_id)
        assert sum(each.images_asked for each in parts) == every.images_asked
        few = verify(ledger, world.zooniverse(), world.project_id, share=Share.sample("0.000001%"))
        assert few.images_asked == 0
        assert few.all_is_well
    assert {each.part for each in parts} == {"1/3", "2/3", "3/3"}


@pytest.mark.parametrize("text", ["", "5", "0%", "101%", "-1%", "5%%", "nan%", "٥%", "1/2"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write it such as 5%"):
        Share.sample(text)


@pytest.mark.parametrize("text", ["", "0/7", "8/7", "3", "3/0", "3/7/1", "1.5/2", "5%", "9999999/9999999"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write it such as 3/7"):
        Share.one_of(text)


def test_a_sample_and_a_part_at_once_are_refused(world: UploadedSeason) -> None:
    done = world.on_project("verify", "--part", "1/2", "--sample", "5%")
    assert (done.returncode, done.stdout) == (2, "Error: give --sample or --part, not both\n")


@of_files
def test_a_ledger_that_cannot_be_written_is_verified_all_the_same(
    world: UploadedSeason, caplog: pytest.LogCaptureFixture
) -> None:
    with Ledger.open(world.path, read_only=True) as ledger:
        found = verify(ledger, world.zooniverse(), world.project_id)
    assert found.all_is_well
    assert not found.kept
    assert "the result is not kept in the ledger" in caplog.text


def test_a_look_at_a_part_does_not_pass_for_a_look_at_all(world: UploadedSeason, tmp_path: Path) -> None:
    page = str(tmp_path / "season.html")
    said = world.on_project("verify", "--part", "1/2").stdout
    assert "every image whole of the " in said
    assert "that were asked for (1/2)" in said
    assert "never as a whole" in world.run("report", "-o", page).stdout
    world.on_project("verify")
    assert "as a whole" not in world.run("report", "-o", page).stdout
    for _ in range(6):  # more than a page shows
        nothing = world.on_project("verify", "--batch", "batch_1", "--sample", "0.000001%")
    assert "but no image was asked for (0.000001%)" in nothing.stdout
    sentence = world.run("report", "-o", page).stdout
    assert "(batch batch_1, 0 images, 0.000001%): all was well, as a whole " in sentence
    assert "only batch_1, 0.000001%): all was well" in world.run("watch", "--once").stdout


def test_progress_keeps_what_was_before(world: UploadedSeason) -> None:
    link = ("--batch", "batch_1", "--workflow-id", world.sandbox.workflow_id)
    assert world.on_project("link", *link).returncode == 0
    for _ in range(2):
        assert world.on_project("progress").returncode == 0
    rows = world.query("SELECT batch, workflow, subjects, classifications, retired FROM v_polls ORDER BY run_id")
    (name,) = {row[1] for row in rows}
    assert name
    assert rows == [("batch_1", name, 6, 0, 0)] * 2


def test_a_run_says_what_it_sent(world: UploadedSeason) -> None:
    world.do("UPDATE image SET md5 = 'ff' WHERE id = 1")
    assert world.on_project("reconcile", "--check-images", "--apply").returncode == 0
    assert world.on_project("upload").returncode == 0
    figures = dict(
        world.query("SELECT name, value FROM v_run_figures WHERE run_id = (SELECT max(run_id) FROM v_run_figures)")
    )
    assert figures["requests: PUT image"] >= 1
    of_its_capture = "capture_id = (SELECT capture_id FROM image WHERE id = 1)"
    ((again,),) = world.query(f"SELECT sum(bytes) FROM image WHERE {of_its_capture}")
    assert figures["bytes sent"] == again
    assert figures["retries"] == 0
    assert figures["requests: GET /subjects/ID"] + figures["requests: PUT /subjects/ID"] >= 1
    assert 0 < figures["seconds: network"] < 60
    assert 0 <= figures["seconds: lock"] < 60
    assert figures["seconds: captures waited for Put"] > 0


# -- copies of the ledger --------------------------------------------------------------------------------------


@pytest.mark.parametrize("links", [True, False])
def test_a_copy_never_takes_the_place_of_a_file(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file system knows no hard links."""

    def no_links(*_: object) -> None:
        raise PermissionError("no hard links here")

    if not links:
        monkeypatch.setattr("os.link", no_links)
    part, target = tmp_path / "copy.part", tmp_path / "copy.db"
    part.write_text("new")
    _take_name(part, target)
    assert target.read_text() == "new"
    part.unlink(missing_ok=True)
    part.write_text("newer")
    with pytest.raises(FileExistsError):
        _take_name(part, target)
    assert target.read_text() == "new"


@of_files
def test_a_copy_is_whole_and_stands_in_the_ledger(world: UploadedSeason) -> None:
    done = world.run("backup", "--note", "before the rain")
    assert done.returncode == 0, done.stdout
    (row,) = world.query("SELECT path, bytes, captures, note FROM v_backups")
    path = Path(row[0])
    assert done.stdout == f"{path}: 12 captures, {row[1] / 1e6:,.1f} MB, whole.\n"
    assert (row[1], row[2], row[3]) == (path.stat().st_size, 12, "before the rain")
    assert path.parent == Path(world.path).parent
    with sqlite3.connect(path) as copy:
        assert copy.execute("SELECT count(*) FROM capture WHERE state = 'uploaded'").fetchone() == (12,)
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    copy.close()
    again = world.run("backup", "--to", str(path))
    assert (again.returncode, again.stdout) == (
        2,
        f"Error: {path} is there already: name a new file for the copy\n",
    )


@of_files
def test_a_ledger_that_cannot_be_written_is_copied_all_the_same(
    world: UploadedSeason, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Ledger.open(world.path, read_only=True) as ledger:
        made = backup(ledger, tmp_path / "copy.db")
    assert made.captures == 12
    assert "the copy is not noted in the ledger" in caplog.text


@of_files
def test_delete_makes_a_copy_and_not_one_for_each_subject(world: UploadedSeason, monkeypatch) -> None:
    for capture in ("1", "2"):
        name = world.query("SELECT capture_id FROM capture WHERE id = ?", int(capture))[0][0]
        done = world.on_project("delete", name, "--reason", "people", "--yes")
        assert done.returncode == 0, done.stdout
    (row,) = world.query("SELECT path, note FROM v_backups")
    assert row[1] == "before delete"
    with sqlite3.connect(row[0]) as copy:
        assert copy.execute("SELECT count(*) FROM capture WHERE state = 'deleted'").fetchone() == (0,)
    copy.close()
    monkeypatch.setattr(backup_module, "ENOUGH_S", 0.0)
    name = world.query("SELECT capture_id FROM capture WHERE id = 3")[0][0]
    assert world.on_project("delete", name, "--reason", "people", "--yes").returncode == 0
    assert len(world.query("SELECT 1 FROM v_backups")) == 2


@of_files
def test_no_copy_no_deletion(world: UploadedSeason) -> None:
    """Where there is no room for the copy nothing is deleted."""
    folder = Path(world.path).parent
    name = world.query("SELECT capture_id FROM capture WHERE id = 1")[0][0]
    before = set(os.listdir(folder))
    with pytest.MonkeyPatch.context() as patch:
        from ctstate.ledger import sqlite as dialect

        def full(*_: object) -> int:
            raise sqlite3.OperationalError("database or disk is full")

        patch.setattr(dialect, "_copied", full)
        done = world.on_project("delete", name, "--reason", "people", "--yes")
    assert done.returncode == 1
    assert "no copy could be made" in done.stdout
    assert "disk is full" in done.stdout
    assert {each for each in set(os.listdir(folder)) - before if "backup" in each} == set()
    assert world.states() == {"uploaded": 12}
    assert len(world.active()) == 12


def test_a_server_makes_its_own_copies(world: UploadedSeason) -> None:
    if "://" not in str(world.path):
        pytest.skip("about PostgreSQL: make test-postgres")
    done = world.run("backup")
    assert done.returncode == 2
    assert "pg_dump" in done.stdout


def test_the_last_copy_is_known(world: UploadedSeason) -> None:
    with world.open() as ledger:
        with ledger.read() as connection:
            assert history.last_backup(connection) is None
        if ledger.path is None:
            return
        made = backup(ledger)
        with ledger.read() as connection:
            last = history.last_backup(connection)
        assert last is not None
        assert last.path == made.path
        assert age(last.made_at) < 60
        with pytest.raises(LedgerError, match="no copy could be made"):
            backup(ledger, "/nowhere/at/all.db")
