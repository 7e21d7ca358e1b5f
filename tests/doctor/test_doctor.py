"""`ctstate doctor` with everything in order, and with each thing broken."""

import importlib.metadata
import json
import os
import shutil
import sqlite3
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctstate.ledger.sqlite import file_system_of, on_network
from ctstate.verbs import doctor
from ctstate.verbs.doctor import Check, Patient, Verdict, cluster, installation, ledger, zooniverse
from ctstate.verbs.doctor.findings import Facts, Result
from ctstate.verbs.doctor.locks import Locks, LockVerdict
from tests.builders.uploaded_season import CAPTURES, UploadedSeason, copy_of

OK, WARN, FAIL, SKIP = Verdict.OK, Verdict.WARN, Verdict.FAIL, Verdict.SKIP


@pytest.fixture(scope="module")
def shared(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UploadedSeason]:
    with copy_of(template, tmp_path_factory.mktemp("doctor") / "world") as made:
        yield made


@pytest.fixture
def world(shared: UploadedSeason, monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadedSeason]:
    """The module's world; a test that breaks something there puts it right again."""
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    yield shared
    shared.sandbox.clear_faults()
    shared.sandbox.set_account(banned=False, subject_limit=10000)


@pytest.fixture
def broken(world: UploadedSeason, tmp_path: Path) -> Path:
    """A copy of the ledger, to be broken."""
    with sqlite3.connect(world.path) as source, sqlite3.connect(tmp_path / "copy.db") as target:
        source.backup(target)
    return tmp_path / "copy.db"


def _examine(world: UploadedSeason, **changes: Any) -> dict[str, Check]:
    patient = {"ledger": str(world.path), "endpoint": world.sandbox.url, "project_id": world.project_id}
    return {check.name: check for check in doctor.examine(Patient(**{**patient, **changes}))}


def _passwords(folder: Path, world: UploadedSeason, password: str = "") -> Path:
    path = folder / "passwords.ini"
    path.write_text(
        f"[zooniverse]\nusername = {world.sandbox.login}\npassword = {password or world.sandbox.password}\n"
    )
    path.chmod(0o600)
    return path


def test_all_in_order_and_nothing_changed(world: UploadedSeason, tmp_path: Path) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in world.folder.iterdir() if path.suffix in (".db", ".csv")}

    before, subjects = contents(), world.sandbox.state()
    passwords = _passwords(tmp_path, world)
    done = world.on_project("doctor", "--password-file", str(passwords))
    assert done.returncode == 0, done.stdout
    assert "fail" not in done.stdout.splitlines()[:-1]
    checks = json.loads(world.on_project("doctor", "--json").stdout)
    assert checks["ok"]
    verdicts = {check["name"]: check["verdict"] for check in checks["checks"]}
    for name in ("Python", "libraries", "SQLite", "ledger", "ledger's integrity", "locks", "account", "log-in"):
        assert verdicts[name] == "ok", (name, checks)
    for name in ("project rights", "allowance", "clock"):
        assert verdicts[name] == "ok", (name, checks)
    assert contents() == before
    assert world.sandbox.state() == subjects


def test_nothing_there_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PANOPTES_USERNAME", "PANOPTES_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = {c.name: c for c in doctor.examine(Patient(str(tmp_path / "none.db"), "http://127.0.0.1:9", 1))}
    assert found["Python"].verdict is OK
    assert found["ledger"].verdict is WARN
    assert found["ledger's integrity"].verdict is SKIP
    assert found["locks"].verdict is OK
    assert found["account"].verdict is FAIL
    assert found["log-in"].verdict is SKIP
    assert list(tmp_path.iterdir()) == []
    nowhere = {c.name: c for c in doctor.examine(Patient(str(tmp_path / "no" / "folder.db"), "http://127.0.0.1:9"))}
    assert nowhere["ledger"].verdict is FAIL
    assert nowhere["locks"].verdict is SKIP


def test_no_network(world: UploadedSeason) -> None:
    began = time.monotonic()
    found = _examine(world, endpoint="http://127.0.0.1:9")
    assert time.monotonic() - began < 30
    assert found["log-in"].verdict is FAIL
    assert "no connection" in found["log-in"].seen
    assert {found[name].verdict for name in ("project rights", "allowance", "clock")} == {SKIP}
    assert found["ledger"].verdict is OK


def test_ledgers_that_are_none_damaged_older_or_newer(world: UploadedSeason, broken: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("season,site\n" * 1000)
    assert _examine(world, ledger=str(text))["ledger"].verdict is FAIL
    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE something (else_ TEXT)")
    assert _examine(world, ledger=str(other))["ledger"].verdict is FAIL
    with sqlite3.connect(broken) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    newer = _examine(world, ledger=str(broken))["ledger"]
    assert (newer.verdict, newer.advice) == (FAIL, "run `pip install -U ctstate`")
    with sqlite3.connect(broken) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    older = _examine(world, ledger=str(broken))["ledger"]
    assert older.verdict is WARN
    with sqlite3.connect(broken) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'capture'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    content = bytearray(broken.read_bytes())
    content[(root - 1) * size : root * size] = os.urandom(size)
    broken.write_bytes(content)
    damaged = _examine(world, ledger=str(broken))
    assert damaged["ledger's integrity"].verdict is FAIL
    assert damaged["log-in"].verdict is OK  # the rest of the page is there all the same


def test_the_password_file(world: UploadedSeason, tmp_path: Path) -> None:
    path = _passwords(tmp_path, world)
    assert _examine(world, password_file=str(path))["account"].verdict is OK
    path.chmod(0o644)
    readable = _examine(world, password_file=str(path))["account"]
    assert readable.verdict is WARN
    assert "chmod 600" in readable.advice
    assert world.sandbox.password not in str(readable)
    path.write_text("[zooniverse]\nusername = somebody\n")
    assert _examine(world, password_file=str(path))["account"].verdict is FAIL
    wrong = _passwords(tmp_path, world, "not-the-password")
    found = _examine(world, password_file=str(wrong))
    assert found["log-in"].verdict is FAIL
    assert "refused" in found["log-in"].seen


def test_the_account_and_its_rights(world: UploadedSeason, tmp_path: Path) -> None:
    world.sandbox.set_account(banned=True)
    assert "banned" in _examine(world)["log-in"].seen
    world.sandbox.set_account(banned=False)
    assert _examine(world, project_id=424242)["project rights"].verdict is FAIL
    foreign = _examine(world, project_id=int(world.sandbox.foreign_project_id))["project rights"]
    assert foreign.verdict is FAIL
    assert foreign.advice
    world.sandbox.set_account(login="helper", password="helper-password")
    path = tmp_path / "helper.ini"
    path.write_text("[zooniverse]\nusername = helper\npassword = helper-password\n")
    assert _examine(world, password_file=str(path))["project rights"].verdict is FAIL
    world.sandbox.set_account(login="helper", collaborator=world.sandbox.project_id)
    collaborator = _examine(world, password_file=str(path))["project rights"]
    assert (collaborator.verdict, "collaborator" in collaborator.seen) == (OK, True)


def test_another_zooniverse_than_the_ledgers(world: UploadedSeason, broken: Path) -> None:
    with sqlite3.connect(broken) as connection:
        connection.execute("UPDATE meta SET value = 'https://www.zooniverse.org' WHERE name = 'endpoint'")
    found = _examine(world, ledger=str(broken))["log-in"]
    assert found.verdict is FAIL
    assert "https://www.zooniverse.org" in found.seen


def test_more_pending_than_allowed(world: UploadedSeason, broken: Path) -> None:
    with sqlite3.connect(broken) as connection:
        connection.execute("UPDATE capture SET state = 'deleted' WHERE id <= 5")
        connection.execute("UPDATE capture SET state = 'batched', subject_id = NULL WHERE id <= 5")
    world.sandbox.set_account(subject_limit=CAPTURES + 4, recount=True)
    found = _examine(world, ledger=str(broken))["allowance"]
    assert (found.verdict, "5 pending" in found.seen) == (WARN, True)
    world.sandbox.set_account(subject_limit=CAPTURES + 5, recount=True)
    assert _examine(world, ledger=str(broken))["allowance"].verdict is OK


def test_the_clock(world: UploadedSeason, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    for ahead, verdict in ((0, OK), (90, WARN), (-90, WARN), (3600, FAIL), (-3600, FAIL)):
        with monkeypatch.context() as patch:
            patch.setattr(zooniverse.time, "time", lambda ahead=ahead: real() + ahead)
            check = dict(doctor.CHECKS)["clock"]
            facts = Facts(Patient(""), zooniverse=world.zooniverse())
            assert check(facts)[0] is verdict, ahead


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("free", "verdict"), [(10**12, OK), (10**9, WARN), (10**7, FAIL)])
def test_disk_space(world: UploadedSeason, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict) -> None:
    asked = []

    def usage(folder: Any) -> Usage:
        asked.append(str(folder))
        return Usage(10**12, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    log_dir = world.folder / "logs" / "to be made"
    assert _one("disk space", world.path, log_dir=str(log_dir))[0] is verdict
    assert asked == [str(world.folder), str(world.folder)]


def _one(name: str, path: Path | str | None = None, **patient: Any) -> Result:
    """Make one check alone."""
    where = Path(path) if path is not None else None
    return dict(doctor.CHECKS)[name](Facts(Patient(**{"ledger": str(path), **patient}), path=where))


def test_python_libraries_and_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "OLDEST_PYTHON", (9, 9))
    assert _one("Python")[0] is FAIL
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.7.17")
    assert _one("SQLite")[0] is FAIL
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.26.0")
    assert _one("SQLite")[0] is OK
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "1.4.50" if name.lower() == "sqlalchemy" else real(name)
    )
    verdict, seen, _ = _one("libraries")
    assert (verdict, seen.lower()) == (FAIL, "too old: sqlalchemy 1.4.50 (needs 2.0.25)")

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    with monkeypatch.context() as patch:  # a checkout that is not installed
        patch.setattr(importlib.metadata, "requires", missing)
        assert _one("libraries")[:2] == (verdict, "too old: SQLAlchemy 1.4.50 (needs 2.0.25)")
    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert _one("libraries")[0] is FAIL


def test_client_and_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    import panoptes_client.subject

    monkeypatch.setattr(panoptes_client.subject, "MEDIA_TYPE_DETECTION", "mimetypes")
    assert _one("client, libmagic")[0] is WARN
    monkeypatch.setenv("CTSTATE_IMAGES", "pillow")
    assert _one("image encoder")[:2] == (WARN, "Pillow, as CTSTATE_IMAGES=pillow says")


def test_a_ledger_that_is_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    link, none_yet = tmp_path / "link.db", tmp_path / "none.db"
    link.symlink_to("/proc/version")
    assert file_system_of(link) == "proc"
    assert file_system_of(none_yet) == file_system_of(tmp_path) != "proc"


def test_a_share_is_told_by_its_kind_and_not_by_its_server_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = f"36 1 0:32 / {tmp_path}/share rw,relatime shared:1 - nfs4 server:/export rw,vers=4.2\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mounts)
    assert file_system_of(tmp_path / "ledger.db") == "ext4"
    assert not on_network(tmp_path / "ledger.db")
    (tmp_path / "share").mkdir()
    assert file_system_of(tmp_path / "share" / "ledger.db") == "nfs4"
    assert on_network(tmp_path / "share" / "ledger.db")


def test_locks_and_places(world: UploadedSeason, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = LockVerdict(Locks.DO_NOT_HOLD, "two nodes", "both were given the same lock", "use one node")
    monkeypatch.setattr(ledger, "self_test", lambda path: bad)
    monkeypatch.setattr(cluster, "two_node_probe", lambda path, **more: bad)
    monkeypatch.setattr(ledger, "on_network", lambda path: True)
    assert (_one("locks", world.path)[0], _one("locks", world.path)[2]) == (FAIL, "use one node")
    assert _one("locks, two nodes", world.path, nodes=2)[0] is FAIL
    assert _one("locks, two nodes", world.path)[0] is SKIP
    assert _one("ledger's place", world.path)[0] is FAIL  # its journal is a write-ahead log


def _program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _one("Slurm")[0] is OK
    for name in ("sbatch", "squeue", "srun"):
        _program(tmp_path, name, "exit 0")
    assert _one("Slurm")[0] is WARN
    _program(
        tmp_path, "sinfo", 'case "$1" in --version) echo "slurm 23.02.7";; *) echo "small*"; echo large;; esac'
    )
    assert _one("Slurm") == (OK, "slurm 23.02.7, partitions small*, large", "")
    _program(tmp_path, "sinfo", "echo 'Unable to contact slurm controller' >&2; exit 1")
    assert (_one("Slurm")[0], "Unable to contact" in _one("Slurm")[1]) == (WARN, True)


def test_a_check_that_breaks_down_is_one_line_of_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def breaks(facts: Any) -> Result:
        raise RuntimeError("no such thing\nas two lines")

    monkeypatch.setattr(doctor, "CHECKS", (("one", breaks), *doctor.CHECKS[:1]))
    one, two = doctor.examine(Patient(str(tmp_path / "none.db")))
    assert (one.verdict, one.seen) == (FAIL, "RuntimeError: no such thing")
    assert two.verdict is OK
