"""The ledger: the only place where the truth is, and the only writer of a capture's state.

with Ledger.open("season.db") as ledger:
    for row in ledger.captures(Selection(states=["failed"])):
        print(row.capture_id, row.reason)
"""

import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from sqlalchemy import func, insert, select
from sqlalchemy.engine import Connection, Engine

from ctstate.capture import Batch, Capture, Season
from ctstate.errors import LedgerError, LedgerLostError, LedgerMissingError, UsageError
from ctstate.ledger import read_only_sql, runs
from ctstate.ledger.captures import Selection, records
from ctstate.ledger.closed import Closed, why_closed
from ctstate.ledger.database import dialect_of, moment, place_of, transaction
from ctstate.ledger.dialect import BACK_AGAIN_S, BUSY_PATIENCE_S, Dialect, Finding, Place, Reader, Stored
from ctstate.ledger.live_run import LiveRun
from ctstate.ledger.migrate import HEAD, bring_up_to_date, look_at_version
from ctstate.ledger.runs import Jobs
from ctstate.ledger.schema import batch, capture, meta, season
from ctstate.machine import machine

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

T = TypeVar("T")

TRIES = 5
"""So often work is tried whose connection breaks before anything is written."""

_SEASONS = select(*(season.c[name] for name in Season._fields)).order_by(season.c.name)
_BATCHES = select(*(batch.c[name] for name in Batch._fields)).order_by(batch.c.id)
_LEDGER_ID = select(meta.c.value).where(meta.c.name == "ledger_id")


class Ledger:
    """One ledger, open. Make it with `Ledger.open`; use it in a `with` or call `close`.

    Attributes:
        name: for messages: its path, or its URL without a password.
        path: its file; None: it is none.
        backup: the copy that was made before it was brought up to date; None: it was not.
        lock_seconds: for how long its write transactions waited to begin.
        ledger_id: twelve hex digits that are part of the external_id of every subject that this ledger makes.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        path: Path | None = None,
        *,
        backup: Path | None = None,
        jobs: Jobs | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.backup = backup
        self.ledger_id = _identity(engine, name) or _give_identity(engine, name)
        self._engine = engine
        self._jobs = jobs or runs.NoJobs()
        self._silence = runs.Silence()
        self._endpoint: str | None = None  # once it is known; it never changes
        self._guard = threading.Lock()
        self.lock_seconds = 0.0

    @classmethod
    def open(
        cls,
        url_or_path: str | os.PathLike[str],
        *,
        create: bool = False,
        read_only: bool = False,
        jobs: Jobs | None = None,
        name: str | None = None,
        even_closed: bool = False,
    ) -> Self:
        """Open a ledger; bring an older one up to date after a backup copy beside it (`ledger.backup`).

        Args:
            url_or_path: a file, or a database URL.
            create: make it where there is none.
            read_only: nothing can be written through it, by construction.
            jobs: where runs are jobs of a cluster, who can tell what becomes of them, such as
                `ctstate.cluster.schedulers.CLUSTER`; None: a run that dies on another host is found out by its
                lease.
            name: for messages; by default where it is.
            even_closed: also for writing one that can only be read (`why_closed`); every write will be refused.

        Raises:
            LedgerMissingError: there is none and `create` is False.
            LedgerVersionError: a newer ctstate made it.
            LedgerError: it cannot be opened, is something else, or has moved and can only be read (`read_only`).
            UsageError: `url_or_path` names no supported database.
        """
        place = place_of(url_or_path)
        dialect = dialect_of(place.url)
        name = name or place.name
        dialect.prepare(place, create=create and not read_only)
        if dialect.may_be_looked_at(place, read_only=read_only):
            with _for_a_look(dialect, place) as engine:
                version = look_at_version(engine, name)
                usable = version == HEAD and _identity(engine, name) is not None
            if version is None and not create:
                raise LedgerMissingError(f"ledger {name}: holds no ledger; `ctstate manifest` makes one")
            if read_only and not usable:
                # A report may be the first to open an older ledger: it is migrated as by any other verb.
                cls.open(url_or_path, even_closed=True).close()
        with contextlib.ExitStack() as until_open:
            engine = dialect.engine(place, read_only=read_only)
            until_open.callback(engine.dispose)
            backup = None if read_only else bring_up_to_date(engine, name, place)
            ledger = cls(name, engine, place.path, backup=backup, jobs=jobs)
            if not (read_only or even_closed) and (why := ledger.why_closed()) is not None:
                raise LedgerError(f"ledger {name}: {why.words}")
            until_open.pop_all()
        return ledger

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- transactions --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def write(self, connection: Connection | None = None) -> Iterator[Connection]:
        """Return a write transaction: committed on leaving, rolled back on an error.

        Raises:
            LedgerError: see `Dialect.translated`.
        """
        began = machine().monotonic()
        with transaction(self._engine, self.name, write=True, connection=connection) as begun:
            with self._guard:
                self.lock_seconds += machine().monotonic() - began
            yield begun

    def do(self, work: Callable[[Connection], T]) -> T:
        """Carry out work in a write transaction, and anew where its connection breaks before it is written.

        Args:
            work: short, and the same when it is called again; what it returns is returned once it is written.

        Raises:
            LedgerError: see `Dialect.translated`.
        """
        until = machine().monotonic() + BACK_AGAIN_S
        for left in range(TRIES - 1, -1, -1):
            try:
                with self.write() as connection:
                    done = work(connection)
            except LedgerLostError:  # to begin anew waits for the database
                if not left or machine().monotonic() > until:
                    raise
            else:
                return done
        raise AssertionError

    def read(self, connection: Connection | None = None) -> AbstractContextManager[Connection]:
        """Return a read transaction: one consistent picture; keep it short, as it holds back checkpoints."""
        return transaction(self._engine, self.name, write=False, connection=connection)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend one connection for several transactions (`write(connection)`), which share temporary tables.

        Raises:
            LedgerError: none can be had.
        """
        with dialect_of(self._engine).translated(self.name):
            lent = self._engine.connect()
        with lent as connection:
            yield connection
            connection.detach()  # its temporary tables go with it

    def reader(self, seconds: float = BUSY_PATIENCE_S) -> AbstractContextManager[Reader]:
        """Return who answers questions in SQL that a person typed, in so many seconds; see `read_only_sql`."""
        return dialect_of(self._engine).reader(self._engine, self.path, seconds)

    def moment(self) -> str:
        """Return this moment, by the clock that all of the ledger's workers share; see `database.moment`."""
        with self.read() as connection:
            return moment(connection)

    def health(self) -> list[Finding]:
        """Look at the database as a whole: what may go wrong in a long run (`ctstate doctor`)."""
        return dialect_of(self._engine).health(self._engine)

    def stored(self) -> Stored:
        """Return how large the ledger is, and how its journal is kept."""
        return dialect_of(self._engine).stored(self._engine, self.path)

    def back_up(self, target: Path) -> int:
        """Copy the ledger's file, see `Dialect.back_up`; return how many captures the copy holds."""
        return dialect_of(self._engine).back_up(self.path, target)

    # -- the ledger itself ---------------------------------------------------------------------------------

    def meta(self, name: str) -> str | None:
        """Return a fact about the ledger (`ledger_id`, `endpoint`), or None."""
        with self.read() as connection:
            value = connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar()
        return None if value is None else str(value)

    def why_closed(self) -> Closed | None:
        """Return why the ledger can only be read (it has moved, or is not finished); None: it can be written."""
        with self.read() as connection:
            return why_closed(connection)

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

    @property
    def most_workers(self) -> int:
        """So many uploads at the same time are worth it; see `Dialect.most_workers`."""
        return dialect_of(self._engine).most_workers

    # -- runs ----------------------------------------------------------------------------------------------

    def begin_run(
        self, connection: Connection, verb: str, arguments: Mapping[str, Any], log_file: str | None = None
    ) -> int:
        """Write down, in a write transaction, that an invocation begins; return the run's id. See `runs.start`."""
        return runs.start(connection, verb, arguments, log_file, self._jobs.of_this_process())

    @contextlib.contextmanager
    def atomic_run(
        self, verb: str, arguments: Mapping[str, Any], connection: Connection | None = None
    ) -> Iterator[tuple[Connection, int]]:
        """A run that is one transaction: a verb that fails or is killed leaves the ledger as it was.

        Args:
            verb, arguments: see `runs.start`.
            connection: use this one, with its temporary tables (see `connection`).

        Yields:
            the transaction and the run's id.
        """
        with self.write(connection) as writing:
            run_id = self.begin_run(writing, verb, arguments)
            yield writing, run_id
            runs.end(writing, run_id, "done")

    def live_run(
        self,
        verb: str,
        arguments: Mapping[str, Any],
        log_file: str | None = None,
        figures: Callable[[], Mapping[str, float]] = dict,
        also: Callable[[Connection, int], None] | None = None,
    ) -> LiveRun:
        """Start a run of many transactions, with a heartbeat; see `LiveRun`.

        Args:
            verb, arguments, log_file: see `runs.start`.
            figures: tells what the run did so far, by name; from when on it counts does not matter.
            also: writes what must be in the ledger as soon as the run is, in the same transaction.
        """
        return LiveRun(self, verb, arguments, log_file, figures, also)

    def dead_runs(self, connection: Connection) -> list[int]:
        """Return, in a transaction, the runs that have not ended but cannot be alive; see `runs.dead`."""
        return runs.dead(connection, self._silence, self._jobs)

    def look_at_jobs(self, keep: float | None = None) -> None:
        """Ask the scheduler about silent runs of other hosts, for the next `dead_runs`: in no transaction.

        Args:
            keep: see `Jobs.look`.
        """
        with self.read() as connection:
            silent = runs.silent_in_jobs(connection)
        if silent:
            self._jobs.look(silent, keep)

    def recover(self) -> int:
        """Put back to batched what dead runs had claimed; return how many captures."""
        self.look_at_jobs()
        with self.read() as connection:
            if not self.dead_runs(connection) and not runs.left_claims(connection):
                return 0
        return self.do(lambda connection: runs.recover(connection, self.dead_runs(connection)))

    # -- questions -----------------------------------------------------------------------------------------

    def captures(self, selection: Selection | None = None) -> Iterator[Capture]:
        """Yield the captures of a selection, by id; read page by page, so that memory is bounded."""
        for page in records(self.read, selection or Selection()):
            yield from page

    def count(self, selection: Selection | None = None) -> int:
        """Return how many captures a selection holds."""
        with self.read() as connection:
            query = select(func.count()).select_from(capture).where((selection or Selection()).clause())
            return int(connection.execute(query).scalar_one())

    def query(self, question: str) -> "pd.DataFrame":
        """Answer a question in SQL as a table; whole numbers that may be missing are nullable (`Int64`).

        Raises:
            InputError: the database does not understand it, or it would do more than read.
            LedgerError: the ledger cannot be read.
        """
        return read_only_sql.table(self, question)

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

    def project(self) -> int | None:
        """Return the project that its subject sets are in; None where it has none yet.

        Raises:
            UsageError: there are several.
        """
        found = sorted({row.project_id for row in self.batches(None) if row.project_id is not None})
        if len(found) > 1:
            raise UsageError(
                f"name a project with --project-id: the ledger has sets in {', '.join(map(str, found))}"
            )
        return found[0] if found else None

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


@contextlib.contextmanager
def _for_a_look(dialect: Dialect, place: Place) -> Iterator[Engine]:
    engine = dialect.engine(place, read_only=True)
    try:
        yield engine
    finally:
        engine.dispose()


def _identity(engine: Engine, name: str) -> str | None:
    with transaction(engine, name, write=False) as connection:
        return connection.execute(_LEDGER_ID).scalar()


def _give_identity(engine: Engine, name: str) -> str:
    with transaction(engine, name, write=True) as connection:
        known = connection.execute(_LEDGER_ID).scalar()  # another process may have been here since
        if known is None:
            known = uuid.uuid4().hex[:12]
            connection.execute(insert(meta).values(name="ledger_id", value=known))
        return known


def _no_season(name: str, rows: Sequence[Season]) -> NoReturn:
    known = ", ".join(row.name for row in rows) or "none; begin with `ctstate manifest`"
    raise UsageError(f"no season {name!r} in the ledger; there are: {known}")
