"""What may go wrong with a PostgreSQL server in a long run, for `ctstate doctor`."""

from sqlalchemy import text
from sqlalchemy.engine import Connection

from ctstate.ledger.clock import SKEW_S
from ctstate.ledger.dialect import Finding, Level
from ctstate.machine import machine

OLDEST, TESTED = 13, 15
"""Versions: the oldest that has what ctstate needs (`pg_xact_status` by xid8), and the one it is tested with."""

_ENOUGH_CONNECTIONS = 20


def health(connection: Connection) -> list[Finding]:
    """Look at the server: version, connections left, clock, rights, how durable a commit is, replication.

    Args:
        connection: a transaction.
    """
    return [
        _version(connection),
        _connections(connection),
        _clock(connection),
        _rights(connection),
        _durability(connection),
        _replication(connection),
    ]


def _setting(connection: Connection, name: str) -> str:
    return str(connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar_one())


def _version(connection: Connection) -> Finding:
    number = int(_setting(connection, "server_version_num"))
    seen = f"PostgreSQL {_setting(connection, 'server_version')} (tested: {TESTED})"
    if number < OLDEST * 10000:
        return Finding("version", Level.BAD, seen, f"ctstate needs PostgreSQL {OLDEST} or newer")
    return Finding("version", Level.FINE, seen, "")


def _connections(connection: Connection) -> Finding:
    most = int(_setting(connection, "max_connections")) - int(
        _setting(connection, "superuser_reserved_connections")
    )
    used = connection.execute(
        text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    ).scalar_one()
    seen = f"{most - used} of {most} connections left; each worker takes one or two"
    if most - used < _ENOUGH_CONNECTIONS:
        return Finding("connections", Level.ODD, seen, "start few workers, or raise max_connections")
    return Finding("connections", Level.FINE, seen, "")


def _clock(connection: Connection) -> Finding:
    before = machine().wall()
    there = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    off = there - (before + machine().wall()) / 2
    seen = f"the database's clock is {off:+.1f} s from this host's; times in the ledger are the database's"
    if abs(off) > SKEW_S / 2:
        return Finding("clock", Level.BAD, seen, "let both follow the same time server (NTP)")
    if abs(off) > 5:
        return Finding("clock", Level.ODD, seen, "let both follow the same time server (NTP)")
    return Finding("clock", Level.FINE, seen, "")


def _rights(connection: Connection) -> Finding:
    row = connection.execute(
        text(
            "SELECT current_user AS name, current_schema() AS place,"
            " has_schema_privilege(current_schema(), 'CREATE') AS makes,"
            " has_database_privilege(current_database(), 'TEMPORARY') AS stages,"
            " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,"
            " pg_is_in_recovery() AS standby"
        )
    ).one()
    seen = f"user {row.name}, schema {row.place}"
    if row.standby:
        return Finding("rights", Level.BAD, f"{seen}: a standby, which cannot be written", "name the primary")
    if row.place is None:
        return Finding("rights", Level.BAD, f"user {row.name}: no schema", "make one, or set search_path")
    if not row.stages:
        return Finding(
            "rights", Level.BAD, f"{seen}: no temporary tables", "GRANT TEMPORARY ON DATABASE to this user"
        )
    if not row.makes:
        return Finding(
            "rights", Level.ODD, f"{seen}: cannot make tables", "a new ledger or a newer version needs GRANT CREATE"
        )
    if row.superuser:
        return Finding(
            "rights",
            Level.ODD,
            f"{seen}: a superuser",
            "use a role of its own (docs/postgres.md): mistakes stay small",
        )
    return Finding("rights", Level.FINE, seen, "")


def _durability(connection: Connection) -> Finding:
    settings = {name: _setting(connection, name) for name in ("fsync", "full_page_writes", "synchronous_commit")}
    seen = ", ".join(f"{name} {value}" for name, value in settings.items())
    if settings["fsync"] != "on" or settings["full_page_writes"] != "on":
        advice = "a power cut can lose what was committed, and captures would go up twice: turn both on"
        return Finding("durability", Level.BAD, seen, advice)
    return Finding("durability", Level.FINE, f"{seen} (ctstate's own connections)", "")


def _replication(connection: Connection) -> Finding:
    standbys = connection.execute(text("SELECT count(*) FROM pg_stat_replication")).scalar_one()
    names = _setting(connection, "synchronous_standby_names")
    seen = f"{standbys} standbys, synchronous: {names or 'none'}"
    if standbys and not names:
        advice = "a standby that takes over may lack the last commits: then no upload before `ctstate reconcile`"
        return Finding("replication", Level.ODD, seen, advice)
    return Finding("replication", Level.FINE, seen, "")
