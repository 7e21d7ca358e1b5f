"""Splitting a season that is split already, and partly on Zooniverse."""

from typing import Any

RUN = (
    "INSERT INTO run (id, verb, arguments, version, username, host, host_id, pid, pid_started,"
    " started_at, heartbeat_at) VALUES (9, 'upload', '{}', '0', 'u', 'h', 'i', 1, '', '2026', '2026')"
    " ON CONFLICT DO NOTHING"
)


def claim(number: int) -> str:
    return f"UPDATE capture SET state = 'uploading', run_id = 9, claim = claim + 1 WHERE capture_number = {number}"


def test_the_same_split_again_changes_nothing(season: Any, call_ctstate: Any, ledger_path: Any, dump: Any) -> None:
    season([("A", "1", n) for n in range(20)])
    call_ctstate("batch", "--number-of-batches", 3)
    before = dump(ledger_path)
    assert "Nothing new" in call_ctstate("batch", "--number-of-batches", 3).stdout
    assert dump(ledger_path) == before


def test_another_split_replaces_the_first(season: Any, call_ctstate: Any, batches: Any, ask: Any) -> None:
    ids = season([("A", "1", n) for n in range(20)])
    call_ctstate("batch", "--number-of-batches", 7)
    call_ctstate("batch", "--number-of-batches", 2)
    assert list(batches()) == ["batch_1", "batch_2"]
    assert set.union(*batches().values()) == set(ids)
    # A capture that changes its batch stays batched: the history has one move, not two.
    assert ask("SELECT count(*) FROM event WHERE target = 'batched'") == [(20,)]


def test_what_is_on_its_way_keeps_its_batch(
    season: Any, call_ctstate: Any, batches: Any, write: Any, ask: Any
) -> None:
    """In batch_1: one uploading, one uploaded, one failed, one in doubt, one whose subject is known, one free."""
    season([("A", "1", n) for n in range(12)])
    call_ctstate("batch", "--number-of-batches", 2, "--order", "sequential")
    first = batches()["batch_1"]
    assert len(first) == 6
    write(
        RUN,
        claim(0), claim(1), "UPDATE capture SET state = 'uploaded', subject_id = 1 WHERE capture_number = 1",
        claim(2), "UPDATE capture SET state = 'failed' WHERE capture_number = 2",
        claim(3), "UPDATE capture SET create_sent_at = '2026', create_run_id = 9 WHERE capture_number = 3",
        "UPDATE capture SET state = 'batched', ambiguous_at = '2026' WHERE capture_number = 3",
        "UPDATE capture SET subject_id = 2 WHERE capture_number = 4",
    )  # fmt: skip
    before = ask("SELECT * FROM capture WHERE capture_number < 5 ORDER BY id")
    result = call_ctstate("batch", "--max-batch-size", 4, "--order", "sequential")
    assert result.code == 0
    assert "Left in their batch, as on the way or on Zooniverse: 5 captures." in result.stdout
    assert ask("SELECT * FROM capture WHERE capture_number < 5 ORDER BY id") == before
    # batch_1 is taken; the seven free captures get the next free names.
    assert {name: len(members) for name, members in batches().items()} == {"batch_1": 5, "batch_2": 4, "batch_3": 3}
    assert batches()["batch_2"] == {"S#A#1#5", "S#A#1#6", "S#A#1#7", "S#A#1#8"}


def test_a_batch_with_a_subject_set_keeps_its_name(
    season: Any, call_ctstate: Any, batches: Any, write: Any
) -> None:
    season([("A", "1", n) for n in range(4)])
    call_ctstate("batch", "--number-of-batches", 2)
    write("UPDATE batch SET subject_set_id = 77, subject_set_name = 'S_batch_1' WHERE name = 'batch_1'")
    call_ctstate("batch", "--number-of-batches", 1)
    assert {name: len(members - {None}) for name, members in batches().items()} == {"batch_1": 0, "batch_2": 4}


def test_nothing_left_to_batch(season: Any, call_ctstate: Any, write: Any, ledger_path: Any, dump: Any) -> None:
    season([("A", "1", 1)])
    call_ctstate("batch", "--number-of-batches", 1)
    write(RUN, claim(1))
    before = dump(ledger_path)
    assert "no capture that could be put into a batch" in call_ctstate("batch", "--number-of-batches", 1).error()
    assert dump(ledger_path) == before


def test_excluded_captures_are_left_out_and_take_no_name(
    season: Any, call_ctstate: Any, batches: Any, write: Any
) -> None:
    season([("A", "1", n) for n in range(10)])
    write("UPDATE capture SET excluded = 'no usable image' WHERE capture_number = 0")
    result = call_ctstate("batch", "--number-of-batches", 3)
    assert "1 capture is excluded" in result.stdout
    assert "on their way" not in result.stdout
    assert sum(map(len, batches().values())) == 9
    # One that was excluded once it had a batch does not make the season look begun.
    write("UPDATE capture SET excluded = 'people' WHERE capture_number = 5")
    call_ctstate("batch", "--number-of-batches", 2)
    free = {name: {m for m in members if m != "S#A#1#5"} for name, members in batches().items()}
    assert {name for name, members in free.items() if members} == {"batch_1", "batch_2"}


def test_captures_that_come_later_go_into_new_batches(
    season: Any, call_ctstate: Any, batches: Any, write: Any
) -> None:
    season([("A", "1", n) for n in range(4)])
    call_ctstate("batch", "--number-of-batches", 1)
    write(RUN, *(claim(n) for n in range(4)))
    write(
        "INSERT INTO capture (capture_id, season_id, season, site, roll, capture, capture_number, state, moved_at)"
        " VALUES ('late', 1, 'S', 'A', '1', '9', 9, 'manifested', '2026')"
    )
    call_ctstate("batch", "--number-of-batches", 1)
    assert batches()["batch_2"] == {"late"}
