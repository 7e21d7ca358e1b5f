"""`ctstate sql`: any question, and nothing but questions."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from ctstate.commands.shared import echo_table
from ctstate.errors import LedgerError
from ctstate.ledger import Ledger
from ctstate.ledger.read_only_sql import ask, captures_where
from ctstate.ledger.sqlite_reader import reading
from tests.builders.ledgers import ON_POSTGRES, copy_ledger, new_ledger_at, of_files


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ledger with two captures, one of an awkward name."""
    from ctstate.ledger import Ledger
    from ctstate.verbs.manifest import manifest

    folder = tmp_path_factory.mktemp("filled")
    (folder / "c.csv").write_text(
        'season,site,roll,capture,image,path\nS,A,1,1,1,/a.jpg\nS,"Süd, ""3""\nx",1,10,1,/b.jpg\n', encoding="utf-8"
    )
    path = new_ledger_at(folder / "ledger.db")
    with Ledger.open(path) as ledger:
        manifest(ledger, folder / "c.csv", attribution="a", license="l", allow_missing=True)
    return path


@pytest.fixture
def sql(filled: Path, ledger_path: Path, call_ctstate: Any) -> Any:
    copy_ledger(filled, ledger_path)
    return lambda *arguments: call_ctstate("sql", *arguments)


QUESTION = "SELECT capture_id, capture, NULL AS blank, 1.5 AS number FROM v_captures ORDER BY 2 DESC"


def test_table(sql: Any) -> None:
    assert (
        sql("SELECT capture, site FROM v_captures WHERE site = 'A'").stdout
        == "capture  site\n-------  ----\n      1  A\n"
    )


def test_csv_reads_back(sql: Any) -> None:
    found = list(csv.reader(io.StringIO(sql("--csv", QUESTION).stdout)))
    assert found == [
        ["capture_id", "capture", "blank", "number"],
        ['S#Süd, "3"\nx#1#10', "10", "", "1.5"],
        ["S#A#1#1", "1", "", "1.5"],
    ]


def test_json_reads_back(sql: Any) -> None:
    assert json.loads(sql(QUESTION, "--json").stdout)[0] == {
        "capture_id": 'S#Süd, "3"\nx#1#10',
        "capture": "10",
        "blank": None,
        "number": 1.5,
    }


def test_what_is_wider_than_the_terminal_is_printed_one_below_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("TST_S1#B04#1#1", None, "x" * 30), ("TST_S1#B04#1#2", 7, "y")]
    header = ("capture_id", "subject_id", "reason")
    echo_table(header, rows, widest=40)
    assert capsys.readouterr().out.splitlines() == [
        "-- 1 --", "capture_id  TST_S1#B04#1#1", "subject_id", "reason      " + "x" * 30,
        "-- 2 --", "capture_id  TST_S1#B04#1#2", "subject_id  7", "reason      y",
    ]  # fmt: skip
    echo_table(header, rows, widest=58)
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_no_rows(sql: Any) -> None:
    nothing = "SELECT capture_id FROM v_captures WHERE 1 = 0"
    assert sql(nothing).stdout.split() == ["capture_id", "----------"]
    assert sql(nothing, "--csv").stdout == "capture_id\n"
    assert json.loads(sql(nothing, "--json").stdout) == []


VIEWS = {
    "v_captures": {"capture_id", "season", "site", "roll", "capture", "state", "batch", "subject_id", "reason"},
    "v_images": {"capture_id", "rank", "path", "problem", "problem_reason", "md5", "bytes"},
    "v_progress": {"season", "batch", "site", "captures", "pending", "uploaded", "failed"},
    "v_failures": {"season", "batch", "capture_id", "reason", "reason_kind", "attempts"},
    "v_runs": {"run_id", "verb", "outcome", "started_at", "heartbeat_at", "host", "uploaded", "failed"},
    "v_events": {"capture_id", "at", "source", "target", "run_id", "verb", "reason", "site", "batch", "host"},
    "v_days": {"season", "site", "roll", "day", "captures"},
    "v_deployments": {"season", "site", "roll", "starts_at", "ends_at", "nights"},
}


@pytest.mark.parametrize("view", VIEWS)
def test_views(sql: Any, view: str) -> None:
    """The views are an interface: columns may come, but not go."""
    header = sql("--csv", f"SELECT * FROM {view}").stdout.splitlines()[0]
    assert VIEWS[view] <= set(header.split(","))


def test_reports_know_the_views_columns(sql: Any) -> None:
    """`export captures` writes, and `history` shows, all that `v_captures` has."""
    from ctstate.ledger import views

    for view, row in (
        ("v_captures", views.CaptureFacts),
        ("v_images", views.ImageFacts),
        ("v_events", views.Event),
    ):
        columns = sql("--csv", f"SELECT * FROM {view}").stdout.splitlines()[0].split(",")
        assert [name for name in columns if name in row._fields or view == "v_captures"] == list(row._fields)


@pytest.mark.parametrize(
    "question",
    [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT sum(i) FROM n",
        "SELECT count(*), max(length(path)) FROM image GROUP BY capture_id HAVING count(*) > 0",
        "SELECT capture_id FROM capture; -- a remark",
        "VALUES (1)",
        pytest.param("SELECT json_extract(arguments, '$.captures_csv') FROM v_runs", marks=of_files),
        pytest.param(
            "SELECT CAST(arguments AS jsonb) ->> 'captures_csv' FROM v_runs",
            marks=pytest.mark.skipif(not ON_POSTGRES, reason="about PostgreSQL's JSON"),
        ),
    ],
)
def test_questions_of_all_kinds(sql: Any, question: str) -> None:
    assert sql(question).code == 0


WRITES = [
    "INSERT INTO meta VALUES ('a', 'b')",
    "UPDATE capture SET site = 'B'",
    "DELETE FROM image",
    "REPLACE INTO meta VALUES ('ledger_id', 'x')",
    "DROP TABLE image",
    "DROP VIEW v_captures",
    "CREATE TABLE t (a)",
    "CREATE TEMP TABLE t (a)",
    "CREATE TEMP VIEW t AS SELECT 1",
    "CREATE TEMP TRIGGER t AFTER INSERT ON image BEGIN SELECT 1; END",
    "ALTER TABLE image ADD COLUMN x",
    "CREATE INDEX x ON image (path)",
    "REINDEX",
    "ANALYZE",
    "VACUUM",
    "VACUUM INTO 'copy.db'",
    "ATTACH 'other.db' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH main",
    "PRAGMA user_version = 7",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "BEGIN",
    "COMMIT",
    "SAVEPOINT a",
    "SELECT load_extension('libm.so.6')",
    "SELECT * FROM pragma_journal_mode('DELETE')",
    "WITH x AS (SELECT 1) DELETE FROM image",
    "WITH x AS (SELECT 'a') INSERT INTO meta SELECT 'k', * FROM x RETURNING 1",
    "SELECT 1; DELETE FROM image",
    "DELETE FROM image; SELECT 1",
    "",
    " ",
    ";",
    "-- nothing",
    "/* nothing */",
]


@pytest.mark.parametrize("statement", WRITES)
def test_nothing_can_be_written(sql: Any, ledger_path: Path, dump: Any, tmp_path: Path, statement: str) -> None:
    before, files = dump(ledger_path), {path.name for path in tmp_path.iterdir()}
    sql("--", statement).error()
    assert dump(ledger_path) == before
    made = {path.name for path in tmp_path.iterdir()} - files
    assert made <= {"season.db-wal", "season.db-shm"}


@pytest.mark.parametrize(
    "question",
    [
        pytest.param("SELECT", marks=of_files),
        "SELEKT 1",
        "SELECT nothing FROM capture",
        "SELECT * FROM nowhere",
        pytest.param("SELECT CAST(x'ff' AS TEXT)", marks=of_files),
        "SELECT 1 / 0 FROM nowhere",
    ],
)
def test_a_question_the_database_does_not_understand(sql: Any, question: str) -> None:
    result = sql(question)
    assert result.error().startswith("Error: SQL: ")
    assert result.code == 1


def test_only_who_mistook_a_name_is_sent_to_the_views(sql: Any) -> None:
    assert "; the views are described in docs/views.md" in sql("SELECT nonsense FROM v_captures").error()
    assert "views.md" not in sql("SELECT 1; SELECT 2").error()


@of_files
def test_a_ledger_whose_disk_goes_away_is_no_fault_of_the_question(filled: str, tmp_path: Path) -> None:
    place = tmp_path / "disk" / "season.db"
    place.parent.mkdir()
    copy_ledger(filled, place)
    with Ledger.open(place, read_only=True) as ledger:
        assert len(list(captures_where(ledger, "1 = 1"))) > 0
        place.parent.rename(tmp_path / "away")
        with pytest.raises(LedgerError, match="cannot be opened"):
            list(captures_where(ledger, "1 = 1"))
        with pytest.raises(LedgerError, match="cannot be opened"), ask(ledger, "SELECT 1 FROM v_captures"):
            pass
    place.parent.mkdir()
    place.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 32)
    with (
        reading(place, 1.0) as reader,
        pytest.raises(LedgerError, match=r"not a ctstate ledger|damaged"),
    ):
        reader.ask("SELECT 1 FROM v_captures")


def test_one_format_at_a_time(sql: Any) -> None:
    assert sql("--csv", "--json", "SELECT 1").code == 2


def test_a_reader_that_has_seen_enough(filled: Path, ledger_path: Path) -> None:
    """`ctstate sql ... | head -1` ends without a word of complaint."""
    import subprocess
    import sys

    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    process = subprocess.Popen(
        [sys.executable, "-m", "ctstate", "--ledger", str(filled), "sql", "--csv", endless],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"i\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, 1)
    process.stderr.close()
