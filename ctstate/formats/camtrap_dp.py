"""Camtrap DP 1.0: a package of tables (`ctstate manifest --format camtrap-dp`).

docs/formats-ml-and-exchange.md, section 4. The standard knows no sequences, so captures come by these rules, medium
by medium; `capture.rule` keeps which one made it:

* `eventID`: media of a deployment whose media-level observations name the same event;
* `event interval`: else media whose time lies within the same event-level observation's eventStart and eventEnd
  (where several hold it, the shortest one);
* `time lapse`: else each medium that was not triggered (captureMethod timeLapse) is a capture of its own;
* `gap N s`: else media of a deployment that follow one another within N seconds (`--gap-seconds`).

How a package becomes a season: the site is the deployment's locationName, else its locationID, else its
deploymentID; the roll is the deploymentID; captures are numbered within their deployment, and images ranked within
their capture, by timestamp and file name. The event's id goes into the subject's metadata as `#eventID`.

Left out with a reason: media that are not public (filePublic false: people, say), that are no images, and that are
URLs. The tables stream into a temporary database of their own: memory is bounded by the largest deployment.
"""

import json
import os
import re
import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ctstate.capture import Deployment, IncomingImage
from ctstate.errors import InputError
from ctstate.formats.deployments import degrees
from ctstate.formats.opening import json_bytes, numbered, text
from ctstate.formats.reader import CaptureReader, Listed, is_below, short
from ctstate.formats.times import as_written, in_zone

GAP_SECONDS = 120

MOST_BYTES = 64 << 20
"""Of a datapackage.json; it only names the tables."""

_MISSING = frozenset({"", "NA", "NaN", "nan"})
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PROFILE = re.compile(r"camtrap-dp/(?P<version>\d+(\.\d+)*)")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_MOMENT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d)(:(?P<seconds>\d\d))?([.,](?P<fraction>\d+))?"
    r"(?P<offset>Z|z|[+-]\d\d:?\d\d)"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_BOUNDS = ("deploymentStart", "deploymentEnd")

EVENT_ID, INTERVAL, TIME_LAPSE = "eventID", "event interval", "time lapse"


class Resource(NamedTuple):
    """A table of a package."""

    file: Path
    delimiter: str
    encoding: str


class Package(NamedTuple):
    """What a datapackage.json says."""

    file: Path
    name: str | None
    resources: Mapping[str, Resource]

    @classmethod
    def open(cls, datapackage: str | os.PathLike[str]) -> "Package":
        """Read the file.

        Raises:
            InputError: it is no Camtrap DP 1.0, or lacks a table.
        """
        file = Path(datapackage)
        if file.is_dir():
            file = file / "datapackage.json"
        with json_bytes(file) as stream:
            content = json.loads(stream.read(MOST_BYTES))
            if _SURROGATE.search(json.dumps(content, ensure_ascii=False)):
                raise ValueError("it holds half of a character")
        if not isinstance(content, dict) or not isinstance(content.get("resources"), list):
            raise InputError(f"{file}: no data package: it has no resources")
        version = _PROFILE.search(str(content.get("profile")))
        if version is None or version["version"].split(".")[0] != "1":
            shown = short(str(content.get("profile")))
            raise InputError(f"{file}: its profile is not that of Camtrap DP 1.0: {shown}")
        found = {r.get("name"): r for r in content["resources"] if isinstance(r, dict)}
        resources = {}
        for name in ("deployments", "media", "observations"):
            if name not in found:
                raise InputError(f"{file}: the package has no resource {name!r}")
            resources[name] = _resource(file, name, found[name])
        title = content.get("name")
        return cls(file, title if isinstance(title, str) and title else None, resources)


def _resource(file: Path, name: str, said: Mapping[str, Any]) -> Resource:
    path = said.get("path")
    if isinstance(path, list) and len(path) == 1:
        path = path[0]
    if not isinstance(path, str) or not path:
        raise InputError(f"{file}: the resource {name!r} has no path to one file")
    if _URL.match(path):
        place = file.parent / os.path.basename(urlsplit(path).path)
        if "\0" in path or not place.is_file():
            raise InputError(f"{file}: {name} is at {short(path)}; download it to {short(str(place))}")
    else:
        place = file.parent / path
        if "\0" in path or not is_below(os.path.realpath(place), os.path.realpath(file.parent)):
            raise InputError(f"{file}: the path {short(path)} of {name} leads out of the package's folder")
    dialect = said.get("dialect")
    delimiter = dialect.get("delimiter", ",") if isinstance(dialect, dict) else ","
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n\0"':
        raise InputError(f"{file}: the delimiter of {name} is {short(str(delimiter))}, not one character")
    encoding = str(said.get("encoding") or "utf-8").lower()
    return Resource(place, delimiter, "utf-8-sig" if encoding in ("utf-8", "utf8") else encoding)


def _rows(resource: Resource, required: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield a table's rows with their numbers (the header being row 1), missing values as ''."""
    name = resource.file
    number = 1
    with text(name, resource.encoding, place=lambda: f", row {number + 1}") as stream:
        rows = numbered(stream, resource.delimiter)
        _, header = next(rows)
        lacking = [column for column in required if column not in header]
        if lacking:
            shown = ", ".join(map(short, list(header)[:8]))
            raise InputError(f"{name}, row 1: no column {', '.join(lacking)}; the columns are: {shown}")
        for number, row in rows:
            yield number, {k: "" if v in _MISSING else v for k, v in row.items()}


def instant(value: str) -> int:
    """Return a date-time that carries an offset as microseconds since 1970.

    Raises:
        ValueError: it is none, or carries no offset: without one, instants cannot be compared.
    """
    found = _MOMENT.fullmatch(value.strip())
    if found is None:
        raise ValueError(f"{value!r} is not a date and time with an offset, such as 2020-03-24T11:21:46Z")
    offset = found["offset"].upper().replace("Z", "+00:00")
    offset = offset if ":" in offset else f"{offset[:3]}:{offset[3:]}"
    moment = datetime.fromisoformat(f"{found['day']}T{found['time']}:{found['seconds'] or '00'}{offset}")
    fraction = int((found["fraction"] or "0")[:6].ljust(6, "0"))
    return (moment - _EPOCH) // timedelta(microseconds=1) + fraction


class _Medium(NamedTuple):
    """A row of media.csv, and the event that its observations name."""

    deployment: str
    site: str
    at: int
    name: str
    row: int
    path: str
    problem: str | None
    reason: str | None
    lapse: int
    taken: str
    event: str | None


class _Event(NamedTuple):
    """An interval of event-level observations; `event` is '' where they name none."""

    start: int
    end: int
    event: str


_TABLES = """
CREATE TABLE deployment (id TEXT PRIMARY KEY, site TEXT);
CREATE TABLE media (id TEXT PRIMARY KEY, deployment TEXT, at INTEGER, name TEXT, row INTEGER, path TEXT,
    problem TEXT, reason TEXT, lapse INTEGER, taken TEXT);
CREATE TABLE seen (media TEXT PRIMARY KEY, event TEXT);
CREATE TABLE event (deployment TEXT, start INTEGER, end INTEGER, event TEXT);
"""


class CamtrapDp(CaptureReader):
    """The captures of a package; rows are those of its media.

    Args:
        package: what its datapackage.json says.
        season: name of the season that it becomes.
        root: as for `CaptureReader`.
        gap_seconds: for the last of the rules.
        zone: that times are told in; None: as the package has them.

    Attributes:
        rules: how many captures each rule made.
    """

    def __init__(
        self,
        package: Package,
        season: str,
        root: str | None,
        gap_seconds: float,
        zone: tzinfo | None = None,
        exif: int = 0,
    ) -> None:
        super().__init__(str(package.resources["media"].file), root, exif)
        self._zone = zone
        self.rules: Counter[str] = Counter()
        self._package = package
        self._season = season
        self._gap = round(gap_seconds * 1_000_000)
        self._gap_rule = f"gap {gap_seconds:g} s"

    def _images(self) -> Iterator[Listed]:
        # The name '' is a temporary database on disk, which goes when it is closed.
        with closing(sqlite3.connect("")) as tables:
            tables.executescript(_TABLES)
            self._read_deployments(tables)
            self._read_media(tables)
            self._read_observations(tables)
            if self._first_error is not None:
                return
            for media, events in self._deployments(tables):
                yield from self._of_deployment(media, events)

    def _read_deployments(self, tables: sqlite3.Connection) -> None:
        resource = self._package.resources["deployments"]
        for number, row in _rows(resource, ("deploymentID",)):
            key = row.get("deploymentID", "")
            site = row.get("locationName") or row.get("locationID") or key
            try:
                if not key:
                    raise ValueError("no deploymentID")
                tables.execute("INSERT INTO deployment VALUES (?, ?)", (key, site))
                self.deployments.append(self._deployment(key, site, row))
            except sqlite3.IntegrityError:
                raise InputError(f"{resource.file}, row {number}: deploymentID {key} occurs twice") from None
            except ValueError as error:
                raise InputError(f"{resource.file}, row {number}: {error}; nothing was changed") from None

    def _deployment(self, key: str, site: str, row: Mapping[str, str]) -> Deployment:
        start, end = (self._time(row[name]) if row.get(name) else None for name in _BOUNDS)
        position = degrees(row.get("latitude", ""), 90), degrees(row.get("longitude", ""), 180)
        return Deployment(site, key, start, end, *position, row.get("cameraID") or row.get("cameraModel") or None)

    def _time(self, said: str) -> str:
        """Return a time as a clock of the season shows it."""
        written = as_written(said)
        if self._zone is None and written is not None:
            return written
        return in_zone(instant(said), self._zone or UTC)

    def _read_media(self, tables: sqlite3.Connection) -> None:
        known = {key for (key,) in tables.execute("SELECT id FROM deployment")}
        columns = ("mediaID", "deploymentID", "timestamp", "filePath", "filePublic", "fileMediatype")
        for number, row in _rows(self._package.resources["media"], columns):
            self.rows += 1
            try:
                medium = self._medium(number, row, known)
                tables.execute("INSERT INTO media VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", medium)
            except ValueError as error:
                self._error(number, str(error))
            except sqlite3.IntegrityError:
                self._error(number, f"mediaID {row['mediaID']} occurs twice")

    def _medium(self, number: int, row: Mapping[str, str], known: set[str]) -> tuple[Any, ...]:
        key, deployment = row.get("mediaID", ""), row.get("deploymentID", "")
        if not key:
            raise ValueError("no mediaID")
        if deployment not in known:
            raise ValueError(f"the deployment {deployment!r} of medium {key} is not in deployments")
        path = row.get("filePath", "").replace("\\", "/")
        if not path:
            raise ValueError(f"medium {key} has no filePath")
        if not _URL.match(path) and (path[0] in "/~" or ".." in path.split("/")):
            raise ValueError(f"the filePath {path!r} of medium {key} is not a relative path without '..'")
        problem, reason = _why_left_out(path, row)
        name = row.get("fileName") or path.rpartition("/")[2]
        lapse = int(row.get("captureMethod") == "timeLapse")
        said = row.get("timestamp", "")
        return key, deployment, instant(said), name, number, path, problem, reason, lapse, self._time(said)

    def _read_observations(self, tables: sqlite3.Connection) -> None:
        resource = self._package.resources["observations"]
        for number, row in _rows(resource, ("deploymentID", "observationLevel", "eventStart", "eventEnd")):
            event = row.get("eventID", "")
            if row.get("observationLevel") == "media":
                if event and row.get("mediaID"):
                    tables.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (row["mediaID"], event))
                continue
            try:
                start, end = instant(row.get("eventStart", "")), instant(row.get("eventEnd", ""))
            except ValueError as error:
                raise InputError(f"{resource.file}, row {number}: {error}; nothing was changed") from None
            tables.execute(
                "INSERT INTO event VALUES (?, ?, ?, ?)", (row.get("deploymentID", ""), start, end, event)
            )

    def _deployments(self, tables: sqlite3.Connection) -> Iterator[tuple[list[_Medium], list[_Event]]]:
        """Yield the media of each deployment, in time's order, and its event-level intervals."""
        tables.execute("CREATE INDEX event_deployment ON event (deployment)")
        rows = tables.execute(
            "SELECT m.deployment, d.site, m.at, m.name, m.row, m.path, m.problem, m.reason, m.lapse, m.taken,"
            " s.event"
            " FROM media m JOIN deployment d ON d.id = m.deployment LEFT JOIN seen s ON s.media = m.id"
            " ORDER BY d.site, m.deployment, m.at, m.name, m.row"
        )
        for deployment, group in groupby(map(_Medium._make, rows), key=lambda medium: medium.deployment):
            events = tables.execute(
                "SELECT DISTINCT start, end, event FROM event WHERE deployment = ? ORDER BY start, end, event",
                (deployment,),
            )
            yield list(group), [_Event(*row) for row in events]

    def _of_deployment(self, media: list[_Medium], events: list[_Event]) -> Iterator[Listed]:
        """Yield the images of the captures of one deployment."""
        for number, (rule, event, members) in enumerate(self._captures(media, events), start=1):
            self.rules[rule] += 1
            metadata = json.dumps({"#eventID": event}, ensure_ascii=False) if event else None
            for rank, medium in enumerate(members, start=1):
                place = self._place(medium.row, medium.path) if medium.problem is None else None
                if place is None and medium.problem is None:
                    continue
                capture_id = f"{self._season}#{medium.site}#{medium.deployment}#{number}"
                image = IncomingImage(
                    medium.row, capture_id, self._season, medium.site, medium.deployment, str(number), number,
                    rank, medium.path, medium.problem, medium.reason, metadata, rule, medium.taken,
                )  # fmt: skip
                yield image, place

    def _captures(
        self, media: list[_Medium], events: list[_Event]
    ) -> Iterable[tuple[str, str | None, list[_Medium]]]:
        """Group a deployment's media, in time's order, by the rules: (rule, event, media) in order of the first."""
        intervals = _Intervals(events)
        captures: dict[Any, tuple[str, str | None, list[_Medium]]] = {}
        last: int | None = None
        run = 0
        for medium in media:
            interval = None if medium.event is not None else intervals.holding(medium.at)
            if medium.event is not None:
                key: Any = (EVENT_ID, medium.event)
                rule, event = EVENT_ID, medium.event
            elif interval is not None:
                key = (INTERVAL, interval.event or (interval.start, interval.end))
                rule, event = INTERVAL, interval.event
            elif medium.lapse:
                key, rule, event = (TIME_LAPSE, medium.row), TIME_LAPSE, ""
            else:
                if last is None or medium.at - last > self._gap:
                    run += 1
                last = medium.at
                key, rule, event = (self._gap_rule, run), self._gap_rule, ""
            captures.setdefault(key, (rule, event or None, []))[2].append(medium)
        return captures.values()


class _Intervals:
    """Which event-level interval holds a moment: of several, the shortest."""

    def __init__(self, events: list[_Event]) -> None:
        self._events = events
        self._starts = [event.start for event in events]
        # How far any interval up to here reaches: where looking back may end.
        self._reach: list[int] = []
        for event in events:
            self._reach.append(max(event.end, self._reach[-1] if self._reach else event.end))

    def holding(self, at: int) -> _Event | None:
        """Return the interval that holds a moment, ends included; None where there is none."""
        best: _Event | None = None
        for index in range(bisect_right(self._starts, at) - 1, -1, -1):
            if self._reach[index] < at:
                break
            event = self._events[index]
            if event.end >= at and (best is None or event.end - event.start < best.end - best.start):
                best = event
        return best


def _why_left_out(path: str, row: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return problem and reason of a medium that is not to be uploaded, else None twice."""
    public = row.get("filePublic", "").lower()
    if public not in ("true", "false", "1", "0", ""):
        raise ValueError(f"filePublic is {row['filePublic']!r}, not true or false")
    kind = row.get("fileMediatype", "")
    # Missing is not public: it is required, and what it guards is people.
    if public not in ("true", "1"):
        return "excluded", f"filePublic is {public or 'missing'}"
    if not kind.startswith("image/"):
        return "excluded", f"fileMediatype is {kind or 'missing'}"
    if _URL.match(path):
        return "missing", "is a URL: download the media, and let filePath name the files"
    return None, None
