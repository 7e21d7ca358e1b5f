"""Two writers at once: each of these was seen to go wrong on a server whose writers do not wait for each other.

The second writer begins when the first has read and written, and has not committed. Whichever database it is, it
waits, and then sees all of that.
"""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from ctstate.errors import FencedError
from ctstate.ledger import Ledger, batches, claims, exclusions, runs
from ctstate.ledger.schema import batch, capture, image, meta, prediction, run
from ctstate.verbs.predict import PredictionFile, predict
from tests.builders.season_files import SeasonFiles
from tests.predictions.test_legacy_predictions import SPECIES

WAITS_S = 0.7
"""Who does not wait is through in less."""

AT_ONCE_S = 60


def beside(
    place: str, first: Callable[[Ledger, Connection], Iterator[None]], second: Callable[[Ledger], Any]
) -> Any:
    """Return what the second made of it, or the error that it met.

    Args:
        place: of the ledger.
        first: a write transaction, which yields where the second begins.
        second: all that the second does.
    """
    made: list[Any] = []

    def begin() -> None:
        with Ledger.open(place) as ledger:
            try:
                made.append(second(ledger))
            except Exception as error:  # noqa: BLE001 - what it is, is looked at
                made.append(error)

    other = threading.Thread(target=begin)
    with Ledger.open(place) as ledger, ledger.write() as connection:
        for _ in first(ledger, connection):
            other.start()
            other.join(WAITS_S)
    other.join(AT_ONCE_S)
    (what,) = made
    return what


def begun(ledger: Ledger) -> int:
    with ledger.write() as connection:
        return ledger.begin_run(connection, "upload", {})


def claimed(ledger: Ledger, run_id: int) -> claims.Claim:
    with ledger.write() as connection:
        (mine,) = claims.claim(connection, run_id, 1, 1, 1)
    return mine


def test_who_was_taken_for_dead_writes_nothing_under_the_claim_of_another(
    new_ledger: Callable[..., Ledger],
) -> None:
    ledger = new_ledger(1)
    zombie, heir = begun(ledger), begun(ledger)
    mine = claimed(ledger, zombie)

    def take_over(_: Ledger, connection: Connection) -> Iterator[None]:
        runs.recover(connection, [zombie])
        assert len(claims.claim(connection, heir, 1, 1, 1)) == 1
        yield

    def it_arrived(other: Ledger) -> None:
        with other.write() as connection:
            claims.note_arrived(connection, mine, [1])

    assert isinstance(beside(ledger.name, take_over, it_arrived), FencedError)
    assert ledger.query("SELECT count(arrived_at) AS images FROM image")["images"].tolist() == [0]


def test_an_image_that_is_being_withheld_is_not_claimed(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(1)
    with ledger.write() as connection:
        connection.execute(insert(image).values(id=7, capture_id=1, rank=2, path="people.jpg"))
    worker = begun(ledger)

    def withhold(_: Ledger, connection: Connection) -> Iterator[None]:
        assert exclusions.withhold_images(connection, image.c.path == "people.jpg", "people") == 1
        yield

    found = beside(ledger.name, withhold, lambda other: claimed(other, worker))
    assert [each.path for each in found.row.images] == ["x.jpg"]


@pytest.fixture
def predicted(season: SeasonFiles) -> SeasonFiles:
    """One batch, whose first capture has predictions."""
    with season.open() as ledger:
        predict(ledger, [PredictionFile(species(season, SPECIES))])
        with ledger.write() as connection:
            batches.put_rest_into_complete(connection, 1, ledger.begin_run(connection, "batch", {}))
    return season


def species(season: SeasonFiles, said: Any) -> Path:
    file = season.folder / "species.json"
    file.write_text(json.dumps({season.capture_id(1): said}))
    return file


OTHERS = {**SPECIES, "predictions_top": {"standing": "0", "species": "lion"}}


def test_predictions_that_come_beside_a_claim_are_not_lost(predicted: SeasonFiles) -> None:
    """Its subject is made with the old ones, and is known to need the new ones."""
    with predicted.open() as ledger:
        worker = begun(ledger)

    def take(_: Ledger, connection: Connection) -> Iterator[None]:
        (first, *_) = claims.claim(connection, worker, 1, 1, 500)
        assert first.capture_id == predicted.capture_id(1)
        yield

    file = species(predicted, OTHERS)
    report = beside(str(predicted.ledger_path), take, lambda other: predict(other, [PredictionFile(file)]))
    assert (report.changed, report.pending) == (1, 1)
    pending = predicted.query("SELECT capture_id FROM capture WHERE metadata_pending IS NOT NULL")
    assert pending == [(predicted.capture_id(1),)]


def test_a_claim_that_comes_beside_predictions_has_them(predicted: SeasonFiles) -> None:
    with predicted.open() as ledger:
        worker = begun(ledger)

    def replace(_: Ledger, connection: Connection) -> Iterator[None]:
        connection.execute(update(prediction).values(metadata='{"#machine_species": "lion"}'))
        yield

    found = beside(str(predicted.ledger_path), replace, lambda other: claimed(other, worker))
    assert found.row.predictions == {"#machine_species": "lion"}


def test_two_that_split_a_season_make_one_batch(season: SeasonFiles) -> None:
    def split(ledger: Ledger, connection: Connection) -> Iterator[None]:
        run_id = ledger.begin_run(connection, "batch", {})
        assert batches.put_rest_into_complete(connection, 1, run_id) == 6
        yield

    def split_as_well(other: Ledger) -> int:
        with other.atomic_run("batch", {}) as (connection, run_id):
            return batches.put_rest_into_complete(connection, 1, run_id)

    assert beside(str(season.ledger_path), split, split_as_well) == 0
    with season.open() as ledger, ledger.read() as connection:
        assert list(connection.execute(select(batch.c.name)).scalars()) == ["complete"]


def test_two_that_tie_the_ledger_to_a_zooniverse_agree(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(1)
    here, there = "https://www.zooniverse.org", "http://127.0.0.1:8099"

    def tie(_: Ledger, connection: Connection) -> Iterator[None]:
        connection.execute(insert(meta).values(name="endpoint", value=here))
        yield

    assert beside(ledger.name, tie, lambda other: other.bind_endpoint(here)) is None
    with ledger.write() as connection:
        connection.execute(meta.delete().where(meta.c.name == "endpoint"))
    refused = beside(ledger.name, tie, lambda other: other.bind_endpoint(there))
    assert f"belongs to {here}, not to {there}" in str(refused)


def test_a_run_that_could_say_that_it_lives_is_not_declared_lost(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(1)
    silent = begun(ledger)
    with ledger.write() as connection:
        connection.execute(update(run).where(run.c.id == silent).values(heartbeat_at="2020-01-01T00:00:00.000000Z"))

    def bury(other: Ledger, connection: Connection) -> Iterator[None]:
        dead = other.dead_runs(connection)
        assert dead == [silent]
        yield
        runs.recover(connection, dead)

    def say_so(other: Ledger) -> str | None:
        with other.write() as connection:
            return runs.beat(connection, silent)

    heard = beside(ledger.name, bury, say_so)
    (outcome,) = ledger.query(f"SELECT outcome FROM run WHERE id = {silent}")["outcome"].tolist()
    assert (heard, outcome) == (runs.LOST, runs.LOST)


def test_two_that_change_the_same_captures_in_another_order_both_come_through(
    new_ledger: Callable[..., Ledger],
) -> None:
    ledger = new_ledger(2)

    def one_way(_: Ledger, connection: Connection) -> Iterator[None]:
        connection.execute(update(capture).where(capture.c.id == 1).values(rule="first"))
        yield
        connection.execute(update(capture).where(capture.c.id == 2).values(rule="first"))

    def the_other(other: Ledger) -> str:
        with other.write() as connection:
            for key in (2, 1):
                connection.execute(update(capture).where(capture.c.id == key).values(rule="second"))
        return "through"

    assert beside(ledger.name, one_way, the_other) == "through"
    assert ledger.query("SELECT DISTINCT rule FROM capture")["rule"].tolist() == ["second"]
