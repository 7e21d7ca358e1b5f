"""Files that are not what they should be, as data: each ends in one line that names it, and nothing changed."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HEADER = "season,site,roll,capture,image,path\n"
GOOD = "TST_S1,B04,1,1,1,TST_S1/B04/B04_R1/IMAG0001_1.JPG\n"
IMAGE = "TST_S1/B04/B04_R1/IMAG0001_1.JPG"
CAPTURE = "TST_S1#B04#1#1"
SECRET = "hunter2"
DEEP = "[" * 3000 + "]" * 3000
DIGITS = "9" * 5000


class Case(NamedTuple):
    """A file, the verb that reads it, and what its complaint must name."""

    name: str
    content: Any  # text, bytes, or what writes a folder's files
    says: str = ""
    verb: tuple[str, ...] = ()
    code: int = 1
    file: str = "input"


def packed(text: str) -> bytes:
    return gzip.compress(text.encode())


# -- captures CSV ----------------------------------------------------------------------------------------------

MANIFEST = ("manifest", "{file}", "--images-root", "{images}", "--attribution", "a", "--license", "l")


def row(**changes: str) -> str:
    cells = {"season": "N_S1", "site": "B04", "roll": "1", "capture": "1", "image": "1", "path": "a.jpg", **changes}
    return HEADER + ",".join(cells.values()) + "\n"


CSVS = [
    Case("empty", "", "the file is empty"),
    Case("one line of nothing", "\n", "no column"),
    Case("header only", HEADER, "no rows"),
    Case("NULs", b"\0" * 100_000, "NUL"),
    Case("a JPEG", b"\xff\xd8\xff\xe0\x10JFIF\x00" * 100, "UTF-8"),
    Case("latin-1", row(site="Süd").encode("latin-1"), "UTF-8"),
    Case("UTF-16", row().encode("utf-16"), "UTF-8"),
    Case("JSON", '{"a": 1}', "no column"),
    Case("an unclosed quote", HEADER + '"N_S1,B04,1,1,1,a.jpg\n', "a quote is not closed"),
    Case("semicolons", row().replace(",", ";"), "commas"),
    Case("a field too many", row(path="a.jpg,b"), "row 2"),
    Case("a field of 17 million letters", HEADER + "N" * (17 << 20), "field"),
    Case("a line of 70 million letters", b"x" * (70 << 20), "line of more than 64 MiB"),
    Case("packed, and cut off", packed(row() * 1000)[:60], "is the file whole"),
    Case("packed, and damaged", packed(row() * 1000)[:40] + b"\xff" * 40, "is the file whole"),
    *(Case(f"{column} is empty", row(**{column: ""}), f"column {column!r} is empty")
      for column in ("season", "site", "roll", "capture")),
    *(Case(f"capture is {value!r}", row(capture=value), "not a whole number")
      for value in ("one", "1.5", "1e3", "²", "1\x1c", "0x1", "1_000", DIGITS, "-", "NaN", "inf")),
    *(Case(f"image is {value!r}", row(image=value), "not a whole number")
      for value in ("one", "1.5", "²", "1\x1c", DIGITS, "")),
    *(Case(f"path is {value!r}", row(path=value), "path")
      for value in ("../a.jpg", "/etc/passwd", "a/../../b.jpg", "", ".", "a/", "..\\a.jpg")),
    Case("a NUL in a path", row(path="a\0.jpg"), "NUL"),
    Case("a folder with a NUL", row(path="b\0c/a.jpg"), "NUL"),
    Case("one capture twice, otherwise", row() + "N_S1,B04,1,1,1,b.jpg\n", "row"),
    Case("two seasons", row() + "M_S1,B04,1,1,1,b.jpg\n", "2 seasons"),
    Case("a season's name with a dot", row(season="N.S1"), "'.'", code=2),
    Case("a season's name of 5,000 letters", row(season="N" * 5000), "characters"),
    Case("all its images are elsewhere", HEADER + "N_S1,B04,1,1,1,z.jpg\n", "not there: 1 of 1 image "),
]  # fmt: skip


# -- Camtrap DP ------------------------------------------------------------------------------------------------

CAMTRAP = (*MANIFEST[:1], "{file}", "--format", "camtrap-dp", "--attribution", "a", "--license", "l")

PACKAGE: dict[str, Any] = {
    "name": "N_S2",
    "profile": "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0/camtrap-dp-profile.json",
    "resources": [{"name": name, "path": f"{name}.csv"} for name in ("deployments", "media", "observations")],
}
TABLES = {
    "deployments": "deploymentID,locationName\nd,B04\n",
    "media": "mediaID,deploymentID,timestamp,filePath,filePublic,fileMediatype\n"
    "m,d,2020-03-24T11:21:46Z,a.jpg,true,image/jpeg\n",
    "observations": "observationID,deploymentID,mediaID,eventID,eventStart,eventEnd,observationLevel\n"
    "o,d,m,e,2020-03-24T11:21:46Z,2020-03-24T11:21:46Z,event\n",
}


def package(content: Any = None, **tables: str | bytes) -> Callable[[Path], None]:
    """Write a package into a folder, with other content of some of its files."""

    def write(folder: Path) -> None:
        (folder / "a.jpg").write_bytes(b"\xff\xd8\xff\xd9")
        for name, text in {**TABLES, **tables}.items():
            (folder / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        said = PACKAGE if content is None else content
        (folder / "datapackage.json").write_text(said if isinstance(said, str) else json.dumps(said))

    return write


def resource(**changes: Any) -> dict[str, Any]:
    """The package with another resource for its media."""
    media = {"name": "media", "path": "media.csv", **changes}
    return {**PACKAGE, "resources": [PACKAGE["resources"][0], media, PACKAGE["resources"][2]]}


def medium(**changes: str) -> str:
    cells = {"mediaID": "m", "deploymentID": "d", "timestamp": "2020-03-24T11:21:46Z", "filePath": "a.jpg",
             "filePublic": "true", "fileMediatype": "image/jpeg", **changes}  # fmt: skip
    return ",".join(cells) + "\n" + ",".join(cells.values()) + "\n"


PACKAGES = [
    Case("no JSON", package("{"), "datapackage.json"),
    Case("nested deeply", package(DEEP), "datapackage.json"),  # newer Pythons read it, and find no resources
    *(Case(f"a package that is {value!r}", package(value), "no data package")
      for value in ("5", "null", "[]", '"text"', "{}", '{"resources": 5}', '{"resources": null}')),
    Case("another profile", package({**PACKAGE, "profile": "nonsense"}), "profile"),
    Case("version 2", package({**PACKAGE, "profile": "camtrap-dp/2.0"}), "profile"),
    Case("no media", package({**PACKAGE, "resources": PACKAGE["resources"][:1]}), "no resource 'media'"),
    *(Case(f"a path {value!r}", package(resource(path=value)), "media")
      for value in (5, None, "", [], ["a", "b"], "../secret.ini", "/etc/passwd", "x/../../secret.ini", "a\0.csv",
                    "https://example.org/media/elsewhere.csv")),
    *(Case(f"a delimiter {value!r}", package(resource(dialect={"delimiter": value})), "delimiter")
      for value in ("", ";;", 5, None, "\n", "\0")),
    *(Case(f"an encoding {value!r}", package(resource(encoding=value)), "media.csv")
      for value in ("klingon", "hex", "rot13", "\0", 5)),
    Case("a table with a NUL", package(media="a\0,b\n1,2\n"), "media.csv"),
    Case("a table that is empty", package(media=""), "no column"),
    Case("a table of one column", package(deployments="a\n1\n"), "no column deploymentID"),
    Case("a deployment twice", package(deployments="deploymentID\nd\nd\n"), "row 3"),
    Case("a deployment without a name", package(deployments="deploymentID,a\n,1\n"), "row 2"),
    Case("a table in latin-1", package(media=medium(filePath="Süd.jpg").encode("latin-1")), "media.csv"),
    *(Case(f"a medium with {key} {value!r}", package(media=medium(**{key: value})), "row 2")
      for key, value in (("mediaID", ""), ("deploymentID", "x"), ("timestamp", "yesterday"), ("timestamp", ""),
                         ("timestamp", "2020-13-24T11:21:46Z"), ("timestamp", "2020-03-24T11:21:46"),
                         ("filePath", ""), ("filePath", "../a.jpg"),
                         ("filePath", "/a.jpg"), ("filePublic", "maybe"))),
    Case("an event at no time", package(observations=TABLES["observations"].replace("46Z", "xxZ")), "row 2"),
    *(Case(f"a gap of {value} seconds", package(), "--gap-seconds", (*CAMTRAP, "--gap-seconds", value), 2)
      for value in ("inf", "nan", "-1", "1e300")),
]  # fmt: skip


# -- predictions -----------------------------------------------------------------------------------------------


def mega(image: Any = None, **changes: Any) -> str:
    image = {"file": IMAGE, "detections": []} if image is None else image
    return json.dumps({"images": [image], "detection_categories": {"1": "animal"}, "info": {}, **changes})


def detection(**changes: Any) -> str:
    return mega({"file": IMAGE, "detections": [{"category": "1", "conf": 0.5, "bbox": [], **changes}]})


def species(**changes: Any) -> str:
    return json.dumps({"predictions": [{"filepath": IMAGE, **changes}]})


def legacy(entry: Any) -> str:
    return json.dumps({CAPTURE: entry})


LABEL = "a;b;c;d;e;f;zebra"
PREDICTIONS = [
    Case("empty", "", "empty"),
    Case("no JSON", "{", "JSON"),
    Case("half of it", mega()[:-20], "JSON"),
    Case("nested deeply", DEEP, "JSON list"),
    Case("an image that is nested deeply", mega({"file": IMAGE, "detections": []}).replace("[]", DEEP), "nested"),
    Case("nested deeply in its head", '{"info": ' + DEEP + ', "images": []}', "detection_categories"),
    Case("nested deeply in an object", '{"info": {"a":' + DEEP + '}, "images": []}', "nested"),
    Case("a text of 20 million letters", '{"images": [{"file": "' + "x" * (20 << 20) + '"}]}', "4 MiB"),
    Case("a number of 20 million digits", '{"images": [' + "1" * (20 << 20) + "]}", "4 MiB"),
    Case("a text of 20 million quotes", '{"images": ["' + '\\"' * (20 << 20) + '"]}', "4 MiB"),
    Case("NULs", b"\0" * 5000, "neither JSON nor a CSV"),
    Case("packed, and cut off", packed(mega())[:30], "is the file whole"),
    Case("packed, and damaged", packed(mega() * 50)[:40] + b"\xff" * 40, "is the file whole"),
    Case("no UTF-8", b'{"images": [{"file": "\xff\xfe"}], "detection_categories": {}}', "JSON"),
    Case("a lone surrogate", '{"images": [{"file": "\\ud800"}], "detection_categories": {}, "info": {}}', ""),
    *(Case(f"a file that is {text}", text, "predictions") for text in ("{}", '{"a": 5}', '{"a": {"b": 1}}')),
    *(Case(f"a list of {text}", text, "JSON list") for text in ("[5]", '[{"a": 1}]', "[[]]", '["a"]')),
    Case("a list of nothing", "[null]", "entry 1"),
    Case("images that are null", '{"images": null, "detection_categories": {"1": "animal"}}', "predictions"),
    Case("images that are null, by name", '{"images": null, "detection_categories": {}}', "no list 'images'",
         ("predict", "{file}", "--format", "megadetector")),
    Case("predictions that are null, by name", '{"predictions": null}', "no list 'predictions'",
         ("predict", "{file}", "--format", "speciesnet")),
    Case("images and predictions", '{"images": [], "predictions": []}', "both"),
    Case("SpeciesNet's input", '{"instances": []}', "input"),
    Case("no categories", json.dumps({"images": [], "info": {}}), "detection_categories"),
    *(Case(f"categories that are {value!r}", mega(detection_categories=value), "detection_categories")
      for value in ("text", 5, None, ["animal"])),
    *(Case(f"info that is {value!r}", mega(info=value), "input") for value in ("text", 5)),
    Case("version 2", mega(info={"format_version": "2.0"}), "2.0"),
    *(Case(f"an image that is {value!r}", mega(value), "image 1")
      for value in (5, "text", [1], {"detections": []}, {"file": None}, {"file": ""}, {"file": 5})),
    *(Case(f"detections that are {value!r}", mega({"file": IMAGE, "detections": value}), "image 1")
      for value in (5, "text", {}, None, [5], [None], [[]])),
    *(Case(f"a confidence of {value!r}", detection(conf=value), "image 1")
      for value in ("0.5", None, True, -1, 1.5, [], 10**15)),
    *(Case(f"a confidence of {value!r}", detection(conf=value), "JSON") for value in (float("nan"), 10**30)),
    *(Case(f"a category of {value!r}", detection(category=value), "image 1") for value in ("9", None, [], {}, 9)),
    *(Case(f"classifications that are {value!r}", detection(classifications=value), "image 1")
      for value in (5, "text", {"a": 1}, [5], [[1]], [["1", "x"]], [["1", 2]], [None])),
    Case("a failure and detections", mega({"file": IMAGE, "failure": "x", "detections": [{}]}), "image 1"),
    Case("no image of the ledger", mega({"file": "D:/x.jpg", "detections": []}), "of its 1 entry, none"),
    *(Case(f"SpeciesNet: {value!r}", json.dumps({"predictions": [value]}), "prediction 1")
      for value in (5, None, [], {}, {"filepath": 5})),
    *(Case(f"SpeciesNet with {more!r}", species(**more), "prediction 1")
      for more in ({"detections": 1.5}, {"detections": "x"}, {"detections": [5]},
                   {"detections": [{"category": "9"}]},
                   {"prediction": 5}, {"prediction": "zebra"}, {"prediction": LABEL},
                   {"prediction": LABEL, "prediction_score": "high"}, {"classifications": 5},
                   {"classifications": {"classes": []}}, {"classifications": {"classes": ["a"], "scores": [1]}})),
    *(Case(f"a legacy entry {value!r}", legacy(value), "input")
      for value in ({"aggregated_pred": 5}, {"aggregated_pred": {"empty": 5}},
                    {"predictions_top": {"species": "x"}},
                    {"aggregated_pred": {"is_blank": {"1": 0.5}}, "predictions_top": {"is_blank": "7"}})),
    Case("a legacy file by name", legacy(5), CAPTURE, ("predict", "--format", "legacy-empty", "{file}")),
    Case("a CSV without a key", "animal,person\n0,1\n", "row 1"),
    Case("a CSV without a label", "capture_id,note\na,b\n", "row 1"),
    Case("a CSV in latin-1", "capture_id,animal\nSüd,1\n".encode("latin-1"), "UTF-8"),
    Case("a CSV in latin-1, later", b"capture_id,animal\n" + b"a,1\n" * 90_000 + b"S\xfcd,1\n", "UTF-8"),
    Case("a CSV that names nothing", "capture_id,animal\n,1\n", "row 2"),
    *(Case(f"a CSV with a confidence of {value!r}", f"capture_id,animal\n{CAPTURE},{value}\n", "row 2")
      for value in ("high", "1.5", "-0.1", "inf", "1,2", "0x1", "50%")),
    Case("a CSV with a field of 140,000 letters", f"capture_id,animal\n{'x' * 140_000},1\n", "CSV"),
    Case("a long CSV without labels", f"capture_id,label,confidence\n{CAPTURE},,1\n", "row 2"),
    Case("no capture of the ledger", "capture_id,animal\nX#1,1\n", "of its 1 entry, none"),
]  # fmt: skip


# -- files of the old scripts ----------------------------------------------------------------------------------

META = {"#capture_id": "N_S3#A#1#1", "#site": "A", "#roll": "1", "#season": "N_S3", "#capture": "1",
        "attribution": "a", "license": "l"}  # fmt: skip
IMPORT = ("import", "manifest", "{file}", "--images-root", "{images}")
OLD = "N_S3__complete__manifest.json"


def old(key: str = "N_S3#A#1#1", images: Any = ("a.jpg",), info: Any = None, **changes: Any) -> str:
    entry = {"upload_metadata": {**META, **changes}, "info": info or {}, "images": images}
    return json.dumps({key: entry})


MANIFESTS = [
    *(Case(f"a manifest that is {text!r}", text, "N_S3", file=OLD)
      for text in ("", "{", "[]", "5", "null", "{}")),
    Case("nested deeply", '{"a": ' + DEEP + "}", "nested", file=OLD),
    Case("metadata that is nested deeply", old(note=[]).replace("[]", DEEP), "nested", file=OLD),
    *(Case(f"an entry that is {value!r}", json.dumps({"N#1": value}), "entry 1", file=OLD)
      for value in (5, None, [], "text", {}, {"upload_metadata": 5}, {"upload_metadata": META, "info": 5})),
    *(Case(f"{key} is {value!r}", old(**{key: value}), "entry 1", file=OLD)
      for key, value in (("#capture_id", "other"), ("#capture", "one"), ("#capture", "²"), ("#capture", DIGITS),
                         ("#site", ""), ("#site", None), ("#roll", [1]), ("license", ""), ("#season", 1.5))),
    *(Case(f"images that are {value!r}", old(images=value), "entry 1", file=OLD)
      for value in (None, [], "a.jpg", [5], [""], [None], {"a": 1}, ["../a.jpg"], ["/etc/passwd"], ["a\0b.jpg"])),
    Case("a name that says nothing", old(), "input", code=2),
]  # fmt: skip

TRACKER = ("import", "tracker", "{file}")
TRACKERS = [
    Case("empty", "", "row 1"),
    Case("another header", "a,b\n1,2\n", "row 1"),
    Case("latin-1", "unique_id,subject_id\nSüd,1\n".encode("latin-1"), "UTF-8"),
    *(Case(f"a subject id of {value!r}", f"unique_id,subject_id\n{CAPTURE},{value}\n", "row 2")
      for value in ("", "none", "-1", "1.5", "²", DIGITS, "1e3")),
]  # fmt: skip

EXCLUDE = ("exclude", "{file}", "--reason", "people")
LISTS = [
    Case("empty", "", "lists no capture"),
    Case("blank lines", "\n \n\n", "lists no capture"),
    Case("nothing of the ledger", "X#1\nY#2\n", "of its 2 entries, none"),
    Case("latin-1", "Süd\n".encode("latin-1"), "UTF-8"),
    Case("half of its JSON", '["a"', "JSON"),
    Case("nested deeply", DEEP, "nested"),
    Case("a device in words", b"\0" * 200_000, ""),
    *(Case(f"a list of {text}", text, "entry 1") for text in ("[null]", "[[]]", "[1.5]", "[{}]", '[{"a": 1}]')),
    Case("an empty JSON list", "[]", "lists no capture"),
    Case("a line of 70 million letters", b"x" * (70 << 20), "64 MiB"),
]  # fmt: skip

ALL = [
    case._replace(verb=case.verb or verb, name=f"{verb[0]}: {case.name[:70]}")
    for verb, cases in (
        (MANIFEST, CSVS), (CAMTRAP, PACKAGES), (("predict", "{file}"), PREDICTIONS), (IMPORT, MANIFESTS),
        (TRACKER, TRACKERS), (EXCLUDE, LISTS),
    )
    for case in cases
]  # fmt: skip


def test_there_are_enough() -> None:
    assert len(ALL) >= 150


@pytest.fixture(scope="module")
def ledger_with_a_season(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ctstate.ledger import Ledger
    from ctstate.verbs.manifest import manifest

    folder = tmp_path_factory.mktemp("season")
    (folder / "c.csv").write_text(HEADER + GOOD)
    with Ledger.open(folder / "ledger.db", create=True) as ledger:
        manifest(ledger, folder / "c.csv", attribution="a", license="l", images_root=folder, allow_missing=True)
    return folder / "ledger.db"


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_one_line_and_nothing_changed(
    case: Case, ledger_with_a_season: Path, ledger_path: Path, tmp_path: Path, call_ctstate: Any, dump: Any
) -> None:
    shutil.copy(ledger_with_a_season, ledger_path)
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    (images / "b.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    (tmp_path / "secret.ini").write_text(f"mediaID,{SECRET}\n")
    file = tmp_path / case.file
    if callable(case.content):
        file.mkdir()
        case.content(file)
    else:
        file.write_bytes(case.content if isinstance(case.content, bytes) else case.content.encode())
    before, there = dump(ledger_path), sorted(tmp_path.rglob("*"))
    result = call_ctstate(*(part.format(file=file, images=images) for part in case.verb))
    line = result.error()
    assert result.code == case.code
    assert case.says in line
    assert case.file in line or case.code == 2
    assert len(line) <= 520
    assert line.isprintable()
    assert SECRET not in line
    assert result.stdout == ""
    assert dump(ledger_path) == before
    assert sorted(tmp_path.rglob("*")) == there


def test_a_first_manifest_that_is_refused_leaves_no_ledger(
    tmp_path: Path, ledger_path: Path, call_ctstate: Any
) -> None:
    (tmp_path / "c.csv").write_text(HEADER + "N_S1,B04,one,1,1,\n")
    call_ctstate("manifest", tmp_path / "c.csv", "--attribution", "a", "--license", "l").error()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.csv"]


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/random"])
@pytest.mark.parametrize(
    "verb",
    [MANIFEST, ("predict", "{file}"), (*IMPORT, "--manifest-id", "N", "--batch", "b"), TRACKER, EXCLUDE],
    ids=lambda v: v[0],
)
def test_a_device_is_no_file(
    device: str, verb: tuple[str, ...], ledger_with_a_season: Path, ledger_path: Path, tmp_path: Path,
    call_ctstate: Any,
) -> None:  # fmt: skip
    shutil.copy(ledger_with_a_season, ledger_path)
    line = call_ctstate(*(part.format(file=device, images=tmp_path) for part in verb)).error()
    assert f"{device}: that is a device" in line
