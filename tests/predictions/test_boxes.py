"""Where a detector saw something: kept with the predictions, replaced with them, and never what is no box."""

import json
from typing import Any

import pytest

from ctstate.formats.predictions.boxes import MOST, Boxes
from ctstate.verbs.exclude import exclude
from ctstate.verbs.predict import PredictionFile, PredictReport, predict
from tests.builders.season_files import SeasonFiles

BOX = [0.1, 0.2, 0.3, 0.4]


def attach(season: SeasonFiles, content: Any, **options: Any) -> PredictReport:
    file = season.folder / "p.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with season.open() as ledger:
        return predict(ledger, [PredictionFile(file)], **options)


def megadetector(*images: Any, threshold: float | None = 0.2) -> dict[str, Any]:
    return {
        "info": {"format_version": "1.5", "detector_metadata": {"typical_detection_threshold": threshold}},
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "images": list(images),
    }


def seen(file: str, *found: tuple[str, float, Any]) -> dict[str, Any]:
    return {"file": file, "detections": [{"category": c, "conf": v, "bbox": box} for c, v, box in found]}


def kept(season: SeasonFiles) -> dict[tuple[str, int, str], Any]:
    rows = season.query("SELECT capture_id, rank, source, boxes FROM v_boxes ORDER BY capture_id, rank, source")
    return {(capture, rank, source): json.loads(boxes) for capture, rank, source, boxes in rows}


def test_boxes_are_kept_by_image_and_source(season: SeasonFiles) -> None:
    content = megadetector(
        seen(season.path(1, 1), ("1", 0.9, BOX), ("2", 0.1, [0, 0, 1, 1]), ("1", 0.0999, BOX)),
        seen(season.path(1, 2), ("3", 0.05, BOX)),
        seen(season.path(2, 1)),
    )
    report = attach(season, content)
    assert (report.images_with_boxes, report.bad_boxes) == (1, 0)
    of_speciesnet = {"filepath": season.path(1, 2), "detections": [{"category": "2", "conf": 0.5, "bbox": BOX}]}
    attach(season, {"predictions": [of_speciesnet]})
    assert kept(season) == {
        (season.capture_id(1), 1, "megadetector"): [["animal", 0.9, *BOX], ["person", 0.1, 0, 0, 1, 1]],
        (season.capture_id(1), 2, "speciesnet"): [["person", 0.5, *BOX]],
    }
    assert season.query("SELECT season, site, path FROM v_boxes WHERE rank = 1") == [
        (season.name, "B04", season.path(1, 1))
    ]


def test_a_detector_with_a_lower_threshold_has_its_boxes_kept(season: SeasonFiles) -> None:
    attach(season, megadetector(seen(season.path(1), ("1", 0.03, BOX), ("1", 0.02, BOX)), threshold=0.05))
    assert list(kept(season).values()) == [[["animal", 0.03, *BOX]]]


def test_boxes_are_replaced_with_what_the_source_says_of_the_capture(season: SeasonFiles) -> None:
    first = megadetector(
        seen(season.path(1, 1), ("1", 0.9, BOX)),
        seen(season.path(1, 2), ("1", 0.9, BOX)),
        seen(season.path(2, 1), ("1", 0.9, BOX)),
    )
    assert attach(season, first).changed == 2
    before = season.query("SELECT * FROM image_boxes ORDER BY image_id")
    assert attach(season, first).changed == 0
    assert season.query("SELECT * FROM image_boxes ORDER BY image_id") == before
    moved = [0.5, 0.5, 0.1, 0.1]
    # The same scores, another place: capture 1 alone is another one.
    report = attach(season, megadetector(seen(season.path(1, 2), ("1", 0.9, moved))))
    assert (report.changed, report.pending) == (1, 0)
    assert kept(season) == {
        (season.capture_id(1), 2, "megadetector"): [["animal", 0.9, *moved]],
        (season.capture_id(2), 1, "megadetector"): [["animal", 0.9, *BOX]],
    }
    # The same score of an image without a box: nothing is left of it.
    assert attach(season, megadetector(seen(season.path(1, 1), ("1", 0.9, None)))).changed == 1
    assert list(kept(season)) == [(season.capture_id(2), 1, "megadetector")]


def test_a_ledger_of_before_gets_its_boxes_from_the_same_file(season: SeasonFiles) -> None:
    content = megadetector(seen(season.path(1), ("1", 0.9, BOX)))
    attach(season, content)
    season.do("DELETE FROM image_boxes")
    assert attach(season, content).changed == 1
    assert len(kept(season)) == 1


def test_images_that_do_not_count_and_captures_that_are_not_meant_have_none(season: SeasonFiles) -> None:
    withheld = season.folder / "people.txt"
    withheld.write_text(season.path(1, 1), encoding="utf-8")
    with season.open() as ledger:
        exclude(ledger, listed=withheld, reason="a face")
    content = megadetector(*(seen(season.path(1, rank), ("2", 0.9, BOX)) for rank in (1, 2)))
    attach(season, content)
    assert list(kept(season)) == [(season.capture_id(1), 2, "megadetector")]


def test_images_that_are_read_anew_keep_theirs_by_their_paths(season: SeasonFiles) -> None:
    attach(season, megadetector(*(seen(season.path(1, rank), ("1", rank / 10, BOX)) for rank in (1, 2))))
    one, other = (row for row in season.rows if row["capture"] == 1)
    one["image"], other["image"] = 2, 1
    season.rows.remove(one)
    season.rows.append({**one, "path": one["path"].replace("_1.JPG", "_9.JPG")})
    season.write_images()
    season.write_csv()
    season.load(update=True)
    assert kept(season) == {(season.capture_id(1), 1, "megadetector"): [["animal", 0.2, *BOX]]}


BAD: list[Any] = [
    "0.1 0.2 0.3 0.4",
    ["0.1", "0.2", "0.3", "0.4"],
    [0.1, 0.2, 0.3],
    [0.1, 0.2, 0.3, 0.4, 0.5],
    [0.1, 0.2, 0.3, None],
    [True, 0.2, 0.3, 0.4],
    [[0.1], 0.2, 0.3, 0.4],
    [-0.1, 0.2, 0.3, 0.4],
    [0.1, 0.2, -0.3, 0.4],
    [0.5, 0.2, 0.6, 0.4],
    [10, 20, 300, 400],
    [1e308, 1e308, 1e308, 1e308],
    {"x": 0.1},
    7,
    [],
]


def test_what_is_no_box_is_left_out_and_told(season: SeasonFiles) -> None:
    content = megadetector(seen(season.path(1), *(("1", 0.9, box) for box in BAD), ("2", 0.8, BOX)))
    report = attach(season, content)
    assert report.bad_boxes == len(BAD)
    assert [line for line in report.examples if "is not four fractions of the image" in line] != []
    assert season.path(1) in report.examples[0]
    assert list(kept(season).values()) == [[["person", 0.8, *BOX]]]
    assert season.query("SELECT max(machine_animal) FROM v_captures") == [(0.9,)]
    done = season.run("predict", str(season.folder / "p.json"))
    assert done.returncode == 0
    assert f"{len(BAD)} boxes are not four fractions" in done.stderr


def test_not_a_number_is_no_json(season: SeasonFiles) -> None:
    content = json.dumps(megadetector(seen(season.path(1), ("1", 0.9, [float("nan"), 0, 0, 0]))))
    (season.folder / "p.json").write_text(content)
    done = season.run("predict", str(season.folder / "p.json"))
    assert done.returncode == 1
    assert "NaN" in done.stderr
    assert kept(season) == {}


@pytest.mark.parametrize(
    ("box", "becomes"),
    [
        ([-0.004, 0.2, 0.3, 0.4], [0, 0.2, 0.296, 0.4]),
        ([0.7, 0.6, 0.3001, 0.4002], [0.7, 0.6, 0.3, 0.4]),
        ([0, 0, 1, 1], [0, 0, 1, 1]),
        ([0.1, 0.2, 0, 0.4], None),  # nothing to be drawn, and nothing wrong
        ([0.123456789012345, 0.2, 0.300000012, 0.4000000001], [0.1235, 0.2, 0.3, 0.4]),
    ],
)
def test_rounding_is_none_s_fault(box: Any, becomes: Any) -> None:
    boxes = Boxes()
    text = boxes.text("image 1", [("animal", 0.5, box)])
    assert boxes.bad == 0
    assert (None if text is None else json.loads(text)) == (becomes and [["animal", 0.5, *becomes]])


def test_a_detector_gone_wild_stays_small() -> None:
    many = [("x" * 10_000, 0.1 + n / 1e5, [1 / 3, 1 / 7, 1 / 9, 1 / 11]) for n in range(5_000)]
    text = Boxes().text("image 1", many)
    assert text is not None
    assert len(text) < 15_000
    found = json.loads(text)
    assert len(found) == MOST
    assert found[0][1:3] == [0.15, 0.3333]  # the surest first
