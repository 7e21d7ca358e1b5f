"""`ctstate sample`: at most so many images of a long sequence."""

from itertools import pairwise
from typing import Any

import pytest

from tests.builders.ledgers import make_empty, raw

KEPT = (
    "SELECT i.rank FROM image i JOIN capture c ON c.id = i.capture_id"
    " WHERE i.problem IS NULL AND c.capture = ? ORDER BY i.rank"
)


@pytest.fixture
def season(season_csv: Any, call_ctstate: Any, ledger_path: Any, row: Any) -> list[dict[str, Any]]:
    """Sequences of 10, 3, 1 and 4 images."""
    make_empty(ledger_path)
    rows = [row(n, rank) for n, images in ((1, 10), (2, 3), (3, 1), (4, 4)) for rank in range(1, images + 1)]
    season_csv(rows)
    assert call_ctstate(*season_csv.arguments()).code == 0
    return rows


@pytest.fixture
def kept(ask: Any) -> Any:
    """Ranks of the images that go up of capture `number`."""
    return lambda number: [rank for (rank,) in ask(KEPT, str(number))]


@pytest.mark.parametrize("most", range(1, 12))
def test_so_many_go_up_evenly(season: Any, call_ctstate: Any, kept: Any, most: int) -> None:
    assert call_ctstate("sample", str(most)).code == 0
    for number, images in ((1, 10), (2, 3), (3, 1), (4, 4)):
        ranks = kept(number)
        assert len(ranks) == min(most, images)
        gaps = [after - before for before, after in pairwise(ranks)]
        assert max(gaps, default=0) - min(gaps, default=0) <= 1
        # And what is cut off before the first is as much as after the last.
        assert abs((ranks[0] - 1) - (images - ranks[-1])) <= 1


def test_what_is_left_out_is_told_and_can_be_taken_back(
    season: Any, call_ctstate: Any, ask: Any, kept: Any
) -> None:
    done = call_ctstate("sample", "3")
    assert "At most 3 images a capture: 8 images of 2 captures left out." in done.stdout
    assert kept(1) == [2, 5, 9]
    sampled = "SELECT DISTINCT problem, problem_reason FROM v_images WHERE problem IS NOT NULL"
    assert ask(sampled) == [("sampled", "a sample of 3 images goes up")]
    assert ask("SELECT images, images_left_out FROM v_captures WHERE capture = '1'") == [(3, 7)]
    assert "All images go up." in call_ctstate("sample", "--all").stdout
    assert ask(sampled) == []
    assert kept(1) == list(range(1, 11))


def test_only_usable_images_count(season: Any, season_csv: Any, call_ctstate: Any, kept: Any) -> None:
    left = [{**one, "invalid": int(one["image"] > 5)} for one in season]
    season_csv(left)
    assert call_ctstate(*season_csv.arguments("--update")).code == 0
    call_ctstate("sample", "2")
    assert kept(1) == [2, 4]


def test_captures_that_are_read_later_are_sampled_too(
    season: Any, season_csv: Any, call_ctstate: Any, kept: Any, row: Any
) -> None:
    call_ctstate("sample", "2")
    more = [row(5, rank) for rank in range(1, 7)]
    changed = [{**one, "path": f"other/{one['path']}"} if one["capture"] == 1 else one for one in season]
    season_csv([*changed, *more])
    assert call_ctstate(*season_csv.arguments("--update")).code == 0
    assert (len(kept(5)), len(kept(1))) == (2, 2)


def test_the_same_csv_is_no_contradiction(season: Any, season_csv: Any, call_ctstate: Any) -> None:
    call_ctstate("sample", "2")
    assert "Nothing new" in call_ctstate(*season_csv.arguments()).stdout


def test_what_is_on_zooniverse_stays_as_it_is(season: Any, call_ctstate: Any, kept: Any, ledger_path: Any) -> None:
    with raw(ledger_path) as connection:
        connection.execute(
            "INSERT INTO batch (id, season_id, name, created_at) VALUES (1, 1, 'batch_1', '2026-01-01')"
        )
        connection.execute("UPDATE capture SET state = 'batched', batch_id = 1")
        connection.execute("UPDATE capture SET state = 'uploading', run_id = 1, claim = 1 WHERE capture <> '4'")
        connection.execute("UPDATE capture SET state = 'uploaded', subject_id = 1000 + id WHERE capture = '1'")
    done = call_ctstate("sample", "1")
    assert "3 images of 1 capture left out" in done.stdout
    assert "2 captures with more images on Zooniverse already, or on the way" in done.stdout
    assert (len(kept(1)), len(kept(2)), len(kept(4))) == (10, 3, 1)


def test_what_was_left_out_of_a_capture_that_is_up_stays_out(
    season: Any, call_ctstate: Any, kept: Any, ledger_path: Any
) -> None:
    call_ctstate("sample", "2")
    call_ctstate("batch", "--number-of-batches", "1")
    with raw(ledger_path) as connection:
        connection.execute("UPDATE capture SET state = 'uploading', run_id = 1, claim = 1 WHERE capture = '1'")
        connection.execute("UPDATE capture SET state = 'uploaded', subject_id = 1000 + id WHERE capture = '1'")
    assert call_ctstate("sample", "--all").code == 0
    assert (len(kept(1)), len(kept(4))) == (2, 4)


@pytest.mark.parametrize("arguments", [(), ("0",), ("-1",), ("many",), ("99999999999999999999",)])
def test_no_such_sample(season: Any, call_ctstate: Any, arguments: tuple[str, ...]) -> None:
    assert call_ctstate("sample", *arguments).code == 2


def test_an_image_that_is_brought_back_does_not_make_them_more(
    season: Any, call_ctstate: Any, kept: Any, tmp_path: Any
) -> None:
    listed = tmp_path / "images.txt"
    listed.write_text(season[4]["path"])
    call_ctstate("exclude", str(listed), "--reason", "my boots")
    call_ctstate("sample", "9")
    assert len(kept(1)) == 9
    assert call_ctstate("include", str(listed)).code == 0
    assert len(kept(1)) == 9


def test_a_hand_on_a_sampled_image_outlasts_it(season: Any, call_ctstate: Any, ask: Any, tmp_path: Any) -> None:
    listed = tmp_path / "images.txt"
    listed.write_text(season[0]["path"])
    call_ctstate("sample", "1")
    assert call_ctstate("exclude", str(listed), "--reason", "my boots").code == 0
    call_ctstate("sample", "--all")
    problem = "SELECT problem FROM image WHERE rank = 1 AND capture_id = 1"
    assert ask(problem) == [("withheld",)]
    call_ctstate("include", str(listed))
    assert ask(problem) == [(None,)]
