"""Predictions of images: MegaDetector, PyTorch-Wildlife, SpeciesNet, CSV; and what they come to for the capture."""

import gzip
import json
from typing import Any

import pytest

from ctstate.errors import InputError, UsageError
from ctstate.verbs.exclude import exclude
from ctstate.verbs.predict import PredictionFile, PredictReport, predict
from tests.builders.season_files import SeasonFiles

BOX = [0.1, 0.2, 0.3, 0.4]
BLANK = "f1856211-cfb7-4a5b-9158-c0f72fd09ee6;;;;;;blank"
HUMAN = "990ae9dd-7a59-4344-afcb-1b7b21368000;mammalia;primates;hominidae;homo;sapiens;human"
ZEBRA = "0bd2b5b1-a5e1-4c4f-b6e7-2a7a1a0f3d11;mammalia;perissodactyla;equidae;equus;quagga;plains zebra"
NOTHING = ";".join(["f2efdae9-efb8-48fb-8a91-eccf79ab4ffb", *["no cv result"] * 6])


def attach(season: SeasonFiles, content: Any, name: str = "p.json", **options: Any) -> PredictReport:
    file = season.folder / name
    format = options.pop("format", None)
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with season.open() as ledger:
        return predict(ledger, [PredictionFile(file, format)], **options)


def scores(season: SeasonFiles, number: int) -> tuple[Any, ...]:
    """animal, person, vehicle, blank, species, its confidence"""
    return season.query(
        "SELECT machine_animal, machine_person, machine_vehicle, machine_blank, machine_species,"
        " machine_species_confidence FROM v_captures WHERE capture_id = ?",
        season.capture_id(number),
    )[0]


def metadata(season: SeasonFiles, number: int) -> dict[str, Any]:
    rows = season.query(
        "SELECT p.metadata FROM prediction p JOIN capture c ON c.id = p.capture_id WHERE c.capture_id = ?",
        season.capture_id(number),
    )
    return json.loads(rows[0][0])  # type: ignore[no-any-return]


def megadetector(images: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "images": images,
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "info": {
            "format_version": "1.4",
            "detector": "md_v5a.0.0.pt",
            "detector_metadata": {"typical_detection_threshold": 0.2},
        },
        **more,
    }


def seen(file: str, *found: tuple[str, float], classified: list[Any] | None = None) -> dict[str, Any]:
    detections: list[dict[str, Any]] = [{"category": c, "conf": v, "bbox": BOX} for c, v in found]
    if classified:
        detections[0]["classifications"] = classified
    return {"file": file, "detections": detections}


def test_megadetector_takes_the_highest_over_the_images(season: SeasonFiles) -> None:
    content = megadetector(
        [
            seen(season.path(1, 1), ("1", 0.3), ("1", 0.75), ("2", 0.25)),
            seen(season.path(1, 2), ("1", 0.5), ("2", 0.5)),
            seen(season.path(2, 1)),
            seen(season.path(2, 2)),
        ]
    )
    report = attach(season, content)
    assert report.files[0][1] == "megadetector"
    assert (report.entries, report.captures, report.unknown) == (4, 2, 0)
    assert scores(season, 1) == (0.75, 0.5, 0, 0.25, None, None)
    assert scores(season, 2) == (0, 0, 0, 1, None, None)
    assert metadata(season, 1) == {
        "#machine_megadetector_animal": 0.75,
        "#machine_megadetector_person": 0.5,
        "#machine_megadetector_vehicle": 0,
    }
    assert season.query("SELECT source, format, threshold FROM prediction_file") == [
        ("megadetector", "megadetector", 0.2)
    ]
    assert "md_v5a" in season.query("SELECT settings FROM prediction_file")[0][0]
    with season.open() as ledger:
        assert exclude(ledger, where="machine_person > 0.4", reason="people").captures == 1


def test_classifications_become_the_species(season: SeasonFiles) -> None:
    content = megadetector(
        [
            seen(season.path(1, 1), ("1", 0.9), classified=[["7", 0.6], ["8", 0.3]]),
            seen(season.path(1, 2), ("1", 0.9), classified=[["8", 0.7]]),
        ],
        classification_categories={"7": "lion", "8": "zebra"},
    )
    attach(season, content)
    assert scores(season, 1)[4:] == ("zebra", 0.7)
    assert metadata(season, 1)["#machine_megadetector_species"] == "zebra"


def test_a_species_whose_name_is_a_number_keeps_it(season: SeasonFiles) -> None:
    seen_once = seen(season.path(1), ("1", 0.9), classified=[["7", 0.6]])
    attach(season, megadetector([seen_once], classification_categories={"7": "007"}))
    assert scores(season, 1)[4:] == ("007", 0.6)


@pytest.mark.parametrize("version", [1.3, "1.6", None])
def test_versions_and_failures(season: SeasonFiles, version: Any) -> None:
    info = {"detector": "x"} if version is None else {"format_version": version}
    content = megadetector(
        [
            {"file": season.path(1, 1), "failure": "Failure image access"},
            {"file": season.path(1, 2), "detections": [], "failure": None, "max_detection_conf": 0},
            {"file": season.path(2, 1), "detections": None, "failure": "x"},
            {"file": "video.mp4", "detections": [], "frame_rate": 30, "frames_processed": [1]},
        ],
        info=info,
    )
    report = attach(season, content)
    assert (report.captures, report.failed, report.unknown) == (1, 2, 1)
    assert scores(season, 1)[3] == 1
    assert scores(season, 2)[3] is None


@pytest.mark.parametrize("style", ["windows", "absolute", "dotted", "below the season", "elsewhere", "bom", "gzip"])
def test_paths_of_other_machines(season: SeasonFiles, style: str) -> None:
    path = season.path(2, 1)
    assert "Ñandú" in path
    options: dict[str, str] = {}
    if style == "windows":
        path = "Z:\\data\\" + path.replace("/", "\\")
        options["strip_prefix"] = "Z:\\data"
    elif style == "absolute":
        path = f"{season.root}//{path}"
    elif style == "dotted":
        path = f"./{path}"
    elif style == "below the season":
        path = path.split("/", 1)[1]
        options["base_folder"] = season.name
    elif style == "elsewhere":
        path = f"/mnt/disk/{path}"
        options["strip_prefix"] = "/mnt/disk/"
    content: Any = megadetector([seen(path, ("2", 0.9))])
    if style in ("bom", "gzip"):
        data = json.dumps(content).encode()
        content = gzip.compress(data) if style == "gzip" else b"\xef\xbb\xbf" + data
    report = attach(season, content, **options)
    assert (report.captures, report.unknown) == (1, 0)
    assert scores(season, 2)[1] == 0.9


def test_where_no_path_fits_one_of_the_ledger_is_shown(season: SeasonFiles) -> None:
    with pytest.raises(InputError, match="of its 1 entry, none is an image of the ledger") as caught:
        attach(season, megadetector([seen("D:/x.jpg")]))
    assert season.path(1, 1) in str(caught.value)
    done = season.run("predict", str(season.folder / "p.json"))
    assert done.returncode == 1  # who excludes by them would exclude nobody
    assert "the first: 'D:/x.jpg'" in done.stderr
    assert "--strip-prefix" in done.stderr


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"detections": []}, "image 2: has no 'file'"),
        ("x", "image 2: has no 'file'"),
        ({"file": "a.jpg"}, r"image 2 \(a.jpg\): has neither detections nor a failure"),
        ({"file": "a.jpg", "detections": None}, "neither detections nor a failure"),
        ({"file": "a.jpg", "failure": "x", "detections": [1]}, "both a failure and detections"),
        (seen("a.jpg", ("9", 0.5)), "category '9' is not in detection_categories"),
        (seen("a.jpg", ("1", 1.5)), "confidence 1.5"),
        (seen("a.jpg", ("1", "0.5")), "confidence '0.5'"),  # type: ignore[arg-type]
        (seen("a.jpg", ("1", 0.5), classified=["zebra"]), "classification 'zebra'"),
    ],
)
def test_malformed_images_are_named(season: SeasonFiles, image: Any, message: str) -> None:
    before = season.contents()
    with pytest.raises(InputError, match=message) as caught:
        attach(season, megadetector([seen(season.path(1)), image]))
    assert str(caught.value).startswith(str(season.folder / "p.json"))
    assert season.contents() == before


def test_pixel_boxes_are_another_format(season: SeasonFiles) -> None:
    box = {"category": "person", "confidence": 0.5, "bbox": [1, 2, 300, 400]}
    report = attach(
        season, [{"file": season.path(1), "detections": [box]}, {"file": season.path(2), "detections": []}]
    )
    assert report.files[0][1] == "pytorch-wildlife"
    assert scores(season, 1) == (0, 0.5, 0, 0.5, None, None)
    assert scores(season, 2) == (0, 0, 0, 1, None, None)
    with pytest.raises(InputError, match="'1' is not a name"):
        attach(season, [{"file": season.path(1), "detections": [{**box, "category": "1"}]}])


def speciesnet(season: SeasonFiles, *images: tuple[str, str | None, float]) -> dict[str, Any]:
    predictions = []
    for path, label, score in images:
        entry: dict[str, Any] = {"filepath": str(season.root / path), "model_version": "4.0.1a"}
        if label is None:
            entry["failures"] = ["CLASSIFIER", "DETECTOR"]
        else:
            entry.update(prediction=label, prediction_score=score, prediction_source="classifier", detections=[])
            entry["classifications"] = {"classes": [label], "scores": [score]}
        predictions.append(entry)
    return {"predictions": predictions}


def test_speciesnet_is_blank_only_if_all_images_are(season: SeasonFiles) -> None:
    content = speciesnet(
        season,
        (season.path(1, 1), BLANK, 0.99),
        (season.path(1, 2), ZEBRA, 0.6),
        (season.path(2, 1), BLANK, 0.95),
        (season.path(2, 2), BLANK, 0.7),
        (season.path(3, 1), HUMAN, 0.9),
        (season.path(3, 2), ZEBRA, 0.8),
        (season.path(4, 1), None, 0),
        (season.path(5, 1), NOTHING, 0.5),
    )
    content["predictions"][0]["failures"] = ["GEOLOCATION"]
    report = attach(season, content)
    assert report.files[0][1] == "speciesnet"
    assert (report.captures, report.failed, report.unknown) == (4, 1, 0)
    assert scores(season, 1) == (0.6, 0, 0, 0, "plains zebra", 0.6)
    assert scores(season, 2) == (0, 0, 0, 0.7, "blank", 0.7)
    assert scores(season, 3) == (0.8, 0.9, 0, 0, "human", 0.9)
    assert scores(season, 4) == (None,) * 6
    assert scores(season, 5)[4:] == (None, None)
    assert metadata(season, 3)["#machine_speciesnet_class"] == HUMAN
    assert "4.0.1a" in season.query("SELECT settings FROM prediction_file")[0][0]


def test_speciesnet_detections_alone(season: SeasonFiles) -> None:
    entry = {
        "filepath": season.path(1),
        "failures": ["CLASSIFIER"],
        "detections": [{"category": "2", "label": "human", "conf": 0.5, "bbox": BOX}],
    }
    attach(season, {"predictions": [entry]})
    assert scores(season, 1) == (0, 0.5, 0, 0.5, None, None)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "prediction 1: has no 'filepath'"),
        ({"filepath": "a", "prediction": "zebra", "prediction_score": 1}, "seven parts"),
        ({"filepath": "a", "prediction": ZEBRA}, "confidence None"),
        ({"filepath": "a", "classifications": {"classes": []}}, "without classes and scores"),
        ({"filepath": "a", "detections": [{"category": "4", "conf": 1}]}, "category is not 1, 2 or 3"),
    ],
)
def test_malformed_speciesnet(season: SeasonFiles, entry: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        attach(season, {"predictions": [entry]})


def test_csv_long_by_path(season: SeasonFiles) -> None:
    text = (
        "\ufeffpath;label;confidence\r\n"
        f"{season.path(2, 1)};blank;0.9\r\n{season.path(2, 2)};zebra;0.8\r\n{season.path(2, 2)};person;0.1\r\n"
        f"{season.path(4, 1)};empty;0.9\r\n{season.path(4, 2)};empty;0.5\r\n"
    )
    report = attach(season, text, "p.csv")
    assert report.files[0][1] == "csv"
    assert (report.captures, report.unknown) == (2, 0)
    assert scores(season, 2) == (None, 0.1, None, 0, "zebra", 0.8)
    assert scores(season, 4) == (None, None, None, 0.5, None, None)


def test_csv_wide_by_capture(season: SeasonFiles) -> None:
    text = f"capture_id,animal,human,machine_zebra,note\n{season.capture_id(2)},0.5,,0.25,x\nNOBODY,1,1,1,\n"
    report = attach(season, text, "p.csv", source="mine")
    assert (report.captures, report.unknown) == (1, 1)
    assert scores(season, 2) == (0.5, None, None, None, "zebra", 0.25)
    assert metadata(season, 2) == {"#machine_mine_animal": 0.5, "#machine_mine_zebra": 0.25}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("site,animal\nB04,1\n", "no column capture_id or path"),
        ("capture_id,foo\nx,1\n", "neither the columns label and confidence"),
        ("capture_id,animal\nx,high\n", "row 2 .x.: the confidence 'high'"),
        ("capture_id,animal\nx,1\n,0.5\n", "row 3: names no capture"),
        ("capture_id,animal\nx,7\n", "confidence 7"),
        ("capture_id,label,confidence\nx,,1\n", "has no label"),
    ],
)
def test_malformed_csv(season: SeasonFiles, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        attach(season, text, "p.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"{}", "not a file of predictions"),
        (b'{"images": [', "not readable as JSON"),
        (b'{"images": []}', "no detection_categories"),
        (b'{"instances": []}', "SpeciesNet's input"),
        (b'{"images": [], "predictions": []}', "both images and predictions"),
        (b'[{"a": 1}]', "not of objects with file and detections"),
        (b'{"a": 1, "b": {"c": 2}}', "not a file of predictions"),
        (b'{"images": [], "detection_categories": {}, "info": {"format_version": "2.0"}}', "format version 2.0"),
        (b"\x89PNG\0\0", "neither JSON nor a CSV"),
    ],
)
def test_what_is_no_file_of_predictions(season: SeasonFiles, content: bytes, message: str) -> None:
    before = season.contents()
    with pytest.raises(InputError, match=message) as caught:
        attach(season, content)
    assert "\n" not in str(caught.value)
    assert season.contents() == before


def test_withheld_images_do_not_count(season: SeasonFiles) -> None:
    file = season.folder / "list.txt"
    file.write_text(season.path(1, 2), encoding="utf-8")
    with season.open() as ledger:
        exclude(ledger, listed=file, reason="people")
    report = attach(season, megadetector([seen(season.path(1, 1)), seen(season.path(1, 2), ("2", 0.9))]))
    assert report.unknown == 0
    assert scores(season, 1)[1] == 0


def test_sources_stand_side_by_side(season: SeasonFiles) -> None:
    attach(season, megadetector([seen(season.path(1), ("2", 0.3))]))
    attach(season, megadetector([seen(season.path(1), ("2", 0.8))]), source="second-look")
    assert scores(season, 1)[1] == 0.8
    assert season.query("SELECT predictions FROM v_captures WHERE predictions > 0") == [(2,)]
    with pytest.raises(UsageError, match="source"):
        attach(season, megadetector([]), source="a b")


@pytest.mark.parametrize("images", [0, 1, 2, 3, 4])
def test_files_of_any_number_of_entries(season: SeasonFiles, monkeypatch: pytest.MonkeyPatch, images: int) -> None:
    from ctstate.verbs import predict as verb

    monkeypatch.setattr(verb, "CHUNK", 2)
    report = attach(season, megadetector([seen(season.path(number + 1)) for number in range(images)]))
    assert (report.entries, report.captures, report.changed) == (images, images, images)


def test_a_threshold_of_a_fifth_is_a_fifth(season: SeasonFiles) -> None:
    found = [{"file": season.path(1, 1), "detections": [{"category": "1", "conf": 0.8, "bbox": [0, 0, 1, 1]}]}]
    attach(season, megadetector(found))
    assert scores(season, 1)[3] == 0.2, "0.19999999999999996 is below `machine_blank >= 0.2`"
