"""Ledgers that 0.1.0 left behind are migrated without losing a fact, and what they began is finished once."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ctstate.ledger import Ledger
from ctstate.ledger.migrate import HEAD
from ctstate.sandbox import SandboxProcess
from ctstate.verbs.demo.invariant import violations
from ctstate.verbs.retry import retry
from ctstate.verbs.survey import survey
from ctstate.verbs.upload import UploadOptions, UploadReport, upload
from ctstate.zooniverse import Backoff, Credentials, Zooniverse
from tests.ledgers_of_0_1_0 import NAMES, Revived, load, revive

FACTS = ("season", "batch", "capture", "image", "event", "run", "prediction", "prediction_file", "legacy_subject")

LEFT = {
    "every_state": {"manifested": 2, "predicted": 1, "uploaded": 9, "failed": 2, "removed": 1, "deleted": 1},
    "mid_upload": {"uploaded": 16},
    "half_linked": {"uploaded": 8},
    "two_batches_two_workers": {"uploaded": 16},
}
"""How many captures are in which state once an upload has finished what was pending."""


def rows(path: Path, table: str, order: str = "id") -> list[dict[str, Any]]:
    """All of a table."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY {order}")]


def contents(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        return "\n".join(database.iterdump())


def schema_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return sorted(
            " ".join(sql.split()) for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE sql <> ''")
        )


def states(path: Path) -> dict[str, int]:
    """How many captures are in which state."""
    return dict(Counter(row["state"] for row in rows(path, "capture")))


def connect(zooniverse: SandboxProcess) -> Zooniverse:
    account = Credentials(zooniverse.login, zooniverse.password)
    return Zooniverse(zooniverse.url, account, backoff=Backoff(first=0.02, most=0.2, give_up=20.0))


def finish(revived: Revived, zooniverse: SandboxProcess) -> UploadReport:
    """Upload what is pending, through a ledger opened anew."""
    options = UploadOptions(project_id=int(zooniverse.project_id), processes=1, connections=2, settle=0.3)
    with Ledger.open(revived.path) as ledger:
        return upload(ledger, connect(zooniverse), options)


def made(zooniverse: SandboxProcess) -> set[tuple[str, str]]:
    """Every subject that ever was, with the capture it was made for."""
    return {(s["metadata"]["#capture_id"], s["id"]) for s in zooniverse.state()["subjects"]}


def faults(revived: Revived, zooniverse: SandboxProcess) -> list[str]:
    """In which ways the invariant does not hold."""
    with Ledger.open(revived.path) as ledger:
        return violations(ledger, zooniverse.state(), complete=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_fixture_is_what_0_1_0_left(name: str, tmp_path: Path) -> None:
    revived = revive(name, tmp_path / "here")
    assert rows(revived.path, "alembic_version", "1") == [{"version_num": "0004"}]
    assert {run["version"] for run in rows(revived.path, "run")} == {"0.1.0"}
    assert [run["verb"] for run in rows(revived.path, "run") if run["ended_at"] is None].count("upload") >= 1
    assert states(revived.path)["uploading"] > 0
    with closing(sqlite3.connect(revived.path)) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert ledger.execute("PRAGMA foreign_key_check").fetchall() == []
    if name == "every_state":
        assert len(states(revived.path)) == 8


@pytest.mark.skipif(HEAD == "0004", reason="this is 0.1.0: nothing to migrate")
@pytest.mark.parametrize("name", NAMES)
def test_it_is_migrated_after_a_copy_and_keeps_every_fact(name: str, tmp_path: Path) -> None:
    revived = revive(name, tmp_path / "here")
    load(f"{name}.ledger.sql", tmp_path / "as_it_was.db", revived.folder)
    as_it_was = contents(tmp_path / "as_it_was.db")
    before = {table: rows(revived.path, table) for table in FACTS}
    with Ledger.open(revived.path) as ledger:
        backup = ledger.backup
    assert backup is not None
    assert contents(backup) == as_it_was
    Ledger.open(tmp_path / "fresh.db", create=True).close()
    assert schema_of(revived.path) == schema_of(tmp_path / "fresh.db")
    for table in FACTS:
        after = rows(revived.path, table)
        assert len(after) == len(before[table])
        for was, is_now in zip(before[table], after, strict=True):
            kept = {column: is_now[column] for column in was}
            if table == "run":  # raised to what the ledger knows: see migration 0005
                assert (kept.pop("watermark") or 0) >= (was.pop("watermark") or 0)
            assert kept == was
    with Ledger.open(revived.path) as again:
        assert again.backup is None


@pytest.mark.parametrize("name", NAMES)
def test_an_upload_finishes_it_exactly_once(name: str, tmp_path: Path) -> None:
    revived = revive(name, tmp_path / "here")
    with revived.sandbox() as zooniverse:
        already = made(zooniverse)
        report = finish(revived, zooniverse)
        assert (report.stopped, report.counts.failed, report.counts.fenced) == ("", 0, 0)
        assert states(revived.path) == LEFT[name]
        assert faults(revived, zooniverse) == []
        # What was lost was found, not made again: every subject is its capture's only one, the old ones are kept.
        assert made(zooniverse) >= already
        assert max(Counter(capture_id for capture_id, _ in made(zooniverse)).values()) == 1
        assert all(run["ended_at"] is not None for run in rows(revived.path, "run"))
        assert all(batch["lease_run_id"] is None for batch in rows(revived.path, "batch"))
        with Ledger.open(revived.path) as ledger:
            assert survey(ledger, connect(zooniverse), int(zooniverse.project_id)).to_do == []
        before = len(made(zooniverse))
        assert finish(revived, zooniverse).counts.claimed == 0
        assert len(made(zooniverse)) == before


def test_what_failed_or_was_taken_back_is_retried(tmp_path: Path) -> None:
    revived = revive("every_state", tmp_path / "here")
    with revived.sandbox() as zooniverse:
        finish(revived, zooniverse)
        subjects = {row["capture_id"]: row["subject_id"] for row in rows(revived.path, "capture")}
        given_up = [row for row in rows(revived.path, "capture") if row["state"] in ("failed", "removed")]
        with Ledger.open(revived.path) as ledger:
            assert retry(ledger, states=["failed", "removed", "deleted"]) == 4
        assert finish(revived, zooniverse).counts.uploaded == 4
        assert states(revived.path) == {"manifested": 2, "predicted": 1, "uploaded": 13}
        assert faults(revived, zooniverse) == []
        after = {row["capture_id"]: row["subject_id"] for row in rows(revived.path, "capture")}
        for row in given_up:  # a subject that is there is used again
            assert subjects[row["capture_id"]] in (None, after[row["capture_id"]])
