"""The ledger's version: made, checked, and brought up to date after a backup copy."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import Connection, Engine

from ctstate.errors import LedgerError, LedgerVersionError
from ctstate.ledger.sqlite import transaction

HEAD = "0006"
"""The revision this code works with; a test holds it against the migrations."""


_TABLES = frozenset({"alembic_version", "season", "batch", "capture", "image", "run", "event", "meta"})
_COLUMNS = frozenset({"capture_id", "season_id", "state", "subject_id", "claim"})
"""What every ledger has had from the first revision on; others have tables called `capture`, too."""


def migrations_folder() -> Path:
    """Return where the migrations are: beside the package in a checkout, inside it once installed."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def version_of(connection: Connection) -> str | None:
    """Return the ledger's revision, or None for an empty database.

    Raises:
        LedgerError: the database holds tables, but not a ledger's.
    """
    tables = set(inspect(connection).get_table_names())
    if tables >= _TABLES and {column["name"] for column in inspect(connection).get_columns("capture")} >= _COLUMNS:
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return None if version is None else str(version)
    if tables:
        raise LedgerError("this database holds something else, not a ctstate ledger")
    return None


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _backup(path: Path, version: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    copy = path.with_name(f"{path.name}.backup-{version}-{stamp}")
    with closing(sqlite3.connect(str(path))) as source, closing(sqlite3.connect(str(copy))) as target:
        source.backup(target)
    return copy


def look_at_version(engine: Engine, name: str) -> str | None:
    """Return the revision of the ledger behind `engine`, or None for an empty database; see `version_of`."""
    with transaction(engine, name, write=False) as connection:
        try:
            return version_of(connection)
        except LedgerError as error:
            raise LedgerError(f"ledger {name}: {error}") from None


def bring_up_to_date(engine: Engine, name: str, path: Path | None) -> Path | None:
    """Make an empty database a ledger, or migrate an older one after a backup copy beside it.

    Returns:
        the backup copy, where one was made.

    Raises:
        LedgerVersionError: a newer ctstate made it.
        LedgerError: it is no ledger, or cannot be written.
    """
    version = look_at_version(engine, name)
    if version == HEAD:
        return None
    copy = None
    if version is not None:
        if version > HEAD or not version.isdigit():
            raise LedgerVersionError(
                f"ledger {name}: made by a newer ctstate (ledger version {version}, this one knows {HEAD}); "
                "update ctstate with `pip install -U ctstate`"
            )
        if path is not None:
            try:
                copy = _backup(path, version)
            except (OSError, sqlite3.Error) as error:
                raise LedgerError(
                    f"ledger {name}: is of an older version and no backup copy could be made beside it ({error}); "
                    "nothing was changed"
                ) from error
    # All revisions in one transaction: a process killed here leaves the ledger as it was. Another process may
    # have done the work meanwhile.
    with transaction(engine, name, write=True) as connection:
        if version_of(connection) != HEAD:
            _upgrade(connection)
    return copy
