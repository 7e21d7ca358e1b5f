"""A season as one file, such as `WLD_S6.toml`: what every verb would else be told again.

TOML (https://toml.io), because it has comments and Python reads it. Paths are relative to the file's own folder.
docs/season-file.md shows one; `schema()` is its JSON Schema.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from ctstate.errors import InputError, UsageError
from ctstate.formats.opening import brief, one_line

Text = Annotated[str, Meta(min_length=1)]
Number = Annotated[int, Meta(gt=0, le=2**63 - 1)]

LONGEST = 1 << 20
"""No season's file has more bytes."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Predictions(_Table, frozen=True):
    """A file of predictions, as `ctstate predict` takes it."""

    file: Text
    format: Text | None = None
    source: Text | None = None
    strip_prefix: str | None = None
    base_folder: str | None = None


class Exclusion(_Table, frozen=True):
    """A rule that keeps captures from being uploaded: a condition on v_captures, or a list; and why."""

    reason: Text
    where: Text | None = None
    list: Text | None = None
    whole_captures: bool = False


class Batches(_Table, frozen=True):
    """How the season is split; without a number or a size it is not."""

    number: Number | None = None
    max_size: Number | None = None
    order: Literal["random", "sequential", "site", "roll"] | None = None
    seed: int | None = None


class Images(_Table, frozen=True):
    """What goes up of an image."""

    quality: Number | None = None
    max_pixels: Number | None = None
    unchanged: bool | None = None
    keep_exif: bool | None = None
    skip_broken: bool | None = None


class Upload(_Table, frozen=True):
    """How much at the same time."""

    processes: Number | None = None
    connections: Number | None = None
    link_batch_size: Number | None = None
    log_dir: Text | None = None


class Cluster(_Table, frozen=True):
    """Jobs of `ctstate submit`."""

    scheduler: Text | None = None
    workers: Number | Literal["auto"] | None = None
    at_once: Number | None = None
    time: Text | None = None
    stop_before: Number | None = None
    max_rounds: Number | None = None
    partition: Text | None = None
    account: Text | None = None
    mail_user: Text | None = None
    mem: Text | None = None
    cpus: Number | None = None
    options: tuple[Text, ...] = ()


class SeasonFile(_Table, frozen=True):
    """A season, as its file says it; paths are absolute.

    Attributes:
        path: of the file.
        season: manifest id.
        ledger: a file or URL.
        endpoint: of Zooniverse, or a sandbox.
        captures: the captures CSV, the datapackage.json of a Camtrap DP, or a folder of images.
        captures_format, encoding, metadata_columns, gap_seconds, pattern, most_images, name_time, clock_shifts,
            times_from, time_zone, time_column, exif_times, deployments, images_root, attribution, license: as
            `manifest` takes them.
        project_id, workflow_id: on Zooniverse.
        password_file: with the account.
        sample: so many images of a capture go up at most.
        predictions, exclusions, batches, images, upload, cluster: tables.
    """

    season: Text
    path: str = ""
    ledger: Text | None = None
    endpoint: Text | None = None
    captures: Text | None = None
    captures_format: Literal["csv", "camtrap-dp", "folder"] | None = None
    encoding: Text | None = None
    pattern: Text | None = None
    most_images: Number | None = None
    name_time: Text | None = None
    clock_shifts: Text | None = None
    times_from: Text | None = None
    time_zone: Text | None = None
    time_column: Text | None = None
    exif_times: bool | None = None
    deployments: Text | None = None
    metadata_columns: tuple[Text, ...] = ()
    gap_seconds: Annotated[float, Meta(ge=0)] | None = None
    images_root: Text | None = None
    attribution: Text | None = None
    license: Text | None = None
    project_id: Number | None = None
    workflow_id: Number | None = None
    password_file: Text | None = None
    sample: Number | None = None
    predictions: tuple[Predictions, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    batches: Batches = Batches()
    images: Images = Images()
    upload: Upload = Upload()
    cluster: Cluster = Cluster()

    def get(self, key: str) -> Any:
        """Return the value of a key such as `images.quality`; None where the file does not say."""
        value: Any = self
        for part in key.split("."):
            value = getattr(value, part)
        return None if value == () else value


_PATHS = ("ledger", "captures", "images_root", "password_file", "clock_shifts", "times_from", "deployments")
_TABLES: dict[str, type[_Table]] = {
    "predictions": Predictions, "exclusions": Exclusion, "batches": Batches, "images": Images, "upload": Upload,
    "cluster": Cluster,
}  # fmt: skip


def read_season_file(path: str | os.PathLike[str]) -> SeasonFile:
    """Read a season's file.

    Raises:
        InputError: it cannot be read, is no TOML, has a key that there is not, or a value that cannot be.
    """
    name = os.fspath(path)
    given = _toml(name)
    _check_keys(name, given)
    try:
        said = msgspec.convert(given, SeasonFile)
    except msgspec.ValidationError as error:
        what, _, where = str(error).replace(" | null", "").partition(" - at ")
        key = where.strip("`").removeprefix("$").removeprefix(".") or "the file"
        raise InputError(f"{name}: {key}: {what[0].lower()}{what[1:]}") from None
    _check_sense(name, said)
    folder = Path(name).resolve().parent
    changes: dict[str, Any] = {"path": str(Path(name).resolve())}
    changes |= {key: _below(folder, getattr(said, key)) for key in _PATHS}
    changes["predictions"] = tuple(
        msgspec.structs.replace(item, file=_below(folder, item.file)) for item in said.predictions
    )
    changes["exclusions"] = tuple(
        msgspec.structs.replace(item, list=_below(folder, item.list)) for item in said.exclusions
    )
    changes["upload"] = msgspec.structs.replace(said.upload, log_dir=_below(folder, said.upload.log_dir))
    return msgspec.structs.replace(said, **changes)


def find_season_file(folder: str | os.PathLike[str] = ".") -> str | None:
    """Return the season's file in a folder: the one TOML file there that names a season.

    Raises:
        UsageError: there are several.
    """
    found = []
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.path for entry in entries if entry.name.endswith(".toml"))
    except OSError:
        return None
    for name in names:
        try:
            given = _toml(name)
        except InputError:
            continue  # whatever it is, nobody has called it a season's file
        if isinstance(given.get("season"), str):
            found.append(name)
    if len(found) > 1:
        shown = ", ".join(os.path.basename(name) for name in found)
        raise UsageError(f"there are several season files here ({shown}): name one with --season-file")
    return os.path.normpath(found[0]) if found else None


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a season's file, for editors."""
    made = msgspec.json.schema(SeasonFile)
    made["$defs"]["SeasonFile"]["properties"].pop("path")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A season of ctstate", **made}


def _toml(name: str) -> dict[str, Any]:
    with one_line(name):
        with open(name, "rb") as file:
            text = file.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise InputError(f"{name}: too long for a season's file")
        try:
            return tomllib.loads(text.decode("utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{name}: not readable as TOML ({brief(str(error))})") from None


def _check_keys(name: str, given: Mapping[str, Any]) -> None:
    for place, table, known in _tables(given):
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1, 0.5)
                advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise InputError(f"{name}: {place}{key}: there is no such key; {advice}")


def _tables(given: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], list[str]]]:
    """Yield each table, with where it is and which keys it may have."""
    yield "", given, [field for field in SeasonFile.__struct_fields__ if field != "path"]
    for key, kind in _TABLES.items():
        value = given.get(key, UNSET)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                yield f"{key}.", item, list(kind.__struct_fields__)


def _check_sense(name: str, said: SeasonFile) -> None:
    for number, rule in enumerate(said.exclusions, start=1):
        if (rule.where is None) == (rule.list is None):
            raise InputError(f"{name}: exclusions, number {number}: give either `where` or `list`")
    if said.batches.number is not None and said.batches.max_size is not None:
        raise InputError(f"{name}: batches: give either `number` or `max_size`")


def _below(folder: Path, path: str | None) -> Any:
    """Return a path as seen from a folder; None and URLs as they are."""
    if path is None or "://" in path:
        return path
    return os.path.normpath(folder / os.path.expanduser(path))
