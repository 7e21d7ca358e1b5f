"""`ctstate watch`: pictures of an upload in the terminal."""

from pathlib import Path

import pytest
from sqlalchemy import text

from ctstate.errors import LedgerMissingError
from ctstate.ledger import Ledger, runs
from ctstate.machine import Machine, running_on
from ctstate.verbs.watch import watch
from tests.builders.live_page import SCRIPT, make_ledger


class Hurried(Machine):
    """Whose time passes when somebody waits."""

    def __init__(self) -> None:
        self.slept = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


def test_a_picture_tells_rates_and_what_is_left(tmp_path: Path) -> None:
    with running_on(Hurried()), Ledger.open(make_ledger(tmp_path / "season")) as ledger:
        pictures = watch(ledger)
        first = next(pictures)
        assert first.count("uploaded") + first.count("failed") + first.left + first.excluded <= first.total == 240
        (worker,) = first.workers
        assert worker.state == "live"
        for _ in range(6):  # 30 s, in which it brings 12 captures there
            with ledger.write() as connection:
                runs.beat(connection, 1)
                connection.execute(
                    text("UPDATE capture SET state = 'uploaded', subject_id = 7000000 + id, run_id = 1,"
                         " moved_at = '2030' || substr(moved_at, 5) WHERE id IN"
                         " (SELECT id FROM capture WHERE state = 'uploading' ORDER BY id LIMIT 2)")
                )  # fmt: skip
            picture = next(pictures)
        assert picture.rate == pytest.approx(0.4, rel=0.1)
        assert picture.seconds_left == pytest.approx(picture.left / picture.rate)
        for _ in range(30):  # nobody writes any more
            picture = next(pictures)
        assert picture.workers[0].rate < 0.1
        with ledger.write() as connection:
            runs.end(connection, 1, "done")
        assert next(pictures).workers == []


def test_a_run_that_was_lost_lasted_until_its_last_heartbeat(tmp_path: Path) -> None:
    with Ledger.open(make_ledger(tmp_path / "season")) as ledger:
        with ledger.write() as connection:
            runs.end(connection, 1, "lost")  # as the next upload finds out, a night later
            connection.execute(
                text("UPDATE run SET started_at = '2026-11-01T10:00:00.000000Z', heartbeat_at ="
                     " '2026-11-01T10:00:05.000000Z', ended_at = '2026-11-02T10:00:00.000000Z' WHERE id = 1")
            )  # fmt: skip
        (lost,) = [run for run in next(watch(ledger)).runs if run.facts.id == 1]
    assert (lost.state, lost.lasted) == ("lost", 5)


def test_once_prints_one_picture(hostile: str, call_ctstate: object) -> None:
    for arguments in (("watch", "--once"), ("watch",)):  # where no terminal takes it, one is enough
        done = call_ctstate("--ledger", hostile, *arguments)  # type: ignore[operator]
        assert done.code == 0
        assert " captures are up" in done.stdout
        assert "batch_1" in done.stdout
        assert "upload" in done.stdout
        assert SCRIPT in done.stdout or "alert" in done.stdout  # a season of that name


def test_no_ledger_is_one_line(tmp_path: Path, call_ctstate: object) -> None:
    for verb in ("watch", "serve"):
        done = call_ctstate("--ledger", str(tmp_path / "none.db"), verb)  # type: ignore[operator]
        assert done.code == 1
        assert len(done.stderr.splitlines()) == 1
    with pytest.raises(LedgerMissingError):
        Ledger.open(tmp_path / "none.db", read_only=True)
