"""What befalls a simulated ledger on PostgreSQL, each on purpose: the simulator does it, and ctstate bears it."""

from collections.abc import Iterator

import pytest

from ctstate.errors import CtstateError
from ctstate.ledger.postgres import FROZEN_S
from ctstate.machine import machine
from tests.builders.ledgers import ON_POSTGRES
from tests.simulation.test_kernel import Season, note

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="about PostgreSQL: make test-postgres")

if ON_POSTGRES:
    from tests.simulation import sim_postgres
    from tests.simulation.sim_postgres import (
        ALL_CUT,
        CRASHED,
        CUT,
        FULL,
        LOST,
        REPLY_LOST,
        RESTART,
        SUSPENDED,
        UNDECIDED,
    )
else:
    ALL_CUT = CRASHED = CUT = FULL = LOST = REPLY_LOST = RESTART = SUSPENDED = UNDECIDED = ""


@pytest.fixture
def season() -> Iterator[Season]:
    one = Season()
    yield one
    one.close()


class Tried:
    """One write that something befalls, and one of another process that begins a second later.

    Attributes:
        said: what the first was told; None: that it is written.
        took: virtual seconds that the first, and the second, took.
        written: what is there in the end.
    """

    def __init__(self, season: Season, what: str) -> None:
        self.said: str | None = None
        self.took: dict[str, float] = {}

        def first() -> None:
            ledger = season.ledger()
            season.database.rates = {what: 1.0}
            begun = season.kernel.time
            try:
                note(ledger, "first")
            except CtstateError as error:
                self.said = str(error)
            self.took["first"] = season.kernel.time - begun

        def second() -> None:
            machine().sleep(1.0)
            ledger = season.ledger()
            season.database.rates = {}
            begun = season.kernel.time
            note(ledger, "second")
            self.took["second"] = season.kernel.time - begun

        season.go(first, second)
        assert season.database.struck[what] == 1
        assert season.kernel.violations == []
        self.written = {"first", "second"} & season.noted().keys()
        assert "second" in self.written


def test_a_reply_that_is_lost_is_looked_up(season: Season) -> None:
    tried = Tried(season, REPLY_LOST)
    assert (tried.said, tried.written) == (None, {"first", "second"})


@pytest.mark.parametrize("what", [LOST, CUT])
def test_what_is_cut_off_is_not_written(season: Season, what: str) -> None:
    tried = Tried(season, what)
    assert "nothing of this step was written" in str(tried.said)
    assert tried.written == {"second"}


@pytest.mark.parametrize("seed", range(6))
def test_a_commit_under_way_is_waited_for_and_nobody_overtakes_it(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sim_postgres, "UNDECIDED_S", ((30.0, 31.0),))
    season = Season(seed)
    tried = Tried(season, UNDECIDED)
    assert (tried.said is None) == ("first" in tried.written)
    assert 30 <= tried.took["first"] < 32  # the server decides, and then it is known
    assert 29 <= tried.took["second"] < 31  # who wants to write waits for the lock
    season.close()


def test_a_number_that_a_crashed_server_gave_anew_proves_nothing(season: Season) -> None:
    tried = Tried(season, CRASHED)
    assert "whether the last step was written is not known" in str(tried.said)
    assert tried.written == {"second"}


def test_a_commit_that_is_under_way_for_ever_is_not_guessed(
    season: Season, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sim_postgres, "UNDECIDED_S", ((300.0, 301.0),))
    assert "whether the last step was written is not known" in str(Tried(season, UNDECIDED).said)


def test_whoever_sleeps_with_the_lock_loses_it(season: Season, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim_postgres, "SLEEPS_S", ((200.0, 201.0),))
    tried = Tried(season, SUSPENDED)
    assert "nothing of this step was written" in str(tried.said)
    assert tried.written == {"second"}
    assert FROZEN_S - 2 < tried.took["second"] < FROZEN_S + 1


def test_a_nap_with_the_lock_does_no_harm(season: Season, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim_postgres, "SLEEPS_S", ((20.0, 21.0),))
    tried = Tried(season, SUSPENDED)
    assert (tried.said, tried.written) == (None, {"first", "second"})
    assert tried.took["second"] < 21


def test_a_full_disk_is_told(season: Season) -> None:
    tried = Tried(season, FULL)
    assert "the database's disk is full" in str(tried.said)
    assert tried.written == {"second"}


def test_connections_that_are_cut_before_are_made_anew(season: Season) -> None:
    tried = Tried(season, ALL_CUT)
    assert (tried.said, tried.written) == (None, {"first", "second"})


def test_who_looks_on_from_outside_is_not_cut_off(season: Season) -> None:
    """The harness looks between two steps, when nobody can wait for a server to be back."""
    season.go(lambda: note(season.ledger(), "first"))
    season.database.cut(list(season.database.connections))
    assert "first" in season.noted()


@pytest.mark.parametrize(("away", "borne"), [(100.0, True), (300.0, False)])
def test_a_server_that_starts_anew_is_waited_for(
    season: Season, monkeypatch: pytest.MonkeyPatch, away: float, borne: bool
) -> None:
    monkeypatch.setattr(sim_postgres, "AWAY_S", ((away, away + 1),))
    said: list[str] = []

    def work() -> None:
        ledger = season.ledger()
        season.database.rates = {RESTART: 1.0}
        try:
            note(ledger, "first")
        except CtstateError as error:
            said.append(str(error))
        season.database.rates = {}

    season.go(work)
    assert (said == []) == borne
    assert ("first" in season.noted()) == borne
    assert all("no connection" in line for line in said)
