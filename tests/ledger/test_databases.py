"""What PostgreSQL would do differently without a word, and what `doctor` says of a server."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Column, Float, Integer, Text, make_url, text

from ctstate.errors import LedgerError, LedgerMissingError, UsageError
from ctstate.ledger import Ledger
from ctstate.ledger.database import dialect_of, place_of, transaction
from ctstate.ledger.dialect import Level
from ctstate.ledger.migrate import migrations_folder
from ctstate.ledger.postgres_health import health
from ctstate.ledger.schema import metadata
from ctstate.ledger.staging import fill, fresh, index, temporary
from ctstate.machine import Machine, running_on
from ctstate.verbs.doctor import Patient, Verdict, examine
from tests.builders.ledgers import ON_POSTGRES, new_ledger_at, no_ledger_at, raw, refusals
from tests.builders.postgres import cluster

on_postgres = pytest.mark.skipif(not ON_POSTGRES, reason="about PostgreSQL: make test-postgres")

ODD = temporary("odd", Column("name", Text), Column("number", Integer), Column("score", Float))
ROWS = [("b", 999_999_999_999_999, 0.95), ("B", 1, 0.1), ("ä", 2, 1e-300), ("a b", 3, 2 / 3), ("a", 2**62, 0.0)]


def test_numbers_and_texts_come_back_and_sort_by_their_bytes(
    new_ledger: Callable[..., Ledger],
) -> None:
    ledger = new_ledger()
    with ledger.connection() as lent, ledger.read(lent) as connection:
        fresh(connection, ODD)
        fill(connection, ODD, ROWS)
        index(connection, ODD)
        found = [tuple(row) for row in connection.execute(ODD.select().order_by(ODD.c.name))]
    assert found == sorted(ROWS, key=lambda row: row[0].encode())


def test_the_ledger_s_own_columns_do_the_same(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(5)
    names = ["b", "B", "ä", "a b", "a"]
    with ledger.write() as connection:
        for key, name in enumerate(names, start=1):
            change = "UPDATE capture SET site = :name, rule = :long, subject_id = :subject WHERE id = :key"
            connection.execute(text(change), {"name": name, "long": "x" * 999, "subject": 10**15 + key, "key": key})
        connection.execute(
            text(
                "INSERT INTO prediction (capture_id, source, metadata, made_at, machine_person)"
                " VALUES (1, :long, '{}', 't', 0.95)"
            ),
            {"long": "x" * 99},  # more than SQLite was told of, and does not mind
        )
    with ledger.read() as connection:
        assert list(connection.execute(text("SELECT site FROM capture ORDER BY site")).scalars()) == sorted(
            names, key=str.encode
        )
        assert connection.execute(text("SELECT max(subject_id) FROM capture")).scalar() == 10**15 + 5
        assert connection.execute(text("SELECT machine_person FROM v_captures WHERE site = 'b'")).scalar() == 0.95


def test_without_the_driver_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError, match=r"pip install 'ctstate\[postgres\]'"):
        Ledger.open("postgresql://somebody@127.0.0.1/somewhere")


def test_a_species_without_a_score_is_not_the_surest(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(1)
    with ledger.write() as connection:
        for source, species, score in (("one", "zebra", None), ("two", "lion", 0.4), ("three", "oryx", 0.3)):
            connection.execute(
                text(
                    "INSERT INTO prediction (capture_id, source, metadata, made_at, machine_species,"
                    " machine_species_confidence) VALUES (1, :source, '{}', 't', :species, :score)"
                ),
                {"source": source, "species": species, "score": score},
            )
    with ledger.read() as connection:
        assert connection.execute(text("SELECT machine_species FROM v_captures")).scalar() == "lion"


def test_a_reader_can_write_nothing(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(1)
    with Ledger.open(ledger.name, read_only=True) as reader:
        assert reader.count() == 1
        with pytest.raises(LedgerError, match="no permission"), reader.write() as connection:
            connection.execute(text("INSERT INTO meta VALUES ('a', 'b')"))


@on_postgres
def test_a_read_sees_one_picture_and_cannot_write(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(1)
    with ledger.read() as before:
        assert before.execute(text("SELECT count(*) FROM meta WHERE name = 'a'")).scalar() == 0
        with ledger.write() as connection:
            connection.execute(text("INSERT INTO meta VALUES ('a', 'b')"))
        assert before.execute(text("SELECT count(*) FROM meta WHERE name = 'a'")).scalar() == 0
    with pytest.raises(LedgerError, match="no permission"), ledger.read() as connection:
        connection.execute(text("DELETE FROM meta"))


@on_postgres
def test_a_writer_waits_for_the_other_and_sees_all_that_it_wrote(new_ledger: Callable[..., Ledger]) -> None:
    """Else a withheld image is claimed, a zombie marks what another has claimed, two make one batch, ..."""
    ledger = new_ledger(3)
    order: list[str] = []

    def second() -> None:
        with Ledger.open(ledger.name) as other, other.write() as connection:
            order.append("second begins")
            found = connection.execute(text("SELECT count(*) FROM capture WHERE excluded IS NOT NULL")).scalar()
            order.append(f"second sees {found}")

    with ledger.write() as connection:
        thread = threading.Thread(target=second)
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        end = time.monotonic() + 60
        while cluster().ask(waiting) == [(0,)]:
            assert time.monotonic() < end
            time.sleep(0.02)
        connection.execute(text("UPDATE capture SET excluded = 'withheld'"))
        order.append("first ends")
    thread.join()
    assert order == ["first ends", "second begins", "second sees 3"]


@on_postgres
def test_the_tables_are_those_of_the_code(new_ledger: Callable[..., Ledger]) -> None:
    with new_ledger().read() as connection:
        # Types are others on purpose (`postgres_types`); the tests above say what they hold.
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, metadata) == []
        kinds = connection.execute(
            text(
                "SELECT DISTINCT data_type, collation_name FROM information_schema.columns"
                " WHERE table_schema = 'public' AND table_name NOT LIKE 'v\\_%'"
            )
        )
        assert {tuple(row) for row in kinds} == {
            ("bigint", None), ("text", "C"), ("double precision", None), ("boolean", None),
        }  # fmt: skip


@on_postgres
def test_an_older_ledger_is_brought_up_to_date(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    place = place_of(no_ledger_at(tmp_path / "l.db"))
    engine = dialect_of(place.url).engine(place, read_only=False)
    with transaction(engine, "old", write=True) as connection:
        config = Config()
        config.set_main_option("script_location", str(migrations_folder()))
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    engine.dispose()
    with Ledger.open(place.name, read_only=True) as ledger:  # a report migrates, too
        assert ledger.count() == 0
    assert "pg_dump" in caplog.text
    caplog.clear()
    with Ledger.open(place.name) as ledger:
        assert ledger.backup is None
    assert caplog.text == ""


@on_postgres
def test_an_empty_database_and_none_at_all(tmp_path: Any) -> None:
    place = no_ledger_at(tmp_path / "l.db")
    with pytest.raises(LedgerMissingError, match="`ctstate manifest` makes one"):
        Ledger.open(place)
    with pytest.raises(LedgerMissingError, match="createdb"):
        Ledger.open(cluster().url("nowhere"), create=True)
    with pytest.raises(LedgerError, match="refuses the log-in"):
        Ledger.open(place.replace("//ctstate@", "//nobody_here@"))
    with pytest.raises(LedgerError, match="no connection to the database"):
        Ledger.open("postgresql://ctstate@127.0.0.1:1/nowhere")
    with raw(place) as connection:
        connection.execute("CREATE TABLE something (x int)")
    with pytest.raises(LedgerError, match="something else"):
        Ledger.open(place, create=True)


@on_postgres
def test_a_role_that_only_looks(tmp_path: Any) -> None:
    """docs/postgres.md, for colleagues."""
    place = new_ledger_at(tmp_path / "l.db")
    with raw(place) as connection:
        connection.execute(f"CREATE ROLE looker_{place[-6:]} LOGIN")
        connection.execute(f"GRANT SELECT ON v_captures, v_runs TO looker_{place[-6:]}")
    theirs = place.replace("//ctstate@", f"//looker_{place[-6:]}@")
    with raw(theirs) as connection:
        assert connection.execute("SELECT count(*) FROM v_captures").fetchall() == [(0,)]
        for statement in ("SELECT * FROM capture", "DELETE FROM v_runs"):
            with pytest.raises(Exception, match="permission denied"):
                connection.execute(statement)


@on_postgres
def test_colleagues_read_a_view_with_r(new_ledger: Callable[..., Ledger]) -> None:
    """The line for R in docs/postgres.md, with this server's address."""
    if (program := shutil.which("Rscript")) is None or not Path("/usr/lib/R/site-library/RPostgreSQL").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("no R, or not its package RPostgreSQL")
        pytest.skip("no R, or not its package RPostgreSQL (Debian: r-cran-rpostgresql)")
    ledger = new_ledger(7, 2)
    page = Path(__file__).resolve().parents[2] / "docs" / "postgres.md"
    (line,) = re.findall(r"^\* R: `(.+)`$", page.read_text(encoding="utf-8"), re.MULTILINE)
    url = make_url(ledger.name)
    for theirs, ours in (
        ('"db.example.org"', f'"{url.host}", port = {url.port}'),
        ('"season_s1_reader"', f'"{url.username}"'),
        ('dbname = "season_s1"', f'dbname = "{url.database}"'),
    ):
        assert theirs in line
        line = line.replace(theirs, ours)
    said = subprocess.run([program, "-e", f"print({line})"], capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    assert re.search(r"^1 +S +batch_1 +A +4 ", said.stdout, re.MULTILINE), said.stdout


@on_postgres
def test_doctor_speaks_of_the_server(tmp_path: Any) -> None:
    def lines(place: str) -> dict[str, Any]:
        return {check.name: check for check in examine(Patient(place, endpoint="http://127.0.0.1:1"))}

    found = lines(new_ledger_at(tmp_path / "l.db"))
    assert found["ledger"].verdict is Verdict.OK
    server = found["ledger's server"]
    assert server.verdict is Verdict.FAIL  # the tests' server has fsync off
    assert "a power cut can lose what was committed" in server.advice
    for word in ("PostgreSQL ", "connections left", "clock is", "a superuser", "synchronous_commit on", "standbys"):
        assert word in server.seen
    assert found["ledger's integrity"].verdict is Verdict.SKIP
    assert found["locks"].verdict is Verdict.SKIP
    assert lines(no_ledger_at(tmp_path / "none.db"))["ledger"].verdict is Verdict.WARN
    assert lines(cluster().url("nowhere"))["ledger"].verdict is Verdict.FAIL


class Ahead(Machine):
    """A host whose clock is ahead."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def wall(self) -> float:
        return time.time() + self._seconds


def said_of_the_server(place: str, ahead: float = 0.0) -> dict[str, tuple[Level, str]]:
    with Ledger.open(place) as ledger, ledger.read() as connection, running_on(Ahead(ahead)):
        return {found.about: (found.level, found.advice) for found in health(connection)}


@on_postgres
def test_clocks_that_differ_by_minutes_are_told_before_leases_run_out_wrongly(tmp_path: Any) -> None:
    place = new_ledger_at(tmp_path / "l.db")
    levels = [said_of_the_server(place, ahead)["clock"][0] for ahead in (0, 4, 7, 290, 310, -310, 900)]
    assert levels == [Level.FINE, Level.FINE, Level.ODD, Level.ODD, Level.BAD, Level.BAD, Level.BAD]


@on_postgres
@pytest.mark.parametrize(("version", "level"), [(120099, Level.BAD), (130000, Level.FINE)])
def test_a_server_that_is_too_old_is_told(tmp_path: Any, version: int, level: Level) -> None:
    place = new_ledger_at(tmp_path / "l.db")
    database = place.rpartition("/")[2]
    cluster().ask(
        "CREATE FUNCTION public.current_setting(name text) RETURNS text LANGUAGE sql AS $$ SELECT CASE name"
        f" WHEN 'server_version_num' THEN '{version}' ELSE pg_catalog.current_setting(name) END $$",
        database,
    )
    cluster().ask(f"ALTER DATABASE {database} SET search_path = public, pg_catalog")
    assert said_of_the_server(place)["version"][0] is level


@on_postgres
def test_what_a_role_may_not_do_is_told_before_an_upload(tmp_path: Any) -> None:
    place = new_ledger_at(tmp_path / "l.db")
    database = place.rpartition("/")[2]
    role = f"uploader_of_{database}"
    theirs = place.replace("//ctstate@", f"//{role}@")
    cluster().ask(f"CREATE ROLE {role} LOGIN")
    cluster().ask(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}", database)
    assert said_of_the_server(theirs)["rights"] == (
        Level.ODD, "a new ledger or a newer version needs GRANT CREATE"
    )  # fmt: skip
    cluster().ask(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    assert said_of_the_server(theirs)["rights"] == (Level.BAD, "GRANT TEMPORARY ON DATABASE to this user")
    cluster().ask(f"GRANT TEMPORARY ON DATABASE {database} TO {role}")
    cluster().ask(f"GRANT CREATE ON SCHEMA public TO {role}", database)
    assert said_of_the_server(theirs)["rights"] == (Level.FINE, "")
    assert said_of_the_server(place)["rights"][0] is Level.ODD, "a superuser"


@on_postgres
def test_a_server_whose_connections_are_nearly_all_lent_is_told(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = new_ledger_at(tmp_path / "l.db")
    said = said_of_the_server(place)
    assert said["connections"][0] is Level.FINE
    assert said["replication"] == (Level.FINE, ""), "no standby, and none that should be"
    monkeypatch.setattr("ctstate.ledger.postgres_health._ENOUGH_CONNECTIONS", 10**6)
    assert said_of_the_server(place)["connections"][0] is Level.ODD


@on_postgres
def test_nobody_can_put_a_second_row_under_a_key(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(1)
    with raw(ledger.name) as connection:
        for statement in (
            "INSERT INTO event SELECT * FROM event ON CONFLICT (id) DO UPDATE SET reason = 'lie'",
            "INSERT INTO capture SELECT * FROM capture ON CONFLICT (id) DO UPDATE SET site = 'lie'",
        ):
            with pytest.raises(refusals(), match="ctstate: "):
                connection.execute(statement)
