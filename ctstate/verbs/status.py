"""What the ledger says: progress, the history of a capture, and any question in SQL."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sqlalchemy import text

from ctstate.errors import InputError, LedgerError, UsageError
from ctstate.ledger import Ledger
from ctstate.ledger.states import State

STATES = tuple(str(state) for state in State)


@dataclass(frozen=True)
class Progress:
    """How many captures of a season's batch are in each state.

    Attributes:
        season: manifest id.
        batch: None: in no batch yet.
        counts: by state, excluded captures left out.
        excluded: captures that are not to be uploaded.
        in_doubt: captures whose create got no answer, to be looked for.
        subject_set_id: once there is one.
    """

    season: str
    batch: str | None
    counts: dict[str, int]
    excluded: int
    in_doubt: int
    subject_set_id: int | None

    @property
    def total(self) -> int:
        """All captures, the excluded included."""
        return sum(self.counts.values()) + self.excluded


def progress(ledger: Ledger, season: str | None = None, batch: str | None = None) -> list[Progress]:
    """Return the progress of every season and batch, or of those named.

    Raises:
        UsageError: no such season or batch.
    """
    if season is not None:
        ledger.season(season)
    with ledger.read() as connection:
        rows = connection.execute(
            text(
                """
                SELECT s.name AS season, b.name AS batch, b.id AS batch_id, b.subject_set_id, c.state,
                       sum(CASE WHEN c.excluded IS NULL OR c.subject_id IS NOT NULL THEN 1 ELSE 0 END) AS captures,
                       sum(CASE WHEN c.excluded IS NULL OR c.subject_id IS NOT NULL THEN 0 ELSE 1 END) AS excluded,
                       sum(CASE WHEN c.ambiguous_at IS NOT NULL THEN 1 ELSE 0 END) AS in_doubt
                FROM capture c JOIN season s ON s.id = c.season_id LEFT JOIN batch b ON b.id = c.batch_id
                WHERE (:season IS NULL OR s.name = :season) AND (:batch IS NULL OR b.name = :batch)
                GROUP BY s.name, b.name, b.id, b.subject_set_id, c.state ORDER BY s.name, b.id
                """
            ),
            {"season": season, "batch": batch},
        ).all()
    groups: dict[tuple[str, str | None], list[Any]] = {}
    for row in rows:
        groups.setdefault((row.season, row.batch), []).append(row)
    if batch is not None and not groups:
        raise UsageError(f"no batch {batch!r} in the ledger")
    return [
        Progress(
            season=name,
            batch=batch_name,
            counts={state: sum(row.captures for row in part if row.state == state) for state in STATES},
            excluded=sum(row.excluded for row in part),
            in_doubt=sum(row.in_doubt for row in part),
            subject_set_id=part[0].subject_set_id,
        )
        for (name, batch_name), part in groups.items()
    ]


def history(ledger: Ledger, capture_id: str) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what the ledger knows of a capture: its facts, its images and its events, oldest first.

    Raises:
        UsageError: no such capture.
    """
    with ledger.read() as connection:
        facts = connection.execute(
            text("SELECT * FROM v_captures WHERE capture_id = :id"), {"id": capture_id}
        ).first()
        if facts is None:
            raise UsageError(f"no capture {capture_id!r} in the ledger; a capture id looks like SER_S1#B04#1#17")
        images = connection.execute(
            text(
                "SELECT rank, path, problem, problem_reason, bytes, note, arrived_at FROM v_images"
                " WHERE capture_id = :id ORDER BY rank"
            ),
            {"id": capture_id},
        ).all()
        events = connection.execute(
            text(
                "SELECT at, source, target, run_id, verb, subject_id, reason FROM v_events"
                " WHERE capture_id = :id ORDER BY id"
            ),
            {"id": capture_id},
        ).all()
    return (
        dict(facts._mapping),
        [dict(row._mapping) for row in images],
        [dict(row._mapping) for row in events],
    )


@dataclass
class Answer:
    """The answer to a question in SQL: column names and rows, which are read as they are asked for."""

    columns: Sequence[str]
    rows: Iterator[Sequence[Any]]


_READING = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, getattr(sqlite3, "SQLITE_RECURSIVE", 33)}
)


@contextlib.contextmanager
def ask(ledger: Ledger, question: str) -> Iterator[Answer]:
    """Answer a question in SQL, read-only by construction: the file is opened so, and only SELECT is let through.

    Raises:
        InputError: SQLite does not understand it, or it would do more than read.
        LedgerError: the ledger cannot be read.
    """
    assert ledger.path is not None
    connection = sqlite3.connect(f"file:{quote(str(ledger.path.absolute()))}?mode=ro", uri=True, timeout=60)
    try:
        connection.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY
        )
        try:
            cursor = connection.execute(question)
        except sqlite3.Warning as error:
            raise InputError(f"SQL: {error}: one statement at a time") from None
        except sqlite3.DatabaseError as error:
            if "not authorized" in str(error) or "prohibited" in str(error):
                raise InputError("SQL: only questions (SELECT) are allowed here; nothing was changed") from None
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise LedgerError(f"ledger {ledger.name}: {error}") from None
            raise InputError(f"SQL: {error}; the views are described in docs/views.md") from None
        if cursor.description is None:
            raise InputError("SQL: only questions (SELECT) are allowed here; nothing was changed")
        yield Answer([column[0] for column in cursor.description], _rows(cursor))
    finally:
        connection.close()


def _rows(cursor: sqlite3.Cursor) -> Iterator[Sequence[Any]]:
    try:
        for row in cursor:  # noqa: UP028 (`yield from` would close the cursor, after its connection)
            yield row
    except sqlite3.DatabaseError as error:
        raise InputError(f"SQL: {error}") from None
