"""Conditions that a user types: what they find, and what they cannot do."""

import contextlib

import pytest

from ctstate.errors import InputError, UsageError
from ctstate.ledger.read_only_sql import captures_where
from tests.builders.season_files import SeasonFiles


def found(season: SeasonFiles, condition: str, **how: bool) -> list[str]:
    with season.open() as ledger:
        return sorted(captures_where(ledger, condition, **how))


def test_a_condition_on_the_view_finds_captures(season: SeasonFiles) -> None:
    assert found(season, "site = 'Ñandú'") == sorted(season.capture_id(n) for n in (2, 4, 6))
    assert found(season, "capture IN ('1', '3') -- a comment") == sorted(season.capture_id(n) for n in (1, 3))
    assert found(season, "site = 'a;b'") == []
    assert found(season, "\"site\" = 'B04' AND (images = 2)") == sorted(season.capture_id(n) for n in (1, 3, 5))
    assert found(season, "capture_id IN (SELECT capture_id FROM v_images WHERE path LIKE '%IMAG0002_1%')") == [
        season.capture_id(2)
    ]


def test_the_columns_of_predictions_can_be_used(season: SeasonFiles) -> None:
    for condition in ("machine_person > 0.5", "site = 'B04' OR machine_species = 'human'", '"machine_blank" > 0.9'):
        with pytest.raises(InputError, match="no capture has a value in machine_"):  # people would be shown
            found(season, condition, on_values=True)
        found(season, condition)  # what takes nobody out need not mind
    everybody = len(season.query("SELECT id FROM capture"))
    assert len(found(season, "machine_person IS NULL", on_values=True)) == everybody
    done = season.run("exclude", "--where", "machine_person > 0.5", "--reason", "people")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no capture has a value in machine_person" in done.stderr


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("", "is empty"),
        ("site = 'B04\0' AND 1", "holds a NUL character"),
        ("1; DROP TABLE capture", "without ';'"),
        ("1) OR (1", "brackets do not match"),
        ("1)", "brackets do not match"),
        ("(1", "brackets do not match"),
        ("1) --", "brackets do not match"),
        ("1 /*", "comment is not closed"),
        ("site = 'B04", "is not closed"),
        ("machine_persn > 0.5", "did you mean machine_person?"),
        ('"machine_persn" > 0.5', "text goes in single quotes"),
        ('site = "B04"', "'B04', not \"B04\""),
        ("nonsense > 1", "the columns are capture_id, season"),
        ("site ==== 1", "syntax error|operator does not exist"),
        ("load_extension('x')", "may only read|no such function|function .* does not exist"),
        ("site = 1 UNION SELECT 1", None),
        ("EXISTS (DELETE FROM image)", "syntax error"),
        ("image_nr() > 2", "no such function|function .* does not exist"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(
    season: SeasonFiles, condition: str, message: str | None
) -> None:
    before = season.contents()
    if message is None:  # odd, but it only reads
        with contextlib.suppress(UsageError):
            found(season, condition)
    else:
        with pytest.raises(UsageError, match=message) as caught:
            found(season, condition)
        assert "\n" not in str(caught.value)
    assert season.contents() == before


def test_the_authorizer_refuses_more_than_reading(season: SeasonFiles) -> None:
    import sqlite3

    from ctstate.ledger import sqlite_reader as where

    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (x)")
    connection.set_authorizer(where._authorize)
    assert connection.execute("SELECT upper(x) FROM t").fetchall() == []
    for statement in ("INSERT INTO t VALUES (1)", "DELETE FROM t", "PRAGMA user_version", "ATTACH 'x' AS y"):
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            connection.execute(statement)
