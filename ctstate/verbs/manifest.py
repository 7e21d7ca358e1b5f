"""A cleaned captures CSV -> season, captures and images of the ledger (`ctstate manifest`).

The format is docs/legacy-formats.md, section 1. The CSV streams in chunks into a temporary table, where SQL
sorts it, finds contradictions and merges it into the ledger in one transaction: memory is bounded whatever the
season's size, and a run that fails or is killed leaves the ledger as it was.
"""

import csv
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from sqlalchemy import text
from sqlalchemy.engine import Connection

from ctstate.errors import InputError, UsageError
from ctstate.formats.incoming import STAT_THREADS, Incoming, short, stage
from ctstate.ledger import Ledger, runs
from ctstate.ledger.clock import now
from ctstate.ledger.exclusions import exclude_imageless

if TYPE_CHECKING:
    import pandas as pd

CHUNK_ROWS = 20_000
MOST_EXAMPLES = 5

REQUIRED = ("season", "site", "roll", "capture")
RANK_COLUMNS = ("image", "image_rank_in_capture")
PATH_COLUMNS = ("path", "image_path_rel")
FLAGS: Mapping[str, frozenset[int]] = {
    "invalid": frozenset({1, 2}),
    "image_is_invalid": frozenset({1}),
    "image_no_upload": frozenset({1}),
    "image_was_deleted": frozenset({1}),
}
BLANK = frozenset({"", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "None"})
"""What Excel, R and pandas write for "no value" (in columns that may be blank)."""

RESERVED = frozenset(
    {
        "#capture_id", "#site", "#roll", "#season", "#capture", "attribution", "license", "#original_images",
        "capture_id_anonymized",
    }
)  # fmt: skip
"""Keys that every subject carries already (docs/legacy-formats.md, section 5); the first is its identity."""

_LIMITS = {"capture_id": 255, "season": 120, "site": 255, "roll": 80, "capture": 40}
"""How many characters the ledger's columns hold."""


@dataclass
class ManifestReport:
    """What `load_captures` did."""

    season: str
    rows: int = 0
    captures_new: int = 0
    captures_unchanged: int = 0
    captures_updated: int = 0
    captures_kept: int = 0  # differ, but are past the state in which --update may touch them
    captures_without_image: int = 0
    images_usable: int = 0
    images_excluded: int = 0
    images_missing: int = 0
    images_empty: int = 0
    duplicate_rows: int = 0
    season_changed: bool = False  # it is new, or its attribution, license or folder of images is
    examples: list[str] = field(default_factory=list)  # of missing and empty images
    rules: dict[str, int] = field(default_factory=dict)  # captures by the rule that made them (Camtrap DP)

    @property
    def changed(self) -> bool:
        """Whether the ledger is not as it was."""
        return bool(self.captures_new or self.captures_updated or self.season_changed)


def check_manifest_id(manifest_id: str) -> None:
    """Refuse an id that cannot name files and subject sets.

    Raises:
        UsageError: it is empty or holds `.`, `__` (docs/legacy-formats.md, section 2), a comma (a set of such a
            name is never found again: docs/panoptes-api.md, section 3), `/` or a control character.
    """
    for part in (".", "__", ",", "/"):
        if part in manifest_id:
            raise UsageError(
                f"manifest id {manifest_id!r} must not contain {part!r}; name another with --manifest-id"
            )
    if not manifest_id.strip() or not manifest_id.isprintable():
        raise UsageError(f"manifest id {manifest_id!r} must be printable text; name another with --manifest-id")
    if len(manifest_id) > _LIMITS["season"]:
        raise UsageError(f"manifest id {short(manifest_id)} has more than {_LIMITS['season']} characters")


def load_captures(
    ledger: Ledger,
    captures_csv: str | os.PathLike[str],
    *,
    attribution: str,
    license: str,
    images_root: str | os.PathLike[str] | None = None,
    manifest_id: str | None = None,
    metadata_columns: Sequence[str] = (),
    update: bool = False,
    encoding: str = "utf-8-sig",
    on_progress: Callable[[int], None] = lambda rows: None,
) -> ManifestReport:
    """Read a cleaned captures CSV into the ledger, in one transaction.

    Args:
        ledger: where to.
        captures_csv: the CSV, one row per image.
        attribution, license: go into the metadata of every subject.
        images_root: folder below which all images must lie, symbolic links and `..` resolved.
        manifest_id: name of the season in the ledger; by default the CSV's one season.
        metadata_columns: further columns to pass to the subject, under their own names.
        update: let the CSV change captures that are not on their way to Zooniverse yet.
        encoding: of the CSV.
        on_progress: called with the number of rows read so far.

    Raises:
        InputError: the CSV is not what it should be, or contradicts the ledger; the ledger is as it was.
        UsageError: a bad manifest id, or a folder that is not there.
        LedgerError: the ledger could not be written.
    """
    if manifest_id is not None:
        check_manifest_id(manifest_id)
    for option, value in (("--attribution", attribution), ("--license", license), ("--images-root", images_root)):
        if value is not None and not os.fspath(value).strip():
            raise UsageError(f"{option} must not be empty")
    for key in metadata_columns:
        if key in RESERVED:
            raise UsageError(f"--metadata-column {key}: every subject carries that key already")
    root = real_root(images_root)
    name = os.fspath(captures_csv)
    # A file's name need not be text.
    arguments = {"captures_csv": _as_text(name), "manifest_id": manifest_id, "update": update}
    return load(
        ledger,
        _Reader(name, root, tuple(metadata_columns), encoding),
        arguments,
        attribution=attribution,
        license=license,
        root=root,
        manifest_id=manifest_id,
        update=update,
        on_progress=on_progress,
    )


def real_root(images_root: str | os.PathLike[str] | None) -> str | None:
    """Return the real path of the folder of images.

    Raises:
        UsageError: there is no such folder.
    """
    if images_root is None:
        return None
    root = os.path.realpath(images_root)
    if not os.path.isdir(root):
        raise UsageError(f"--images-root {os.fspath(images_root)}: no such folder")
    return root


def load(
    ledger: Ledger,
    reader: Incoming,
    arguments: Mapping[str, Any],
    *,
    attribution: str,
    license: str,
    root: str | None,
    manifest_id: str | None,
    update: bool,
    on_progress: Callable[[int], None],
) -> ManifestReport:
    """Bring what a reader yields into the ledger, in one transaction.

    Args:
        ledger, attribution, license, manifest_id, update, on_progress: as for `load_captures`.
        reader: the source, whatever its format.
        arguments: of the run, as the ledger keeps them.
        root: real path of the folder of images.

    Raises:
        InputError, UsageError, LedgerError: as for `load_captures`.
    """
    name = reader.name
    with ledger.connection() as connection:
        # Staging is in a temporary table, outside the ledger's write lock: other workers go on meanwhile.
        with ledger.read(connection) as staging:
            rows = stage(staging, reader, on_progress)
            seasons = [str(s) for s in staging.execute(text("SELECT DISTINCT season FROM incoming")).scalars()]
            if manifest_id is None:
                if len(seasons) != 1:
                    raise InputError(
                        f"{name}: holds {len(seasons)} seasons ({', '.join(sorted(seasons)[:4])}); "
                        "name the manifest with --manifest-id"
                    )
                manifest_id = seasons[0]
                check_manifest_id(manifest_id)
            report = ManifestReport(season=manifest_id, rows=rows)
            check_inside(staging, name, report, reader.unit)
        with ledger.write(connection) as writing:
            run_id = runs.start(writing, "manifest", {**arguments, "manifest_id": manifest_id})
            season_id, report.season_changed = put_season(writing, manifest_id, attribution, license, root, update)
            merge(writing, name, season_id, run_id, update, report)
            if report.changed:
                runs.end(writing, run_id, "done")
            else:
                writing.execute(text("DELETE FROM run WHERE id = :run"), {"run": run_id})
    return report


# -- reading ---------------------------------------------------------------------------------------------------
class _WithoutNul:
    """A text file that refuses NUL characters: pandas before 3 cuts a value off at one, without a word."""

    def __init__(self, name: str, file: TextIO) -> None:
        self._name = name
        self._file = file
        self._lines = 1
        self._begin = ""

    def count_columns(self) -> int:
        """Return how many columns the first row has; `read` begins with it all the same."""
        row = next(csv.reader(self._keep_lines()), None)
        if row is None:
            raise InputError(f"{self._name}: the file is empty")
        return len(row)

    def _keep_lines(self) -> Iterator[str]:
        for line in self:
            self._begin += line
            yield line

    def read(self, size: int = -1) -> str:
        if self._begin:
            part, self._begin = self._begin, ""
            return part
        return self._checked(self._file.read(size))

    def __iter__(self) -> Iterator[str]:
        return map(self._checked, self._file)

    def _checked(self, part: str) -> str:
        at = part.find("\0")
        if at >= 0:
            row = self._lines + part.count("\n", 0, at)
            raise InputError(f"{self._name}, row {row}: holds a NUL character; nothing was changed")
        self._lines += part.count("\n")
        return part


class _Reader(Incoming):
    """The CSV, chunk by chunk."""

    def __init__(self, name: str, root: str | None, metadata_columns: tuple[str, ...], encoding: str) -> None:
        super().__init__(name, root)
        self._extra = metadata_columns
        self._encoding = encoding

    def chunks(self) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the CSV's rows, parsed and checked, some ten thousand at a time.

        Raises:
            InputError: the file as a whole cannot be read as a captures CSV.
        """
        import pandas as pd
        from pandas.errors import EmptyDataError, ParserError

        try:
            # Opened here, so that pandas neither unpacks it by its name nor takes the name for a URL.
            file = open(self.name, encoding=self._encoding, newline="")  # noqa: SIM115
        except FileNotFoundError:
            raise InputError(f"{self.name}: no such file") from None
        except IsADirectoryError:
            raise InputError(f"{self.name}: that is a folder; name the captures CSV") from None
        except PermissionError:
            raise InputError(f"{self.name}: no permission to read it") from None
        except LookupError:
            raise InputError(f"{self.name}: no such encoding: {self._encoding}") from None
        try:
            text_file: Any = _WithoutNul(self.name, file)
            count = text_file.count_columns()
            if count == 0:
                self._check_header([])
            # The header is read as a row like any other: pandas would cut off what the first row has too much,
            # and rename columns that occur twice. It is told their number, or a blank line could set it to none.
            frames = pd.read_csv(
                text_file,
                header=None,
                names=list(range(count)),
                index_col=False,
                dtype=str,
                na_filter=False,
                chunksize=CHUNK_ROWS,
                skip_blank_lines=False,
            )
            with frames, ThreadPoolExecutor(STAT_THREADS) as pool:
                names: list[str] = []
                for frame in frames:
                    if not names:
                        names = [str(name).strip().lstrip("\ufeff") for name in frame.iloc[0]]
                        self._check_header(names)
                        frame = frame.iloc[1:]
                    frame.columns = pd.Index(names)
                    yield self._parse(frame, pool)
        except EmptyDataError:
            raise InputError(f"{self.name}: the file is empty") from None
        except (ParserError, csv.Error) as error:
            raise InputError(f"{self.name}{_why_unreadable(str(error))}; nothing was changed") from None
        except UnicodeError as error:
            raise InputError(
                f"{self.name}: not text in the encoding {self._encoding} ({error}); "
                "save it as UTF-8, or name its encoding with --encoding, such as cp1252"
            ) from None
        finally:
            file.close()

    def _parse(self, frame: "pd.DataFrame", pool: ThreadPoolExecutor) -> list[tuple[Any, ...]]:
        names = list(frame.columns)
        count = len(frame)
        blank = [""] * count

        def column(key: str) -> list[str]:
            return frame[key].tolist() if key in names else blank

        def optional(key: str) -> list[str]:
            values = column(key)
            return values if BLANK.isdisjoint(values) else ["" if value in BLANK else value for value in values]

        ranks = zip(*(optional(key) for key in RANK_COLUMNS), strict=False)
        paths = zip(*(optional(key) for key in PATH_COLUMNS), strict=False)
        flags = [(key, codes, column(key)) for key, codes in FLAGS.items() if key in names]
        extras = [column(key) for key in self._extra]
        parsed: list[tuple[Any, ...]] = []
        wanted: list[tuple[int, str]] = []
        keys = zip(*(column(key) for key in REQUIRED), optional("capture_id"), strict=False)
        for offset, ((season, site, roll, number, given), rank_pair, path_pair) in enumerate(
            zip(keys, ranks, paths, strict=False)
        ):
            row = self.rows + offset + 2  # as a spreadsheet counts, the header being row 1
            if not (season or site or roll or number or path_pair[0] or path_pair[1]):
                continue  # an empty line, as spreadsheets leave at the end
            problem, reason = None, None
            for key, codes, values in flags:
                value = values[offset]
                if value in BLANK or value == "0":
                    continue
                code = _flag(value)
                if code is None:
                    self._error(row, f"column {key!r} is {short(value)}, not blank, 0 or another whole number")
                elif code in codes:
                    problem, reason = "excluded", f"{key} is {value}"
            wrong = self._wrong(row, season, site, roll, number, path_pair)
            capture_number, rank = _whole(number), _whole(rank_pair[0] or rank_pair[1])
            if not wrong and capture_number is None:
                wrong = True
                self._error(row, f"column 'capture' is {short(number)}, not a whole number")
            if not wrong and rank is None:
                wrong = True
                shown = short(rank_pair[0] or rank_pair[1])
                self._error(
                    row,
                    f"the rank (column 'image' or 'image_rank_in_capture') is {shown}, not a whole number",
                )
            extra = self._metadata(row, [values[offset] for values in extras]) if extras else None
            if wrong:
                continue
            path = _image_path(path_pair, season)
            place = self._place(row, path)
            if place is None:
                continue
            if problem is None:
                wanted.append((len(parsed), place))
            parsed.append(
                (
                    row,
                    given or f"{season}#{site}#{roll}#{number}",
                    season,
                    site,
                    roll,
                    number,
                    capture_number,
                    rank,
                    path,
                    problem,
                    reason,
                    extra,
                    None,
                )
            )
        self.rows += count
        self._look(parsed, wanted, pool)
        return parsed

    def _check_header(self, names: list[str]) -> None:
        known = (*REQUIRED, "capture_id", *RANK_COLUMNS, *PATH_COLUMNS, *FLAGS, *self._extra)
        twice = [key for key in known if names.count(key) > 1]
        if twice:
            raise InputError(f"{self.name}, row 1: the column {twice[0]!r} occurs twice; nothing was changed")
        missing = [key for key in (*REQUIRED, *self._extra) if key not in names]
        missing += [" or ".join(pair) for pair in (RANK_COLUMNS, PATH_COLUMNS) if not set(pair) & set(names)]
        if not missing:
            return
        if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
            raise InputError(f"{self.name}: its columns are not separated by commas; save it as CSV with commas")
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise InputError(f"{self.name}, row 1: no column {', '.join(missing)}; the columns are: {shown}")

    def _wrong(self, row: int, season: str, site: str, roll: str, number: str, paths: tuple[str, str]) -> bool:
        for key, value in (("season", season), ("site", site), ("roll", roll), ("capture", number)):
            if not value.strip():
                self._error(row, f"column {key!r} is empty")
                return True
        if not (paths[0] or paths[1]):
            self._error(row, "no image path (column 'path' or 'image_path_rel')")
            return True
        return False

    def _metadata(self, row: int, values: list[str]) -> str | None:
        metadata: dict[str, Any] = {}
        for key, value in zip(self._extra, values, strict=False):
            if key.lower() == "#priority":
                # A priority that is no number loses the priority of every subject of the same links call.
                number = _number(value)
                if number is None and value not in BLANK:
                    self._error(row, f"column {key!r} is {short(value)}, not a number")
                elif number is not None:
                    metadata["#priority"] = number
            elif value != "":
                metadata[key] = value
        return json.dumps(metadata, ensure_ascii=False, sort_keys=True) if metadata else None


_SURPLUS = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")


def _why_unreadable(message: str) -> str:
    """Say what pandas' parser found, in words for who made the file."""
    found = _SURPLUS.search(message)
    if found and found[1] == "1":
        return ": its columns are not separated by commas; save it as CSV with commas"
    if found:
        return (
            f", row {found[2]}: has {found[3]} fields where the rows above have {found[1]}; "
            "a value that holds a comma needs quotes around it"
        )
    return f": not a readable CSV ({message.replace('Error tokenizing data. C error: ', '').strip()})"


def _as_text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")


def _image_path(pair: tuple[str, str], season: str) -> str:
    path, relative = pair
    if path:
        return path.replace("\\", "/")
    relative = relative.replace("\\", "/")
    first = relative.lstrip("/").partition("/")[0]
    return relative if first == season else f"{season}/{relative}"


_WHOLE = re.compile(r"\s*[+-]?\d{1,15}(\.0*)?\s*")


def _whole(value: str) -> int | None:
    if value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    return int(float(value)) if _WHOLE.fullmatch(value) else None


_BLANK_WORDS = frozenset(word.upper() for word in BLANK)


def _flag(value: str) -> int | None:
    word = value.strip().upper()
    if word in ("TRUE", "FALSE"):  # R's
        return int(word == "TRUE")
    return 0 if word in _BLANK_WORDS else _whole(value)


def _number(value: str) -> int | float | None:
    whole = _whole(value)
    if whole is not None:
        return whole
    try:
        number = float(value)
    except ValueError:
        return None
    if "_" in value:  # Python reads 1_000 as a number; nobody else does
        return None
    return number if math.isfinite(number) else None


# -- merging ---------------------------------------------------------------------------------------------------


def _first(connection: Connection, query: str, **parameters: Any) -> Any | None:
    return connection.execute(text(query), parameters).first()


def check_inside(connection: Connection, name: str, report: ManifestReport, unit: str = "row") -> None:
    """Refuse a CSV that contradicts itself, and drop its duplicate rows."""
    long = _first(
        connection,
        "SELECT min(csv_row) AS csv_row FROM incoming WHERE "
        + " OR ".join(f"length({column}) > {most}" for column, most in _LIMITS.items()),
    )
    if long is not None and long.csv_row is not None:
        most = ", ".join(f"{column} {most}" for column, most in _LIMITS.items())
        raise InputError(f"{name}, row {long.csv_row}: a name is too long (characters at most: {most})")
    clash = _first(
        connection,
        """
        SELECT a.csv_row AS one, b.csv_row AS other, a.capture_id FROM incoming a
        JOIN (SELECT capture_id, min(csv_row) AS csv_row, season, site, roll, capture_number FROM incoming
              GROUP BY capture_id HAVING count(*) > 1 AND (min(season) <> max(season) OR min(site) <> max(site)
              OR min(roll) <> max(roll) OR min(capture_number) <> max(capture_number)
              OR min(coalesce(metadata, '')) <> max(coalesce(metadata, '')))) b
        ON a.capture_id = b.capture_id AND a.csv_row <> b.csv_row
        ORDER BY a.csv_row LIMIT 1
        """,
    )
    if clash is not None:
        raise InputError(
            f"{name}, rows {clash.other} and {clash.one}: capture {clash.capture_id} differs between its images "
            "in season, site, roll, capture or a metadata column; nothing was changed"
        )
    clash = _first(
        connection,
        """
        SELECT min(csv_row) AS one, max(csv_row) AS other, capture_id, rank FROM incoming
        GROUP BY capture_id, rank HAVING count(*) > 1 AND (min(path) <> max(path)
            OR min(coalesce(problem_reason, '')) <> max(coalesce(problem_reason, '')))
        ORDER BY 1 LIMIT 1
        """,
    )
    if clash is not None:
        raise InputError(
            f"{name}, rows {clash.one} and {clash.other}: capture {clash.capture_id} has two different images "
            f"of rank {clash.rank}; nothing was changed"
        )
    clash = _first(
        connection,
        """
        SELECT min(csv_row) AS one, max(csv_row) AS other, capture_id FROM incoming
        GROUP BY capture_id, path HAVING min(rank) <> max(rank) ORDER BY 1 LIMIT 1
        """,
    )
    if clash is not None:
        raise InputError(
            f"{name}, rows {clash.one} and {clash.other}: capture {clash.capture_id} has the same image twice; "
            "nothing was changed"
        )
    duplicates = """
        csv_row NOT IN (SELECT min(csv_row) FROM incoming GROUP BY capture_id, rank)
    """
    twice = _first(connection, "SELECT 1 FROM incoming GROUP BY capture_id, rank HAVING count(*) > 1 LIMIT 1")
    if twice is not None:
        report.duplicate_rows = connection.execute(text(f"DELETE FROM incoming WHERE {duplicates}")).rowcount
    for problem, count in connection.execute(text("SELECT problem, count(*) FROM incoming GROUP BY problem")):
        setattr(report, f"images_{problem or 'usable'}", count)
    report.examples = [
        f"{unit} {row.csv_row}: {short(row.path)}: {row.problem_reason}"
        for row in connection.execute(
            text(
                "SELECT csv_row, path, problem_reason FROM incoming WHERE problem IN ('missing', 'empty')"
                f" ORDER BY csv_row LIMIT {MOST_EXAMPLES}"
            )
        )
    ]


def put_season(
    connection: Connection,
    manifest_id: str,
    attribution: str,
    license: str,
    root: str | None,
    update: bool,
) -> tuple[int, bool]:
    """Return the season's key and whether it is new or changed."""
    wanted = {"attribution": attribution, "license": license, "images_root": root}
    row = _first(connection, "SELECT * FROM season WHERE name = :name", name=manifest_id)
    if row is None:
        connection.execute(
            text(
                "INSERT INTO season (name, attribution, license, images_root, created_at)"
                " VALUES (:name, :attribution, :license, :images_root, :at)"
            ),
            {"name": manifest_id, "at": now(), **wanted},
        )
        return int(
            connection.execute(text("SELECT id FROM season WHERE name = :n"), {"n": manifest_id}).scalar_one()
        ), True
    differs = [key for key, value in wanted.items() if getattr(row, key) != value]
    if not differs:
        return int(row.id), False
    if not update:
        raise InputError(
            f"season {manifest_id} has {differs[0].replace('_', ' ')} {getattr(row, differs[0])!r} in the ledger, "
            f"not {wanted[differs[0]]!r}; nothing was changed; --update changes it"
        )
    connection.execute(
        text(
            "UPDATE season SET attribution = :attribution, license = :license, images_root = :images_root"
            " WHERE id = :id"
        ),
        {"id": row.id, **wanted},
    )
    return int(row.id), True


_UPDATABLE = (
    "c.state IN ('manifested', 'predicted', 'batched', 'failed')"
    " AND c.subject_id IS NULL AND c.create_sent_at IS NULL"
)

# Captures that the ledger has and the CSV says otherwise of; `row` is the first such row of the CSV.
_DIFFERENT = f"""
CREATE TEMP TABLE different AS
SELECT key, min(csv_row) AS csv_row, min(what) AS what FROM (
    SELECT c.id AS key, n.csv_row, 'its season, site, roll or capture number' AS what
    FROM incoming n JOIN capture c ON c.capture_id = n.capture_id
    WHERE c.season <> n.season OR c.site <> n.site OR c.roll <> n.roll OR c.capture_number <> n.capture_number
  UNION ALL
    SELECT c.id, n.csv_row, 'its metadata columns'
    FROM incoming n JOIN capture c ON c.capture_id = n.capture_id
    WHERE coalesce(c.metadata, '') <> coalesce(n.metadata, '')
  UNION ALL
    SELECT c.id, n.csv_row, 'its images'
    FROM incoming n JOIN capture c ON c.capture_id = n.capture_id
    LEFT JOIN image i ON i.capture_id = c.id AND i.rank = n.rank
    WHERE i.id IS NULL OR i.path <> n.path
       OR (coalesce(i.problem, '') NOT IN ('broken', 'withheld')
           AND coalesce(i.problem, '') <> coalesce(n.problem, '')
           -- Files may go once they are on Zooniverse: that is nothing the CSV says.
           AND (coalesce(n.problem, '') NOT IN ('missing', 'empty') OR {_UPDATABLE}))
  UNION ALL
    SELECT c.id, m.csv_row, 'its images'
    FROM (SELECT capture_id, min(csv_row) AS csv_row FROM incoming GROUP BY capture_id) m
    JOIN capture c ON c.capture_id = m.capture_id
    JOIN image i ON i.capture_id = c.id
    LEFT JOIN incoming n ON n.capture_id = m.capture_id AND n.rank = i.rank
    WHERE n.csv_row IS NULL
) d GROUP BY key
"""


def merge(
    connection: Connection, name: str, season_id: int, run_id: int, update: bool, report: ManifestReport
) -> None:
    """Bring `incoming` into the ledger and count what was done."""
    stray = _first(
        connection,
        """
        SELECT n.csv_row, n.capture_id, s.name FROM incoming n JOIN capture c ON c.capture_id = n.capture_id
        JOIN season s ON s.id = c.season_id WHERE c.season_id <> :season ORDER BY n.csv_row LIMIT 1
        """,
        season=season_id,
    )
    if stray is not None:
        raise InputError(
            f"{name}, row {stray.csv_row}: {stray.capture_id} belongs to season {stray.name} in the ledger; "
            "nothing was changed"
        )
    known = connection.execute(
        text("SELECT count(DISTINCT c.id) FROM incoming n JOIN capture c ON c.capture_id = n.capture_id")
    ).scalar_one()
    connection.execute(text("DROP TABLE IF EXISTS different"))
    connection.execute(
        text(_DIFFERENT if known else "CREATE TEMP TABLE different (key INTEGER, csv_row INTEGER, what TEXT)")
    )
    differing = int(connection.execute(text("SELECT count(*) FROM different")).scalar_one())
    if differing and not update:
        rows = connection.execute(
            text(
                "SELECT d.csv_row, d.what, c.capture_id FROM different d JOIN capture c ON c.id = d.key"
                f" ORDER BY d.csv_row LIMIT {MOST_EXAMPLES}"
            )
        ).all()
        shown = ", ".join(f"row {row.csv_row} ({row.capture_id}: {row.what})" for row in rows)
        more = f" and {differing - len(rows)} more" if differing > len(rows) else ""
        raise InputError(
            f"{name} contradicts the ledger in {differing} captures: {shown}{more}; nothing was changed; "
            "--update takes over what the CSV says"
        )
    if differing:
        connection.execute(
            text(f"DELETE FROM different WHERE key NOT IN (SELECT c.id FROM capture c WHERE {_UPDATABLE})")
        )
        report.captures_updated = int(connection.execute(text("SELECT count(*) FROM different")).scalar_one())
        report.captures_kept = differing - report.captures_updated
        _update_captures(connection)
    report.captures_unchanged = int(known) - differing
    highest = int(connection.execute(text("SELECT coalesce(max(id), 0) FROM capture")).scalar_one())
    report.captures_new = connection.execute(
        text(
            """
            INSERT INTO capture (capture_id, season_id, season, site, roll, capture, capture_number, metadata,
                                 rule, state, run_id, moved_at)
            SELECT capture_id, :season, min(season), min(site), min(roll), min(capture), min(capture_number),
                   min(metadata), min(rule), 'manifested', :run, :at
            FROM incoming WHERE capture_id NOT IN (SELECT capture_id FROM capture)
            GROUP BY capture_id ORDER BY min(season), min(site), min(roll), min(capture_number), capture_id
            """
        ),
        {"season": season_id, "run": run_id, "at": now()},
    ).rowcount
    connection.execute(
        text(
            """
            INSERT INTO image (capture_id, rank, path, problem, problem_reason)
            SELECT c.id, n.rank, n.path, n.problem, n.problem_reason
            FROM capture c JOIN incoming n ON n.capture_id = c.capture_id
            WHERE c.id > :highest ORDER BY c.id, n.rank
            """
        ),
        {"highest": highest},
    )
    exclude_imageless(connection, f"id > {highest} OR id IN (SELECT key FROM different)")
    report.captures_without_image = int(
        connection.execute(
            text(
                "SELECT count(*) FROM (SELECT capture_id FROM incoming GROUP BY capture_id"
                " HAVING sum(CASE WHEN problem IS NULL THEN 1 ELSE 0 END) = 0) t"
            )
        ).scalar_one()
    )


def _update_captures(connection: Connection) -> None:
    for column in ("season", "site", "roll", "capture", "capture_number", "metadata", "rule"):
        connection.execute(
            text(
                f"UPDATE capture SET {column} = (SELECT min(n.{column}) FROM incoming n"
                " WHERE n.capture_id = capture.capture_id) WHERE id IN (SELECT key FROM different)"
            )
        )
    # What a person holds back stays so, whatever else changes; it goes by the path.
    connection.execute(text("DROP TABLE IF EXISTS withheld"))
    connection.execute(
        text(
            "CREATE TEMP TABLE withheld AS SELECT capture_id, path, problem_reason FROM image"
            " WHERE problem = 'withheld' AND capture_id IN (SELECT key FROM different)"
        )
    )
    connection.execute(text("DELETE FROM image WHERE capture_id IN (SELECT key FROM different)"))
    connection.execute(
        text(
            """
            INSERT INTO image (capture_id, rank, path, problem, problem_reason)
            SELECT c.id, n.rank, n.path, n.problem, n.problem_reason
            FROM different d JOIN capture c ON c.id = d.key JOIN incoming n ON n.capture_id = c.capture_id
            ORDER BY c.id, n.rank
            """
        )
    )
    if _first(connection, "SELECT 1 FROM withheld LIMIT 1") is not None:
        connection.execute(
            text(
                """
                UPDATE image SET covered_problem = problem, covered_reason = problem_reason, problem = 'withheld',
                    problem_reason = (SELECT w.problem_reason FROM withheld w
                                      WHERE w.capture_id = image.capture_id AND w.path = image.path)
                WHERE capture_id IN (SELECT capture_id FROM withheld) AND EXISTS (
                    SELECT 1 FROM withheld w WHERE w.capture_id = image.capture_id AND w.path = image.path)
                """
            )
        )
