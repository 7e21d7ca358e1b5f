"""Older ledgers are brought up to date after a copy; newer and foreign ones are refused."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, inspect, text

from ctstate.cluster.scripts import JobOptions
from ctstate.errors import LedgerError, LedgerMissingError, LedgerVersionError, UsageError
from ctstate.ledger import Ledger, submissions
from ctstate.ledger.database import dialect_of, place_of, transaction
from ctstate.ledger.migrate import HEAD, migrations_folder
from ctstate.ledger.schema import metadata
from ctstate.verbs.submit import Order


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    return config


REVISIONS = [r.revision for r in reversed(list(ScriptDirectory.from_config(alembic_config()).walk_revisions()))]


def older(path: Path, revision: str) -> None:
    """Make a ledger as an older ctstate would have left it, with a capture in it."""
    path.touch()
    place = place_of(path)
    engine = dialect_of(place.url).engine(place, read_only=False)
    with transaction(engine, "old", write=True) as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("INSERT INTO season (id, name, attribution, license, created_at) VALUES (1,'S','a','l','t')")
        raw.execute(
            "INSERT INTO capture (id, capture_id, season_id, season, site, roll, capture, capture_number, state,"
            " moved_at) VALUES (1, 'S#A#1#1', 1, 'S', 'A', '1', '1', 1, 'manifested', 't')"
        )


def schema_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as raw:
        return sorted(
            " ".join(sql.split()) for (sql,) in raw.execute("SELECT sql FROM sqlite_master WHERE sql <> ''")
        )


def test_head_is_the_newest_migration() -> None:
    assert REVISIONS[-1] == HEAD


def test_the_schema_of_files_is_what_it_was_before_there_was_another_database(tmp_path: Path) -> None:
    """Migrations are frozen: who adds one says the new hash, who does not has changed ledgers that exist."""
    Ledger.open(tmp_path / "l.db", create=True).close()
    schema = "\n".join(schema_of(tmp_path / "l.db"))
    assert hashlib.sha256(schema.encode()).hexdigest() == (
        "de2b9658033f96ea9bf9b3d3dbdd8af1a097726db180d22759152f7d9ac4dbfc"
    )


def test_the_tables_in_the_code_are_those_of_the_migrations(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l.db", create=True) as ledger, ledger.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
        checked = {
            (table.name, check["name"], check["sqltext"])
            for table in metadata.sorted_tables
            for check in inspect(connection).get_check_constraints(table.name)
        }
        made = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        clustered = {name for name, sql in made if "WITHOUT ROWID" in sql}
    assert differences == []
    assert checked
    assert checked == {
        (table.name, check.name, str(check.sqltext))
        for table in metadata.sorted_tables
        for check in table.constraints
        if isinstance(check, CheckConstraint)
    }, "of which Alembic says nothing"
    assert clustered == {
        table.name for table in metadata.sorted_tables if not table.dialect_options["sqlite"]["with_rowid"]
    }


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_an_older_ledger_is_copied_and_brought_up_to_date(tmp_path: Path, revision: str) -> None:
    old, fresh = tmp_path / "old.db", tmp_path / "fresh.db"
    older(old, revision)
    before = schema_of(old)
    with Ledger.open(old) as ledger:
        assert ledger.backup is not None
        assert ledger.count() == 1
        backup = ledger.backup
    Ledger.open(fresh, create=True).close()
    assert schema_of(old) == schema_of(fresh)
    assert schema_of(backup) == before
    with Ledger.open(old) as again:
        assert again.backup is None


def test_a_report_migrates_too(tmp_path: Path) -> None:
    older(tmp_path / "old.db", REVISIONS[0])
    with Ledger.open(tmp_path / "old.db", read_only=True) as ledger:
        assert ledger.count() == 1


@pytest.mark.parametrize("revision", [REVISIONS[0], REVISIONS[-1]])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_closed_ledger_leaves_no_file_open(tmp_path: Path, revision: str, read_only: bool) -> None:
    path = tmp_path / "old.db"
    older(path, revision)
    Ledger.open(path, read_only=read_only).close()
    with Ledger.open(path, read_only=read_only) as ledger:
        ledger.count()
    still_open = [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert [place for place in still_open if str(place).startswith(str(path))] == []


def test_a_newer_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    Ledger.open(path, create=True).close()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(LedgerVersionError, match="newer ctstate"):
            Ledger.open(path, read_only=read_only)
    assert path.read_bytes() == before


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerMissingError, match="no such file"):
        Ledger.open(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(LedgerError, match="folder"):
        Ledger.open(tmp_path, create=True)
    with pytest.raises(LedgerError, match="does not exist"):
        Ledger.open(tmp_path / "no" / "such.db", create=True)
    (tmp_path / "text.db").write_text("not a database, but long enough to look like one" * 40)
    with pytest.raises(LedgerError, match="not a ctstate ledger"):
        Ledger.open(tmp_path / "text.db")
    with closing(sqlite3.connect(tmp_path / "other.db")) as raw:
        raw.execute("CREATE TABLE something (x)")
    with pytest.raises(LedgerError, match="something else"):
        Ledger.open(tmp_path / "other.db", create=True)
    with pytest.raises(UsageError, match="not supported"):
        Ledger.open("mysql://host/name")


def test_read_only_is_so_by_construction(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    Ledger.open(path, create=True).close()
    with (
        Ledger.open(path, read_only=True) as ledger,
        pytest.raises(LedgerError, match="no permission"),
        ledger.read() as c,
    ):
        c.exec_driver_sql("INSERT INTO meta VALUES ('a', 'b')")


ORDER = {
    "ledger": "/data/a season.db", "endpoint": "https://www.zooniverse.org", "upload": ["--limit", "3"],
    "season": "S", "batch": None, "folder": "/home", "log_folder": "/logs", "scheduler": "slurm", "max_rounds": 30,
    "job": {
        "workers": 4, "at_once": None, "time": "96:00:00", "cpus": 2, "memory": None, "partition": "main",
        "account": None, "mail_user": None, "requeue": True, "stop_before": 300, "more": ["--qos=normal"],
        "job_name": "ctstate-S",
    },
}  # fmt: skip


def test_what_stood_in_the_arguments_of_runs_is_carried_over(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    older(path, "0005")
    job = {"cluster": "c", "user_id": 5, "job": "17", "task": "3", "restarts": 1}
    round_1 = {"round": 1, "idle": 0, "pending": 9, "order": ORDER}
    round_2 = {"round": 2, "idle": 1, "pending": 9, "order": ORDER, "chain": 2, "after": 2}
    runs = [
        ("upload", {"season": "S", "slurm": job}, "17"),
        ("submit", {**round_1, "jobs": ["17", "18"]}, None),
        ("submit", {**round_2, "slurm": {**job, "job": "18", "task": None, "restarts": 0}, "jobs": ["19"]}, "18"),
        ("stop", {"all": False, "runs": [1]}, None),
        ("submit", round_1, None),  # sbatch refused it
        ("stop", {"all": True, "runs": None}, None),
        ("submit", {**round_1, "jobs": ["25", "26"]}, None),
        ("submit", {"season": "S", "order": "of another version"}, None),
        ("upload", {"slurm": "of another version"}, "30"),
    ]
    with closing(sqlite3.connect(path)) as raw, raw:
        for key, (verb, arguments, number) in enumerate(runs, 1):
            raw.execute(
                "INSERT INTO run (id, verb, arguments, version, username, host, host_id, pid, pid_started,"
                " slurm_job, started_at, heartbeat_at)"
                " VALUES (?, ?, ?, '0.1.0', 'u', 'h', 'i', 1, '1', ?, 't', 't')",
                (key, verb, json.dumps(arguments), number),
            )
    with Ledger.open(path) as ledger, ledger.read() as connection:
        facts = connection.execute(
            text("SELECT id, slurm_cluster, slurm_user_id, slurm_restarts FROM run WHERE slurm_job IS NOT NULL")
        )
        assert list(map(tuple, facts)) == [(1, "c", 5, 1), (3, "c", 5, 0), (9, None, None, None)]
        found = connection.execute(
            text(
                "SELECT run_id, chain_id, follows_id, round, idle_rounds, pending, array_job, link_job, ended_by"
                " FROM submission ORDER BY run_id"
            )
        )
        assert list(map(tuple, found)) == [
            (2, 2, None, 1, 0, 9, "17", "18", 6),
            (3, 2, 2, 2, 1, 9, "19", None, 6),
            (5, 5, None, 1, 0, 9, None, None, 6),
            (7, 7, None, 1, 0, 9, "25", "26", None),
        ]
        order = Order.of(submissions.find(connection, 3))
        assert (order.season, order.upload, order.scheduler) == ("S", ("--limit", "3"), "slurm")
        assert order.job == JobOptions(cpus=2, partition="main", more=("--qos=normal",), job_name="ctstate-S")
        assert submissions.is_continued(connection, 2)
        assert not submissions.is_continued(connection, 3)
        assert submissions.is_ended(connection, 2)
        assert not submissions.is_ended(connection, 7)
        assert [job.array for job in submissions.jobs(connection)] == ["17", "19", "25"]
        kept = connection.execute(text("SELECT arguments FROM run WHERE id = 1")).scalar()
        assert json.loads(kept) == runs[0][1]
    with Ledger.open(path) as ledger, ledger.write() as connection:
        submissions.end_chains(connection, 8)
        ended = connection.execute(text("SELECT ended_by FROM submission ORDER BY run_id")).scalars()
        assert list(ended) == [6, 6, 6, 8], "who ended a chain first has ended it"
