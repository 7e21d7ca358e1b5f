"""What the end-to-end tests of uploads share: a season on a sandbox, and the invariant after everything."""

import functools
import hashlib
import tempfile
from pathlib import Path
from typing import Any

from ctstate.errors import RequestRefusedError
from ctstate.images import ImageOptions
from ctstate.ledger import Ledger
from ctstate.sandbox import SandboxProcess
from ctstate.verbs.demo import make_season
from ctstate.verbs.demo.invariant import violations
from ctstate.verbs.manifest import manifest
from ctstate.verbs.upload import StopSignal, UploadOptions, UploadReport, upload
from ctstate.zooniverse import Backoff, Credentials, Zooniverse
from tests.builders.ledgers import new_ledger_at

JPEG = bytes.fromhex("ffd8ffd9")
MD5 = hashlib.md5(JPEG).hexdigest()
NAME = "NAME_OF_THE_SEASON"
QUICK = Backoff(first=0.02, most=0.2, give_up=20.0)


@functools.cache
def _files(captures: int) -> dict[str, bytes]:
    """What `make_season` makes, by its path, with `NAME` for the season's name."""
    with tempfile.TemporaryDirectory() as folder:
        make_season(Path(folder), captures, season=NAME, size=(48, 32))
        return {str(at.relative_to(folder)): at.read_bytes() for at in Path(folder).rglob("*") if at.is_file()}


def season_files(folder: Path, captures: int, name: str) -> Path:
    """Make a season of small images, which are drawn once for all seasons of that size; return its captures CSV."""
    for path, content in _files(captures).items():
        place = folder / path.replace(NAME, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if place.suffix == ".JPG" else content.replace(NAME.encode(), name.encode()))
    return folder / "captures.csv"


class Season:
    """A small season in a ledger, and a sandbox to upload it to.

    Attributes:
        folder: holds the images, the captures CSV and the ledger.
        path: of the ledger.
    """

    def __init__(self, folder: Path, zooniverse: SandboxProcess, captures: int, name: str = "DEMO_S1") -> None:
        self.folder, self.z, self.name = folder, zooniverse, name
        self.captures_csv = season_files(folder, captures, name)
        self.path = new_ledger_at(folder / "season.db")
        with Ledger.open(self.path) as ledger:
            manifest(ledger, self.captures_csv, attribution="a", license="l", images_root=folder / "images")

    def connect(self, backoff: Backoff = QUICK, password: str | None = None) -> Zooniverse:
        credentials = Credentials(self.z.login, password or self.z.password)
        return Zooniverse(self.z.url, credentials, backoff=backoff)

    def options(self, **more: Any) -> UploadOptions:
        wanted: dict[str, Any] = {
            "project_id": int(self.z.project_id), "processes": 1, "connections": 2, "settle": 0.3, **more
        }  # fmt: skip
        wanted.setdefault("images", ImageOptions())
        return UploadOptions(**wanted)

    def upload(self, stop: StopSignal | None = None, backoff: Backoff = QUICK, **more: Any) -> UploadReport:
        """Upload in this process, through a ledger opened anew."""
        with Ledger.open(self.path) as ledger:
            return upload(ledger, self.connect(backoff), self.options(**more), stop=stop)

    def check(self, complete: bool = True) -> None:
        """Fail unless the invariant holds."""
        with Ledger.open(self.path) as ledger:
            found = violations(ledger, self.z.state(), complete=complete)
            assert found == [], "\n".join(found)

    def rows(self, sql: str) -> list[Any]:
        """Ask the ledger."""
        with Ledger.open(self.path, read_only=True) as ledger, ledger.read() as connection:
            return list(connection.exec_driver_sql(sql).all())

    def subjects(self) -> list[dict[str, Any]]:
        """The sandbox's active subjects."""
        return [subject for subject in self.z.state()["subjects"] if subject["active"]]


def foreign_subject(
    season: Season, capture_id: str, images: int, link: bool = True, put: bool = True, mark: str | None = None
) -> int:
    """Make a subject as the old scripts would, with no mark of ctstate's on it; or with one."""
    z = season.connect()
    body = {
        "locations": ["image/jpeg"] * images,
        "metadata": {"#capture_id": capture_id},
        "links": {"project": season.z.project_id},
        **({"external_id": mark} if mark is not None else {}),
    }
    reply, _ = z.post("/subjects", json={"subjects": body})
    row = reply["subjects"][0]
    if put:
        for location in row["locations"]:
            z.put_image(location["image/jpeg"], JPEG, "image/jpeg", MD5)
    if link:
        z.link_subjects(int(set_of(season)), [int(row["id"])])
    return int(row["id"])


def mark_of(season: Season, capture_id: str, claim: int = 1) -> str:
    """The mark that this season's ledger puts on a capture's subject."""
    ((ledger_id, key),) = season.rows(
        f"SELECT (SELECT value FROM meta WHERE name = 'ledger_id'), id FROM capture WHERE capture_id = "
        f"'{capture_id}'"
    )
    return f"ctstate:{ledger_id}:{key}:{claim}"


def set_of(season: Season) -> int:
    return int(season.rows("SELECT subject_set_id FROM batch")[0][0])


def delete_set(z: Zooniverse, set_id: int) -> None:
    """Delete a subject set as a colleague would; its ETag changes whenever the server counts its members."""
    for last in (False, False, False, True):
        _, etag = z.get(f"/subject_sets/{set_id}")
        try:
            z.delete(f"/subject_sets/{set_id}", etag=etag)
            return
        except RequestRefusedError as error:
            if error.status != 412 or last:
                raise
