"""What ctstate writes for the old scripts and for others."""

import csv
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from ctstate.errors import UsageError
from ctstate.formats.speciesnet_instances import Whereabouts
from ctstate.verbs.batch import batch
from ctstate.verbs.exclude import exclude
from ctstate.verbs.export import export_captures, export_manifest, export_speciesnet_instances, export_tracker
from ctstate.verbs.predict import PredictionFile, predict
from tests.builders.season_files import ATTRIBUTION, LICENSE, SeasonFiles


def legacy_manifest(season: SeasonFiles) -> dict[str, Any]:
    """What the old scripts make of the same CSV, written after docs/legacy-formats.md."""
    manifest: dict[str, Any] = {}

    def order(row: dict[str, Any]) -> str:
        return f"{row['season']}#{row['site']}#{row['roll']}#{row['capture']:05}#{row['image']:07}"

    for row in sorted(season.rows, key=order):
        key = f"{row['season']}#{row['site']}#{row['roll']}#{row['capture']}"
        entry = manifest.setdefault(
            key,
            {
                "upload_metadata": {
                    "#capture_id": key,
                    "#site": row["site"],
                    "#roll": row["roll"],
                    "#season": row["season"],
                    "#capture": str(row["capture"]),
                    "attribution": ATTRIBUTION,
                    "license": LICENSE,
                },
                "info": {"uploaded": False},
                "images": [],
            },
        )
        entry["images"].append(row["path"])
    return manifest


def legacy_text(manifest: dict[str, Any]) -> str:
    lines = [f"{json.dumps(key)}:{json.dumps(value)}" for key, value in manifest.items()]
    return "{" + ",\n".join(lines) + "}"


def exported(season: SeasonFiles, batch: str | None = None, **options: Any) -> Path:
    with season.open() as ledger:
        return export_manifest(ledger, None, batch, folder=season.folder, **options).file


def test_the_manifest_is_the_old_scripts_to_the_byte(season: SeasonFiles) -> None:
    file = exported(season)
    assert file.name == "TST_S1__complete__manifest.json"
    assert file.read_text(encoding="utf-8") == legacy_text(legacy_manifest(season))


def test_captures_above_99999_keep_the_old_order(tmp_path: Path) -> None:
    season = SeasonFiles(tmp_path, captures=3)
    season.rows[0]["capture"] = season.rows[1]["capture"] = 99_999
    season.rows[2].update(capture=100_000, site="B04")
    season.rows[3].update(capture=100_000, site="B04")
    season.write_csv()
    season.load()
    assert exported(season).read_text(encoding="utf-8") == legacy_text(legacy_manifest(season))


def test_batches_come_in_the_order_of_their_split(season: SeasonFiles) -> None:
    with season.open() as ledger:
        batch(ledger, number_of_batches=2)
    whole = legacy_manifest(season)
    ids = list(whole)
    random.seed(123)
    random.shuffle(ids)
    for name, part in (("batch_1", ids[:3]), ("batch_2", ids[3:])):
        file = exported(season, name)
        assert file.name == f"TST_S1__{name}__manifest.json"
        assert file.read_text(encoding="utf-8") == legacy_text({key: whole[key] for key in part})
    before = season.contents()
    with season.open() as ledger:
        assert batch(ledger, number_of_batches=2).unchanged
    assert season.contents() == before


def test_predictions_and_whether_there_are_any(season: SeasonFiles) -> None:
    top, sure = {"species": "zebra", "count": "2"}, {"species": "0.98", "count": "0.7"}
    entry = {"predictions_top": top, "confidences_top": sure}
    file = season.folder / "species.json"
    file.write_text(json.dumps({season.capture_id(1): entry}), encoding="utf-8")
    with season.open() as ledger:
        predict(ledger, [PredictionFile(file, "legacy-species")])
    expected = legacy_manifest(season)
    for key, value in expected.items():
        value["info"]["machine_learning"] = key == season.capture_id(1)
    expected[season.capture_id(1)]["upload_metadata"].update(
        {
            # In the old scripts' order: all labels, then all confidences.
            "#machine_topprediction_count": "2",
            "#machine_topprediction_species": "zebra",
            "#machine_topconfidence_count": "0.7",
            "#machine_topconfidence_species": "0.98",
        }
    )
    assert exported(season).read_text(encoding="utf-8") == legacy_text(expected)


def test_after_an_upload(season: SeasonFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    season.put_on_zooniverse(1, 901)
    season.do("UPDATE batch SET subject_set_id = 5, subject_set_name = 'TST_S1_complete'")
    monkeypatch.setenv("TZ", "Africa/Johannesburg")
    time.tzset()
    try:
        file = exported(season, uploaded=True)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert file.name == "TST_S1__complete__manifest_uploaded.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found[season.capture_id(1)]["info"] == {
        "uploaded": True,
        "subject_set_id": "5",
        "subject_set_name": "TST_S1_complete",
        "upload_time": "20261123210243",
        "subject_id": "901",
        "anonymized_capture_id": hashlib.sha1(season.capture_id(1).encode()).hexdigest(),
    }
    carried = found[season.capture_id(1)]["upload_metadata"]
    assert carried["#original_images"] == [season.path(1), season.path(1, 2)]
    assert carried["capture_id_anonymized"] == hashlib.sha1(season.capture_id(1).encode()).hexdigest()
    assert "#original_images" not in found[season.capture_id(2)]["upload_metadata"]
    assert sum(entry["info"]["uploaded"] for entry in found.values()) == 1
    assert not any(entry["info"]["uploaded"] for entry in json.loads(exported(season).read_text("utf-8")).values())
    with season.open() as ledger:
        tracker = export_tracker(ledger, folder=season.folder)
    assert tracker.file.name == "TST_S1__complete__upload_tracker_file.txt"
    assert tracker.file.read_text(encoding="utf-8") == f"unique_id,subject_id\n{season.capture_id(1)},901\n"


def test_excluded_captures_are_left_out(season: SeasonFiles) -> None:
    with season.open() as ledger:
        exclude(ledger, where="capture = '3'", reason="people")
    assert season.capture_id(3) not in json.loads(exported(season).read_text("utf-8"))


def test_captures_for_r_and_excel(season: SeasonFiles) -> None:
    with season.open() as ledger:
        plain = export_captures(ledger, season.folder / "c.csv")
        export_captures(ledger, season.folder / "x.csv", excel=True)
    assert plain.count == 6
    with open(plain.file, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["site"] for row in rows} == {"B04", "Ñandú"}
    assert rows[0]["capture_id"] == season.capture_id(1)
    assert rows[0]["machine_person"] == ""
    assert (season.folder / "x.csv").read_bytes().startswith(b"\xef\xbb\xbfcapture_id,")
    done = season.run("export", "captures")
    assert done.stdout.splitlines() == plain.file.read_text(encoding="utf-8").splitlines()


def test_speciesnet_instances(season: SeasonFiles) -> None:
    with season.open() as ledger:
        exclude(ledger, where="capture <> '2'", reason="no")
        report = export_speciesnet_instances(
            ledger, season.folder / "i.json", whereabouts=Whereabouts(country="ZAF", latitude=-24.5)
        )
    assert json.loads(report.file.read_text(encoding="utf-8")) == {
        "instances": [
            {"filepath": str(season.root / season.path(2, rank)), "country": "ZAF", "latitude": -24.5}
            for rank in (1, 2)
        ]
    }


def test_wrong_places(season: SeasonFiles) -> None:
    with season.open() as ledger:
        for call in (
            lambda: export_manifest(ledger, folder=season.csv / "in a file"),
            lambda: export_captures(ledger, season.folder / "nowhere" / "c.csv"),
            lambda: export_captures(ledger, season.folder),
            lambda: export_manifest(ledger, batch="batch_9", folder=season.folder / "new"),
            lambda: export_manifest(ledger, "OTHER", folder=season.folder),
        ):
            with pytest.raises(UsageError):
                call()
    assert not list(season.folder.glob(".*part"))
    assert not list(season.folder.glob("*manifest*"))
    assert not (season.folder / "new").exists()


def test_the_folder_of_an_export_is_made(season: SeasonFiles) -> None:
    folder = season.folder / "Manifests" / "WLD"
    with season.open() as ledger:
        made = export_manifest(ledger, folder=folder).file
        tracker = export_tracker(ledger, folder=folder / "trackers").file
    assert (made.parent, tracker.parent) == (folder, folder / "trackers")
    assert (made.exists(), tracker.exists()) == (True, True)
