"""The ledger: the only place where the truth is, and the only writer of a capture's state.

with Ledger.open("season.db") as ledger:
    for row in ledger.captures(Selection(states=["failed"])):
        print(row.capture_id, row.reason)
"""

import contextlib
import functools
import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn, Self

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.engine import Connection

from ctstate.capture import Batch, Season
from ctstate.cluster.queue import WATCH
from ctstate.errors import LedgerMissingError, UsageError
from ctstate.ledger import runs
from ctstate.ledger.captures import Selection
from ctstate.ledger.live_run import LiveRun
from ctstate.ledger.migrate import HEAD, bring_up_to_date, look_at_version
from ctstate.ledger.schema import batch, capture, meta, run, season
from ctstate.ledger.sqlite import (
    check_place,
    file_system_of,
    ledger_path,
    make_engine,
    on_network,
    parse_url,
    transaction,
)
from ctstate.ledger.states import State

log = logging.getLogger(__name__)

_PAGE = 500

_SEASONS = select(*(season.c[name] for name in Season._fields)).order_by(season.c.name)
_BATCHES = select(*(batch.c[name] for name in Batch._fields)).order_by(batch.c.id)
_ORPHAN = (
    select(capture.c.id)
    .where(
        capture.c.state == State.UPLOADING.value,
        capture.c.run_id.in_(select(run.c.id).where(run.c.ended_at.is_not(None))),
    )
    .limit(1)
)


class Ledger:
    """One ledger, open. Make it with `Ledger.open`; use it in a `with` or call `close`."""

    def __init__(self, name: str, engine: Any, path: Path | None, migrated_from: Path | None) -> None:
        self.name = name
        self.path = path
        self.backup = migrated_from
        self._engine = engine
        self._silence = runs.Silence()
        self._endpoint: str | None = None  # once it is known; it never changes

    @classmethod
    def open(
        cls, url_or_path: str | os.PathLike[str], *, create: bool = False, read_only: bool = False
    ) -> "Ledger":
        """Open a ledger; bring an older one up to date after a backup copy beside it (`ledger.backup`).

        Args:
            url_or_path: a file, or a database URL.
            create: make it where there is none.
            read_only: nothing can be written through it, by construction.

        Raises:
            LedgerMissingError: there is none and `create` is False.
            LedgerVersionError: a newer ctstate made it.
            LedgerError: it cannot be opened or is something else.
            UsageError: `url_or_path` names no supported database.
        """
        url = parse_url(url_or_path)
        path = ledger_path(url)
        name = str(path) if path is not None else url.render_as_string(hide_password=True)
        if path is not None:
            check_place(path, create=create and not read_only)
            if path.exists() and path.stat().st_size == 0 and not create:
                raise LedgerMissingError(f"ledger {name}: the file is empty; `ctstate manifest` makes a ledger")
        backup = None
        if path is not None and path.exists() and (read_only or not on_network(path)):
            # Looked at read-only first: what is no ledger must not be touched, not even its journal mode. (Where
            # memory cannot be shared, a ledger that comes from a local disk opens only for writing.)
            engine = make_engine(url, read_only=True)
            version = look_at_version(engine, name)
            if read_only and version != HEAD:
                # A report may be the first to open an older ledger: it is migrated as by any other verb.
                cls.open(url_or_path).close()
        if not read_only:
            engine = make_engine(url)
            backup = bring_up_to_date(engine, name, path)
        ledger = cls(name, engine, path, backup)
        if not read_only:
            ledger._give_identity()
        return ledger

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- transactions --------------------------------------------------------------------------------------

    def write(self, connection: Connection | None = None) -> AbstractContextManager[Connection]:
        """Return a write transaction: committed on leaving, rolled back on an error.

        Raises:
            LedgerError: see `database.translated`.
        """
        return transaction(self._engine, self.name, write=True, connection=connection)

    def read(self, connection: Connection | None = None) -> AbstractContextManager[Connection]:
        """Return a read transaction: one consistent picture; keep it short, as it holds back checkpoints."""
        return transaction(self._engine, self.name, write=False, connection=connection)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend one connection for several transactions (`write(connection)`), which share temporary tables."""
        with self._engine.connect() as connection:
            yield connection
            connection.detach()  # its temporary tables go with it

    # -- the ledger itself ---------------------------------------------------------------------------------

    def _give_identity(self) -> None:
        if self.meta("ledger_id") is None:
            with self.write() as connection:
                if connection.execute(select(meta.c.value).where(meta.c.name == "ledger_id")).first() is None:
                    connection.execute(insert(meta).values(name="ledger_id", value=uuid.uuid4().hex[:12]))

    def meta(self, name: str) -> str | None:
        """Return a fact about the ledger (`ledger_id`, `endpoint`), or None."""
        with self.read() as connection:
            value = connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar()
        return None if value is None else str(value)

    @functools.cached_property
    def ledger_id(self) -> str:
        """Twelve hex digits that are part of the external_id of every subject this ledger makes; read once."""
        value = self.meta("ledger_id")
        assert value is not None
        return value

    def check_endpoint(self, endpoint: str) -> None:
        """Refuse a Zooniverse that is not the ledger's: subject ids of a rehearsal mean nothing on the real one.

        Raises:
            UsageError: the ledger is tied to another.
        """
        self._endpoint = self._endpoint or self.meta("endpoint")
        if self._endpoint is not None:
            self.bind_endpoint(endpoint)

    def bind_endpoint(self, endpoint: str) -> None:
        """Tie the ledger to one Zooniverse.

        Raises:
            UsageError: it is tied to another already.
        """
        known = self._endpoint = self._endpoint or self.meta("endpoint")
        if known is None:
            with self.write() as connection:
                # Another worker may have been here since.
                known = connection.execute(select(meta.c.value).where(meta.c.name == "endpoint")).scalar()
                if known is None:
                    connection.execute(insert(meta).values(name="endpoint", value=endpoint))
                    return
        if known != endpoint:
            raise UsageError(
                f"ledger {self.name} belongs to {known}, not to {endpoint}; "
                "make a ledger of its own for each (--ledger), starting with `ctstate manifest`"
            )

    def rebind_endpoint(self, endpoint: str) -> None:
        """Follow a Zooniverse that has moved to another address (a sandbox restarted on another port)."""
        with self.write() as connection:
            connection.execute(update(meta).where(meta.c.name == "endpoint").values(value=endpoint))

    def file_system(self) -> tuple[str, bool]:
        """Return the type of the file system below the ledger and whether several hosts share it."""
        if self.path is None:
            return "", True
        return file_system_of(self.path), on_network(self.path)

    # -- runs ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def atomic_run(self, verb: str, arguments: Mapping[str, Any]) -> Iterator[tuple[Connection, int]]:
        """A run that is one transaction: a verb that fails or is killed leaves the ledger as it was.

        Yields:
            the transaction and the run's id.
        """
        with self.write() as connection:
            run_id = runs.start(connection, verb, arguments)
            yield connection, run_id
            runs.end(connection, run_id, "done")

    def live_run(self, verb: str, arguments: Mapping[str, Any], log_file: str | None = None) -> LiveRun:
        """Start a run of many transactions, with a heartbeat; see `LiveRun`."""
        return LiveRun(self, verb, arguments, log_file)

    def recover(self, lease: float = runs.LEASE_S) -> int:
        """Put back to batched what dead runs had claimed; return how many captures."""
        lost, orphaned, elsewhere = self._who_is_dead(lease)
        if elsewhere:
            WATCH.look(elsewhere)  # a call over the network: in no transaction
            lost, orphaned, _ = self._who_is_dead(lease)
        if not lost and not orphaned:
            return 0
        with self.write() as connection:
            return runs.recover(connection, runs.dead(connection, self._silence, lease))

    def _who_is_dead(self, lease: float) -> tuple[list[int], bool, list[int]]:
        """Return the dead runs, whether runs that ended still have claims, and the runs that Slurm can tell
        about."""
        with self.read() as connection:
            lost = runs.dead(connection, self._silence, lease)
            orphan = connection.execute(_ORPHAN).first()
            return lost, orphan is not None, runs.look_at_jobs(connection)

    # -- questions -----------------------------------------------------------------------------------------

    def captures(self, selection: Selection | None = None) -> Iterator[Row[Any]]:
        """Yield the captures of a selection as rows of the table `capture`, by id.

        Reads page by page, so that memory is bounded and no reader holds the ledger for long.
        """
        last = 0
        clause = (selection or Selection()).clause()
        while True:
            with self.read() as connection:
                rows = connection.execute(
                    select(capture).where(capture.c.id > last, clause).order_by(capture.c.id).limit(_PAGE)
                ).all()
            yield from rows
            if len(rows) < _PAGE:
                return
            last = rows[-1].id

    def count(self, selection: Selection | None = None) -> int:
        """Return how many captures a selection holds."""
        with self.read() as connection:
            query = select(func.count()).select_from(capture).where((selection or Selection()).clause())
            return int(connection.execute(query).scalar_one())

    def season(self, name: str | None) -> Season:
        """Return the season of that name, or the only one there is.

        Raises:
            UsageError: no such season, or several and none was named.
        """
        with self.read() as connection:
            rows = [Season(*row) for row in connection.execute(_SEASONS)]
        if name is not None:
            rows = [row for row in rows if row.name == name] or _no_season(name, rows)
        if not rows:
            raise UsageError("the ledger holds no season yet: begin with `ctstate manifest`")
        if len(rows) > 1:
            raise UsageError(f"name a season with --season: the ledger holds {', '.join(r.name for r in rows)}")
        return rows[0]

    def batches(self, season_id: int | None, name: str | None = None) -> list[Batch]:
        """Return a season's batches (None: of all), or the one of that name, in the order they were made.

        Raises:
            UsageError: no batch of that name.
        """
        with self.read() as connection:
            wanted = _BATCHES if season_id is None else _BATCHES.where(batch.c.season_id == season_id)
            rows = [Batch(*row) for row in connection.execute(wanted)]
        if name is None:
            return rows
        found = [row for row in rows if row.name == name]
        if not found:
            known = ", ".join(row.name for row in rows) or "none; make them with `ctstate batch`"
            raise UsageError(f"no batch {name!r} in this season; there are: {known}")
        return found


def _no_season(name: str, rows: Sequence[Season]) -> NoReturn:
    known = ", ".join(row.name for row in rows) or "none; begin with `ctstate manifest`"
    raise UsageError(f"no season {name!r} in the ledger; there are: {known}")
