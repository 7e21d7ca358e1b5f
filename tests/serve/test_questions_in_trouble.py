"""SQL that somebody types into the live page: bounded in memory and time, and it locks nobody out."""

import contextlib
import time

import pytest

from ctstate.ledger import Ledger
from ctstate.verbs.reading import SharedReader
from ctstate.verbs.serve import questions
from ctstate.verbs.serve.questions import Questions
from tests.builders.ledgers import ON_POSTGRES, of_files


@contextlib.contextmanager
def asked_of(name: str):
    with Ledger.open(name, read_only=True) as ledger, SharedReader(ledger) as reader:
        yield Questions(ledger, reader)


@of_files
@pytest.mark.parametrize(
    "question",
    [
        "SELECT zeroblob(900000000)",
        "SELECT hex(randomblob(300000000))",
        "SELECT replace(hex(zeroblob(400000)), '0', hex(zeroblob(400000)))",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT group_concat(i) FROM n",
        "SELECT " + ", ".join(["zeroblob(900000)"] * 1000),
    ],
)
def test_one_row_fills_no_memory(hostile: str, question: str) -> None:
    began = time.monotonic()
    with asked_of(hostile) as page:
        answer = page.ask(question)
    assert answer.trouble is not None
    assert answer.trouble.startswith("SQL: ")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("most", [4_000_000])
def test_many_large_rows_are_cut_short(hostile: str, most: int) -> None:
    text = "repeat('x', 500000)" if ON_POSTGRES else "hex(zeroblob(250000))"
    with asked_of(hostile) as page:
        answer = page.ask(f"SELECT {text} FROM v_captures")
    assert answer.trouble is None
    assert answer.more
    assert most < sum(len(str(row[0])) for row in answer.rows) < 2 * most


def test_a_file_fills_no_disk(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "_FILE_BYTES", 100_000)
    with asked_of(hostile) as page:
        reply = page.file(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, 'some text' FROM n"
        )
        assert reply.status_code == 400
        assert b"more than " in reply.body
        assert page.file("SELECT * FROM v_sites").status_code == 200


@pytest.mark.skipif(not ON_POSTGRES, reason="about PostgreSQL: make test-postgres")
@pytest.mark.parametrize(
    "question",
    [
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock_shared(1)",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
        "SELECT set_config('statement_timeout', '0', false)",
        "SELECT query_to_xml('SELECT pg_advisory_' || 'lock(1)', true, true, '')",
        'SELECT U&"pg_adviso\\0072y_lock"(1)',
    ],
)
def test_a_question_does_nothing_to_other_sessions(hostile: str, question: str) -> None:
    with asked_of(hostile) as page:
        assert page.ask(question).trouble == "SQL: only questions (SELECT) are allowed here; nothing was changed"
        assert page.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").rows == [[0]]
