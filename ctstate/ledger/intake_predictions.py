"""A file of predictions -> a temporary table, one row per capture and source; the ledger is only read.

Memory is bounded whatever the file's size: the entries go into the temporary table `entry`, SQL finds their
captures in the order of the captures, and what belongs to one capture is combined into a row of the temporary
table `made`.
"""

import json
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from ctstate.formats.paths import PathRule
from ctstate.formats.predictions.records import Reader

CHUNK = 1_000
MOST_EXAMPLES = 5

_SCORES = (
    "machine_animal",
    "machine_person",
    "machine_vehicle",
    "machine_blank",
    "machine_species",
    "machine_species_confidence",
)
COLUMNS = ("metadata", *_SCORES)


class Scope:
    """Which captures a file is meant for.

    Args:
        season_id: key of a season; None: all.
        batch_id: key of a batch; None: all.
        batch: its name.
    """

    def __init__(self, season_id: int | None, batch_id: int | None = None, batch: str | None = None) -> None:
        self.season_id = season_id
        self.batch_id = batch_id
        self.batch = batch

    @property
    def condition(self) -> str:
        """Return the condition on the table `capture`, named `c`."""
        parts = ["1"]
        if self.season_id is not None:
            parts.append(f"c.season_id = {int(self.season_id)}")
        if self.batch_id is not None:
            parts.append(f"c.batch_id = {int(self.batch_id)}")
        return " AND ".join(parts)


class Staged:
    """What one file came to.

    Attributes:
        entries: in the file.
        failed: of these, on how many the program that made it failed.
        captures: that it has something to say about, within the scope.
        outside: captures that it names beyond the scope.
        unknown: entries that name nothing in the ledger; `examples` has the first few.
    """

    def __init__(self) -> None:
        self.entries = 0
        self.failed = 0
        self.captures = 0
        self.outside = 0
        self.unknown = 0
        self.examples: list[str] = []


def prepare(connection: Connection) -> None:
    """Make the empty table `made`."""
    connection.execute(text("DROP TABLE IF EXISTS made"))
    columns = ", ".join(
        f"{name} {'TEXT' if name in ('metadata', 'machine_species') else 'REAL'}" for name in COLUMNS
    )
    connection.execute(
        text(f"CREATE TEMP TABLE made (capture INTEGER, source TEXT, {columns}, PRIMARY KEY (capture, source))")
    )


def stage(
    connection: Connection, reader: Reader, scope: Scope, rule: PathRule, on_progress: Callable[[int], None]
) -> Staged:
    """Add what a file says to `made`.

    Raises:
        InputError: the file is not what it should be.
    """
    staged = Staged()
    connection.execute(text("DROP TABLE IF EXISTS entry"))
    connection.execute(text("CREATE TEMP TABLE entry (number INTEGER PRIMARY KEY, key TEXT, payload TEXT)"))
    for part in _rows(reader, rule, staged):
        connection.exec_driver_sql("INSERT INTO entry VALUES (?, ?, ?)", part)
        on_progress(staged.entries)
    connection.execute(text("CREATE INDEX entry_key ON entry (key)"))
    found = bytearray(staged.entries + 1)
    made: list[tuple[Any, ...]] = []
    for capture, group in groupby(_matches(connection, reader, scope), key=lambda row: row[0]):
        payloads: list[Any] = []
        in_scope = False
        for _, wanted, number, payload, usable in group:
            found[number] = 1
            in_scope = bool(wanted)
            if wanted and usable and payload is not None:
                payloads.append(json.loads(payload))
        if not in_scope:
            staged.outside += 1
        elif payloads:
            staged.captures += 1
            made.append(_made(reader, int(capture), payloads))
            if len(made) == CHUNK:
                _insert(connection, made)
                made = []
    _insert(connection, made)
    _see_unknown(connection, reader, found, staged)
    connection.execute(text("DROP TABLE entry"))
    return staged


def _rows(reader: Reader, rule: PathRule, staged: Staged) -> Iterator[list[tuple[Any, ...]]]:
    part: list[tuple[Any, ...]] = []
    for entry in reader.entries():
        staged.entries += 1
        staged.failed += entry.payload is None
        key = rule.apply(entry.key) if reader.keyed_by_path else entry.key
        payload = None if entry.payload is None else json.dumps(entry.payload, ensure_ascii=False)
        part.append((staged.entries, key, payload))
        if len(part) == CHUNK:
            yield part
            part = []
    if part:
        yield part


def _matches(connection: Connection, reader: Reader, scope: Scope) -> Iterator[Any]:
    """Yield the entries with their captures, capture by capture.

    CROSS JOIN keeps SQLite to this order of loops: the ledger's rows once, and a look into `entry` for each.
    """
    if reader.keyed_by_path:
        query = f"""
            SELECT c.id, {scope.condition}, e.number, e.payload,
                   coalesce(i.problem, '') NOT IN ('excluded', 'withheld')
            FROM capture c CROSS JOIN image i ON i.capture_id = c.id CROSS JOIN entry e ON e.key = i.path
            ORDER BY c.id, i.rank, e.number
        """
    else:
        query = f"""
            SELECT c.id, {scope.condition}, e.number, e.payload, 1
            FROM capture c CROSS JOIN entry e ON e.key = c.capture_id ORDER BY c.id, e.number
        """
    yield from connection.execute(text(query))


def _made(reader: Reader, capture: int, payloads: list[Any]) -> tuple[Any, ...]:
    metadata, scores = reader.combine(payloads)
    return (
        capture,
        reader.source,
        json.dumps(dict(metadata), ensure_ascii=False),
        scores.animal,
        scores.person,
        scores.vehicle,
        scores.blank,
        scores.species,
        scores.species_confidence,
    )


def _insert(connection: Connection, made: list[tuple[Any, ...]]) -> None:
    if made:
        # Two files of one source in one call: the later one counts.
        marks = ", ".join("?" * len(made[0]))
        connection.exec_driver_sql(f"INSERT OR REPLACE INTO made VALUES ({marks})", made)


def _see_unknown(connection: Connection, reader: Reader, found: bytearray, staged: Staged) -> None:
    staged.unknown = found.count(0) - 1  # entries are counted from 1
    position = 0
    for _ in range(min(staged.unknown, MOST_EXAMPLES)):
        position = found.index(0, position + 1)
        key = connection.execute(text("SELECT key FROM entry WHERE number = :n"), {"n": position}).scalar()
        staged.examples.append(f"{reader.name}, entry {position}: not in the ledger: {key}")
