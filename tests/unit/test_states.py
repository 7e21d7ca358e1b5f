"""The state machine as data: what the design promises of it."""

import pytest

from ctstate.ledger.states import PENDING, REBATCHABLE, RETRYABLE, TRANSITIONS, State
from tests.builders import is_legal


def test_every_move_is_named_once_and_explained() -> None:
    moves = [(t.source, t.target) for t in TRANSITIONS]
    assert len(set(moves)) == len(moves)
    assert all(t.meaning for t in TRANSITIONS)
    assert all(t.source != t.target for t in TRANSITIONS)


def reachable(start: State | None) -> set[State]:
    found: set[State] = set()
    frontier = [start]
    while frontier:
        here = frontier.pop()
        for t in TRANSITIONS:
            if t.source is here and t.target not in found:
                found.add(t.target)
                frontier.append(t.target)
    return found


def test_a_capture_begins_manifested_and_can_reach_every_state() -> None:
    assert [t.target for t in TRANSITIONS if t.source is None] == [State.MANIFESTED]
    assert reachable(None) == set(State)


@pytest.mark.parametrize("state", State)
def test_no_state_is_a_dead_end(state: State) -> None:
    assert State.UPLOADED in reachable(state)


def test_only_a_claim_leads_to_uploading_and_only_from_batched() -> None:
    assert [t.source for t in TRANSITIONS if t.target is State.UPLOADING] == [State.BATCHED]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (None, State.UPLOADED),
        (None, State.BATCHED),
        (State.MANIFESTED, State.UPLOADING),
        (State.UPLOADED, State.UPLOADING),
        (State.UPLOADED, State.MANIFESTED),
        (State.UPLOADED, State.FAILED),
        (State.DELETED, State.UPLOADED),
        (State.FAILED, State.UPLOADING),
    ],
)
def test_moves_that_must_not_be(source: State | None, target: State) -> None:
    assert not is_legal(source, target)


def test_groups_of_states_agree_with_the_moves() -> None:
    assert all(is_legal(state, State.BATCHED) for state in RETRYABLE)
    assert all(state is State.BATCHED or is_legal(state, State.BATCHED) for state in REBATCHABLE)
    assert State.UPLOADING not in REBATCHABLE
    assert set(PENDING) == {*REBATCHABLE, State.UPLOADING}


def test_a_state_is_its_name() -> None:
    assert f"{State.BATCHED}" == "batched" == State.BATCHED
