"""Legacy manifests and trackers on their way in, and what they may not do."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from test_exports import legacy_manifest, legacy_text

from ctstate.errors import InputError, UsageError
from ctstate.ledger import Ledger, claims, legacy_claims, runs
from ctstate.ledger.exclusions import CLAIMED_BY_OLD_SCRIPTS
from ctstate.verbs.batch import batch
from ctstate.verbs.exclude import exclude, include
from ctstate.verbs.export import export_manifest, export_tracker
from ctstate.verbs.import_ import ImportReport, import_manifest, import_tracker
from tests.builders.season_files import SeasonFiles


@pytest.fixture
def files(tmp_path: Path) -> SeasonFiles:
    """A season of which there are images and no ledger yet."""
    return SeasonFiles(tmp_path)


def uploaded(entry: dict[str, Any], subject_id: str) -> dict[str, Any]:
    info = {
        "uploaded": True,
        "subject_set_id": "77",
        "subject_set_name": "TST_S1_batch_1",
        "upload_time": "20190102030405",
        "subject_id": subject_id,
    }
    return {**entry, "info": info}


def put(files: SeasonFiles, manifest: Any, name: str = "TST_S1__complete__manifest.json") -> Path:
    file = files.folder / name
    file.write_text(manifest if isinstance(manifest, str) else legacy_text(manifest), encoding="utf-8")
    return file


def bring_in(
    files: SeasonFiles, manifest: Any, name: str = "TST_S1__complete__manifest.json", **options: Any
) -> ImportReport:
    file = put(files, manifest, name)
    with files.open(create=True) as ledger:
        return import_manifest(ledger, file, **{"images_root": files.root, **options})


def claimable(ledger: Ledger) -> set[str]:
    row = ledger.season(None)
    taken: set[str] = set()
    for item in ledger.batches(row.id):
        with ledger.write() as connection:
            run_id = runs.start(connection, "test", {})
            taken |= {claim.capture_id for claim in claims.claim(connection, run_id, row.id, item.id, 500)}
    return taken


def test_a_manifest_comes_back_as_it_went_in(files: SeasonFiles) -> None:
    manifest = legacy_manifest(files)
    first, second = list(manifest)[:2]
    for key, entry in manifest.items():
        entry["info"]["machine_learning"] = key != second
        if key != second:
            entry["upload_metadata"]["#machine_topprediction_species"] = "zebra"
            entry["upload_metadata"]["#machine_topconfidence_species"] = "0.9"
    manifest[first]["upload_metadata"]["!note"] = "a further column"
    # As in a batch of a random split: not in manifest order.
    shuffled = dict(reversed(manifest.items()))
    report = bring_in(files, shuffled, "TST_S1__batch_3__manifest.json")
    assert (report.captures, report.new, report.batched, report.predicted, report.claimed) == (6, 6, 6, 5, 0)
    with files.open() as ledger:
        out = export_manifest(ledger, batch="batch_3", folder=files.folder).file
        assert json.loads(out.read_text("utf-8")) == shuffled
        assert list(json.loads(out.read_text("utf-8"))) == list(shuffled)
        assert claimable(ledger) == set(manifest)
    assert files.query("SELECT count(*) FROM v_captures WHERE machine_species = 'zebra'") == [(5,)]


def test_importing_again_changes_nothing(files: SeasonFiles) -> None:
    manifest = legacy_manifest(files)
    key = next(iter(manifest))
    manifest[key] = uploaded(manifest[key], "901")
    bring_in(files, manifest)
    before = files.contents()
    report = bring_in(files, manifest)
    assert (report.new, report.batched, report.claimed) == (0, 0, 0)
    assert files.contents() == before


def test_what_the_file_says_is_uploaded_is_not_believed_and_not_uploaded_again(files: SeasonFiles) -> None:
    manifest = legacy_manifest(files)
    ids = list(manifest)
    manifest[ids[0]] = uploaded(manifest[ids[0]], "901")
    manifest[ids[1]] = {**manifest[ids[1]], "info": {"uploaded": True}}
    (files.root / manifest[ids[0]]["images"][0]).unlink()  # gone since: no matter
    report = bring_in(files, manifest, "TST_S1__batch_1__manifest_uploaded.json")
    assert (report.claimed, report.images_missing) == (2, 0)
    assert files.query("SELECT DISTINCT state FROM capture") == [("batched",)]
    assert files.query("SELECT subject_id, subject_set_id, upload_time FROM legacy_subject ORDER BY id") == [
        (901, 77, "20190102030405"),
        (None, None, None),
    ]
    assert files.query("SELECT count(*) FROM capture WHERE excluded = ?", CLAIMED_BY_OLD_SCRIPTS) == [(2,)]
    with files.open() as ledger:
        include(ledger, where="1 = 1")
        batch(ledger, number_of_batches=1)
        assert claimable(ledger) == set(ids[2:])


def test_claims_survive_the_way_back(files: SeasonFiles) -> None:
    manifest = legacy_manifest(files)
    key = next(iter(manifest))
    manifest[key] = uploaded(manifest[key], "901")
    bring_in(files, manifest)
    with files.open() as ledger:
        out = export_manifest(ledger, folder=files.folder, uploaded=True).file
        tracker = export_tracker(ledger, folder=files.folder).file
    info = json.loads(out.read_text("utf-8"))[key]["info"]
    assert (info["uploaded"], info["subject_id"], info["upload_time"]) == (True, "901", "20190102030405")
    assert tracker.read_text("utf-8") == f"unique_id,subject_id\n{key},901\n"


def test_a_claim_covers_an_imageless_capture_and_no_person_s_reason(season: SeasonFiles) -> None:
    for rank in (1, 2):
        (season.root / season.path(2, rank)).unlink()
    season.load(update=True)
    file = season.folder / "TST_S1__complete__upload_tracker_file.txt"
    file.write_text("unique_id,subject_id\n" + "".join(f"{season.capture_id(n)},90{n}\n" for n in (1, 2, 3)))
    with season.open() as ledger:
        exclude(ledger, where="capture = '1'", reason="people")
        assert import_tracker(ledger, file).claimed == 3
    assert season.query("SELECT capture, excluded FROM capture WHERE excluded IS NOT NULL ORDER BY 1") == [
        ("1", "people"),
        ("2", CLAIMED_BY_OLD_SCRIPTS),
        ("3", CLAIMED_BY_OLD_SCRIPTS),
    ]


def test_another_subject_of_the_same_capture_is_another_claim(season: SeasonFiles) -> None:
    file = season.folder / "TST_S1__complete__upload_tracker_file.txt"
    with season.open() as ledger:
        for subject_id, new in ((901, 1), (902, 1), (901, 0)):
            file.write_text(f"unique_id,subject_id\n{season.capture_id(1)},{subject_id}\n")
            assert import_tracker(ledger, file).claimed == new
    assert season.query("SELECT subject_id FROM legacy_subject ORDER BY id") == [(901,), (902,)]


def test_five_of_many_unknown_captures_of_a_tracker_are_named(season: SeasonFiles) -> None:
    file = season.folder / "TST_S1__complete__upload_tracker_file.txt"
    known = f"{season.capture_id(3)},3\n"
    file.write_text("unique_id,subject_id\n" + known + "".join(f"NOBODY#{n},{n}\n" for n in range(9, 0, -1)))
    with season.open() as ledger:
        report = import_tracker(ledger, file)
    assert report.unknown == 9
    assert report.examples == [f"row {row}: not in the ledger: NOBODY#{12 - row}" for row in range(3, 8)]


def test_a_tracker(season: SeasonFiles) -> None:
    season.put_on_zooniverse(3, 33)
    season.put_on_zooniverse(4, 44)
    file = season.folder / "TST_S1__complete__upload_tracker_file.txt"
    rows = [(1, 901), (2, 902), (3, 33), (4, 45)]
    lines = [f"{season.capture_id(n)},{s}" for n, s in rows] + ["NOBODY#1,5", ""]
    file.write_text("\ufeffunique_id,subject_id\r\n" + "\r\n".join(lines), encoding="utf-8")
    with season.open() as ledger:
        report = import_tracker(ledger, file)
    assert (report.captures, report.claimed, report.confirmed, report.conflicting, report.unknown) == (
        5,
        3,
        1,
        1,
        1,
    )
    assert "row 6: not in the ledger: NOBODY#1" in report.examples
    assert f"{season.capture_id(4)}: its subject is 44 in the ledger, 45 in the file" in report.examples
    assert season.query("SELECT capture FROM capture WHERE excluded IS NOT NULL ORDER BY 1") == [("1",), ("2",)]
    before = season.contents()
    with season.open() as ledger:
        assert import_tracker(ledger, file).claimed == 0
    assert season.contents() == before
    done = season.run("import", "tracker", str(file))
    assert done.returncode == 1
    assert "another subject in the ledger" in done.stderr


def test_a_batch_s_set_is_known_by_any_capture_whose_file_names_one(season: SeasonFiles) -> None:
    file = season.folder / "TST_S1__complete__upload_tracker_file.txt"
    file.write_text("unique_id,subject_id\n" + "".join(f"{season.capture_id(n)},{900 + n}\n" for n in (1, 2, 3)))
    with season.open() as ledger:
        batch(ledger, number_of_batches=1)
        import_tracker(ledger, file)
        with ledger.write() as connection:
            connection.execute(text("UPDATE legacy_subject SET subject_set_id = NULL"))
            connection.execute(text("UPDATE legacy_subject SET subject_set_id = 77 WHERE subject_id = 903"))
        with ledger.read() as connection:
            assert legacy_claims.subject_set_named(connection, 1) == 77
            assert legacy_claims.subject_set_named(connection, 2) is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("capture,subject\n", "header is unique_id,subject_id"),
        ("", "header is unique_id,subject_id"),
        ("unique_id,subject_id\nX,\n", "row 2 .X.: no subject id"),
        ("unique_id,subject_id\nX,abc\n", "row 2 .X.: no subject id"),
        ("unique_id,subject_id\nX,1\n", "of its 1 capture, none"),
    ],
)
def test_trackers_that_are_none(season: SeasonFiles, data: str, message: str) -> None:
    file = season.folder / "t.txt"
    file.write_text(data, encoding="utf-8")
    before = season.contents()
    with season.open() as ledger, pytest.raises(InputError, match=message):
        import_tracker(ledger, file)
    assert season.contents() == before


def test_the_whole_season_then_its_batches(files: SeasonFiles) -> None:
    manifest = legacy_manifest(files)
    ids = list(manifest)
    bring_in(files, manifest)
    for number in (1, 2):
        part = {key: manifest[key] for key in ids[3 * number - 3 : 3 * number]}
        assert bring_in(files, part, f"TST_S1__batch_{number}__manifest.json").batched == 3
    assert bring_in(files, manifest).batched == 0  # `complete` takes nothing back
    assert files.query("SELECT batch, count(*) FROM v_captures GROUP BY 1") == [("batch_1", 3), ("batch_2", 3)]
    assert files.query("SELECT name FROM batch ORDER BY 1") == [("batch_1",), ("batch_2",)]


def test_captures_that_the_ledger_knows_stay(season: SeasonFiles) -> None:
    manifest = legacy_manifest(season)
    key = next(iter(manifest))
    manifest[key]["images"] = manifest[key]["images"][:1]
    report = bring_in(season, manifest)
    assert (report.new, report.differing, report.batched) == (0, 1, 6)
    assert season.query("SELECT count(*) FROM image") == [(12,)]


def test_images_in_the_older_shape_and_windows_paths(files: SeasonFiles) -> None:
    manifest = legacy_manifest(files)
    for entry in manifest.values():
        entry["images"] = {"original_images": [path.replace("/", "\\") for path in entry["images"]]}
    report = bring_in(files, "\ufeff" + legacy_text(manifest), batch="b", manifest_id="Z")
    assert (report.season, report.batch, report.new, report.images_missing) == ("Z", "b", 6, 0)
    assert files.query("SELECT count(*) FROM image WHERE problem IS NULL AND path LIKE 'TST_S1/%'") == [(12,)]


def broken(files: SeasonFiles, **changes: Any) -> dict[str, Any]:
    manifest = legacy_manifest(files)
    key = list(manifest)[3]
    entry = manifest[key]
    for name, value in changes.items():
        part, _, inner = name.partition("__")
        if inner:
            entry[part][inner.replace("hash", "#")] = value
        else:
            entry[part] = value
    return manifest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, "has no list of images"),
        ({"images": [7]}, "has no list of images"),
        ({"images": ["../../etc/passwd"]}, "leads out of --images-root"),
        ({"info": 7}, "no info, that is an object"),
        ({"upload_metadata": None}, "has no upload_metadata"),
        ({"upload_metadata__hashcapture_id": "X"}, "its #capture_id is X"),
        ({"upload_metadata__hashcapture": "x"}, "its #capture is 'x'"),
        ({"upload_metadata__hashsite": ""}, "has no #site"),
        ({"upload_metadata__license": "other"}, "has the license 'other'"),
    ],
)
def test_broken_entries_name_the_capture(files: SeasonFiles, changes: dict[str, Any], message: str) -> None:
    manifest = broken(files, **changes)
    with pytest.raises(InputError, match=message) as caught:
        bring_in(files, manifest)
    assert "entry 4" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files.query("SELECT count(*) FROM season") == [(0,)]


def test_names_and_files_that_do_not_say_enough(files: SeasonFiles) -> None:
    manifest = legacy_manifest(files)
    with pytest.raises(UsageError, match="--manifest-id and --batch"):
        bring_in(files, manifest, "m.json")
    with pytest.raises(InputError, match="relative"):
        bring_in(files, manifest, images_root=None)
    with pytest.raises(InputError, match="not readable as JSON"):
        bring_in(files, legacy_text(manifest)[:-50])
    done = files.run("import", "manifest", "nowhere__complete__manifest.json")
    assert done.returncode == 1
    assert "no such file" in done.stderr


def test_the_command_line(files: SeasonFiles) -> None:
    manifest = legacy_manifest(files)
    key = next(iter(manifest))
    manifest[key] = uploaded(manifest[key], "901")
    file = put(files, manifest)
    done = files.run("import", "manifest", str(file), "--images-root", str(files.root))
    assert done.returncode == 0, done.stderr
    assert "6 captures, 6 new" in done.stdout
    assert "ctstate adopt" in done.stdout
    done = files.run("export", "manifest", "--output-dir", str(files.folder))
    assert done.returncode == 0, done.stderr
    assert "TST_S1__complete__manifest.json: 6 captures" in done.stdout
