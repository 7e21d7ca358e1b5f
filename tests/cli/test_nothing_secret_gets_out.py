"""The account's password, tokens and signed addresses stay where they are; and the last net catches the rest."""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ctstate.errors import UsageError
from ctstate.formats.speciesnet_instances import Whereabouts
from ctstate.sandbox import SandboxProcess
from ctstate.zooniverse.endpoint import checked
from tests.conftest import QUICK

PASSWORD = "of-nobody's-business-5309"
SECRETS = re.compile(rf"{re.escape(PASSWORD)}|sig=[0-9a-f]{{8}}|Bearer|access_token|refresh_token")


@pytest.fixture
def make_sandbox(tmp_path: Path) -> Iterator[Callable[..., SandboxProcess]]:
    """`make_sandbox(password=...)`: a sandbox with other settings."""
    with contextlib.ExitStack() as running:

        def make(**settings: Any) -> SandboxProcess:
            return running.enter_context(SandboxProcess(tmp_path / "zooniverse", replace(QUICK, **settings)))

        yield make


def test_neither_output_nor_logs_nor_ledger_know_the_password(
    new_season: Any, make_sandbox: Any, run_ctstate: Any, tmp_path: Path
) -> None:
    zooniverse = make_sandbox(password=PASSWORD)
    season = new_season(3, zooniverse)
    zooniverse.set_faults(
        {"rules": [{"route": "create subject", "kind": "status_after", "status": 503, "count": 1}]}
    )
    passwords = tmp_path / "passwords.ini"
    passwords.write_text(f"[zooniverse]\nusername = {zooniverse.login}\npassword = {PASSWORD}\n")
    account = ("--project-id", zooniverse.project_id, "--password-file", str(passwords))
    where = ("--ledger", str(season.path), "--endpoint", zooniverse.url)
    logs = tmp_path / "logs"
    said = ""
    for verb in (("upload", *account, "--log-dir", str(logs), "--settle-seconds", "0.3"), ("verify", *account)):
        done = run_ctstate(*where, *verb)
        assert done.code == 0, done.stderr
        said += done.stdout + done.stderr
    wrong = tmp_path / "wrong.ini"
    wrong.write_text(f"[zooniverse]\nusername = nobody\npassword = {PASSWORD}x\n")
    done = run_ctstate(*where, "verify", "--project-id", zooniverse.project_id, "--password-file", str(wrong))
    said += done.error()
    assert not SECRETS.search(said), said
    written = [path for path in (*logs.rglob("*"), *season.folder.rglob("*")) if path.is_file()]
    assert any(path.is_relative_to(logs) for path in written)
    for path in written:
        assert not SECRETS.search(path.read_bytes().decode("latin-1")), path


def test_the_sandbox_tells_nobody_its_password(make_sandbox: Any) -> None:
    zooniverse = make_sandbox(password=PASSWORD)
    shown = Path(f"/proc/{zooniverse.pid}/cmdline").read_bytes()
    assert b"ctstate.sandbox" in shown
    assert PASSWORD.encode() not in shown
    for path in zooniverse.directory.iterdir():
        assert path.stat().st_mode & 0o077 == 0 or path.is_dir(), path


def test_a_page_put_for_an_image_does_not_run(make_sandbox: Any) -> None:
    import requests

    from ctstate.zooniverse import Credentials, Zooniverse

    zooniverse = make_sandbox()
    z = Zooniverse(zooniverse.url, Credentials(zooniverse.login, zooniverse.password))
    made = z.create_subject(int(zooniverse.project_id), ["image/jpeg"], {}, "mark")
    page = b"<script>alert(1)</script>"
    requests.put(
        made.urls[0], page, headers={"Content-Type": "text/html", "x-ms-blob-type": "BlockBlob"}, timeout=9
    )
    shown = requests.get(made.urls[0].partition("?")[0], timeout=9)
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    assert shown.headers["Content-Security-Policy"] == "sandbox"


@pytest.mark.parametrize(
    "endpoint",
    ["http://[::1", "http://host:99999", "http://host:0", "http://[zz]", "", "host", "ftp://host", "http://",
     "https://a b", "https://me:pw@host", "https://host?x", "https://host#x", "http://example.org", "http://10.0.0.1",
     "http://127.0.0.1.example.org", "http://localhost.example.org"],
)  # fmt: skip
def test_an_endpoint_that_no_password_goes_to(endpoint: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked(endpoint)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8099", "http://[::1]:8099/", "http://localhost", "https://www.zooniverse.org/"]
)
def test_an_endpoint_that_it_may_go_to(endpoint: str) -> None:
    assert checked(endpoint) == endpoint.rstrip("/")


def test_unencrypted_only_if_somebody_says_so(run_ctstate: Any, season: Any, tmp_path: Path) -> None:
    assert checked("http://example.org", insecure_http=True) == "http://example.org"
    (tmp_path / "p.ini").write_text(f"[zooniverse]\nusername = a\npassword = {PASSWORD}\n")
    call = ("--endpoint", "http://zooniverse.example", "verify", "--project-id", "1", "--password-file", "p.ini")
    done = run_ctstate(*call, CTSTATE_LEDGER=str(season.ledger_path))
    assert "unencrypted" in done.error()
    assert done.code == 2


# -- the last net ----------------------------------------------------------------------------------------------


def test_what_nobody_foresaw_is_one_line_and_a_file(
    season: Any, call_ctstate: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("something\nodd " + "x" * 5000)

    monkeypatch.setattr("ctstate.commands.status.carry_out", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = call_ctstate("--ledger", season.ledger_path, "status")
    line = result.error()
    assert result.code == 1
    assert "this is a bug in ctstate" in line
    assert len(line) <= 520
    (kept,) = tmp_path.glob("ctstate-bug-*.txt")
    assert str(kept) in line
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_a_full_disk_behind_the_output(season: Any, ledger_path: Path) -> None:
    for verb in (("status",), ("--help",), ("sql", "SELECT * FROM v_images")):
        done = subprocess.run(
            [sys.executable, "-m", "ctstate", "--ledger", str(season.ledger_path), *verb],
            stdout=open("/dev/full", "w"),  # noqa: SIM115
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert "No space left" in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_nobody_is_there_to_ask(world: Any) -> None:
    call = [sys.executable, "-m", "ctstate", "--ledger", str(world.path), "--endpoint", world.sandbox.url, "delete",
            "--project-id", str(world.project_id), "--state", "uploaded", "--reason", "x"]  # fmt: skip
    account = {"PANOPTES_USERNAME": world.sandbox.login, "PANOPTES_PASSWORD": world.sandbox.password}
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *call],
        capture_output=True,
        text=True,
        env={**os.environ, **account},
        timeout=60,
    )
    assert done.returncode == 2
    assert "nobody is there to ask" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_with_tables_of_our_names_is_not_touched(call_ctstate: Any, ledger_path: Path) -> None:
    with closing(sqlite3.connect(ledger_path)) as connection:
        for table in ("capture", "alembic_version", "season", "batch", "image", "run", "event", "meta"):
            connection.execute(f"CREATE TABLE {table} (name, value, version_num)")
        connection.execute("INSERT INTO alembic_version (version_num) VALUES ('0003')")
        connection.commit()
    before = ledger_path.read_bytes()
    for verb in (("status",), ("batch", "--number-of-batches", "1"), ("retry",)):
        assert "not a ctstate ledger" in call_ctstate(*verb).error()
    assert ledger_path.read_bytes() == before
    assert [path.name for path in ledger_path.parent.iterdir()] == [ledger_path.name]


def test_a_path_that_is_no_name_in_this_systems_encoding(run_ctstate: Any, season_csv: Any, row: Any) -> None:
    season_csv([row(path="\N{ZEBRA FACE}/a.jpg")])
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    line = run_ctstate(*season_csv.arguments(), **plain).error()
    assert "row 2: the path '\\U0001f993/a.jpg' can be no file's name" in line
    assert "--encoding" not in line
    nowhere = ("manifest", "\N{ZEBRA FACE}.csv", "--attribution", "a", "--license", "l")
    line = run_ctstate(*nowhere, **plain).error()
    assert "\\U0001f993.csv: no such file" in line or "\N{ZEBRA FACE}.csv: no such file" in line


def test_no_such_place_on_earth() -> None:
    for latitude, longitude in ((float("nan"), 0.0), (91.0, 0.0), (0.0, float("inf")), (0.0, -181.0)):
        with pytest.raises(UsageError):
            Whereabouts(latitude=latitude, longitude=longitude)


def test_excel_gets_no_formulas() -> None:
    import io

    from ctstate.formats.csv_table import write_csv

    rows = [("=1+1", "+1+1", "-1", "@SUM(A1)", "\tx", "-2.5", 5, None, "plain")]
    out = io.StringIO()
    write_csv(out, ["a"] * 9, rows, excel=True)
    assert out.getvalue().splitlines()[1] == "'=1+1,'+1+1,-1,'@SUM(A1),'\tx,-2.5,5,,plain"
    out = io.StringIO()
    write_csv(out, ["a"] * 9, rows)
    assert out.getvalue().splitlines()[1].startswith("=1+1,+1+1")


BIG = str(10**30)


@pytest.mark.parametrize(
    "call",
    [("verify", "--project-id", BIG), ("verify", "--project-id", "0"), ("stop", BIG), ("stop", "-1"),
     ("upload", "--project-id", "1", "--subject-set-id", BIG),
     ("progress", "--project-id", "1", "--workflow-id", BIG),
     ("reconcile", "--project-id", "1", "--accept", BIG), ("link", "--project-id", "1", "--workflow-id", "0"),
     ("remove", "--project-id", "1", "--subject-id", BIG, "--reason", "x"), ("workflows", "--project-id", "²")],
    ids=" ".join,
)  # fmt: skip
def test_a_number_that_no_database_can_hold(season: Any, call_ctstate: Any, call: tuple[str, ...]) -> None:
    result = call_ctstate("--ledger", season.ledger_path, *call)
    result.error()
    assert result.code == 2


def test_a_password_file_that_never_ends(season: Any, call_ctstate: Any, tmp_path: Path) -> None:
    (tmp_path / "long.ini").write_text("# x\n" * 100_000)
    for file, says in (
        ("/dev/zero", "device"),
        (str(tmp_path / "long.ini"), "more than"),
        ("a\x1b[31m.ini", "no such"),
    ):
        line = call_ctstate("--ledger", season.ledger_path, "verify", "--project-id", "1", "--password-file", file)
        assert says in line.error()
