"""Raw SQL cannot make an illegal move, nor touch history."""

import itertools
from pathlib import Path

import pytest
from sqlalchemy import text

from ctstate.errors import IllegalMoveError
from ctstate.ledger import Ledger
from ctstate.ledger.states import TRANSITIONS, State
from tests.builders import is_legal
from tests.builders.ledgers import ON_POSTGRES, Raw, contents, new_ledger_at, of_files, refusals
from tests.builders.ledgers import raw as opened
from tests.ledger.conftest import fill


@pytest.fixture
def place(tmp_path: Path) -> str:
    made = new_ledger_at(tmp_path / "raw.db")
    with Ledger.open(made) as ledger:
        fill(ledger, 2)
    return made


@pytest.fixture
def raw(place: str):
    # As a person with the sqlite3 shell or psql: no PRAGMA of ctstate's, foreign keys off.
    with opened(place) as connection:
        yield connection


def to_state(connection: Raw, wanted: State) -> None:
    """Bring capture 1 into a state by legal moves, with all that its constraints need."""
    ways: dict[State, list[State]] = {State.BATCHED: []}
    todo = [State.BATCHED]
    while todo:
        here = todo.pop(0)
        for step in TRANSITIONS:
            if step.source is here and step.target not in ways:
                ways[step.target] = [*ways[here], step.target]
                todo.append(step.target)
    connection.execute("UPDATE capture SET subject_id = 77 WHERE id = 1")
    for state in ways[wanted]:
        connection.execute("UPDATE capture SET state = ?, moved_at = moved_at || '+' WHERE id = 1", (state.value,))


REACHABLE = [state for state in State if state not in (State.MANIFESTED, State.PREDICTED)]


@pytest.mark.parametrize(("source", "target"), list(itertools.product(REACHABLE, State)))
def test_update_of_state_follows_the_table(raw: Raw, source: State, target: State) -> None:
    to_state(raw, source)
    events = raw.execute("SELECT count(*) FROM event WHERE capture_id = 1").fetchone()[0]

    def move() -> None:
        raw.execute("UPDATE capture SET state = ? WHERE id = 1", (target.value,))

    if source is target or is_legal(source, target):
        move()
        expected = events if source is target else events + 1
    else:
        with pytest.raises(refusals(), match="does not know that move"):
            move()
        expected = events
    assert raw.execute("SELECT count(*) FROM event WHERE capture_id = 1").fetchone()[0] == expected


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM capture WHERE id = 1", "never deleted"),
        pytest.param(
            "INSERT OR REPLACE INTO capture SELECT * FROM capture WHERE id = 1", "id of its own", marks=of_files
        ),
        pytest.param("UPDATE OR REPLACE capture SET id = 2 WHERE id = 1", "never changes", marks=of_files),
        ("INSERT INTO capture SELECT * FROM capture WHERE id = 1", "id of its own"),
        ("UPDATE capture SET id = 2 WHERE id = 1", "never changes"),
        ("UPDATE capture SET capture_id = 'other' WHERE id = 1", "never changes"),
        ("UPDATE event SET reason = 'lie'", "append-only"),
        ("DELETE FROM event", "append-only"),
        pytest.param(
            "INSERT OR REPLACE INTO event SELECT * FROM event WHERE id = 1", "append-only", marks=of_files
        ),
        ("INSERT INTO event SELECT * FROM event WHERE id = 1", "append-only|pk_event"),
        ("INSERT INTO transition VALUES ('batched', 'uploaded', 'x')", "migrations only"),
        ("UPDATE transition SET target = 'uploaded'", "migrations only"),
        ("DELETE FROM transition", "migrations only"),
        ("DELETE FROM state", "migrations only"),
        ("UPDATE capture SET state = 'uploading', run_id = NULL WHERE id = 1", "has_run"),
        ("UPDATE capture SET batch_id = NULL WHERE id = 1", "has_batch"),
        ("UPDATE capture SET state = 'uploaded' WHERE id = 1", "has_subject"),
        ("UPDATE capture SET create_sent_at = 'now' WHERE id = 1", "doubt_is_marked"),
        ("UPDATE capture SET subject_id = 5", "another capture has that subject"),
        pytest.param(
            "UPDATE OR REPLACE capture SET subject_id = 5 WHERE id IN (1, 2)",
            "another capture has that subject",
            marks=of_files,
        ),
        ("UPDATE capture SET claim = -1 WHERE id = 1", "claims only grow"),
    ],
)
def test_what_would_break_the_ledger_is_refused(place: str, raw: Raw, statement: str, message: str) -> None:
    before = contents(place)
    with pytest.raises(refusals(), match=message):
        raw.execute(statement)
    assert contents(place) == before


@pytest.mark.skipif(not ON_POSTGRES, reason="SQLite has no TRUNCATE")
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("capture CASCADE", "never deleted"),
        ("season CASCADE", "never deleted"),
        ("run CASCADE", "never deleted|append-only|row by row"),
        ("event", "append-only"),
        ("transition", "migrations only"),
        ("state CASCADE", "migrations only|never deleted|append-only"),
        ("prediction", "row by row"),
    ],
)
def test_truncate_is_refused(place: str, raw: Raw, table: str, message: str) -> None:
    before = contents(place)
    with pytest.raises(refusals(), match=message):
        raw.execute(f"TRUNCATE {table}")
    assert contents(place) == before


def test_a_new_capture_can_only_be_manifested(raw: Raw) -> None:
    raw.execute("CREATE TEMP TABLE copy AS SELECT * FROM capture WHERE id = 1")
    raw.execute("UPDATE copy SET id = 9, capture_id = 'nine', subject_id = 9")
    with pytest.raises(refusals(), match="must be manifested"):
        raw.execute("INSERT INTO capture SELECT * FROM copy")
    raw.execute("UPDATE copy SET state = 'manifested'")
    raw.execute("INSERT INTO capture SELECT * FROM copy")


def test_history_tells_moves_of_ctstate_from_others(raw: Raw) -> None:
    raw.execute("UPDATE capture SET state = 'uploading' WHERE id = 1")
    outside = raw.execute("SELECT run_id, reason FROM event ORDER BY id DESC LIMIT 1").fetchone()
    assert outside == (None, "moved outside ctstate")
    raw.execute("UPDATE capture SET state = 'batched', moved_at = 'later', reason = 'why' WHERE id = 1")
    told = raw.execute("SELECT run_id, reason, at FROM event ORDER BY id DESC LIMIT 1").fetchone()
    assert told == (1, "why", "later")


def test_the_table_in_the_ledger_is_the_table_in_the_code(raw: Raw) -> None:
    rows = set(raw.execute("SELECT source, target, meaning FROM transition").fetchall())
    assert rows == {(t.source.value if t.source else "", t.target.value, t.meaning) for t in TRANSITIONS}
    states = [name for (name,) in raw.execute("SELECT name FROM state ORDER BY rank")]
    assert states == [state.value for state in State]


def test_what_the_ledger_refuses_is_told_in_one_line(place: str) -> None:
    refused = {
        "UPDATE event SET reason = 'lie'": f"ledger {place}: history is append-only",
        "UPDATE capture SET season_id = NULL": f"ledger {place}: refused, as it would break the ledger (",
    }
    with Ledger.open(place) as ledger:
        for statement, said in refused.items():
            with pytest.raises(IllegalMoveError) as caught, ledger.write() as connection:
                connection.execute(text(statement))
            assert str(caught.value).startswith(said)
            assert "\n" not in str(caught.value)
