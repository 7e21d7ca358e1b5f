"""A whole ledger, taken to another database under its identity: every row of every table, compared by hash.

At no instant can two ledgers of one identity be written. Three commits, of which the second decides:

1. the target is whole, compared, and closed as a copy that is not finished;
2. the source is closed, as it has moved: until here it was kept from all writers and was not changed;
3. the target is opened.

Who is killed before the second leaves a source as it was and a target that is empty or closed, which a later copy
fills anew; who is killed after it leaves two that can only be read, and the same call goes on with the third.
"""

import contextlib
import itertools
import uuid
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Self

from sqlalchemy import Float, Table, select
from sqlalchemy.engine import Connection

from ctstate.errors import LedgerError, LedgerMissingError, UsageError
from ctstate.ledger import closed, runs
from ctstate.ledger.closed import Closed
from ctstate.ledger.database import dialect_of, place_of
from ctstate.ledger.ledger import Ledger
from ctstate.ledger.runs import Jobs
from ctstate.ledger.schema import capture, meta, metadata, run, season
from ctstate.ledger.staging import count, fill
from ctstate.words import counted

AT_ONCE = 5_000
"""Rows that are in memory at the same time."""


class Moved(NamedTuple):
    """A ledger that has moved.

    Attributes:
        captures, rows: what is in the new one.
        backup: see `Ledger.backup`, of the old one.
    """

    captures: int
    rows: int
    backup: Path | None


class _Names(NamedTuple):
    """The two ledgers' names, from any folder and on any node."""

    source: str
    target: str


def move(
    source: str, target: str, jobs: Jobs | None = None, on_progress: Callable[[int, int], None] | None = None
) -> Moved:
    """Take a ledger to another place; the same call again goes on with what was killed.

    Args:
        source: a file, or a database URL; it can only be read afterwards.
        target: a new file, an empty database, or a closed ledger of the same identity, whose rows are replaced.
        jobs: see `Ledger.open`.
        on_progress: told how many rows are copied or compared, and of how many.

    Raises:
        UsageError: runs are at work on the source; the target holds another ledger, or the same one.
        LedgerError: the source has moved elsewhere or is not finished itself; a row did not arrive as it was; or
            one of the two cannot be read or written.
    """
    names = _Names(place_of(source).for_jobs, place_of(target).for_jobs)
    with Ledger.open(source, jobs=jobs, even_closed=True) as old:
        why = old.why_closed()
        if why is not None:
            return _finish(old, why, target)
        old.recover()
        with old.read() as reading:
            _refuse_while_runs_live(old, reading)
        with Ledger.open(target, create=True, even_closed=True) as new:
            with new.read() as looking:
                _refuse_what_is_in_use(old, new, looking)
            token = uuid.uuid4().hex[:12]
            with old.write() as reading:
                _prepare_to_go(old, reading, names, token)
                with new.write() as writing:
                    _fill(old, reading, new, writing, on_progress or (lambda done, total: None))
                    closed.close(writing, Closed(False, names.source, token))
            return _open(old, new, token)


def _finish(old: Ledger, why: Closed, target: str) -> Moved:
    """Go on with a copying that was killed, if it is the one to this target and the source has moved already."""
    if why.moved:
        with contextlib.suppress(LedgerMissingError), Ledger.open(target, even_closed=True) as new:
            with new.read() as connection:
                arrived = closed.by_copy(connection) == why.by_copy
            if arrived:
                return _open(old, new, why.by_copy)
    raise LedgerError(f"ledger {old.name}: {why.words}")


def _open(old: Ledger, new: Ledger, by_copy: str) -> Moved:
    """Open the target, unless more has become of it: this process may have slept for as long as it takes."""
    with new.write() as connection:
        why = closed.why_closed(connection)
        if why is not None:
            if why.moved or why.by_copy != by_copy:
                raise LedgerError(f"ledger {new.name}: {why.words}")
            closed.open_again(connection)
    with new.read() as connection:
        rows = sum(count(connection, table) for table in metadata.sorted_tables)
        return Moved(count(connection, capture), rows, old.backup)


# -- who may go where ------------------------------------------------------------------------------------------


def _refuse_while_runs_live(old: Ledger, connection: Connection) -> None:
    living = runs.newest(connection, 0)
    if living:
        first = living[0]
        raise UsageError(
            f"ledger {old.name}: {counted(len(living), 'run', 'are')} at work on it ({first.verb}, run {first.id} "
            f"on {first.host}): wait for the end, or `ctstate stop` (see `ctstate runs`); nothing was copied"
        )


def _refuse_what_is_in_use(old: Ledger, new: Ledger, connection: Connection) -> None:
    identity = connection.execute(select(meta.c.value).where(meta.c.name == "ledger_id")).scalar()
    why = closed.why_closed(connection)
    if why is not None and identity != old.ledger_id:
        raise UsageError(f"ledger {new.name}: {why.words}; name a new file or an empty database")
    if why is None and identity == old.ledger_id:
        raise UsageError(f"{new.name} is the same ledger as {old.name}, or a plain copy of it; nothing was copied")
    if why is None and any(count(connection, table) for table in (season, capture, run)):
        raise UsageError(f"{new.name} holds a ledger already: name a new file or an empty database")


def _prepare_to_go(old: Ledger, connection: Connection, names: _Names, token: str) -> None:
    """Write down in the source that it moves, which holds if all else has gone well; and keep all writers out."""
    dialect_of(connection).lasts(connection)
    _refuse_while_runs_live(old, connection)
    run_id = old.begin_run(connection, "copy", {"from": names.source, "to": names.target})
    runs.end(connection, run_id, "done")
    closed.close(connection, Closed(True, names.target, token))


# -- rows ------------------------------------------------------------------------------------------------------


def _fill(
    old: Ledger, reading: Connection, new: Ledger, writing: Connection, on_progress: Callable[[int, int], None]
) -> None:
    """Make the target's rows those of the source, and prove it."""
    _refuse_what_is_in_use(old, new, writing)
    closed.open_again(writing)
    dialect = dialect_of(writing)
    dialect.lasts(writing)
    tables = metadata.sorted_tables
    with dialect_of(reading).translated(old.name):
        total, done = 2 * sum(count(reading, table, *_but_marks(table)) for table in tables), 0
    sent: dict[str, list[_Page]] = {table.name: [] for table in tables}
    with dialect.filling(writing, tables):
        for table in tables:
            with dialect_of(reading).translated(f"{old.name}, table {table.name}"):
                for rows in _pages(reading, table):
                    with dialect.translated(f"{new.name}, table {table.name}"):
                        fill(writing, table, rows)
                    sent[table.name].append(_Page.of(rows))
                    done += len(rows)
                    on_progress(done, total)
    for table in tables:
        first = 1
        arrived = map(_Page.of, _pages(writing, table))
        for was, now in itertools.zip_longest(sent[table.name], arrived, fillvalue=_Page(b"", 0)):
            if was != now:
                raise LedgerError(
                    f"ledger {new.name}, table {table.name}: from row {first:,} on, what arrived is not what was "
                    "sent; nothing was copied"
                )
            first += now.rows
            done += now.rows
            on_progress(done, total)


class _Page(NamedTuple):
    """What is kept of some rows that follow each other."""

    digest: bytes
    rows: int

    @classmethod
    def of(cls, rows: list[tuple[Any, ...]]) -> Self:
        text = repr(rows).encode("utf-8", "surrogatepass")
        return cls(blake2b(text, digest_size=16).digest(), len(rows))


def _but_marks(table: Table) -> list[Any]:
    return [meta.c.name.not_in(closed.MARKS)] if table is meta else []


def _pages(connection: Connection, table: Table) -> Iterator[list[tuple[Any, ...]]]:
    """Yield all rows of a table in the order of its key, which is the same in every database, as plain values."""
    question = select(*table.columns).where(*_but_marks(table)).order_by(*table.primary_key.columns)
    floats = any(isinstance(column.type, Float) for column in table.columns)
    for rows in connection.execute(question, execution_options={"yield_per": AT_ONCE}).partitions():
        yield [_without_sign_of_zero(row) for row in rows] if floats else [tuple(row) for row in rows]


def _without_sign_of_zero(row: Any) -> tuple[Any, ...]:
    """Return a row with 0.0 in place of -0.0, which not every database keeps apart."""
    return tuple(value + 0.0 if type(value) is float else value for value in row)
