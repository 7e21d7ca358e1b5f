"""Where the ledger and Zooniverse are: options, environment, defaults."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from ctstate import __version__


def test_the_ledger_by_default_by_environment_and_by_option(
    season_csv: Any, run_ctstate: Any, call_ctstate: Any, row: Any, tmp_path: Path
) -> None:
    season_csv([row()])
    call = season_csv.arguments()
    assert call_ctstate(*call, CTSTATE_LEDGER=None).code == 0
    assert (tmp_path / "ctstate.db").exists()
    assert run_ctstate(*call, CTSTATE_LEDGER="by environment é %.db").code == 0
    assert (tmp_path / "by environment é %.db").exists()
    assert call_ctstate("--ledger", "by option?#.db", *call, CTSTATE_LEDGER="by environment é %.db").code == 0
    assert (tmp_path / "by option?#.db").exists()
    url = f"sqlite:///{tmp_path}/by%20url.db"
    assert call_ctstate("--ledger", url, *call).code == 0
    names = {path.name for path in tmp_path.iterdir() if re.search(r"\.db$", path.name)}
    assert names - {"by url.db", "by%20url.db"} == {"ctstate.db", "by environment é %.db", "by option?#.db"}
    assert len(names) == 4


def test_an_empty_file_can_become_a_ledger(season_csv: Any, call_ctstate: Any, row: Any, ledger_path: Path) -> None:
    ledger_path.touch()
    season_csv([row()])
    assert call_ctstate(*season_csv.arguments()).code == 0


def test_the_endpoint_by_environment_and_by_option(
    season_csv: Any, call_ctstate: Any, row: Any, sandbox: Any, passwords: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    season_csv([row()])
    call_ctstate(*season_csv.arguments())
    call_ctstate("batch", "--number-of-batches", "1")
    account = ("--project-id", sandbox.project_id, "--password-file", passwords(tmp_path, sandbox))
    nowhere = "http://127.0.0.1:1"  # asking it would take longer than this test may
    monkeypatch.setenv("PANOPTES_ENDPOINT", sandbox.url + "/")
    assert "Dry run" in call_ctstate("upload", "--dry-run", *account).stdout
    monkeypatch.setenv("PANOPTES_ENDPOINT", nowhere)
    assert "Dry run" in call_ctstate("--endpoint", sandbox.url, "upload", "--dry-run", *account).stdout
    # The account by environment, as the official client has it.
    monkeypatch.setenv("PANOPTES_USERNAME", sandbox.login)
    monkeypatch.setenv("PANOPTES_PASSWORD", sandbox.password)
    assert "Dry run" in call_ctstate("--endpoint", sandbox.url, "upload", "--dry-run", *account[:2]).stdout
    monkeypatch.delenv("PANOPTES_PASSWORD")
    assert "no account" in call_ctstate("--endpoint", sandbox.url, "upload", "--dry-run", *account[:2]).error()
    with closing(sqlite3.connect(tmp_path / "season.db")) as connection:
        assert connection.execute("SELECT count(*) FROM capture WHERE state <> 'batched'").fetchone() == (0,)


def test_version_and_help(run_ctstate: Any) -> None:
    assert run_ctstate("--version").stdout.strip().endswith(__version__)
    shown = run_ctstate("manifest", "-h")
    assert shown.code == 0
    for option in ("--images-root", "--attribution", "--license", "--manifest-id", "--metadata-column", "--update"):
        assert option in shown.stdout


def test_an_older_ledgers_backup_is_not_announced_into_json(call_ctstate: Any, ledger_path: Path) -> None:
    import alembic.command
    from alembic.config import Config
    from sqlalchemy import create_engine

    from ctstate.ledger.migrate import migrations_folder

    engine = create_engine(f"sqlite:///{ledger_path}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(migrations_folder()))
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0001")
    engine.dispose()
    result = call_ctstate("status", "--json")
    assert result.code == 0, result
    assert json.loads(result.stdout) == []
    assert len(list(ledger_path.parent.glob("season.db.backup-0001-*"))) == 1
