"""The two legacy prediction files: every key of docs/legacy-formats.md, section 4."""

import json
from pathlib import Path
from typing import Any

import pytest

from ctstate.errors import InputError
from ctstate.formats.predictions.records import as_json
from ctstate.ledger import claims
from ctstate.verbs.predict import PredictionFile, PredictReport, predict
from ctstate.zooniverse.subject import subject_metadata
from tests.builders.season_files import SeasonFiles

SPECIES = {
    "images": [{"path": "x.JPG", "predictions": {"species": {"zebra": "0.98"}}}],
    "aggregated_pred": {
        "species": {"zebra": "0.98", "lion": 0.01, "human": "0.4"},
        "standing": {"0": "0.1", "1": "0.9"},
    },
    "predictions_top": {"standing": "1", "species": "zebra"},
    "confidences_top": {"species": "0.98", "standing": "0.90"},
}
EMPTY = {"aggregated_pred": {"empty": {"empty": "0.9", "not_empty": 0.1}}, "predictions_top": {"empty": "empty"}}
BLANK = {
    "aggregated_pred": {"is_blank": {"0": "0.2", "1": "0.8"}},
    "predictions_top": {"is_blank": "1"},
    "confidences_top": {"is_blank": "0.8"},
}


def put(season: SeasonFiles, name: str, content: Any) -> Path:
    file = season.folder / name
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def attach(season: SeasonFiles, *files: PredictionFile, **options: Any) -> PredictReport:
    with season.open() as ledger:
        return predict(ledger, files, **options)


def carried(season: SeasonFiles, number: int) -> dict[str, Any]:
    """The machine keys that the capture's subject carries."""
    with season.open() as ledger, ledger.read() as connection:
        rows = claims.read_captures(connection, [number])
    return {key: value for key, value in subject_metadata(rows[0]).items() if key.startswith("#machine_")}


def key_of(season: SeasonFiles, capture_id: str) -> int:
    return int(season.query("SELECT id FROM capture WHERE capture_id = ?", capture_id)[0][0])


def test_a_capture_that_two_files_speak_of_counts_once(season: SeasonFiles) -> None:
    species = put(season, "s.json", {season.capture_id(n): SPECIES for n in (1, 2)})
    empty = put(season, "e.json", {season.capture_id(n): EMPTY for n in (2, 3, 4)})
    report = attach(season, PredictionFile(species), PredictionFile(empty))
    assert (report.entries, report.captures, report.without) == (5, 4, 2)


def test_species_model(season: SeasonFiles) -> None:
    file = put(season, "p.json", {season.capture_id(1): SPECIES})
    report = attach(season, PredictionFile(file))
    assert (report.files[0][1], report.captures, report.changed, report.without) == ("legacy-species", 1, 1, 5)
    assert carried(season, key_of(season, season.capture_id(1))) == {
        "#machine_topprediction_species": "zebra",
        "#machine_topconfidence_species": "0.98",
        "#machine_topprediction_standing": "1",
        "#machine_topconfidence_standing": "0.90",
    }
    assert season.query(
        "SELECT state, machine_species, machine_species_confidence FROM v_captures WHERE capture_id = ?",
        season.capture_id(1),
    ) == [("predicted", "zebra", 0.98)]


def test_all_species_scores_in_alphabetical_order(season: SeasonFiles) -> None:
    file = put(season, "p.json", {season.capture_id(1): SPECIES})
    attach(season, PredictionFile(file), all_species_scores=True)
    found = carried(season, key_of(season, season.capture_id(1)))
    assert list(found)[4:] == [
        "#machine_confidence_species_human",
        "#machine_confidence_species_lion",
        "#machine_confidence_species_zebra",
        "#machine_confidence_standing",
    ]
    assert found["#machine_confidence_species_lion"] == 0.01
    assert found["#machine_confidence_standing"] == "0.9"
    assert season.query("SELECT max(machine_person) FROM v_captures") == [(0.4,)]


def test_empty_model_in_both_its_shapes(season: SeasonFiles) -> None:
    not_blank = {**BLANK, "predictions_top": {"is_blank": 0}}
    content = {season.capture_id(1): EMPTY, season.capture_id(2): BLANK, season.capture_id(3): not_blank}
    report = attach(season, PredictionFile(put(season, "p.json", content)))
    assert report.files[0][1] == "legacy-empty"
    assert carried(season, key_of(season, season.capture_id(1))) == {
        "#machine_confidence_empty": "0.9",
        "#machine_confidence_not_empty": 0.1,
    }
    assert carried(season, key_of(season, season.capture_id(2))) == {
        "#machine_topprediction_is_empty": "empty",
        "#machine_confidence_is_empty": "0.8",
    }
    assert carried(season, key_of(season, season.capture_id(3)))["#machine_topprediction_is_empty"] == "not_empty"
    blanks = season.query("SELECT capture, machine_blank FROM v_captures WHERE machine_blank > 0 ORDER BY capture")
    assert blanks == [("1", 0.9), ("2", 0.8), ("3", 0.8)]


def test_both_models_together_and_again(season: SeasonFiles) -> None:
    ids = [season.capture_id(n) for n in range(1, 7)]
    files = [
        PredictionFile(put(season, "e.json", dict.fromkeys(ids, BLANK)), "legacy-empty"),
        PredictionFile(put(season, "s.json", dict.fromkeys(ids, SPECIES)), "legacy-species"),
    ]
    assert attach(season, *files).changed == 6
    assert len(carried(season, key_of(season, ids[0]))) == 6
    before = season.contents()
    assert attach(season, *files).changed == 0
    assert season.contents() == before
    assert attach(season, files[1], all_species_scores=True).changed == 6
    assert len(carried(season, key_of(season, ids[0]))) == 10
    assert attach(season, files[1]).changed == 6
    assert len(carried(season, key_of(season, ids[0]))) == 6  # what that source said before is gone


def test_unknown_captures_are_counted_and_named(season: SeasonFiles) -> None:
    content = {"NOBODY#1": SPECIES, season.capture_id(2): SPECIES, "NOBODY#2": SPECIES}
    file = put(season, "p.json", content)
    report = attach(season, PredictionFile(file))
    assert (report.captures, report.unknown) == (1, 2)
    assert report.examples == [
        f"{file}, entry 1: not in the ledger: NOBODY#1",
        f"{file}, entry 3: not in the ledger: NOBODY#2",
    ]


def without(entry: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != name}


@pytest.mark.parametrize(
    ("entry", "format", "message"),
    [
        (without(SPECIES, "confidences_top"), "legacy-species", "confidences_top"),
        ({**SPECIES, "confidences_top": {"species": "1"}}, "legacy-species", "'standing' in confidences_top"),
        ({**SPECIES, "predictions_top": {}}, "legacy-species", "no label"),
        ({**SPECIES, "predictions_top": [1]}, "legacy-species", "not an object"),
        ("zebra", "legacy-species", "not an object"),
        ({"aggregated_pred": {"foo": {}, "bar": {}}}, "legacy-empty", "its labels: foo, bar"),
        ({**BLANK, "predictions_top": {"is_blank": "maybe"}}, "legacy-empty", "'maybe'"),
        ({**BLANK, "aggregated_pred": {"is_blank": {"0": 1}}}, "legacy-empty", "with the classes 0"),
        ({}, "legacy-empty", "aggregated_pred"),
    ],
)
def test_a_malformed_entry_names_its_capture(season: SeasonFiles, entry: Any, format: str, message: str) -> None:
    good = SPECIES if format == "legacy-species" else BLANK
    file = put(season, "p.json", {season.capture_id(1): good, season.capture_id(2): entry})
    before = season.contents()
    with pytest.raises(InputError, match=message) as caught:
        attach(season, PredictionFile(file, format))
    assert f"{file}, capture {season.capture_id(2)}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert season.contents() == before


def test_a_file_that_could_be_of_either_model_is_refused(season: SeasonFiles) -> None:
    both = {**SPECIES, "aggregated_pred": {**SPECIES["aggregated_pred"], "is_blank": {"0": 0.5, "1": 0.5}}}  # type: ignore[dict-item]
    file = put(season, "p.json", {season.capture_id(1): both})
    with pytest.raises(InputError, match=r"could be of the empty or of the species model.*--format"):
        attach(season, PredictionFile(file))
    assert attach(season, PredictionFile(file, "legacy-species")).captures == 1


def test_one_batch_only(season: SeasonFiles) -> None:
    from ctstate.verbs.batch import batch

    with season.open() as ledger:
        batch(ledger, number_of_batches=2, order="sequential")
    file = put(season, "p.json", {season.capture_id(n): SPECIES for n in range(1, 7)})
    report = attach(season, PredictionFile(file), batch="batch_2")
    assert (report.captures, report.outside, report.unknown, report.without) == (3, 3, 0, 0)
    assert season.query("SELECT batch, count(*) FROM v_captures WHERE predictions = 1 GROUP BY batch") == [
        ("batch_2", 3)
    ]
    assert season.query("SELECT DISTINCT state FROM capture") == [("batched",)]


def test_what_is_on_zooniverse_is_pending(season: SeasonFiles) -> None:
    season.put_on_zooniverse(1, 901)
    season.start_uploading(2)
    file = put(season, "p.json", {season.capture_id(n): SPECIES for n in (1, 2, 3)})
    assert attach(season, PredictionFile(file)).pending == 2
    rows = season.query("SELECT capture, state FROM v_captures WHERE metadata_pending IS NOT NULL ORDER BY capture")
    assert rows == [("1", "uploaded"), ("2", "uploading")]
    season.do("UPDATE capture SET metadata_pending = NULL")
    assert attach(season, PredictionFile(file)).pending == 0
    assert season.query("SELECT count(*) FROM capture WHERE metadata_pending IS NOT NULL") == [(0,)]


def test_metadata_is_written_as_json_writes_it() -> None:
    """What is in the ledger is compared by its text: another spelling would be a change of every capture."""
    every_character = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x11000))))
    assert as_json({every_character: every_character}) == json.dumps(
        {every_character: every_character}, ensure_ascii=False
    )
    numbers = [
        0,
        0.0,
        -0.0,
        1,
        7,
        -1,
        -0.5,
        1.0,
        0.5,
        0.1 + 0.2,
        1e-4,
        9.99e-5,
        1e-5,
        1e-300,
        1e14,
        1e15,
        1e16,
        1e300,
    ]
    numbers += [10**15, 2**62, 1 / 3, *(n / 997 for n in range(997)), *(10**-n for n in range(12))]
    values: list[Any] = [*numbers, True, False, None, "", [1, [0.5]], {"a": {"b": 1e-7}}]
    for value in values:
        for metadata in ({"#a": value}, {"#a": "x, y: z", "#b": value}):
            assert as_json(metadata) == json.dumps(metadata, ensure_ascii=False)
    assert as_json({}) == "{}"
