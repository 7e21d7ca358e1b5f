"""Who waits for a file's write lock asks soon, then seldom, then ever more often; and seldom where it is held."""

from ctstate.ledger.sqlite import HELD_S, LEAST_PAUSE_S, MOST_PAUSE_S, OVERDUE_S, _pause


def test_a_lock_that_is_held_for_a_moment_is_asked_for_again_at_once() -> None:
    assert _pause(0.0) == LEAST_PAUSE_S
    assert all(_pause(waited / 1000) <= max(LEAST_PAUSE_S, waited / 1000) for waited in range(1, 80))


def test_in_a_crowd_who_has_waited_longest_asks_most_often() -> None:
    begun = max(range(int(1000 * OVERDUE_S)), key=lambda waited: _pause(waited / 1000)) / 1000
    assert _pause(begun) > 20 * LEAST_PAUSE_S
    later = [_pause(begun + part * (OVERDUE_S - begun) / 10) for part in range(11)]
    assert later == sorted(later, reverse=True)
    assert _pause(OVERDUE_S) == _pause(HELD_S) == LEAST_PAUSE_S


def test_a_lock_that_somebody_holds_is_not_asked_for_five_hundred_times_a_second() -> None:
    assert _pause(HELD_S + 0.1) == _pause(600.0) == MOST_PAUSE_S
