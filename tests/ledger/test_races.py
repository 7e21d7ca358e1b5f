"""Two processes write at once: each of these was seen to go wrong where a writer has not the ledger to itself.

One is in the middle of a transaction when the other begins; the other waits until it is over, and sees all of it.
On PostgreSQL each of these fails without the ledger's lock (the snapshot of a statement is older than what it waits
for at a row); on SQLite the file's lock is that lock.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ctstate.errors import FencedError
from ctstate.ledger import Ledger, batches, claims, exclusions, intake_predictions, migrate, runs
from ctstate.ledger.database import moment
from ctstate.ledger.facts import Announced, Arrived, Bytes, Encoded, write_down
from ctstate.ledger.schema import image
from ctstate.verbs.predict import PredictionFile, predict
from tests.builders.ledgers import ON_POSTGRES, no_ledger_at
from tests.builders.postgres import cluster


class Other:
    """Another process (here a thread, with a ledger opened for itself) that does something in the midst of all.

    Attributes:
        came: what its work returned.
    """

    def __init__(self, ledger: Ledger | str, work: Callable[[Ledger], Any]) -> None:
        self.came: Any = None
        self._name = ledger if isinstance(ledger, str) else ledger.name
        self._opened = ledger if isinstance(ledger, str) else Ledger.open(ledger.name)
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._do)

    def _do(self) -> None:
        try:
            self.came = self._work(self._opened)  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - raised again by `end`
            self._error = error

    def go(self) -> None:
        """Begin, and come as far as can be while the caller's transaction is under way: to the end or a lock."""
        self._thread.start()
        began = time.monotonic()
        database = self._name.rpartition("/")[2]
        waits = f"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '{database}'"
        while self._thread.is_alive():
            if cluster().ask(waits) if ON_POSTGRES else time.monotonic() - began > 0.5:
                return
            time.sleep(0.02)

    def end(self) -> Any:
        """Wait for its end, now that nothing is in its way; return what came of it."""
        self._thread.join(timeout=120)
        assert not self._thread.is_alive()
        if isinstance(self._opened, Ledger):
            self._opened.close()
        if self._error is not None:
            raise self._error
        return self.came


@pytest.fixture
def ledger(new_ledger: Callable[..., Ledger]) -> Ledger:
    return new_ledger(4)


def begun(ledger: Ledger) -> int:
    """An upload of another host, whose process cannot be looked at from here."""
    with ledger.write() as connection:
        run_id = runs.start(connection, "upload", {})
        connection.execute(text("UPDATE run SET host_id = 'elsewhere' WHERE id = :r"), {"r": run_id})
    return run_id


def claim(ledger: Ledger, run_id: int, limit: int = 1) -> list[claims.Claim]:
    with ledger.write() as connection:
        return claims.claim(connection, run_id, 1, 1, limit)


def one(ledger: Ledger, question: str) -> Any:
    with ledger.read() as connection:
        return connection.execute(text(question)).one()


def test_a_zombie_marks_no_image_under_another_run_s_claim(ledger: Ledger) -> None:
    zombie, successor = begun(ledger), begun(ledger)
    (old,) = claim(ledger, zombie)

    def mark(mine: Ledger) -> str:
        with mine.write() as connection:
            try:
                write_down(connection, [(old, [Arrived([old.row.images[0].id])])])
            except FencedError:
                return "fenced"
        return "marked"

    other = Other(ledger, mark)
    with ledger.write() as connection:
        runs.recover(connection, [zombie])
        (new,) = claims.claim(connection, successor, 1, 1, 1)
        assert new.row.id == old.row.id
        write_down(connection, [(new, [Encoded([Bytes(new.row.images[0].id, "md5", 1)])])])
        other.go()
    assert other.end() == "fenced"
    assert one(ledger, f"SELECT arrived_at FROM image WHERE capture_id = {new.row.id}") == (None,)


def test_a_withheld_image_is_not_claimed(ledger: Ledger) -> None:
    with ledger.write() as connection:
        connection.execute(text("INSERT INTO image (id, capture_id, rank, path) VALUES (99, 1, 2, 'y.jpg')"))
    run_id = begun(ledger)
    other = Other(ledger, lambda mine: claim(mine, run_id))
    with ledger.write() as connection:
        assert exclusions.withhold_images(connection, image.c.id == 99, "a person in it") == 1
        other.go()
    (claimed,) = other.end()
    assert claimed.row.id == 1
    assert [each.id for each in claimed.row.images] == [1]


def test_an_image_that_is_claimed_is_not_withheld(ledger: Ledger) -> None:
    with ledger.write() as connection:
        connection.execute(text("INSERT INTO image (id, capture_id, rank, path) VALUES (99, 1, 2, 'y.jpg')"))
    run_id = begun(ledger)

    def withhold(mine: Ledger) -> int:
        with mine.write() as connection:
            return exclusions.withhold_images(connection, image.c.id == 99, "a person in it")

    other = Other(ledger, withhold)
    with ledger.write() as connection:
        (claimed,) = claims.claim(connection, run_id, 1, 1, 1)
        assert [each.id for each in claimed.row.images] == [1, 99]
        other.go()
    assert other.end() == 0  # its capture is on its way, which the person is told


def test_no_prediction_is_lost_against_a_claim(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim has read the new prediction, or the capture is marked, so that its subject gets it afterwards."""
    for species in ("zebra", "lion"):
        (tmp_path / species).write_text(f"capture_id,label,confidence\nS#A#1#1,{species},0.9\n")
    predict(ledger, [PredictionFile(str(tmp_path / "zebra"), "csv")], source="species")
    run_id = begun(ledger)
    other = Other(ledger, lambda mine: claim(mine, run_id))
    note = intake_predictions.note_metadata_pending

    def noted(*given: Any) -> int:
        done = note(*given)
        other.go()
        return done

    monkeypatch.setattr(intake_predictions, "note_metadata_pending", noted)
    predict(ledger, [PredictionFile(str(tmp_path / "lion"), "csv")], source="species")
    (claimed,) = other.end()
    assert claimed.row.id == 1
    (pending,) = one(ledger, "SELECT metadata_pending FROM capture WHERE id = 1")
    assert "lion" in str(claimed.row.predictions) or pending is not None


def test_two_creators_make_one_batch(ledger: Ledger) -> None:
    def make(mine: Ledger) -> int:
        with mine.write() as connection:
            return batches.make(connection, 1, "both")

    other = Other(ledger, make)
    with ledger.write() as connection:
        made = batches.make(connection, 1, "both")
        other.go()
    assert other.end() == made


def test_two_openers_make_one_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = no_ledger_at(tmp_path / "l.db")

    def open_it(_: Any) -> str:
        with Ledger.open(place, create=True) as ledger:
            return ledger.ledger_id

    other = Other(place, open_it)
    upgrade, upgraded = migrate._upgrade, list[int]()

    def noted(connection: Any) -> None:
        upgrade(connection)
        upgraded.append(threading.get_ident())
        if len(upgraded) == 1:
            other.go()

    monkeypatch.setattr(migrate, "_upgrade", noted)
    mine = open_it(None)
    assert other.end() == mine
    assert len(upgraded) == 1


def test_two_binders_bind_one_zooniverse(ledger: Ledger) -> None:
    other = Other(ledger, lambda mine: mine.bind_endpoint("https://zooniverse"))
    with ledger.write() as connection:  # as `bind_endpoint` does
        connection.execute(text("INSERT INTO meta VALUES ('endpoint', 'https://zooniverse')"))
        other.go()
    other.end()
    assert ledger.meta("endpoint") == "https://zooniverse"


def test_whose_heartbeat_succeeded_is_not_lost(ledger: Ledger) -> None:
    run_id = begun(ledger)
    with ledger.write() as connection:  # nobody has heard of it for long
        connection.execute(text("UPDATE run SET heartbeat_at = '2020-01-01T00:00:00.000000Z'"))

    def beat(mine: Ledger) -> str | None:
        with mine.write() as connection:
            return runs.beat(connection, run_id)

    other = Other(ledger, beat)
    with ledger.write() as connection:
        dead = ledger.dead_runs(connection)
        assert dead == [run_id]
        other.go()
        runs.recover(connection, dead)
    answer = other.end()
    (outcome,) = one(ledger, f"SELECT outcome FROM run WHERE id = {run_id}")
    assert (answer == runs.LOST) == (outcome == runs.LOST)


def test_a_committer_and_a_bulk_update_do_not_lock_each_other_up(ledger: Ledger) -> None:
    run_id = begun(ledger)
    claimed = claim(ledger, run_id, 4)

    def update_all(mine: Ledger) -> int:
        with mine.write() as connection:
            changed = text("UPDATE capture SET metadata_pending = :at")
            return connection.execute(changed, {"at": moment(connection)}).rowcount

    other = Other(ledger, update_all)
    with ledger.write() as connection:
        for mine in reversed(claimed):
            write_down(connection, [(mine, [Announced(run_id, 0)])])
            if mine is claimed[-1]:
                other.go()
    assert other.end() == 4
