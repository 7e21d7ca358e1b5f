"""How many workers `--workers auto` takes, and what it says of it."""

import pytest

from ctstate.ledger.speeds import Speed
from ctstate.verbs.submit.workers import USUAL, choice
from tests.slurm.rehearsal import Rehearsal


def test_as_many_as_have_something_to_do() -> None:
    """One brings 2 captures/s: 1,200 in ten minutes."""
    chosen = choice(6000, [Speed(1, 2.0)], most=16)
    assert chosen.workers == 5
    assert "one brings 2.00/s" in chosen.why
    assert "less than 10 minutes' work" in chosen.why
    assert choice(10, [Speed(1, 2.0)], most=16).workers == 1


def test_no_more_than_the_ledger_s_database_serves() -> None:
    chosen = choice(10**6, [Speed(4, 8.0)], most=16)
    assert chosen.workers == 16
    assert "one writer in at a time" in chosen.why
    assert choice(10**6, [Speed(4, 8.0)], most=64).workers == 64


@pytest.mark.parametrize("order", [1, -1])
def test_no_more_than_brought_more(order: int) -> None:
    seen = [Speed(2, 4.0), Speed(8, 9.0), Speed(16, 9.5)][::order]
    chosen = choice(10**6, seen, most=64)
    assert chosen.workers == 8
    assert chosen.why.endswith("16 brought 9.5/s, when 8 brought 9.0/s")
    assert choice(10**6, [Speed(2, 4.0), Speed(8, 15.0)], most=64).workers == 64, "they did bring more"


def test_nothing_is_known_before_the_first_upload() -> None:
    chosen = choice(10**6, [], most=16)
    assert chosen.workers == USUAL
    assert "ctstate upload --limit 100" in chosen.why


def test_a_user_lets_ctstate_choose(rehearsal: Rehearsal) -> None:
    rehearsal.season(60)
    options = rehearsal.upload_options()
    assert "#SBATCH --array=1-4\n" in rehearsal.ctstate("submit", *options, "--workers", "auto", "--print")
    rehearsal.ctstate("upload", *options, "--limit", "25", code=75)
    said = rehearsal.ctstate("submit", *options, "--workers", "auto", "--max-rounds", "1", "--time", "10")
    assert said.startswith("1 worker: one brings "), said
    assert "so that 35 captures take about" in said
    rehearsal.wait_until_settled()
    rehearsal.check(60)
    assert "'some' is not a valid integer" in rehearsal.ctstate("submit", *options, "--workers", "some", code=2)
