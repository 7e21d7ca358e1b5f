"""A ledger moves to another database (`ctstate copy`): every row, and then nobody can write to the old one."""

import contextlib
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import inspect, text

from ctstate.errors import (
    CtstateError,
    IllegalMoveError,
    LedgerError,
    LedgerLostError,
    LedgerMissingError,
    UsageError,
)
from ctstate.ledger import Ledger, moving
from ctstate.ledger.database import dialect_of, place_of, transaction
from ctstate.ledger.migrate import HEAD
from ctstate.ledger.schema import metadata
from ctstate.ledger.staging import fill
from ctstate.verbs.copy import Progress, copy
from ctstate.verbs.doctor import Patient, Verdict, examine
from tests.builders.ledgers import ON_POSTGRES
from tests.builders.places import (
    FILE,
    POSTGRES,
    Rows,
    make_full,
    may_be_written,
    new_place,
    rows_of,
    schema_of,
    shell,
)
from tests.builders.postgres import cluster
from tests.ledger.test_migrations import alembic_config

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="about both kinds of databases: make test-postgres")

WAYS = [(FILE, POSTGRES), (POSTGRES, FILE), (FILE, FILE), (POSTGRES, POSTGRES)]
both_kinds = pytest.mark.parametrize("kind", [FILE, POSTGRES])
all_ways = pytest.mark.parametrize(
    ("source", "target"), WAYS, indirect=True, ids=["-to-".join(way) for way in WAYS]
)


@pytest.fixture
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return make_full(new_place(getattr(request, "param", FILE), tmp_path))


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_place(getattr(request, "param", FILE), tmp_path)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that every table has several."""
    monkeypatch.setattr(moving, "AT_ONCE", 3)


def arrived(before: Rows, after: Rows, copies: int = 1) -> None:
    """All is there; what came to it is the runs that copied."""
    new = [row for row in after["run"] if row not in before["run"]]
    assert [row[1] for row in new] == ["copy"] * copies
    assert {**after, "run": [row for row in after["run"] if row not in new]} == before


@all_ways
@pytest.mark.usefixtures("small_pages")
def test_every_row_of_every_table_arrives_as_it_was(source: str, target: str, tmp_path: Path) -> None:
    before = rows_of(source)
    assert all(len(rows) >= 7 for rows in before.values())
    moved = copy(source, target)
    after = rows_of(target, but_marks=True)
    arrived(before, after)
    assert (moved.captures, moved.rows) == (7, sum(map(len, rows_of(target).values())))
    assert rows_of(source, but_marks=True) == after
    # Triggers, keys and indexes are those of a ledger that was made there.
    fresh = new_place(POSTGRES if "://" in target else FILE, tmp_path)
    Ledger.open(fresh, create=True).close()
    assert schema_of(target) == schema_of(fresh)


@all_ways
def test_from_then_on_only_the_new_one_can_be_written(source: str, target: str) -> None:
    identity = may_be_written(source)
    assert identity is not None
    copy(source, target)
    assert may_be_written(source) is None
    assert may_be_written(target) == identity
    with Ledger.open(source, read_only=True) as old:
        why = old.why_closed()
        assert why is not None
        assert (why.moved, why.other) == (True, place_of(target).for_jobs)
        assert old.count() == 7
    with pytest.raises(LedgerError, match=f"it has moved to {target.replace('+', '.')}: name that one"):
        Ledger.open(source)
    for statement in (
        "UPDATE capture SET site = 'x'", "DELETE FROM image", "INSERT INTO event SELECT * FROM event",
        "DELETE FROM meta", "UPDATE run SET message = 'x'",
    ):  # fmt: skip
        with shell(source) as person, pytest.raises(Exception, match="ctstate: it has moved to"):
            person.execute(statement)


@both_kinds
def test_a_name_may_hold_any_character(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s 100%s "ä" :name ?'
    folder.mkdir()
    source, target = make_full(new_place(kind, tmp_path)), new_place(FILE, folder)
    copy(source, target)
    with pytest.raises(LedgerError, match=re.escape(f"it has moved to {target}: name that one")):
        Ledger.open(source)
    with shell(source) as person, pytest.raises(Exception, match=re.escape(f"ctstate: it has moved to {target}")):
        person.execute("UPDATE capture SET site = 'x'")


@all_ways
def test_the_new_one_goes_on_where_the_old_one_was(source: str, target: str) -> None:
    """Rows get numbers after the highest, moves are written down and guarded as before."""
    highest = max(row[0] for row in rows_of(source)["run"])
    copy(source, target)
    with Ledger.open(target) as ledger:
        with ledger.atomic_run("try", {}) as (connection, run_id):
            assert run_id == highest + 2  # after the copy's
            key = connection.execute(text("SELECT id FROM capture WHERE state = 'uploaded'")).scalar()
            move = "UPDATE capture SET state = 'removed', run_id = :run, moved_at = 'now' WHERE id = :key"
            connection.execute(text(move), {"run": run_id, "key": key})
        with ledger.read() as connection:
            events = connection.execute(text("SELECT id, source, target FROM event WHERE at = 'now'")).all()
            assert [tuple(event) for event in events] == [(8, "uploaded", "removed")]
        with pytest.raises(IllegalMoveError, match="history is append-only"), ledger.write() as connection:
            connection.execute(text("DELETE FROM event"))
        with pytest.raises(IllegalMoveError, match=r"refused|FOREIGN"), ledger.write() as connection:
            connection.execute(text("UPDATE image SET capture_id = 999"))


def test_every_counter_of_the_server_goes_on_after_the_highest(source: str, tmp_path: Path) -> None:
    target = new_place(POSTGRES, tmp_path)
    copy(source, target)
    with shell(target) as person:
        counted = 0
        for table in metadata.sorted_tables:
            counter = person.execute(f"SELECT pg_get_serial_sequence('{table.name}', 'id')").fetchone()[0] if (
                "id" in table.columns
            ) else None  # fmt: skip
            if counter is not None:
                ((highest,),) = person.execute(f"SELECT max(id) FROM {table.name}").fetchall()
                assert person.execute(f"SELECT nextval('{counter}')").fetchone() == (highest + 1,)
                counted += 1
    assert counted > 5


@all_ways
def test_the_way_back_is_the_same_the_other_way_round(source: str, target: str) -> None:
    before = rows_of(source)
    copy(source, target)
    with Ledger.open(target) as ledger, ledger.write() as connection:
        connection.execute(text("UPDATE image SET note = 'written in the new one'"))
    copy(target, source)
    assert may_be_written(target) is None
    assert may_be_written(source) is not None
    after = rows_of(source, but_marks=True)
    assert {row[8] for row in after["image"]} == {"written in the new one"}
    arrived({**before, "image": after["image"]}, after, copies=2)


def test_the_same_call_again_changes_nothing(source: str, target: str) -> None:
    said = copy(source, target)
    before = rows_of(target)
    assert copy(source, target) == said
    assert rows_of(target) == before


def test_who_has_moved_does_not_move_elsewhere(source: str, target: str, tmp_path: Path) -> None:
    copy(source, target)
    other = new_place(FILE, tmp_path)
    with pytest.raises(LedgerError, match="it has moved to"):
        copy(source, other)
    assert not Path(other).exists()
    with pytest.raises(LedgerError, match="it has moved to"):
        copy(source, make_full(other))
    third = new_place(FILE, tmp_path)
    copy(target, third)
    with pytest.raises(LedgerError, match="it has moved to"):  # to one that has moved on
        copy(source, target)
    assert may_be_written(third) is not None


# -- what is refused -------------------------------------------------------------------------------------------


def unchanged(source: str, before: Rows) -> None:
    assert may_be_written(source) is not None
    assert rows_of(source) == before


@both_kinds
def test_not_while_a_run_lives(kind: str, tmp_path: Path) -> None:
    source, target = make_full(new_place(kind, tmp_path)), new_place(FILE, tmp_path)
    with Ledger.open(source) as ledger, ledger.live_run("upload", {}) as live:
        before = rows_of(source)
        with pytest.raises(UsageError, match=rf"1 run is at work on it \(upload, run {live.id} on .*ctstate stop"):
            copy(source, target)
        assert {**rows_of(source), "run": []} == {**before, "run": []}
        assert not Path(target).exists()
    copy(source, target)


@both_kinds
def test_a_run_that_died_is_no_reason_to_wait(kind: str, tmp_path: Path) -> None:
    source, target = make_full(new_place(kind, tmp_path)), new_place(FILE, tmp_path)
    with Ledger.open(source) as ledger, ledger.write() as connection:
        dead = ledger.begin_run(connection, "upload", {})
        connection.execute(text("UPDATE run SET pid = 999999999 WHERE id = :id"), {"id": dead})
    copy(source, target)
    with Ledger.open(target) as ledger:
        assert ledger.query(f"SELECT outcome FROM run WHERE id = {dead}")["outcome"].tolist() == ["lost"]


@both_kinds
def test_not_over_another_ledger(kind: str, source: str, tmp_path: Path) -> None:
    other = make_full(new_place(kind, tmp_path))
    before, theirs = rows_of(source), rows_of(other)
    with pytest.raises(UsageError, match="holds a ledger already: name a new file or an empty database"):
        copy(source, other)
    unchanged(source, before)
    assert rows_of(other) == theirs


@both_kinds
def test_an_empty_ledger_is_as_good_as_none(kind: str, source: str, tmp_path: Path) -> None:
    target = new_place(kind, tmp_path)
    Ledger.open(target, create=True).close()
    before = rows_of(source)
    copy(source, target)
    arrived(before, rows_of(target, but_marks=True))


@both_kinds
def test_not_onto_itself(kind: str, tmp_path: Path) -> None:
    full, empty = make_full(new_place(kind, tmp_path)), new_place(kind, tmp_path)
    Ledger.open(empty, create=True).close()
    for place in (full, empty):
        same = place.replace("127.0.0.1", "localhost") if kind == POSTGRES else place.replace("/led", "/./led")
        with pytest.raises(UsageError, match="is the same ledger as"):
            copy(place, same)
        assert may_be_written(place) is not None


def test_not_into_what_holds_something_else(source: str, tmp_path: Path) -> None:
    before = rows_of(source)
    file, database = new_place(FILE, tmp_path), new_place(POSTGRES, tmp_path)
    for place in (file, database):
        with shell(place) as person:
            person.execute("CREATE TABLE something (x int)")
        with pytest.raises(LedgerError, match="something else"):
            copy(source, place)
    with pytest.raises(LedgerError, match="that is a folder"):
        copy(source, str(tmp_path))
    with pytest.raises(LedgerMissingError, match="createdb"):
        copy(source, cluster().url("nowhere"))
    with pytest.raises(UsageError, match="no password in a ledger's URL"):
        copy(source, "postgresql://me:secret@127.0.0.1/there")
    with pytest.raises(LedgerMissingError):
        copy(str(tmp_path / "none.db"), new_place(FILE, tmp_path))
    unchanged(source, before)


def test_not_over_a_closed_copy_of_another_ledger(source: str, target: str, tmp_path: Path) -> None:
    other = make_full(new_place(FILE, tmp_path))
    copy(other, target)
    with pytest.raises(UsageError, match="name a new file or an empty database"):
        copy(source, other)
    assert may_be_written(source) is not None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE image SET bytes = 'many'", 'table image: invalid input syntax for type bigint: "many"'),
        ("UPDATE image SET note = 'a' || char(0) || 'b'", "table image: .*NUL"),
        ("UPDATE image SET capture_id = 999 WHERE id = 1", "would break the ledger .*fk_image_capture_id"),
    ],
)
def test_what_a_server_cannot_hold_is_said_in_one_line(source: str, damage: str, said: str, tmp_path: Path) -> None:
    target = new_place(POSTGRES, tmp_path)
    with shell(source) as person:
        person.execute(damage)
    before = rows_of(source)
    with pytest.raises(LedgerError, match=said) as refusal:
        copy(source, target)
    assert "\n" not in str(refusal.value)
    unchanged(source, before)
    assert rows_of(target)["capture"] == []
    assert may_be_written(target) not in (None, may_be_written(source))  # empty, and nobody's


def lost(rows: list[Any]) -> list[Any]:
    return rows[:-1]


def one_more(rows: list[Any]) -> list[Any]:
    return [*rows, (999, *rows[-1][1:-1], "more")]


def changed(rows: list[Any]) -> list[Any]:
    return [*rows[:-1], (*rows[-1][:-1], "x")]


@all_ways
@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("defect", [lost, one_more, changed])
def test_a_row_that_does_not_arrive_as_it_was_is_noticed(
    source: str, target: str, defect: Callable[[list[Any]], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def badly(connection: Any, table: Any, rows: Any) -> None:
        fill(connection, table, defect(rows) if table.name == "replaced_prediction" and rows[0][0] == 7 else rows)

    monkeypatch.setattr(moving, "fill", badly)
    before = rows_of(source)
    with pytest.raises(LedgerError, match="replaced_prediction: from row 7 on, what arrived is not what was sent"):
        copy(source, target)
    unchanged(source, before)
    assert rows_of(target)["capture"] == []


def test_the_database_s_owner_needs_no_administrator(source: str, tmp_path: Path) -> None:
    place = new_place(POSTGRES, tmp_path)
    database = place.rpartition("/")[2]
    cluster().ask(f"CREATE ROLE owner_of_{database} LOGIN")
    cluster().ask(f"CREATE ROLE colleague_of_{database} LOGIN")
    cluster().ask(f"ALTER DATABASE {database} OWNER TO owner_of_{database}")
    theirs, colleagues = (place.replace("//ctstate@", f"//{who}_of_{database}@") for who in ("owner", "colleague"))
    before = rows_of(source)
    copy(source, theirs)
    with shell(place) as person:
        person.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO colleague_of_{database}")
    with pytest.raises(LedgerError, match="no permission for that; ask who owns the database"):
        copy(colleagues, new_place(FILE, tmp_path))
    copy(theirs, source)
    arrived(before, rows_of(source, but_marks=True), copies=2)
    copy(source, theirs)  # over the closed one


# -- beside others ---------------------------------------------------------------------------------------------


def during(work: Callable[[], None], *, when: float = 0.5) -> Callable[[Progress], None]:
    """Do something once, when that part of the copying is done."""
    todo = [work]

    def progress(seen: Progress) -> None:
        if seen.done >= when * seen.total and todo:
            todo.pop()()

    return progress


@all_ways
def test_who_reads_goes_on_and_who_writes_waits_and_is_told_where(source: str, target: str) -> None:
    said: list[str] = []
    ledger = Ledger.open(source)  # before it was closed

    def write() -> None:
        try:
            with ledger.atomic_run("batch", {}):
                pass
        except CtstateError as error:
            said.append(str(error))

    writer = threading.Thread(target=write)

    def look_and_write() -> None:
        with Ledger.open(source, read_only=True) as reader:
            assert reader.count() == 7
            assert reader.why_closed() is None
        writer.start()

    copy(source, target, on_progress=during(look_and_write))
    writer.join()
    ledger.close()
    assert len(said) == 1
    assert f"it has moved to {place_of(target).for_jobs}" in said[0]


@both_kinds
def test_of_two_copies_at_once_one_wins(kind: str, tmp_path: Path) -> None:
    source = make_full(new_place(kind, tmp_path))
    first, second = new_place(FILE, tmp_path), new_place(POSTGRES, tmp_path)
    said: list[str] = []

    def also() -> None:
        try:
            copy(source, second)
        except CtstateError as error:
            said.append(str(error))

    slower = threading.Thread(target=also)

    def is_there() -> bool:
        try:
            Ledger.open(second).close()
        except LedgerError:
            return False
        return True

    def let_it_wait() -> None:
        slower.start()
        while not is_there():  # it makes the new ledger, and then waits for the old one
            time.sleep(0.05)
        time.sleep(0.2)

    copy(source, first, on_progress=during(let_it_wait, when=0.1))
    slower.join()
    assert len(said) == 1
    assert f"it has moved to {first}" in said[0]
    assert may_be_written(first) not in (None, may_be_written(second))
    assert rows_of(second)["capture"] == []


@pytest.mark.parametrize("cut", ["source", "target"])
@pytest.mark.parametrize("when", [0.3, 1.0])
def test_a_server_that_goes_away_leaves_the_source_as_it_was(cut: str, when: float, tmp_path: Path) -> None:
    """At 1.0 all is copied and compared, and neither is committed."""
    source, target = make_full(new_place(POSTGRES, tmp_path)), new_place(POSTGRES, tmp_path)
    database = {"source": source, "target": target}[cut].rpartition("/")[2]
    before = rows_of(source)
    away = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
    with pytest.raises(LedgerLostError):
        copy(source, target, on_progress=during(lambda: void(cluster().ask(away)), when=when))
    unchanged(source, before)
    assert may_be_written(target) != may_be_written(source)
    if (cut, when) == ("source", 1.0):  # it was whole already, and it waited for a word that did not come
        with pytest.raises(LedgerError, match=r"is a copy of .* that is not finished: run that `ctstate copy`"):
            Ledger.open(target)
        with pytest.raises(LedgerError, match="is not finished"):
            copy(target, new_place(FILE, tmp_path))
    copy(source, target)
    arrived(before, rows_of(target, but_marks=True))


def void(_: object) -> None:
    """Forget a value."""


def test_the_progress_goes_from_nothing_to_all(source: str, target: str) -> None:
    seen: list[Progress] = []
    copy(source, target, on_progress=seen.append)
    rows = sum(map(len, rows_of(target, but_marks=True).values()))
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert {p.total for p in seen} == {2 * rows}
    assert seen[-1].done == seen[-1].total
    assert [p.compares for p in seen] == [p.done > rows for p in seen]
    assert seen[-1].seconds_left == 0


# -- other versions --------------------------------------------------------------------------------------------


def of_version(place: str, version: str) -> None:
    where = place_of(place)
    dialect_of(where.url).prepare(where, create=True)
    engine = dialect_of(where.url).engine(where, read_only=False)
    with transaction(engine, "old", write=True) as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, version)
    engine.dispose()


@both_kinds
def test_an_older_ledger_is_brought_up_to_date_before(kind: str, tmp_path: Path) -> None:
    source, target = new_place(kind, tmp_path), new_place(FILE, tmp_path)
    of_version(source, "0005")
    copy(source, target)
    with Ledger.open(target) as ledger:
        assert ledger.query("SELECT version_num FROM alembic_version")["version_num"].tolist() == [HEAD]


@both_kinds
def test_one_that_moved_is_still_read_by_a_newer_ctstate(kind: str, tmp_path: Path) -> None:
    place = new_place(kind, tmp_path)
    of_version(place, "0005")
    words = "it has moved to there: name that one (--ledger); this one can only be read"
    where = place_of(place)
    engine = dialect_of(where.url).engine(where, read_only=False)
    with transaction(engine, "old", write=True) as connection:  # as the version of that time did it
        for name, value in (("ledger_id", "abc"), ("moved_to", "there"), ("by_copy", "t")):
            connection.execute(text("INSERT INTO meta VALUES (:name, :value)"), {"name": name, "value": value})
        had = set(inspect(connection).get_table_names())
        old = [table for table in metadata.sorted_tables if table.name in had]
        dialect_of(connection).close(connection, old, words)
    engine.dispose()
    with Ledger.open(place, read_only=True) as ledger:
        assert ledger.count() == 0
    with pytest.raises(LedgerError, match="it has moved to there"):
        Ledger.open(place)
    with shell(place) as person:
        for table in ("run", "submission", "deployment", "state_count"):  # what came later is closed, too
            with pytest.raises(Exception, match="ctstate: it has moved to there"):
                person.execute(f"INSERT INTO {table} SELECT * FROM {table}" if "://" in place else (
                    f"INSERT INTO {table} DEFAULT VALUES"
                ))  # fmt: skip


# -- the command line ------------------------------------------------------------------------------------------


READING = [
    ("status",),
    ("status", "--json"),
    ("runs",),
    ("history", "TST_S1#B04#1#1"),
    ("sql", "SELECT count(*) AS captures FROM v_captures"),
    ("export", "captures"),
]

WRITING = [
    ("batch",),
    ("exclude", "--where", "site = 'B04'", "--reason", "x"),
    ("include", "--where", "site = 'B04'"),
    ("retry",),
    ("manifest", "captures.csv", "--images-root", "images", "--attribution", "a", "--license", "l"),
    ("predict", "predictions.json"),
    ("upload", "--project-id", "1"),
    ("submit", "--project-id", "1", "--password-file", "passwords.ini"),
    ("stop", "--all"),
    ("reconcile", "--project-id", "1"),
    ("adopt", "--project-id", "1", "--subject-set-id", "1"),
    ("update-metadata", "--project-id", "1"),
    ("link", "--project-id", "1", "--workflow-id", "1", "--batch", "complete"),
    ("unlink", "--project-id", "1", "--workflow-id", "1", "--batch", "complete"),
    ("progress", "--project-id", "1"),
    ("remove", "--project-id", "1", "--reason", "x", "--batch", "complete"),
    ("delete", "--project-id", "1", "--reason", "x", "--batch", "complete"),
]


@pytest.fixture
def on_server(tmp_path: Path) -> str:
    return new_place(POSTGRES, tmp_path)


def test_the_command_says_what_it_did_and_verbs_say_where_the_ledger_is(
    season: Any,
    on_server: str,
    call_ctstate: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = str(season.ledger_path)
    monkeypatch.setenv("PANOPTES_USERNAME", "nobody")
    monkeypatch.setenv("PANOPTES_PASSWORD", "secret")
    (tmp_path / "passwords.ini").write_text("[zooniverse]\nusername = nobody\npassword = secret\n")
    done = call_ctstate("copy", file, on_server)
    assert done.stderr == ""
    assert done.code == 0
    assert done.stdout.splitlines()[0].startswith(f"{on_server}: 6 captures (")
    assert f"{file} can only be read from now on." in done.stdout
    assert f"export CTSTATE_LEDGER={on_server}" in done.stdout
    note = f"it has moved to {on_server}: name that one (--ledger); this one can only be read"
    before = rows_of(file)
    for verb in READING:
        read = call_ctstate("--ledger", file, *verb)
        assert (read.code, read.stderr) == (0, f"Note: ledger {file}: {note}.\n"), verb
        there = call_ctstate("--ledger", on_server, *verb)
        assert (there.code, there.stderr) == (0, ""), verb
        if verb[0] != "runs":  # how long ago they were
            assert there.stdout == read.stdout
    for verb in WRITING:
        assert call_ctstate("--ledger", file, *verb).error() == f"Error: ledger {file}: {note}", verb
    assert rows_of(file) == before
    checks = {check.name: check for check in examine(Patient(file, endpoint="http://127.0.0.1:1"))}
    assert (checks["ledger"].verdict, checks["ledger"].advice) == (Verdict.FAIL, note)
    again = call_ctstate("copy", file, on_server)
    assert (again.code, again.stdout) == (0, done.stdout)
    back = call_ctstate("copy", on_server, file)
    assert back.code == 0
    assert call_ctstate("--ledger", file, "batch", "--number-of-batches", "1").code == 0


def test_refusals_are_one_line(season: Any, call_ctstate: Callable[..., Any], tmp_path: Path) -> None:
    file = str(season.ledger_path)
    for arguments, code, said in (
        (("none.db", "new.db"), 1, "none.db: no such file"),
        ((file, file), 2, "is the same ledger as"),
        ((file, "postgresql://me:secret@db/x"), 2, "no password in a ledger's URL"),
        ((file, "mysql://db/x"), 2, "not supported"),
        ((file, "postgresql://nobody@127.0.0.1:1/x"), 1, "no connection to the database"),
        ((file, str(tmp_path)), 1, "that is a folder"),
        ((file, str(tmp_path / "no" / "such.db")), 1, "does not exist"),
    ):
        refused = call_ctstate("copy", *arguments)
        assert said in refused.error()
        assert refused.code == code
    assert may_be_written(file) is not None


def test_a_person_at_a_terminal_sees_a_bar(source: str, target: str) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "ctstate", "copy", source, target]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "150"}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert re.search(r"\d+% .*\d+ of [\d,]+ rows copied", shown.decode())
    assert "7 captures" in output
    assert "\x1b" not in output


def test_an_upload_begun_on_a_file_is_finished_on_a_server(new_season: Callable[..., Any], on_server: str) -> None:
    """The marks on the subjects are the same ledger's: none is made twice, and those that are there are known."""
    season = new_season(8)
    season.upload(limit=3)
    file, season.path = season.path, on_server
    copy(file, on_server)
    report = season.upload()
    assert (report.counts.uploaded, report.counts.failed) == (5, 0)
    season.check()
    assert len({subject["external_id"].split(":")[1] for subject in season.subjects()}) == 1
    with pytest.raises(LedgerError, match="it has moved to"), Ledger.open(file):
        pass
