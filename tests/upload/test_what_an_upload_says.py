"""What a data manager reads while an upload runs, and afterwards in its log."""

from ctstate.ledger import Ledger
from ctstate.verbs.batch import batch


def test_an_upload_with_a_limit_announces_no_more_than_the_limit(new_season, ctstate) -> None:
    season = new_season(6)
    with Ledger.open(season.path) as ledger:
        batch(ledger, number_of_batches=3)
    said = ctstate(season, "upload", "--limit", "3", "--dry-run").stdout
    assert "batch_1: 2 captures (" in said
    assert "batch_2: 1 of 2 captures ->" in said
    assert "batch_3" not in said
    assert "left for later (--limit): 3 captures" in said


def test_a_batch_that_is_done_is_not_announced(new_season, ctstate) -> None:
    season = new_season(4)
    with Ledger.open(season.path) as ledger:
        batch(ledger, number_of_batches=2)
    assert ctstate(season, "upload", "--batch", "batch_1").code == 0
    said = ctstate(season, "upload", "--dry-run").stdout
    assert "batch_1" not in said
    assert "batch_2: 2 captures" in said
    assert ctstate(season, "upload").code == 0
    done = ctstate(season, "upload").stdout
    assert "nothing is pending" in done
    assert "0 captures (0 images)" not in done


def test_one_of_a_thing_is_not_plural(new_season, ctstate) -> None:
    season = new_season(1)
    said = ctstate(season, "upload").stdout + ctstate(season, "verify").stdout
    assert "complete: 1 capture (" in said
    assert "1 capture uploaded (" in said
    assert "All is well: 1 capture, each" in said
    assert " 1 captures" not in said
