"""What others uploaded is taken in, and a half-uploaded legacy season is finished without one duplicate."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ctstate.errors import LedgerBehindError, NotFoundError, UsageError
from ctstate.ledger import Ledger, Selection
from ctstate.ledger.states import State
from ctstate.verbs.adopt import adopt
from ctstate.verbs.exclude import exclude
from ctstate.verbs.import_ import import_manifest, import_tracker
from ctstate.verbs.manifest import manifest
from tests.builders.ledgers import no_ledger_at
from tests.builders.season_on_sandbox import JPEG, MD5, Season


class Legacy:
    """A season as the old scripts left it: a manifest, a tracker file, and a set half full on Zooniverse."""

    def __init__(self, folder: Path, season: Season, captures: int = 8) -> None:
        self.season, self.folder = season, folder
        self.name = season.name.replace("_S1", "_L1")
        self.z = season.connect()
        self.project = int(season.z.project_id)
        self.set_id = self.z.create_set(self.project, f"{self.name}_complete", {}).id
        (folder / "images").mkdir(parents=True)
        self.records: dict[str, dict[str, Any]] = {}
        for number in range(1, captures + 1):
            capture_id = f"{self.name}#B04#1#{number}"
            images = [f"{self.name}/B04/B04_R1/I{number}_{rank}.JPG" for rank in (1, 2)]
            for path in images:
                place = folder / "images" / path
                place.parent.mkdir(parents=True, exist_ok=True)
                source = next((season.folder / "images").rglob("*.JPG"))
                place.write_bytes(source.read_bytes())
            self.records[capture_id] = {
                "upload_metadata": {
                    "#capture_id": capture_id, "#site": "B04", "#roll": "1", "#season": self.name,
                    "#capture": str(number), "attribution": "a", "license": "l",
                },
                "info": {"uploaded": False},
                "images": images,
            }  # fmt: skip
        self.path = no_ledger_at(folder / "season.db")
        self.tracked: dict[str, int] = {}

    def upload(self, number: int, *, link: bool = True, put: bool = True, track: bool = True, **odd: object) -> int:
        """Upload one capture as the old scripts do; with `odd` values of metadata keys that begin with a hash."""
        capture_id = f"{self.name}#B04#1#{number}"
        record = self.records[capture_id]
        metadata = {
            **record["upload_metadata"],
            "#original_images": record["images"],
            "capture_id_anonymized": hashlib.sha1(capture_id.encode()).hexdigest(),
            **{f"#{key}": value for key, value in odd.items()},
        }
        body = {"locations": ["image/jpeg"] * 2, "metadata": metadata, "links": {"project": str(self.project)}}
        reply, _ = self.z.post("/subjects", json={"subjects": body})
        row = reply["subjects"][0]
        for location in row["locations"] if put else ():
            self.z.put_image(location["image/jpeg"], JPEG, "image/jpeg", MD5)
        if link:
            self.z.link_subjects(self.set_id, [int(row["id"])])
        if track:
            self.tracked[capture_id] = int(row["id"])
        return int(row["id"])

    def files(self) -> tuple[Path, Path]:
        manifest = self.folder / f"{self.name}__complete__manifest.json"
        lines = ",\n".join(json.dumps({k: v})[1:-1] for k, v in self.records.items())
        manifest.write_text("{" + lines + "}")
        tracker = self.folder / f"{self.name}__complete__upload_tracker_file.txt"
        tracker.write_text("unique_id,subject_id\n" + "".join(f"{k},{v}\n" for k, v in self.tracked.items()))
        return manifest, tracker

    def csv(self) -> Path:
        """The season as a cleaned captures CSV."""
        rows = ["season,site,roll,capture,image,path"]
        for number, record in enumerate(self.records.values(), start=1):
            rows += [f"{self.name},B04,1,{number},{rank},{path}" for rank, path in enumerate(record["images"], 1)]
        file = self.folder / "captures.csv"
        file.write_text("\n".join(rows))
        return file

    def active(self) -> Counter[str]:
        """How many active subjects each capture has."""
        return Counter(
            s["metadata"]["#capture_id"]
            for s in self.season.subjects()
            if str(s["metadata"].get("#capture_id")).startswith(self.name)
        )


@pytest.fixture
def legacy(new_season, tmp_path: Path) -> Legacy:
    return Legacy(tmp_path / "legacy", new_season(1))


def finish(legacy: Legacy) -> None:
    """Upload the rest, and make sure that every capture is there exactly once."""
    from ctstate.verbs.upload import upload

    with Ledger.open(legacy.path) as ledger:
        report = upload(ledger, legacy.season.connect(), legacy.season.options(season=legacy.name))
        assert report.counts.failed == 0
        assert ledger.count(Selection(states=[State.UPLOADED])) == len(legacy.records)
    assert legacy.active() == dict.fromkeys(legacy.records, 1)


def test_a_half_uploaded_season_is_finished_without_one_duplicate(legacy: Legacy) -> None:
    for number in (1, 2, 3):
        legacy.upload(number)  # whole, linked, in the tracker file
    legacy.upload(4, track=False)  # linked, but killed before it was written down
    legacy.upload(5, link=False, track=False)  # made, never linked
    legacy.upload(6, put=False)  # its images never arrived, and nobody noticed
    gone = legacy.upload(7)  # deleted later by a colleague: the tracker file is stale
    legacy.z.delete_subject(gone)
    manifest, tracker = legacy.files()
    with Ledger.open(legacy.path, create=True) as ledger:
        import_manifest(ledger, manifest, images_root=str(legacy.folder / "images"))
        import_tracker(ledger, tracker)
        assert ledger.count(Selection(states=[State.UPLOADED])) == 0, "a file's word is not enough"
        report = adopt(ledger, legacy.season.connect(), legacy.project, season_name=legacy.name)
        assert (report.adopted, report.to_finish, report.released) == (4, 2, 1)
        again = adopt(ledger, legacy.season.connect(), legacy.project, season_name=legacy.name)
        assert (again.adopted, again.to_finish, again.released) == (0, 0, 0)
    finish(legacy)


def test_nothing_claimed_is_uploaded_before_it_was_looked_for(legacy: Legacy) -> None:
    legacy.upload(1)
    manifest, tracker = legacy.files()
    from ctstate.verbs.upload import upload

    with Ledger.open(legacy.path, create=True) as ledger:
        import_manifest(ledger, manifest, images_root=str(legacy.folder / "images"))
        import_tracker(ledger, tracker)
        with pytest.raises(LedgerBehindError, match="ctstate adopt"):
            upload(ledger, legacy.season.connect(), legacy.season.options(season=legacy.name))
    assert legacy.active()[f"{legacy.name}#B04#1#1"] == 1
    with Ledger.open(legacy.path) as ledger:
        adopt(ledger, legacy.season.connect(), legacy.project)
    finish(legacy)


def test_from_a_subject_set_alone(legacy: Legacy) -> None:
    for number in range(1, 9):
        legacy.upload(number)
    with Ledger.open(legacy.path, create=True) as ledger:
        report = adopt(
            ledger, legacy.season.connect(), legacy.project, subject_set_id=legacy.set_id,
            images_root=str(legacy.folder / "images"),
        )  # fmt: skip
        assert (report.season, report.batches) == (legacy.name, ["complete"])
        assert (report.captures_new, report.adopted) == (8, 8)
        assert report.left is not None
        assert report.left.findings == []
        row = next(ledger.captures(Selection(capture_ids=[f"{legacy.name}#B04#1#3"])))
        assert (row.site, row.roll, row.capture, row.capture_number) == ("B04", "1", "3", 3)
    finish(legacy)


def test_a_subject_whose_capture_is_a_number_without_end_is_adopted(legacy: Legacy) -> None:
    subject_id = legacy.upload(1, capture="9" * 5000)
    with Ledger.open(legacy.path, create=True) as ledger:
        report = adopt(
            ledger, legacy.season.connect(), legacy.project, subject_set_id=legacy.set_id,
            images_root=str(legacy.folder / "images"),
        )  # fmt: skip
        assert report.adopted == 1
        assert [row.subject_id for row in ledger.captures(Selection())] == [subject_id]


def test_a_set_that_is_only_half_there_lets_a_csv_complete_it(legacy: Legacy) -> None:
    legacy.upload(1)
    legacy.upload(2)
    captures_csv = legacy.csv()
    with Ledger.open(legacy.path, create=True) as ledger:
        adopt(
            ledger, legacy.season.connect(), legacy.project, subject_set_id=legacy.set_id,
            images_root=str(legacy.folder / "images"),
        )  # fmt: skip
        report = manifest(ledger, captures_csv, attribution="a", license="l", images_root=legacy.folder / "images")
        assert (report.captures_new, report.captures_unchanged) == (6, 2)
    finish(legacy)


def test_what_is_excluded_and_there_all_the_same_is_told(legacy: Legacy, call_ctstate: Any) -> None:
    shown = f"{legacy.name}#B04#1#2"
    legacy.upload(1)
    legacy.upload(2)
    with Ledger.open(legacy.path, create=True) as ledger:
        manifest(ledger, legacy.csv(), attribution="a", license="l", images_root=legacy.folder / "images")
        exclude(ledger, reason="people", where=f"capture_id = '{shown}'")
        options = {"subject_set_id": legacy.set_id, "images_root": str(legacy.folder / "images")}
        report = adopt(ledger, legacy.season.connect(), legacy.project, **options)
        assert (report.adopted, report.excluded, report.examples) == (2, 1, [shown])
        row = next(ledger.captures(Selection(capture_ids=[shown])))
        assert (row.state, row.excluded) == (State.UPLOADED, "people")
    z = legacy.season.z
    account = legacy.folder / "passwords.ini"
    account.write_text(f"[zooniverse]\nusername = {z.login}\npassword = {z.password}\n")
    account.chmod(0o600)
    where = ("--ledger", str(legacy.path), "--endpoint", z.url)
    told = call_ctstate(*where, "adopt", "--project-id", str(legacy.project), "--password-file", str(account))
    assert f"1 capture is on Zooniverse though excluded here ({shown})" in told.stderr


def test_what_cannot_be_adopted_is_said_in_a_line(legacy: Legacy) -> None:
    odd = legacy.z.create_set(legacy.project, f"odd name {legacy.name}", {}).id
    with Ledger.open(legacy.path, create=True) as ledger:
        with pytest.raises(NotFoundError, match="no subject set 424242"):
            adopt(ledger, legacy.season.connect(), legacy.project, subject_set_id=424242)
        with pytest.raises(UsageError, match="give --season and --batch"):
            adopt(ledger, legacy.season.connect(), legacy.project, subject_set_id=odd)


def test_the_adopt_of_a_wrong_project_frees_no_claim(legacy: Legacy, sandbox) -> None:
    """The files name subjects; in this project (or on this Zooniverse) there are none of them."""
    for number in (1, 2, 3):
        legacy.upload(number)
    manifest, tracker = legacy.files()
    from tests.builders.season_on_sandbox import Season

    other = Season(legacy.folder / "other", sandbox, 1, "OTHER_S1")
    with Ledger.open(legacy.path, create=True) as ledger:
        import_manifest(ledger, manifest, images_root=str(legacy.folder / "images"))
        import_tracker(ledger, tracker)
        with pytest.raises(UsageError, match=r"of 3 subjects that the files name, project \d+ has 0"):
            adopt(ledger, other.connect(), int(other.z.project_id), season_name=legacy.name)
        assert ledger.count(Selection(states=[State.MANIFESTED, State.BATCHED])) == len(legacy.records)
        with ledger.read() as connection:
            checked = "SELECT count(*) FROM legacy_subject WHERE checked_at IS NOT NULL"
            assert connection.exec_driver_sql(checked).scalar() == 0
