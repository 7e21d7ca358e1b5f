"""The crash harness' way to PostgreSQL does what it says, and ctstate knows each time what became of its COMMIT."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from ctstate.errors import LedgerLostError
from ctstate.ledger import Ledger
from tests.builders.ledgers import ON_POSTGRES, new_ledger_at
from tests.builders.postgres import cluster
from tests.crash import database_network
from tests.crash.database_network import (
    BROKEN,
    KILL_AFTER,
    KILL_BEFORE,
    LATE,
    LOST,
    REPLY_LOST,
    SLOW,
    UNDER_WAY,
    DatabaseNetwork,
)  # fmt: skip

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="about PostgreSQL: make test-postgres")


class Way:
    """A ledger behind such a network.

    Attributes:
        met, killed: what the network told.
    """

    def __init__(self, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.network = DatabaseNetwork(cluster().port, random.Random(1))
        self.met: list[tuple[str, str]] = []
        self.killed: list[str] = []
        self.network.met = lambda name, kind: self.met.append((name, kind))
        self.network.kill = self.killed.append
        for name, value in self.network.environment("upload-7").items():
            monkeypatch.setenv(name, value)
        self._monkeypatch = monkeypatch
        self.direct = Ledger.open(place)
        self.ledger = Ledger.open(place.replace(f":{cluster().port}/", f":{self.network.port}/"))

    def write(self, name: str, kind: str) -> bool:
        """Write something while that happens; tell whether ctstate believes that it is written."""
        self._monkeypatch.setattr(database_network, "KINDS", {kind: 1})
        self.network.harm = 1.0
        try:
            with self.ledger.write() as connection:
                for part in range(15):
                    statement = text("INSERT INTO meta VALUES (:name, '1')")
                    connection.execute(statement, {"name": f"{name} {part}"})
        except LedgerLostError:
            return False
        finally:
            self.network.harm = 0.0
        return True

    def is_written(self, name: str) -> bool:
        """Tell whether it is."""
        return [self.direct.meta(f"{name} {part}") for part in range(15)] == ["1"] * 15

    def close(self) -> None:
        self.ledger.close()
        self.direct.close()
        self.network.close()


@pytest.fixture
def way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    one = Way(new_ledger_at(tmp_path / "l.db"), monkeypatch)
    yield one
    one.close()


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (REPLY_LOST, True), (LOST, False), (UNDER_WAY, True), (LATE, True), (SLOW, True), (BROKEN, False),
        (KILL_BEFORE, False), (KILL_AFTER, True),
    ],
)  # fmt: skip
def test_what_becomes_of_a_commit(way: Way, kind: str, written: bool) -> None:
    for number in range(3):
        assert way.write(f"{number}", kind) == written
        assert way.is_written(f"{number}") == written
    assert len(way.met) >= 3  # a transaction that is cut off where it begins is begun anew, and cut off again
    assert set(way.met) == {("upload-7", kind)}
    assert way.killed == (["upload-7"] * 3 if kind in (KILL_BEFORE, KILL_AFTER) else [])


def test_nobody_gets_through_while_it_is_away(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctstate.ledger.postgres.BACK_AGAIN_S", 1)
    with way.network.away(), pytest.raises(LedgerLostError), way.ledger.write() as connection:
        connection.execute(text("INSERT INTO meta VALUES ('a', '1')"))
        raise AssertionError("it came through")
    assert way.ledger.meta("a") is None
