"""All that reads what others wrote: each target takes bytes, and may raise CtstateError and nothing else."""

import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from ctstate.cluster import partitions, pbs, slurm
from ctstate.errors import CtstateError
from ctstate.formats.camtrap_dp import CamtrapDp, Package
from ctstate.formats.captures_csv import CapturesCsv
from ctstate.formats.id_lists import read_listed
from ctstate.formats.legacy_manifest import LegacyManifest, parse_name
from ctstate.formats.predictions.detect import FORMATS, reader_of
from ctstate.formats.tracker_file import read_tracker
from ctstate.images import ImageOptions, encode_image
from ctstate.ledger import Ledger
from ctstate.ledger.read_only_sql import captures_where
from ctstate.sandbox.server import read_plan
from ctstate.zooniverse.credentials import read_credentials
from ctstate.zooniverse.endpoint import checked
from ctstate.zooniverse.rows import KIND, read_row
from ctstate.zooniverse.subject import read_mark
from tests.cli import test_bad_files as bad
from tests.pbs import answers

Target = Callable[[bytes], object]


class Ground:
    """Where the files are written that are read.

    Attributes:
        targets: by name: what reads, and valid files to begin with.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.targets: dict[str, tuple[Target, list[bytes]]] = {}
        package = folder / "package"
        package.mkdir()
        bad.package()(package)
        (folder / "a.jpg").write_bytes(b"\xff\xd8\xff\xd9")
        self._ledger = Ledger.open(folder / "ledger.db", create=True)
        self._add()

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    @staticmethod
    def _restarts(text: str) -> object:
        return slurm.Slurm().job_of({"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": text})

    def _file(self, data: bytes, name: str = "input") -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def _add(self) -> None:
        csvs = [bad.row().encode(), (bad.HEADER + bad.GOOD).encode(), bad.row(site="Süd", image="2").encode()]
        self._target("captures CSV", lambda data: self._csv(data), csvs)
        self._target("captures CSV in another encoding", lambda data: self._csv(data, "cp1252"), csvs)
        predictions = [
            bad.mega(),
            bad.detection(),
            bad.species(prediction=bad.LABEL, prediction_score=0.5),
            bad.detection(classifications=[["1", 0.5]]),
            f"capture_id,animal\n{bad.CAPTURE},0.5\n",
            f"path,label,confidence\n{bad.IMAGE},zebra,0.5\n",
            bad.legacy({"aggregated_pred": {"empty": {"empty": 0.5}}, "predictions_top": {"empty": "x"}}),
            bad.legacy({"predictions_top": {"species": "zebra"}, "confidences_top": {"species": "0.9"}}),
            json.dumps([{"file": bad.IMAGE, "detections": [{"category": "animal", "confidence": 1}]}]),
        ]
        seeds = [text.encode() for text in predictions]  # fmt: skip
        self._target("predictions", lambda data: self._predictions(data, None), seeds)
        for format in FORMATS:
            self._target(f"predictions, {format}", lambda data, f=format: self._predictions(data, f), seeds)
        self._target("legacy manifest", self._manifest, [bad.old().encode(), bad.old(note="x").encode()])
        self._target(
            "tracker file",
            lambda data: list(read_tracker(self._file(data))),
            [f"unique_id,subject_id\n{bad.CAPTURE},5\n".encode()],
        )
        lists = [b"X#1\nY#2\n", b"capture_id,path\na,b\n", b'["a", {"capture_id": "b"}]', b"subject_id\n5\n"]
        for subjects in (False, True):
            self._target(
                f"list, subjects: {subjects}",
                lambda data, s=subjects: list(read_listed(self._file(data), subjects=s)),
                lists,
            )
        self._target("datapackage.json", self._package, [json.dumps(bad.PACKAGE).encode()])
        for name, text in bad.TABLES.items():
            self._target(f"Camtrap DP: {name}", lambda data, n=name: self._table(n, data), [text.encode()])
        self._target(
            "password file",
            lambda data: read_credentials(self._file(data)),
            [b"[zooniverse]\nusername = a\npassword = b%c\n"],
        )
        self._target(
            "fault plan",
            lambda data: read_plan(self._file(data)),
            [b'{"rules": [{"route": "me", "kind": "cut"}]}', b"{}"],
        )
        conditions = [b"machine_person > 0.5", b"site = 'B04' AND (roll = '1' OR 1)", b"\"site\" LIKE '%'"]
        self._target("--where", lambda data: list(captures_where(self._ledger, data.decode("latin-1"))), conditions)
        self._target(
            "endpoint",
            lambda data: checked(data.decode("latin-1")),
            [b"https://www.zooniverse.org", b"http://[::1]:80/x"],
        )
        rows = [
            json.dumps(value).encode()
            for value in (
                {
                    "id": "1",
                    "links": {"project": "1", "subject_sets": ["5"]},
                    "metadata": {"a": 1},
                    "locations": [{"image/jpeg": "https://a/b"}],
                    "external_id": "ctstate:0123456789ab:1:1",
                },
                {"id": "1", "login": "a", "subject_limit": 5},
                {"links": {"owner": {"id": "1"}}, "roles": ["owner"]},
            )
        ]
        self._target("replies", self._reply, rows)
        for name, reader, printed in (
            ("squeue", slurm.parsed, "17|3|PENDING|Priority\n18|N/A|RUNNING|None\n"),
            ("scontrol", partitions.parsed, "PartitionName=short Default=NO MaxTime=1-00:10:00 State=UP\n"),
            ("qstat", pbs.parsed, answers.out("two of five at work")),
            ("PBS_JOBID", lambda text: pbs.Pbs().job_of({"PBS_JOBID": text}), "17[3].pbs01"),
            ("SLURM_RESTART_COUNT", self._restarts, "1"),
        ):
            self._target(name, lambda data, read=reader: read(data.decode("latin-1")), [printed.encode()])
        self._target(
            "names of manifests",
            lambda data: parse_name(data.decode("latin-1").replace("\0", "")),
            [b"WLD_S6__batch_1__manifest.json"],
        )
        for kind in ("JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"):
            made = io.BytesIO()
            Image.new("RGB", (24, 16), "#a05020").save(made, kind)
            for compress in (True, False):
                self._target(
                    f"{kind}, compressed: {compress}",
                    lambda data, c=compress: encode_image(self._file(data), ImageOptions(compress=c)),
                    [made.getvalue()],
                )

    def _target(self, name: str, target: Target, seeds: list[bytes]) -> None:
        self.targets[name] = (target, seeds)

    def _csv(self, data: bytes, encoding: str = "utf-8-sig") -> None:
        reader = CapturesCsv(self._file(data), str(self.folder), encoding=encoding)
        for images in reader.chunks():
            json.dumps(images)

    def _predictions(self, data: bytes, format: str | None) -> None:
        reader = reader_of(self._file(data), format=format)
        for entry in reader.entries():
            if entry.payload is not None:
                combined = reader.combine([json.loads(json.dumps(entry.payload))] * 2)
                json.dumps(dict(combined.metadata))
        json.dumps(reader.facts().settings, default=str)

    def _manifest(self, data: bytes) -> None:
        for part in LegacyManifest(self._file(data, bad.OLD), str(self.folder)).parts():
            json.dumps(part.images)

    def _package(self, data: bytes) -> None:
        folder = self.folder / "package"
        (folder / "datapackage.json").write_bytes(data)
        self._read_package(folder)

    def _table(self, name: str, data: bytes) -> None:
        folder = self.folder / "package"
        bad.package()(folder)
        (folder / f"{name}.csv").write_bytes(data)
        self._read_package(folder)

    def _read_package(self, folder: Path) -> None:
        reader = CamtrapDp(Package.open(folder), "N_S2", str(folder), 120.0)
        for images in reader.chunks():
            json.dumps(images)

    def _reply(self, data: bytes) -> None:
        try:
            value: Any = json.loads(data)
        except (ValueError, RecursionError):
            return
        for row in KIND:
            try:
                made: Any = read_row(row, value, "GET /x")
                read_mark(getattr(made, "external_id", None))
            except CtstateError:
                continue


@contextmanager
def ground() -> Iterator[Ground]:
    """Make a ground in a folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="ctstate-fuzz-") as folder:
        made = Ground(Path(folder))
        try:
            yield made
        finally:
            made.close()


def tell(target: Target, data: bytes) -> CtstateError | None:
    """Give a target some bytes; return its complaint. Whatever else it raises is a bug."""
    try:
        target(data)
    except CtstateError as error:
        return error
    return None


def only(targets: Mapping[str, Any], words: str) -> list[str]:
    """Return the names of the targets with these words in them."""
    return [name for name in targets if words in name]
