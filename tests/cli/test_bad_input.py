"""Each kind of bad input: one clear line on stderr, an exit code that says so, and the ledger as it was."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ctstate.ledger import Ledger
from ctstate.ledger.migrate import HEAD
from tests.builders.ledgers import make_empty

BATCH = ("batch", "--number-of-batches", "1")
CREDENTIALS = "[zooniverse]\nusername = {}\npassword = {}\n"


@pytest.fixture
def season(season_csv: Any, call_ctstate: Any, ledger_path: Path, row: Any) -> None:
    """A season of two captures with images that are none."""
    make_empty(ledger_path)
    season_csv([row(1), row(2)])
    assert call_ctstate(*season_csv.arguments()).code == 0


# -- the manifest's input (more of it in tests/manifest) ----------------------------------------------------------

HEADER = "season,site,roll,capture,image,path\n"


@pytest.mark.parametrize(
    ("text", "more", "says", "code"),
    [
        (b"\xff\xd8\xff\xe0\x10JFIF\x00", (), "not text", 1),
        ("not a CSV at all\n", (), "no column season", 1),
        ("season,site,roll,capture,path\nS,A,1,1,a.jpg\n", (), "image or image_rank_in_capture", 1),
        (HEADER + "S,,1,1,1,a.jpg\n", (), "row 2: column 'site' is empty", 1),
        (HEADER + "S,A,1,one,1,a.jpg\n", (), "row 2: column 'capture' is 'one'", 1),
        (HEADER + "S,A,1,1,1,../a.jpg\n", (), "row 2: the path '../a.jpg' leads out", 1),
        (HEADER + "S.1,A,1,1,1,a.jpg\n", (), "must not contain '.'", 2),
        (HEADER + "S__1,A,1,1,1,a.jpg\n", (), "must not contain '__'", 2),
        (HEADER + "S,A,1,1,1,a.jpg\n", ("--manifest-id", "a.b"), "must not contain '.'", 2),
        (HEADER + "S,A,1,1,1,a.jpg\n", ("--manifest-id", "a__b"), "must not contain '__'", 2),
        (HEADER + "S,A,1,1,1,a.jpg\n", ("--license", ""), "--license must not be empty", 2),
    ],
    ids=[
        "no text",
        "no CSV",
        "no column",
        "empty",
        "type",
        "outside",
        ".",
        "__",
        "id .",
        "id __",
        "license",
    ],
)
def test_manifest(
    season: None,
    season_csv: Any,
    call_ctstate: Any,
    ledger_path: Path,
    dump: Any,
    text: str | bytes,
    more: tuple[str, ...],
    says: str,
    code: int,
) -> None:
    season_csv.text(text)
    before = dump(ledger_path)
    result = call_ctstate(*season_csv.arguments(*more))
    assert says in result.error()
    assert result.code == code
    assert result.stdout == ""
    assert dump(ledger_path) == before


def test_manifest_in_a_process_of_its_own(
    season: None, season_csv: Any, run_ctstate: Any, ledger_path: Path, dump: Any
) -> None:
    before = dump(ledger_path)
    wrong_call = run_ctstate(*season_csv.arguments("--manifest-id", "a.b"))
    season_csv.csv.unlink()
    failed = run_ctstate(*season_csv.arguments())
    for result, says, code in ((failed, "no such file", 1), (wrong_call, "must not contain '.'", 2)):
        assert says in result.error()
        assert result.code == code
        assert result.stdout == ""
    assert dump(ledger_path) == before


@pytest.mark.parametrize("left_out", ["--attribution", "--license"])
def test_required_options(season_csv: Any, row: Any, call_ctstate: Any, ledger_path: Path, left_out: str) -> None:
    season_csv([row()])
    arguments = list(season_csv.arguments())
    at = arguments.index(left_out)
    result = call_ctstate(*arguments[:at], *arguments[at + 2 :])
    assert left_out in result.error()
    assert result.code == 2
    assert not ledger_path.exists()


# -- the call itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("--nonsense",),
        ("status", "--nonsense"),
        ("status", "too", "many"),
        ("manifest",),
        ("history",),
        ("sql",),
        ("--ledger",),
        ("batch", "--number-of-batches", "x"),
        ("upload", "--project-id", "x"),
        ("upload",),
        ("reconcile",),
        ("verify",),
    ],
)
def test_wrong_calls(
    season: None, call_ctstate: Any, ledger_path: Path, dump: Any, arguments: tuple[str, ...]
) -> None:
    before = dump(ledger_path)
    result = call_ctstate(*arguments)
    result.error()
    assert result.code == 2
    assert dump(ledger_path) == before


def test_a_call_that_is_not_text(season: None, run_ctstate: Any, ledger_path: Path, dump: Any) -> None:
    before = dump(ledger_path)
    run_ctstate("history", "\udcff").error()
    assert dump(ledger_path) == before


# -- ledgers that are none ----------------------------------------------------------------------------------------

VERBS = [("status",), ("history", "x"), ("sql", "SELECT 1"), ("retry",), BATCH]


@pytest.mark.parametrize("arguments", VERBS, ids=lambda a: a[0])
def test_no_ledger(call_ctstate: Any, ledger_path: Path, arguments: tuple[str, ...]) -> None:
    assert "no such file" in call_ctstate(*arguments).error()
    assert not ledger_path.exists()


@pytest.mark.parametrize("arguments", VERBS, ids=lambda a: a[0])
def test_an_empty_file(call_ctstate: Any, ledger_path: Path, arguments: tuple[str, ...]) -> None:
    ledger_path.touch()
    assert "the file is empty" in call_ctstate(*arguments).error()
    assert ledger_path.stat().st_size == 0


@pytest.mark.parametrize("arguments", VERBS, ids=lambda a: a[0])
def test_something_else(call_ctstate: Any, ledger_path: Path, arguments: tuple[str, ...]) -> None:
    ledger_path.write_bytes(b"season,site\n" * 1000)
    assert "season.db: this file is not a ctstate ledger" in call_ctstate(*arguments).error()
    assert ledger_path.read_bytes() == b"season,site\n" * 1000


@pytest.mark.parametrize("arguments", VERBS, ids=lambda a: a[0])
def test_somebody_elses_database(
    call_ctstate: Any, ledger_path: Path, dump: Any, arguments: tuple[str, ...]
) -> None:
    with closing(sqlite3.connect(ledger_path)) as connection:
        connection.execute("CREATE TABLE photographs (name)")
        connection.commit()
    before = dump(ledger_path)
    assert "not a ctstate ledger" in call_ctstate(*arguments).error()
    assert dump(ledger_path) == before


@pytest.mark.parametrize("arguments", VERBS, ids=lambda a: a[0])
def test_a_newer_ledger(
    season: None, call_ctstate: Any, ledger_path: Path, dump: Any, arguments: tuple[str, ...]
) -> None:
    with closing(sqlite3.connect(ledger_path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = dump(ledger_path)
    line = call_ctstate(*arguments).error()
    assert "newer" in line
    assert "9999" in line
    assert HEAD in line
    assert dump(ledger_path) == before
    assert not list(ledger_path.parent.glob("*.backup-*"))


@pytest.mark.parametrize("arguments", VERBS, ids=lambda a: a[0])
def test_a_folder(call_ctstate: Any, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert "that is a folder" in call_ctstate("--ledger", tmp_path, *arguments).error()


@pytest.mark.parametrize("place", ["none/ledger.db", "file/ledger.db"])
def test_a_ledger_in_no_folder(season_csv: Any, call_ctstate: Any, row: Any, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    season_csv([row()])
    call_ctstate("--ledger", tmp_path / place, *season_csv.arguments()).error()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+pg8000://host/ledger", "mysql://host/x", "mysql://me:secret@host/x", "sqlite://",
        "sqlite:///:memory:", "://",
    ],
)  # fmt: skip
def test_databases_that_are_not_supported(call_ctstate: Any, url: str) -> None:
    result = call_ctstate("--ledger", url, "status")
    assert "secret" not in result.error()
    assert result.code == 2


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@host/ledger", "postgresql+psycopg://host/ledger?user=me&password=secret",
        "postgresql://me:se/secret@host:port/ledger",
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", [("status",), ("submit", "--project-id", "1", "--dry-run")])
def test_a_password_in_a_url_is_refused_and_not_shown(call_ctstate: Any, url: str, verb: tuple[str, ...]) -> None:
    result = call_ctstate("--ledger", url, *verb)
    assert "secret" not in result.error()
    assert result.code == 2


def test_a_damaged_ledger(season: None, call_ctstate: Any, ledger_path: Path) -> None:
    whole = ledger_path.read_bytes()
    middle = len(whole) // 2 // 4096 * 4096
    broken = whole[: 2 * 4096] + b"\xa5" * (middle - 2 * 4096) + whole[middle:]
    ledger_path.write_bytes(broken)
    assert "damaged" in call_ctstate(*BATCH).error()


def test_an_unreadable_ledger(season: None, run_ctstate: Any, ledger_path: Path) -> None:
    content = ledger_path.read_bytes()
    ledger_path.chmod(0)
    for arguments in (("status",), BATCH):
        assert "no permission" in run_ctstate(*arguments, unprivileged=True).error()
    ledger_path.chmod(0o600)
    assert ledger_path.read_bytes() == content


@pytest.fixture
def ledger_in_a_folder(season_csv: Any, row: Any, call_ctstate: Any, tmp_path: Path) -> Path:
    """A ledger with a capture, in a folder of its own."""
    folder = tmp_path / "locked"
    folder.mkdir()
    season_csv([row()])
    assert call_ctstate("--ledger", folder / "ledger.db", *season_csv.arguments()).code == 0
    return folder / "ledger.db"


def test_a_ledger_in_a_folder_one_may_not_write_to(
    ledger_in_a_folder: Path, season_csv: Any, run_ctstate: Any
) -> None:
    ledger, folder = ledger_in_a_folder, ledger_in_a_folder.parent
    content = ledger.read_bytes()
    ledger.chmod(0o444)
    folder.chmod(0o555)
    try:
        assert "ledger.db" in run_ctstate("--ledger", ledger, *BATCH, unprivileged=True).error()
        new = run_ctstate("--ledger", folder / "new.db", *season_csv.arguments(), unprivileged=True)
        assert "new.db" in new.error()
    finally:
        folder.chmod(0o755)
    assert ledger.read_bytes() == content
    assert sorted(path.name for path in folder.iterdir()) == ["ledger.db"]


def test_who_may_not_write_in_the_ledger_s_folder_sees_what_it_says_now(
    ledger_in_a_folder: Path, call_ctstate: Any, run_ctstate: Any
) -> None:
    """Also while others have it open, whose last commits are still beside it."""
    ledger, folder = ledger_in_a_folder, ledger_in_a_folder.parent

    def seen() -> str:
        folder.chmod(0o555)
        try:
            told = run_ctstate("--ledger", ledger, "status", unprivileged=True)
        finally:
            folder.chmod(0o755)
        assert (told.code, told.stderr) == (0, "")
        return str(told.stdout)

    assert "(no batch)" in seen()
    with Ledger.open(ledger) as other:
        assert other.count() == 1
        assert call_ctstate("--ledger", ledger, *BATCH).code == 0
        assert (folder / "ledger.db-wal").stat().st_size > 0
        assert "(no batch)" not in seen()


# -- Zooniverse ----------------------------------------------------------------------------------------------------


@pytest.fixture
def upload(
    season: None, module_sandbox: Any, call_ctstate: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    ledger_path: Path, dump: Any,
) -> Any:  # fmt: skip
    """Try to upload to the sandbox; whatever happens, no capture may have moved and nothing may be there."""
    monkeypatch.setenv("PANOPTES_ENDPOINT", module_sandbox.url)
    passwords = tmp_path / "passwords.ini"
    passwords.write_text(CREDENTIALS.format(module_sandbox.login, module_sandbox.password))
    before = dump(ledger_path)

    def call(*more: str, project: Any = module_sandbox.project_id, file: Any = passwords) -> Any:
        result = call_ctstate("upload", "--project-id", project, "--password-file", file, *more)
        assert dump(ledger_path) == before
        assert module_sandbox.state()["subjects"] == []
        assert module_sandbox.state()["subject_sets"] == []
        return result

    return call


def test_wrong_password(upload: Any, module_sandbox: Any, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.ini"
    wrong.write_text(CREDENTIALS.format(module_sandbox.login, "%(wrong)s"))
    result = upload(file=wrong)
    assert "password" in result.error()
    assert "%(wrong)s" not in result.stderr
    assert result.code == 1


@pytest.mark.parametrize(
    "text",
    [None, "", "username = a\npassword = b\n", "[zooniverse]\nusername = a\n",
     "[zooniverse]\nusername =\npassword =\n", b"\xff\xfe\x00", "[zooniverse]\n[zooniverse]\n"],
)  # fmt: skip
def test_bad_password_files(upload: Any, tmp_path: Path, text: Any) -> None:
    path = tmp_path / "bad.ini"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert "bad.ini" in upload(file=path).error()


@pytest.mark.parametrize("file", ["~nobody_of_that_name/p.ini", "."])
def test_password_files_that_are_none(upload: Any, file: str) -> None:
    upload(file=file).error()


def test_no_such_project(upload: Any) -> None:
    assert "999999" in upload(project=999999).error()


def test_somebody_elses_project(upload: Any, module_sandbox: Any) -> None:
    upload(project=module_sandbox.foreign_project_id).error()


def test_no_such_batch_or_season_or_set(upload: Any) -> None:
    assert "batch_7" in upload("--batch", "batch_7").error()
    assert "NONE" in upload("--season", "NONE").error()
    assert "need --batch" in upload("--subject-set-id", "987654").error()


@pytest.mark.parametrize(
    "more",
    [("--save-quality", "15"), ("--save-quality", "101"), ("--max-pixel-of-largest-side", "0"),
     ("--n-processes", "0"), ("--connections", "0"), ("--link-batch-size", "0"), ("--limit", "-1"),
     ("--image-root-path", "/none")],
    ids=lambda more: more[0],
)  # fmt: skip
def test_upload_options_that_make_no_sense(upload: Any, more: tuple[str, ...]) -> None:
    upload(*more).error()


@pytest.mark.parametrize("endpoint", ["not a url", "www.zooniverse.org", "ftp://example.org", "http://"])
def test_no_zooniverse_there(
    season: None, call_ctstate: Any, ledger_path: Path, dump: Any, tmp_path: Path, endpoint: str
) -> None:
    (tmp_path / "p.ini").write_text(CREDENTIALS.format("a", "b"))
    before = dump(ledger_path)
    account = ("--project-id", "1", "--password-file", tmp_path / "p.ini")
    result = call_ctstate("--endpoint", endpoint, "verify", *account)
    assert "--endpoint" in result.error()
    assert result.code == 2
    assert dump(ledger_path) == before
