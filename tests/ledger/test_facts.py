"""Facts of many captures in one commit: each gets what is said of it, and a claim that is gone stops them all."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import text

from ctstate.errors import BrokenImageError, CtstateError, FencedError, LedgerError, MissingImageError
from ctstate.ledger import Ledger, claims, runs
from ctstate.ledger.claims import Claim
from ctstate.ledger.facts import (
    ROWS_AT_ONCE,
    Announced,
    Arrived,
    Broken,
    Bytes,
    Encoded,
    Fact,
    Made,
    Moved,
    NothingMade,
    ReplyLost,
    SubjectGone,
    ToBlame,
    write_down,
)
from ctstate.ledger.states import FailureKind, State
from ctstate.verbs.upload import commits
from ctstate.verbs.upload.commits import Committer

New = Callable[..., Ledger]
ASIDE = 10_000
"""The second image of a capture has a number so much higher than the first."""


def rows(ledger: Ledger, question: str) -> list[tuple[Any, ...]]:
    with ledger.read() as connection:
        return [tuple(row) for row in connection.execute(text(question))]


def claimed(ledger: Ledger, number: int, run_id: int | None = None) -> list[Claim]:
    with ledger.write() as connection:
        if run_id is None:
            run_id = runs.start(connection, "upload", {})
            connection.execute(text("UPDATE run SET watermark = 5 WHERE id = :r"), {"r": run_id})
        return claims.claim(connection, run_id, 1, 1, number)


def with_two_images(ledger: Ledger) -> Ledger:
    with ledger.write() as connection:
        connection.execute(
            text(
                "INSERT INTO image (id, capture_id, rank, path)"
                " SELECT id + :aside, capture_id, 2, 'y.jpg' FROM image"
            ),
            {"aside": ASIDE},
        )
    return ledger


def taken_over(ledger: Ledger, mine: Claim) -> None:
    """Another run has it by now."""
    with ledger.write() as connection:
        write_down(connection, [(mine, [Moved(State.BATCHED, "released")])])
    again = claimed(ledger, 1)
    assert [claim.row.id for claim in again] == [mine.row.id]


def all_of(ledger: Ledger) -> list[list[tuple[Any, ...]]]:
    return [rows(ledger, f"SELECT * FROM {table} ORDER BY id") for table in ("capture", "image", "run", "event")]


def say(ledger: Ledger, pages: Sequence[tuple[Claim, Sequence[Fact]]]) -> None:
    with ledger.write() as connection:
        write_down(connection, pages)


def encoded(mine: Claim) -> Encoded:
    key = mine.row.id
    return Encoded([Bytes(key, f"{key:032}", key), Bytes(key + ASIDE, f"{-key:032}", 2 * key, f"note {key}")])


@pytest.mark.parametrize("number", [1, 2, 3, ROWS_AT_ONCE // 2, ROWS_AT_ONCE // 2 + 1, ROWS_AT_ONCE + 5])
def test_each_gets_what_is_said_of_it(new_ledger: New, number: int) -> None:
    ledger = with_two_images(new_ledger(number))
    mine = claimed(ledger, number)
    say(ledger, [(one, [encoded(one), Announced(one.run_id, 40)]) for one in mine])
    assert rows(ledger, "SELECT md5, bytes, note FROM image ORDER BY id") == [
        *((f"{one.row.id:032}", one.row.id, None) for one in mine),
        *((f"{-one.row.id:032}", 2 * one.row.id, f"note {one.row.id}") for one in mine),
    ]
    announced = "SELECT DISTINCT create_run_id, create_floor, create_sent_at IS NOT NULL, subject_id FROM capture"
    assert rows(ledger, announced) == [(mine[0].run_id, 40, True, None)]
    say(ledger, [(one, [Made(100 + one.row.id)]) for one in mine])
    assert rows(
        ledger, "SELECT id, subject_id, create_run_id, create_sent_at, create_floor FROM capture ORDER BY id"
    ) == [(one.row.id, 100 + one.row.id, None, None, None) for one in mine]
    assert rows(ledger, "SELECT max(watermark) FROM run") == [(100 + number,)]
    say(ledger, [(one, [Arrived([one.row.id])]) for one in mine])
    assert rows(ledger, "SELECT count(*), count(arrived_at) FROM image") == [(2 * number, number)]
    say(ledger, [(one, [Moved(State.UPLOADED)]) for one in mine])
    assert rows(ledger, "SELECT DISTINCT state, reason, reason_kind, ambiguous_at FROM capture") == [
        ("uploaded", None, None, None)
    ]
    moves = (
        "SELECT count(*), count(DISTINCT capture_id), min(run_id), max(run_id) FROM event WHERE target = 'uploaded'"
    )
    assert rows(ledger, moves) == [(number, number, mine[0].run_id, mine[0].run_id)]


def test_a_run_has_seen_up_to_its_newest_subject_whatever_comes_last(new_ledger: New) -> None:
    ledger = new_ledger(4)
    (other,) = claimed(ledger, 1)
    first, second, third = claimed(ledger, 3)
    say(ledger, [(third, [Made(250)])])
    say(ledger, [(first, [Made(300)]), (second, [Made(200)])])
    say(ledger, [(first, [Moved(State.UPLOADED)])])
    say(ledger, [(second, [Made(200)])])
    seen = f"SELECT id, watermark FROM run WHERE id >= {other.run_id} ORDER BY id"
    assert rows(ledger, seen) == [(other.run_id, 5), (first.run_id, 300)]


def test_captures_of_which_different_things_are_said_share_a_commit(new_ledger: New) -> None:
    ledger = with_two_images(new_ledger(8))
    one, two, three, four, five, six, seven, eight = claimed(ledger, 8)
    say(ledger, [(each, [encoded(each), Announced(each.run_id, 40)]) for each in (one, two, three, six)])
    say(ledger, [(six, [Made(106)]), (seven, [Made(107)]), (eight, [Made(108)])])
    say(ledger, [(seven, [Arrived([7, 7 + ASIDE])]), (eight, [Arrived([8, 8 + ASIDE])])])
    with ledger.write() as connection:  # one that must not go up any more is of the subject all the same
        connection.execute(text("UPDATE image SET problem = 'withheld' WHERE id = 7"))
    broken, missing = BrokenImageError("x.jpg", "cut off"), MissingImageError("y.jpg", "not there")
    say(
        ledger,
        [
            (one, [ReplyLost()]),
            (two, [NothingMade(), Moved(State.FAILED, "refused", FailureKind.REFUSED)]),
            (three, [Moved(State.BATCHED, "enough")]),
            (four, [Broken(4, "cut off"), Encoded([Bytes(4 + ASIDE, "m", 1)])]),
            (five, [ToBlame({5: broken, 5 + ASIDE: None}), Moved(State.FAILED, "y", FailureKind.IMAGE_BROKEN)]),
            (six, [Arrived([6]), Moved(State.BATCHED, "stopped")]),
            (seven, [SubjectGone(), Moved(State.FAILED, "gone", FailureKind.SUBJECT_GONE)]),
        ],
    )
    said = "SELECT state, reason, reason_kind, subject_id, create_sent_at IS NOT NULL, ambiguous_at IS NOT NULL"
    assert rows(ledger, f"{said} FROM capture ORDER BY id") == [
        ("uploading", None, None, None, True, True),
        ("failed", "refused", "refused", None, False, False),
        ("batched", "enough", None, None, True, True),  # announced, and nobody knows: it is looked for
        ("uploading", None, None, None, False, False),
        ("failed", "y", "image_broken", None, False, False),
        ("batched", "stopped", None, 106, False, False),
        ("failed", "gone", "subject_gone", None, False, False),
        ("uploading", None, None, 108, False, False),
    ]
    arrived = rows(ledger, "SELECT id FROM image WHERE arrived_at IS NOT NULL ORDER BY id")
    assert arrived == [(6,), (8,), (8 + ASIDE,)]
    blamed = "SELECT id, problem, problem_reason, failure, failure_reason FROM image WHERE id IN (4, 5, 10005)"
    assert rows(ledger, f"{blamed} ORDER BY id") == [
        (4, "broken", "cut off", None, None),
        (5, None, None, "broken", "cut off"),
        (5 + ASIDE, None, None, None, None),
    ]
    blamed = "SELECT failure, failure_reason, arrived_at IS NULL FROM image WHERE id = 8"
    say(ledger, [(eight, [ToBlame({8: missing})])])
    assert rows(ledger, blamed) == [("missing", "not there", False)]
    say(ledger, [(eight, [Encoded([Bytes(8, "m", 1)])])])  # anew, and so not to blame any more
    assert rows(ledger, blamed) == [(None, None, True)]


def test_a_claim_that_is_gone_stops_the_whole_commit(new_ledger: New) -> None:
    ledger = with_two_images(new_ledger(5))
    mine = claimed(ledger, 5)
    say(ledger, [(one, [encoded(one)]) for one in mine])
    taken_over(ledger, mine[2])
    before = all_of(ledger)
    for fact in (Announced(1, 9), ReplyLost(), NothingMade(), Moved(State.FAILED, "x"), SubjectGone()):
        with pytest.raises(FencedError):
            say(ledger, [(one, [fact]) for one in mine])
    for of_its_own in (lambda one: Made(one.row.id), encoded, lambda one: Arrived([one.row.id])):
        with pytest.raises(FencedError):
            say(ledger, [(one, [of_its_own(one)]) for one in mine])
    with pytest.raises(FencedError, match=r"S#A#1#3: another run has taken it over"):
        say(ledger, [(mine[2], [Moved(State.UPLOADED)])])
    assert all_of(ledger) == before


def test_captures_that_were_claimed_more_or_less_often_share_a_commit(new_ledger: New) -> None:
    ledger = new_ledger(4)
    first = claimed(ledger, 2)
    say(ledger, [(one, [Moved(State.BATCHED, "released")]) for one in first])
    mine = claimed(ledger, 4, first[0].run_id)
    assert sorted(one.token for one in mine) == [1, 1, 2, 2]
    say(ledger, [(one, [Made(100 + one.row.id), Moved(State.UPLOADED)]) for one in mine])
    assert rows(ledger, "SELECT id, subject_id, state FROM capture ORDER BY id") == [
        (key, 100 + key, "uploaded") for key in (1, 2, 3, 4)
    ]
    stale = [one._replace(token=1) for one in mine]
    with pytest.raises(FencedError):
        say(ledger, [(one, [ReplyLost()]) for one in stale])


def test_an_image_of_another_capture_is_not_touched(new_ledger: New) -> None:
    """Numbers of rows that are gone are given anew."""
    ledger = with_two_images(new_ledger(3))
    one, two, _ = claimed(ledger, 3)
    with pytest.raises(FencedError):
        say(ledger, [(one, [Arrived([1])]), (two, [Arrived([3])])])
    with pytest.raises(FencedError):
        say(ledger, [(one, [Encoded([Bytes(2, "m", 1)])]), (two, [Encoded([Bytes(1, "m", 1)])])])
    assert rows(ledger, "SELECT count(*) FROM image WHERE arrived_at IS NOT NULL OR md5 IS NOT NULL") == [(0,)]


def test_of_no_claims_none_holds(new_ledger: New) -> None:
    ledger = new_ledger(3)
    mine = claimed(ledger, 3)
    taken_over(ledger, mine[1])
    with ledger.read() as connection:
        assert claims.held(connection, []) == set()
        assert claims.held(connection, mine) == {mine[0].row.id, mine[2].row.id}
        assert claims.held(connection, [mine[1]]) == set()
    say(ledger, [(mine[0], [Moved(State.FAILED, "x")])])
    with ledger.read() as connection:
        assert claims.held(connection, mine) == {mine[2].row.id}


def test_more_claims_than_a_statement_takes_are_asked_about(new_ledger: New) -> None:
    ledger = new_ledger(2)
    one, two = claimed(ledger, 2)
    with ledger.read() as connection:
        assert claims.held(connection, [one, *[two] * 40_000]) == {1, 2}


@pytest.fixture
def in_one_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let so many captures that are handed in one after the other share a commit, on however slow a machine."""

    def wait_for(number: int) -> None:
        monkeypatch.setattr(commits, "ENOUGH", number)
        monkeypatch.setattr(commits, "GATHER_S", 60.0)

    return wait_for


class Told:
    """A committer that is handed a subject for each capture; `of` is what came back, `commits` how many it took."""

    def __init__(self, ledger: Ledger, mine: Sequence[Claim], monkeypatch: pytest.MonkeyPatch, *more: Fact) -> None:
        self.of: dict[int, CtstateError | None] = {}
        self.commits = 0
        monkeypatch.setattr(ledger, "do", lambda work: self.do(ledger, work))
        committer = Committer(ledger, pytest.fail)
        for one in mine:
            committer.submit(one, [Made(100 + one.row.id), *more], self.tell(one.row.id))
        committer.close()

    def tell(self, key: int) -> Callable[[CtstateError | None], None]:
        return lambda error: self.of.update({key: error})

    def do(self, ledger: Ledger, work: Callable[[Any], None]) -> None:
        self.commits += 1
        Ledger.do(ledger, work)


def with_subjects(ledger: Ledger) -> list[int]:
    return [key for (key,) in rows(ledger, "SELECT id FROM capture WHERE subject_id IS NOT NULL ORDER BY id")]


def test_who_lost_its_claim_keeps_nobody_else_from_being_written(
    new_ledger: New, in_one_commit: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_one_commit(9)
    ledger = new_ledger(9)
    mine = claimed(ledger, 9)
    taken_over(ledger, mine[3])
    told = Told(ledger, mine, monkeypatch)
    assert [key for key, error in told.of.items() if error is None] == [1, 2, 3, 5, 6, 7, 8, 9]
    assert isinstance(told.of[4], FencedError)
    assert "S#A#1#4" in str(told.of[4])
    assert with_subjects(ledger) == [1, 2, 3, 5, 6, 7, 8, 9]
    assert told.commits == 3  # which meets the fence; who holds; all others


def test_a_run_that_was_taken_for_dead_hears_it_of_all_its_captures_at_once(
    new_ledger: New, in_one_commit: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that took over want the ledger's lock more than it does."""
    in_one_commit(9)
    ledger = new_ledger(9)
    mine = claimed(ledger, 9)
    with ledger.write() as connection:
        runs.recover(connection, [mine[0].run_id])
    claimed(ledger, 9)
    told = Told(ledger, mine, monkeypatch)
    assert [type(error) for error in told.of.values()] == [FencedError] * 9
    assert with_subjects(ledger) == []
    assert told.commits == 2


def test_an_image_that_is_gone_concerns_its_capture_alone(
    new_ledger: New, in_one_commit: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_one_commit(3)
    ledger = new_ledger(3)
    mine = claimed(ledger, 3)
    told = Told(ledger, mine, monkeypatch, Arrived([2]))
    assert [type(told.of[key]) for key in (1, 2, 3)] == [FencedError, type(None), FencedError]
    assert with_subjects(ledger) == [2]


def test_a_ledger_that_breaks_while_claims_are_sorted_out_is_told_to_all(
    new_ledger: New, in_one_commit: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_one_commit(8)
    ledger = new_ledger(8)
    mine = claimed(ledger, 8)
    taken_over(ledger, mine[3])
    broken: list[BaseException] = []

    def full(*_: Any) -> set[int]:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(claims, "held", full)
    told: list[CtstateError | None] = []
    committer = Committer(ledger, broken.append)
    for one in mine:
        committer.submit(one, [Made(100 + one.row.id)], told.append)
    committer.close()
    assert [str(error) for error in broken] == ["the disk is full"]
    assert [str(error) for error in told] == ["the disk is full"] * 8
    assert with_subjects(ledger) == []


def test_each_run_has_seen_up_to_its_own_newest_subject(new_ledger: New) -> None:
    ledger = new_ledger(2)
    (one,), (two,) = claimed(ledger, 1), claimed(ledger, 1)
    say(ledger, [(one, [Made(300)]), (two, [Made(200)])])
    seen = f"SELECT watermark FROM run WHERE id IN ({one.run_id}, {two.run_id}) ORDER BY id"
    assert rows(ledger, seen) == [(300,), (200,)]
