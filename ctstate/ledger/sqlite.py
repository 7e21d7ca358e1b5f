"""The dialect of SQLite: a ledger is a file. Why each PRAGMA:

* `journal_mode`: WAL on a local disk, so that readers and the writer do not wait for each other. WAL shares
  memory between processes and is unsafe between hosts (sqlite.org/wal.html), so a network file system gets a
  rollback journal (TRUNCATE).
* `synchronous = FULL`: a commit is on the disk when it returns. "A create is about to be sent" must survive a
  power cut, or the next run would send it again. Commits are grouped, so the cost is small.
* `foreign_keys = ON`: SQLite leaves them off by default.
* `busy_timeout = 60000`: 60 s, not 5, wherever SQLite waits by itself; for the write lock see `_begin`.
* `cache_size = -32768`: 32 MiB, enough for a million captures' indexes, bounded whatever the season.
"""

import contextlib
import os
import random
import secrets
import sqlite3
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Table, create_engine, event
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from ctstate.errors import LedgerError, LedgerMissingError
from ctstate.ledger import sqlite_tables
from ctstate.ledger.clock import now
from ctstate.ledger.dialect import BUSY_PATIENCE_S, Finding, Kind, Place, Reader, Stored
from ctstate.ledger.sqlite_errors import is_busy, translated
from ctstate.ledger.sqlite_reader import reading

BUSY_TIMEOUT_S = 60

LEAST_PAUSE_S, MOST_PAUSE_S = 0.002, 0.02
"""How long it pauses between two such questions, about."""

OVERDUE_S, HELD_S = 0.4, 4.0
"""Who has waited so long for the write lock asks as often as anybody may; and so long, seldom again: somebody holds
it, and on a shared disk each question goes over the network."""

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs", "nfs4", "lustre", "gpfs", "beegfs", "fhgfs_client", "panfs", "ceph", "wekafs", "orangefs", "pvfs2",
        "glusterfs", "fuse.glusterfs", "fuse.ceph", "fuse.sshfs", "fuse.beegfs", "fuse.juicefs", "cifs", "smb3",
        "smbfs", "afs", "9p", "virtiofs", "vboxsf", "acfs", "ocfs2", "gfs2", "cvmfs", "dvs",
    }
)  # fmt: skip


def _copied(path: Path, part: Path) -> int:
    """Copy a ledger's file; return how many captures the copy holds, which is looked at whole."""
    # Never `rwc`: it would make an empty ledger where one has gone away.
    file = f"file:{quote(os.path.abspath(path))}?mode=rw"
    opened = sqlite3.connect(file, uri=True, timeout=BUSY_TIMEOUT_S)
    with closing(opened) as source, closing(sqlite3.connect(part)) as copy:
        source.backup(copy, progress=_waited_enough)
        copy.execute("PRAGMA journal_mode = DELETE")  # all of it in the one file
        found = str(copy.execute("PRAGMA quick_check(1)").fetchone()[0])
        if found != "ok":
            raise sqlite3.DatabaseError(f"it is damaged: {found}")
        return int(copy.execute("SELECT count(*) FROM capture").fetchone()[0])


def _waited_enough(status: int, left: int, pages: int) -> None:
    """End a copy of a ledger that was locked for the whole of `BUSY_TIMEOUT_S`: Python would ask for ever."""
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise sqlite3.OperationalError("the ledger is locked")


def _for_the_same_eyes(path: Path, copy: int) -> None:
    """Let those read a copy (an open file that is its owner's alone) who may read the ledger, and nobody else."""
    ledger = os.stat(path)
    bits = stat.S_IMODE(ledger.st_mode) & 0o666
    if os.fstat(copy).st_gid != ledger.st_gid:
        try:
            os.fchown(copy, -1, ledger.st_gid)
        except OSError:
            bits &= 0o606  # its group is another one
    os.fchmod(copy, bits)


def _take_name(part: Path, target: Path) -> None:
    """Give a file its name, never in the place of one that has it by now."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # not every file system knows hard links
        if os.path.lexists(target):
            raise FileExistsError(f"{target} is there already") from None
        part.rename(target)


def _on_disk(folder: Path) -> None:
    """Let the names in a folder survive a power cut, where its file system can be asked to."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def file_system_of(path: Path) -> str:
    """Return the type of the file system that holds `path`, as the kernel names it ('' where it cannot tell)."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    where = os.path.realpath(path if path.exists() else path.parent)
    best, kind = "", ""
    for line in mounts:
        left, _, right = line.partition(" - ")
        point = left.split()[4].encode("ascii", "replace").decode("unicode_escape")
        inside = where == point or where.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind


def on_network(path: Path) -> bool:
    """Tell whether `path` lies on a file system that several hosts share."""
    return file_system_of(path) in NETWORK_FILE_SYSTEMS


def make_engine(path: Path, *, read_only: bool = False) -> Engine:
    """Return an engine whose connections are set up for the ledger (see the module's text).

    Args:
        path: its file.
        read_only: connections can read only, by construction: SQLite opens the file so.
    """
    journal = "TRUNCATE" if on_network(path) else "WAL"
    # Never `rwc`: where a disk goes away under a run, the next connection would make an empty ledger in its place.
    file_url = f"file:{quote(os.path.abspath(path))}?mode={'ro' if read_only else 'rw'}"
    if read_only and not os.access(path.absolute().parent, os.W_OK) and not Path(f"{path}-wal").exists():
        file_url += "&immutable=1"  # a reader who may not write in the folder, and nobody who writes meanwhile

    def connect() -> Any:
        connection = sqlite3.connect(
            file_url, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        cursor = connection.cursor()
        if journal != "WAL" and not read_only:
            # It may have been on a local disk before. WAL needs shared memory, which a network file system may
            # lack; whoever has the file for itself does without (https://www.sqlite.org/wal.html, section 8).
            cursor.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone()
            cursor.execute(f"PRAGMA journal_mode = {journal}").fetchone()
            cursor.execute("PRAGMA locking_mode = NORMAL").fetchone()
            cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()  # only now the lock is given back
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA cache_size = -32768")
        cursor.execute("PRAGMA synchronous = FULL")
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("PRAGMA journal_mode")
            if cursor.fetchone()[0].upper() != journal:
                cursor.execute(f"PRAGMA journal_mode = {journal}").fetchone()
        cursor.close()
        return connection

    engine = create_engine("sqlite://", creator=connect, pool_size=5, max_overflow=20, poolclass=QueuePool)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    # The driver is in autocommit mode, so that BEGIN is ours: IMMEDIATE takes the write lock at the start, where
    # waiting is safe; a deferred transaction that turns to writing later fails at once when another writes.
    if not connection.get_execution_options().get("ctstate_write", False):
        connection.exec_driver_sql("BEGIN")
        return
    # SQLite itself sleeps longer and longer between its attempts, so that who has waited longest comes last, for
    # seconds among many processes.
    ask = driver(connection).execute
    (timeout,) = ask("PRAGMA busy_timeout").fetchone()
    ask("PRAGMA busy_timeout = 0")
    try:
        began = time.monotonic()
        while True:
            waited = time.monotonic() - began
            try:
                ask("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not is_busy(str(error)) or waited > BUSY_PATIENCE_S:
                    raise
            time.sleep(random.uniform(0.5, 1.5) * _pause(waited))
    finally:
        ask(f"PRAGMA busy_timeout = {timeout}")


def _pause(waited: float) -> float:
    """Return how long to pause, about, before the write lock is asked for again.

    Mostly nobody waits for long, so at first it is asked for soon, and then ever more seldom: where many wait, to
    ask takes the machine from who has the lock, and each who gets it finds out of date all he knew of the file's
    pages. But who has waited long asks ever more often, and so comes before those who have not.
    """
    if waited > HELD_S:
        return MOST_PAUSE_S
    return max(LEAST_PAUSE_S, min(waited, (OVERDUE_S - waited) / 4))


def driver(connection: Connection) -> sqlite3.Connection:
    """Return the driver's own connection, in the same transaction.

    For the few statements that are said of every capture: SQLAlchemy takes several times as long as SQLite itself.
    """
    found: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    return found


def prepare_place(path: Path, *, create: bool) -> None:
    """Refuse a path where no ledger can be; make an empty file where there is none and one is wanted.

    Raises:
        LedgerMissingError: nothing is there and `create` is False.
        LedgerError: a folder, or no folder to put it in.
    """
    if path.is_dir():
        raise LedgerError(f"ledger {path}: that is a folder; name a file in it")
    if path.exists():
        if not os.access(path, os.R_OK):
            raise LedgerError(f"ledger {path}: no permission to read it")
        return
    if not create:
        raise LedgerMissingError(
            f"ledger {path}: no such file; `ctstate manifest` makes one, --ledger names another"
        )
    if not path.absolute().parent.is_dir():
        raise LedgerError(f"ledger {path}: the folder {path.absolute().parent} does not exist")
    try:
        path.touch()
    except OSError as error:
        raise LedgerError(f"ledger {path}: cannot be made there ({error.strerror})") from error


@contextlib.contextmanager
def transaction(engine: Engine, *, write: bool, connection: Connection | None = None) -> Iterator[Connection]:
    """One transaction; committed on leaving, rolled back on an error.

    A writer that finds the ledger busy keeps asking for `BUSY_PATIENCE_S`.

    Args:
        engine: from `make_engine`.
        write: take the write lock at the start.
        connection: use this one (it keeps its temporary tables) instead of one from the pool.
    """
    with contextlib.ExitStack() as stack:
        if connection is None:
            connection = stack.enter_context(engine.connect())
        connection = connection.execution_options(ctstate_write=write)
        try:
            connection.begin()
            yield connection
            connection.commit()
        except BaseException:
            connection.rollback()
            raise


def _given(rows: Collection[tuple[Any, ...]]) -> list[int]:
    """Return which columns have a value in any of the rows."""
    first = next(iter(rows))
    return [
        index
        for index, value in enumerate(first)
        if value is not None or any(row[index] is not None for row in rows)
    ]


def _plain(rows: Iterable[tuple[Any, ...]], which: Sequence[int]) -> Iterable[tuple[Any, ...]]:
    """Return some columns of rows as plain tuples: the driver is slower with named ones, and with dictionaries."""
    if len(which) == 1:
        return [(row[which[0]],) for row in rows]
    return map(itemgetter(*which), rows)


class Sqlite:
    """Serves `dialect.Dialect`."""

    def engine(self, place: Place, *, read_only: bool) -> Engine:
        """Return an engine on the ledger's file."""
        assert place.path is not None
        return make_engine(place.path, read_only=read_only)

    def prepare(self, place: Place, *, create: bool) -> None:
        """Refuse a path where no ledger can be; see `prepare_place`.

        Raises:
            LedgerMissingError: the file is empty, or see `prepare_place`.
        """
        path = place.path
        assert path is not None
        prepare_place(path, create=create)
        if path.exists() and path.stat().st_size == 0 and not create:
            raise LedgerMissingError(f"ledger {path}: the file is empty; `ctstate manifest` makes a ledger")

    def may_be_looked_at(self, place: Place, *, read_only: bool) -> bool:
        """Tell whether the file can be read without changing anything.

        What is no ledger must not be touched, not even its journal mode. But where memory cannot be shared, a
        ledger that comes from a local disk opens only for writing.
        """
        path = place.path
        assert path is not None
        return path.exists() and (read_only or not on_network(path))

    def transaction(
        self, engine: Engine, kind: Kind, lent: Connection | None
    ) -> AbstractContextManager[Connection]:
        """Return a transaction; a temporary table is a file of its own here, and takes no lock."""
        return transaction(engine, write=kind is Kind.WRITE, connection=lent)

    def translated(self, name: str) -> AbstractContextManager[None]:
        """See `translated`."""
        return translated(name)

    def moment(self, connection: Connection) -> str:
        """Return this moment by this host's clock: there is no other."""
        return now()

    def upsert(self, table: Table) -> Any:
        """Return `insert(table)` that knows ON CONFLICT."""
        return upsert(table)

    for_update = ""
    """Whoever writes has the whole ledger to himself."""

    most_workers = 16  # benchmarks/workers.py

    def driver(self, connection: Connection) -> sqlite3.Connection:
        """See `driver`."""
        return driver(connection)

    def fill(
        self, connection: Connection, table: Table, rows: Collection[tuple[Any, ...]], *, replace: bool = False
    ) -> None:
        """Add many rows by one prepared statement; columns in which none of them has a value are left out of it.

        The driver takes five times as long with None as with a number: it looks for an adapter each time. (A column
        that may be NULL has no default in any table, so that what is left out is NULL.)
        """
        quote = connection.dialect.identifier_preparer.quote
        given = _given(rows) or [0]
        columns = table.columns.keys()
        names = ", ".join(quote(columns[index]) for index in given)
        marks = ", ".join("?" * len(given))
        into = f"INSERT {'OR REPLACE ' if replace else ''}INTO {quote(table.name)} ({names})"
        driver(connection).executemany(f"{into} VALUES ({marks})", _plain(rows, given))

    def filled(self, connection: Connection, table: Table) -> None:
        """Do nothing: its indexes are all that SQLite needs."""

    def lasts(self, connection: Connection) -> None:
        """Do nothing: who has the file's lock keeps it."""

    def filling(self, connection: Connection, tables: Sequence[Table]) -> AbstractContextManager[None]:
        """See `sqlite_tables.filling`."""
        return sqlite_tables.filling(connection, tables)

    def close(self, connection: Connection, tables: Sequence[Table], why: str) -> None:
        """See `sqlite_tables.close`."""
        sqlite_tables.close(connection, tables, why)

    def open_again(self, connection: Connection) -> None:
        """See `sqlite_tables.open_again`."""
        sqlite_tables.open_again(connection)

    def before_migration(self, engine: Engine, place: Place, version: str) -> Path | None:
        """Make a copy beside the ledger."""
        path = place.path
        assert path is not None
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        copy = path.with_name(f"{path.name}.backup-{version}-{stamp}")
        try:
            self.back_up(path, copy)
        except LedgerError as error:
            raise LedgerError(f"{error}; it is of an older version, and nothing was changed") from error
        return copy

    def back_up(self, path: Path | None, target: Path) -> int:
        """Copy the file through SQLite, under another name until the copy is whole and on the disk."""
        assert path is not None
        # In a container all processes have the same number, and one that was killed may have left its file.
        part = target.with_name(f"{target.name}.part-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            part.touch(mode=0o600, exist_ok=False)  # never over another's
            try:
                captures = _copied(path, part)
                with part.open("rb") as written:
                    _for_the_same_eyes(path, written.fileno())
                    os.fsync(written.fileno())
                _take_name(part, target)
                _on_disk(target.absolute().parent)
            finally:
                part.unlink(missing_ok=True)
                part.with_name(f"{part.name}-journal").unlink(missing_ok=True)
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(f"ledger {path}: no copy could be made at {target} ({error})") from error
        return captures

    def reader(
        self, engine: Engine, path: Path | None, seconds: float = BUSY_PATIENCE_S
    ) -> AbstractContextManager[Reader]:
        """Return who answers questions, on a connection of its own to the ledger's file."""
        assert path is not None
        return reading(path, BUSY_TIMEOUT_S, None if seconds >= BUSY_PATIENCE_S else seconds)

    def version(self, connection: Connection) -> str:
        """Ask what another connection's commit changes: a look at one page, and mostly at shared memory only."""
        return str(driver(connection).execute("PRAGMA data_version").fetchone()[0])

    def impatient(self, connection: Connection, seconds: float) -> None:
        """Shorten what `BUSY_TIMEOUT_S` is for workers."""
        driver(connection).execute(f"PRAGMA busy_timeout = {round(1000 * seconds)}")

    def readers_hold_up_writers(self, connection: Connection) -> bool:
        """Tell whether it has a rollback journal: then a commit waits until nobody reads."""
        return str(driver(connection).execute("PRAGMA journal_mode").fetchone()[0]).upper() != "WAL"

    def health(self, engine: Engine) -> list[Finding]:
        """Return nothing: what there is to find is in the file and about its place (`checkup`)."""
        return []

    def stored(self, engine: Engine, path: Path | None) -> Stored:
        """Look at the file, and at the log beside it."""
        assert path is not None
        with self.transaction(engine, Kind.READ, None) as connection:
            journal = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())
        log = path.with_name(f"{path.name}-wal")
        words = "write-ahead log" if journal == "wal" else f"rollback journal ({journal})"
        return Stored(path.stat().st_size, words, log.stat().st_size if log.exists() else 0)
