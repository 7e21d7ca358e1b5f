"""A correction names the capture as it was seen, and changes nothing if it has moved since."""

from collections.abc import Callable

import pytest
from sqlalchemy import text

from ctstate.capture import Snapshot
from ctstate.ledger import Ledger, State, Transaction, transitions

CORRECTIONS: dict[str, Callable[[Transaction, Snapshot], object]] = {
    "adopt": lambda connection, seen: transitions.adopt(connection, 1, seen, 100, 1, "found"),
    "note_subject": lambda connection, seen: transitions.note_subject(connection, seen, 100),
    "redo": lambda connection, seen: transitions.redo(connection, 1, seen, 100, 1, "images"),
    "move": lambda connection, seen: transitions.move(connection, 1, seen, State.DELETED, "gone"),
    "forget_subject": lambda connection, seen: transitions.forget_subject(connection, seen),
    "retry": lambda connection, seen: transitions.retry(connection, 1, seen, "again"),
}


def rows(connection: Transaction) -> list[tuple[object, ...]]:
    found = [tuple(row) for row in connection.execute(text("SELECT * FROM capture"))]
    return found + [tuple(row) for row in connection.execute(text("SELECT * FROM image"))]


@pytest.mark.parametrize("name", CORRECTIONS)
@pytest.mark.parametrize("since", [{"state": "failed"}, {"claim": 7}, {"subject_id": 99}, {"subject_id": None}])
def test_a_capture_that_has_moved_is_left_alone(new_ledger: Callable[..., Ledger], name: str, since: dict) -> None:
    ledger = new_ledger(1)
    with ledger.write() as connection:
        connection.execute(text("UPDATE capture SET subject_id = 100 WHERE id = 1"))
        connection.execute(text("UPDATE image SET arrived_at = 'then'"))
        stale = transitions.snapshot(connection, 1)._replace(**since)
        before = rows(connection)
        assert not CORRECTIONS[name](connection, stale)
        assert rows(connection) == before
        assert transitions.unmoved(connection, [stale]) == set()


@pytest.mark.parametrize("name", ["note_subject", "redo", "forget_subject"])
def test_one_that_is_as_it_was_seen_is_corrected(new_ledger: Callable[..., Ledger], name: str) -> None:
    ledger = new_ledger(1)
    with ledger.write() as connection:
        seen = transitions.snapshot(connection, 1)
        assert transitions.unmoved(connection, [seen]) == {1}
        assert CORRECTIONS[name](connection, seen)


@pytest.mark.parametrize(
    ("before", "known"),
    [
        ("UPDATE capture SET subject_id = NULL WHERE id = 1", True),
        ("UPDATE capture SET subject_id = 99 WHERE id = 1", False),
        ("UPDATE capture SET state = 'uploading', moved_at = 'now' WHERE id = 1", False),
        ("UPDATE capture SET create_sent_at = 'then', ambiguous_at = 'now' WHERE id = 1", False),
        ("UPDATE capture SET subject_id = 100 WHERE id = 2", False),
    ],
)
def test_a_subject_is_noted_where_the_capture_has_none_and_none_is_on_its_way(
    new_ledger: Callable[..., Ledger], before: str, known: bool
) -> None:
    ledger = new_ledger(2)
    with ledger.write() as connection:
        connection.execute(text(before))
        there = rows(connection)
        assert transitions.know_subject(connection, 1, 100) is known
        assert (rows(connection) == there) is not known
