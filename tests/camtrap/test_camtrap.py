"""Camtrap DP packages: which media become one capture, and what is left out."""

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ctstate.errors import InputError, UsageError
from ctstate.formats.camtrap_dp import instant
from ctstate.ledger import Ledger
from ctstate.verbs.manifest import ManifestReport, Times, load_camtrap
from tests.builders.command_line import called

DEPLOYMENTS = [
    {"deploymentID": "d1", "locationID": "L1", "locationName": "Ñandú #2"},
    {"deploymentID": "d2", "locationID": "L2", "locationName": "NA"},
    {"deploymentID": "d3", "locationID": "", "locationName": ""},
]


def medium(key: str, deployment: str, at: str, **more: str) -> dict[str, str]:
    return {
        "mediaID": key,
        "deploymentID": deployment,
        "captureMethod": "activityDetection",
        "timestamp": f"2020-03-24T{at}" if "T" not in at else at,
        "filePath": f"media/{deployment}/{key}.JPG",
        "filePublic": "true",
        "fileName": f"{key}.JPG",
        "fileMediatype": "image/jpeg",
        **more,
    }


def observed(deployment: str, level: str, **more: str) -> dict[str, str]:
    row = {
        "observationID": "o",
        "deploymentID": deployment,
        "mediaID": "",
        "eventID": "",
        "eventStart": "",
        "eventEnd": "",
    }
    return {**row, "observationLevel": level, **more}


class Package:
    """A Camtrap DP in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.deployments = [dict(row) for row in DEPLOYMENTS]
        self.media: list[dict[str, str]] = []
        self.observations: list[dict[str, str]] = []
        self.descriptor: dict[str, Any] = {
            "name": "mica-2020",
            "profile": "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.1/camtrap-dp-profile.json",
            "resources": [
                {"name": name, "path": f"{name}.csv"} for name in ("deployments", "media", "observations")
            ],
        }

    def write(self, *, images: bool = True, packed: bool = False, bom: bool = False) -> Path:
        empty = [observed("d3", "media")]
        tables = {"deployments": self.deployments, "media": self.media, "observations": self.observations or empty}
        for name, rows in tables.items():
            if packed:
                self.resource(name)["path"] = f"{name}.csv.gz"
            file = self.folder / f"{name}.csv{'.gz' if packed else ''}"
            opened: Any = gzip.open if packed else open
            with opened(file, "wt", encoding="utf-8-sig" if bom else "utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, list(rows[0]) if rows else ["mediaID"])
                writer.writeheader()
                writer.writerows(rows)
        for row in self.media if images else ():
            if row["filePath"].startswith("media/"):
                place = self.folder / row["filePath"]
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(b"x")
        file = self.folder / "datapackage.json"
        file.write_text(json.dumps(self.descriptor), encoding="utf-8-sig" if bom else "utf-8")
        return file

    def resource(self, name: str) -> dict[str, Any]:
        return next(r for r in self.descriptor["resources"] if r["name"] == name)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    def load(self, source: Path | None = None, **options: Any) -> ManifestReport:
        arguments: dict[str, Any] = {"attribution": "A", "license": "L", "manifest_id": "S", **options}
        with Ledger.open(self.ledger, create=True) as ledger:
            return load_camtrap(ledger, source or self.folder, **arguments)

    def captures(self) -> list[tuple[str, str, list[str]]]:
        """(capture id, rule, names of its images)"""
        with Ledger.open(self.ledger) as ledger, ledger.read() as connection:
            rows = connection.exec_driver_sql(
                "SELECT c.capture_id, c.rule, i.path FROM capture c JOIN image i ON i.capture_id = c.id"
                " ORDER BY c.id, i.rank"
            ).all()
        found: dict[str, tuple[str, str, list[str]]] = {}
        for capture_id, rule, path in rows:
            found.setdefault(capture_id, (capture_id, rule, []))[2].append(path.rpartition("/")[2][:-4])
        return list(found.values())

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with Ledger.open(self.ledger) as ledger, ledger.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path)


def test_the_rules_in_their_order(package: Package) -> None:
    package.media = [
        medium("a2", "d1", "10:00:05Z"),
        medium("a1", "d1", "10:00:00Z"),
        medium("b1", "d1", "10:00:06Z"),  # an event of its own, though only a second later
        medium("c1", "d1", "11:00:00Z"),
        medium("c2", "d1", "11:59:00Z"),  # within the event's interval
        medium("g1", "d1", "13:00:00Z"),
        medium("g2", "d1", "13:02:00Z"),  # 120 s: still within the gap
        medium("g3", "d1", "13:04:00.5Z"),  # more than 120 s
        medium("t1", "d1", "14:00:00Z", captureMethod="timeLapse"),
        medium("t2", "d1", "14:00:10Z", captureMethod="timeLapse"),
    ]
    package.observations = [
        observed("d1", "media", mediaID="a1", eventID="e1"),
        observed("d1", "media", mediaID="a2", eventID="e1"),
        observed("d1", "media", mediaID="b1", eventID="e2"),
        # The same instants in another offset; also holds a1, whose own event comes first.
        observed(
            "d1", "event", eventID="e9", eventStart="2020-03-24T13:00:00+02:00", eventEnd="2020-03-24T14:00:00+0200"
        ),
        observed("d1", "event", eventID="e8", eventStart="2020-03-24T00:00:00Z", eventEnd="2020-03-24T12:00:00Z"),
        observed("d2", "event", eventID="e7", eventStart="2020-03-24T00:00:00Z", eventEnd="2020-03-25T00:00:00Z"),
    ]
    package.write()
    report = package.load()
    assert package.captures() == [
        ("S#Ñandú #2#d1#1", "eventID", ["a1", "a2"]),
        ("S#Ñandú #2#d1#2", "eventID", ["b1"]),
        ("S#Ñandú #2#d1#3", "event interval", ["c1", "c2"]),
        ("S#Ñandú #2#d1#4", "gap 120 s", ["g1", "g2"]),
        ("S#Ñandú #2#d1#5", "gap 120 s", ["g3"]),
        ("S#Ñandú #2#d1#6", "time lapse", ["t1"]),
        ("S#Ñandú #2#d1#7", "time lapse", ["t2"]),
    ]
    assert report.rules == {"eventID": 2, "event interval": 1, "gap 120 s": 2, "time lapse": 2}
    assert package.query("SELECT metadata FROM capture WHERE rule = 'event interval'") == [('{"#eventID": "e9"}',)]
    before = package.query("SELECT * FROM capture"), package.query("SELECT * FROM run")
    assert not package.load().changed
    assert (package.query("SELECT * FROM capture"), package.query("SELECT * FROM run")) == before


def test_the_gap_is_the_users(package: Package) -> None:
    package.media = [medium("a", "d2", "10:00:00Z"), medium("b", "d2", "10:00:01Z"), medium("c", "d3", "10:00:01Z")]
    package.write()
    package.load(gap_seconds=0.5)
    assert [(key, names) for key, _, names in package.captures()] == [
        ("S#L2#d2#1", ["a"]),
        ("S#L2#d2#2", ["b"]),
        ("S#d3#d3#1", ["c"]),
    ]
    with pytest.raises(UsageError, match="--gap-seconds"):
        package.load(gap_seconds=-1)


def test_what_is_left_out_and_why(package: Package) -> None:
    package.media = [
        medium("a", "d1", "10:00:00Z"),
        medium("b", "d1", "10:00:01Z", filePublic="false"),
        medium("c", "d1", "10:00:02Z", filePublic=""),
        medium("d", "d1", "10:00:03Z", fileMediatype="video/mp4"),
        medium("e", "d1", "10:00:04Z", filePath="https://example.org/e.JPG"),
        medium("f", "d1", "10:00:05Z"),
        medium("g", "d1", "10:00:06Z"),
    ]
    package.write()
    (package.folder / "media/d1/f.JPG").unlink()
    (package.folder / "media/d1/g.JPG").write_bytes(b"")
    report = package.load()
    assert (report.images_usable, report.images_excluded, report.images_missing, report.images_empty) == (
        1,
        3,
        2,
        1,
    )
    assert package.query(
        "SELECT path, problem, problem_reason FROM image WHERE problem = 'excluded' ORDER BY rank"
    ) == [
        ("media/d1/b.JPG", "excluded", "filePublic is false"),
        ("media/d1/c.JPG", "excluded", "filePublic is missing"),
        ("media/d1/d.JPG", "excluded", "fileMediatype is video/mp4"),
    ]


@pytest.mark.parametrize("style", ["packed", "bom", "file", "url", "delimiter"])
def test_ways_to_write_a_package(package: Package, style: str) -> None:
    package.media = [medium("a", "d1", "10:00:00Z")]
    file = package.write(packed=style == "packed", bom=style == "bom")
    if style == "url":
        package.resource("media")["path"] = "https://example.org/data/media.csv"
    if style == "delimiter":
        package.resource("media")["dialect"] = {"delimiter": ";"}
        text = (package.folder / "media.csv").read_text("utf-8").replace(",", ";")
        (package.folder / "media.csv").write_text(text, "utf-8")
    file.write_text(json.dumps(package.descriptor), "utf-8")
    report = package.load(file if style == "file" else None, manifest_id=None)
    assert (report.season, report.captures_new) == ("mica-2020", 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timestamp": "2020-03-24T10:00:00"}, "row 3: .* with an offset"),
        ({"timestamp": ""}, "row 3: .* with an offset"),
        ({"deploymentID": "d9"}, "row 3: the deployment 'd9' of medium b is not in deployments"),
        ({"mediaID": "a"}, "row 3: mediaID a occurs twice"),
        ({"mediaID": "NaN"}, "row 3: no mediaID"),
        ({"filePath": "../b.JPG"}, "row 3: the filePath"),
        ({"filePath": "/b.JPG"}, "row 3: the filePath"),
        ({"filePath": "~/b.JPG"}, "row 3: the filePath"),
        ({"filePath": ""}, "row 3: medium b has no filePath"),
        ({"filePublic": "maybe"}, "row 3: filePublic is 'maybe'"),
    ],
)
def test_broken_media_are_named(package: Package, changes: dict[str, str], message: str) -> None:
    package.media = [medium("a", "d1", "10:00:00Z"), {**medium("b", "d1", "10:00:01Z"), **changes}]
    package.write()
    with pytest.raises(InputError, match=message) as caught:
        package.load()
    assert str(package.folder / "media.csv") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert package.query("SELECT count(*) FROM season") == [(0,)]


def test_a_link_out_of_the_package_is_refused(package: Package, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "x.JPG"
    outside.write_bytes(b"x")
    package.media = [medium("a", "d1", "10:00:00Z")]
    package.write()
    (package.folder / "media/d1/a.JPG").unlink()
    (package.folder / "media/d1/a.JPG").symlink_to(outside)
    with pytest.raises(InputError, match="leads out of --images-root"):
        package.load()


def test_packages_that_are_none(package: Package) -> None:
    package.media = [medium("a", "d1", "10:00:00Z")]
    file = package.write()
    good = json.dumps(package.descriptor)
    for content, message in (
        ("{", "not readable as JSON"),
        ("[]", "no resources"),
        (good.replace("camtrap-dp/1.0.1", "camtrap-dp/0.6"), "not that of Camtrap DP 1.0"),
        (good.replace('"observations"', '"others"'), "no resource 'observations'"),
        (good.replace('"media.csv"', '"nowhere.csv"'), "no such file"),
        (good.replace('"media.csv"', '"deployments.csv"'), "no column mediaID"),
        (good.replace('"media.csv"', '"https://example.org/m.csv"'), "download it"),
    ):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=message) as caught:
            package.load()
        assert "\n" not in str(caught.value)
    file.write_text(good.replace('"mica-2020"', "null"), encoding="utf-8")
    with pytest.raises(UsageError, match="--manifest-id"):
        package.load(manifest_id=None)


def test_instants() -> None:
    assert instant("2020-03-24T11:21:46Z") == instant("2020-03-24T13:21:46+02:00") == 1585048906000000
    assert instant("2020-03-24 11:21:46.1234567Z") - instant("2020-03-24T11:21Z") == 46_123_456
    for bad in ("2020-03-24", "2020-13-24T11:21:46Z", "yesterday"):
        with pytest.raises(ValueError):
            instant(bad)


def test_the_command_line(package: Package) -> None:
    package.media = [medium("a", "d1", "10:00:00Z")]
    call = ("--ledger", str(package.ledger), "manifest", str(package.write()), "--format", "camtrap-dp")
    done = called(*call, "--attribution", "A", "--license", "L", environment=os.environ)
    assert done.returncode == 0, done.stderr
    assert "Season mica-2020: 1 new capture" in done.stdout
    assert "1 capture by the rule: gap 120 s." in done.stdout


def test_times_and_deployments_are_kept(package: Package) -> None:
    package.media = [medium("a", "d1", "2020-03-24T23:30:00+02:00"), medium("b", "d1", "2020-03-24T22:30:00Z")]
    for one, camera in zip(package.deployments, ("cam 1", "", "NA"), strict=True):
        one.update(deploymentStart="2020-03-01T00:00:00Z", deploymentEnd="2020-04-01T00:00:00Z", latitude="51.5")
        one.update(longitude="4.8", cameraID=camera)
    package.write()
    package.load()
    assert package.query("SELECT taken_at FROM image ORDER BY id") == [
        ("2020-03-24T23:30:00",),
        ("2020-03-24T22:30:00",),
    ]
    assert package.query("SELECT site, roll, starts_at, latitude, camera FROM deployment ORDER BY id") == [
        ("Ñandú #2", "d1", "2020-03-01T00:00:00", 51.5, "cam 1"),
        ("L2", "d2", "2020-03-01T00:00:00", 51.5, None),
        ("d3", "d3", "2020-03-01T00:00:00", 51.5, None),
    ]


def test_in_a_stated_zone_all_times_are_told_in_it(package: Package) -> None:
    package.media = [medium("a", "d1", "2020-03-24T23:30:00+02:00"), medium("b", "d1", "2020-03-24T22:30:00Z")]
    package.write()
    package.load(times=Times(zone="+02:00"))
    assert package.query("SELECT taken_at FROM image ORDER BY id") == [
        ("2020-03-24T23:30:00",),
        ("2020-03-25T00:30:00",),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"latitude": "north"}, "row 3: 'north' is not"), ({"deploymentEnd": "soon"}, "row 3: 'soon' is not a date")],
)
def test_broken_deployments_are_named(package: Package, changes: dict[str, str], message: str) -> None:
    for one in package.deployments:
        one.update(deploymentEnd="", latitude="")
    package.deployments[1].update(changes)
    package.media = [medium("a", "d1", "10:00:00Z")]
    package.write()
    with pytest.raises(InputError, match=message):
        package.load()
