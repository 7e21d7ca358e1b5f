"""The ledger's version: made, checked, and brought up to date after a backup copy."""

from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import Connection, Engine

from ctstate.errors import LedgerError, LedgerVersionError
from ctstate.ledger import closed
from ctstate.ledger.database import dialect_of, transaction
from ctstate.ledger.dialect import Place

HEAD = "0009"
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


def look_at_version(engine: Engine, name: str) -> str | None:
    """Return the revision of the ledger behind `engine`, or None for an empty database; see `version_of`."""
    with transaction(engine, name, write=False) as connection:
        try:
            return version_of(connection)
        except LedgerError as error:
            raise LedgerError(f"ledger {name}: {error}") from None


def bring_up_to_date(engine: Engine, name: str, place: Place) -> Path | None:
    """Make an empty database a ledger, or migrate an older one after a backup copy (`Dialect.before_migration`).

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
        copy = dialect_of(engine).before_migration(engine, place, version)
    # All revisions in one transaction: a process killed here leaves the ledger as it was. Another process may
    # have done the work meanwhile.
    with transaction(engine, name, write=True) as connection:
        found = version_of(connection)
        if found != HEAD:
            # Also one that can only be read, as reports are to go on; it stays so.
            why = closed.why_closed(connection) if found is not None else None
            if why is not None:
                closed.unseal(connection)
            _upgrade(connection)
            if why is not None:
                closed.seal(connection, why)
    return copy
