"""One reader for all who look on: asked often, it asks the ledger seldom, and says so where it cannot."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from ctstate.errors import LedgerError
from ctstate.ledger import Ledger, live
from ctstate.ledger.schema import event, image
from ctstate.verbs import reading
from ctstate.verbs.reading import SharedReader
from tests.builders.ledgers import of_files
from tests.builders.live_page import make_ledger


def images(connection: live.Reading) -> int:
    return int(connection.execute(select(func.count()).select_from(image)).scalar_one())


def one_more(ledger: Ledger) -> None:
    with ledger.write() as connection:
        connection.execute(
            text("INSERT INTO image (capture_id, rank, path) SELECT 1, max(rank) + 1, 'x' FROM image")
        )


@pytest.fixture
def path(tmp_path: Path) -> str:
    return make_ledger(tmp_path / "season")


def test_many_who_ask_at_once_are_one(path: str) -> None:
    with Ledger.open(path, read_only=True) as ledger, SharedReader(ledger) as reader:
        assert {reader.ask("images", images).value for _ in range(100)} == {240}
        assert reader.asked == 1


def test_a_question_is_put_anew_only_if_somebody_wrote(path: str) -> None:
    put = []

    def question(connection: live.Reading) -> int:
        put.append(1)
        return images(connection)

    with Ledger.open(path, read_only=True) as ledger, SharedReader(ledger) as reader, Ledger.open(path) as writer:
        for _ in range(5):
            assert reader.ask("images", question, every=0).value == 240
        assert len(put) == 1
        one_more(writer)
        assert reader.ask("images", question, every=0).value == 241
        assert reader.ask("images", question, every=0).value == 241
        assert len(put) == 2
        assert reader.asked == 7
        assert reader.ask("images", question, every=0, keeps=0).value == 241  # what time alone changes
        assert len(put) == 3


@of_files
def test_a_ledger_that_is_locked_is_not_waited_for(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PATIENCE_S", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = TRUNCATE")
        with Ledger.open(path, read_only=True) as ledger, SharedReader(ledger) as reader:
            assert reader.ask("images", images).trouble is None
            assert reader.holds_up_writers
            other.execute("BEGIN EXCLUSIVE")
            answer = reader.ask("images", images, every=0)
            assert (answer.value, answer.trouble is not None) == (240, True)
            with pytest.raises(LedgerError):
                reader.ask("another question", images)
            other.execute("ROLLBACK")
            monkeypatch.setattr(reading, "EVERY_S", 0.0)  # it is tried again after that
            assert reader.ask("images", images, every=0).trouble is None


@of_files
def test_a_ledger_that_is_gone_or_another_one(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "EVERY_S", 0.0)
    with Ledger.open(path) as writer:
        shutil.copyfile(path, f"{path}.copy")
        one_more(writer)
    with Ledger.open(path, read_only=True) as ledger, SharedReader(ledger) as reader:
        assert reader.ask("images", images).value == 241
        os.rename(path, f"{path}.away")
        gone = reader.ask("images", images, every=0)
        assert gone.value == 241
        assert gone.trouble == f"ledger {path}: No such file or directory"
        os.rename(f"{path}.copy", path)  # an older copy is put back: another file
        for rest in ("-wal", "-shm"):
            Path(path + rest).unlink(missing_ok=True)
        assert reader.ask("images", images, every=0) == (240, 0.0, None)


def test_tallies_roll_forward(path: str) -> None:
    with Ledger.open(path) as ledger:
        tallies = live.Tallies()
        for _ in range(4):
            with ledger.read() as connection:
                counted = {
                    state: connection.execute(
                        select(func.count()).where(event.c.run_id == 1, event.c.target == state)
                    ).scalar_one()
                    for state in ("uploaded", "failed")
                }
                assert tallies.of(connection, [1])[1]._asdict() == counted
            with ledger.write() as connection:
                connection.execute(
                    text("UPDATE capture SET state = 'uploaded', subject_id = 7000000 + id, run_id = 1, moved_at ="
                         " '2030' || substr(moved_at, 5) WHERE id IN"
                         " (SELECT id FROM capture WHERE state = 'uploading' AND run_id = 1 ORDER BY id LIMIT 3)")
                )  # fmt: skip
        assert counted["uploaded"] > 80
