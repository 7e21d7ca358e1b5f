"""A data manager follows a capture to its page on Zooniverse."""

import csv
import io
import json
import re
from contextlib import closing

import pytest
import requests

from ctstate.ledger import Ledger, projects
from tests.builders.season_on_sandbox import Season
from tests.conftest import Result


@pytest.fixture
def look(call_ctstate, monkeypatch):
    """`look(season, "status")`: a report."""

    def call(season: Season, *arguments: str) -> Result:
        monkeypatch.setenv("CTSTATE_LEDGER", str(season.path))
        return call_ctstate(*arguments)

    return call


def test_history_shows_where_a_browser_shows_the_subject(new_season, look) -> None:
    season = new_season(2)
    season.upload(limit=1)
    ((up, subject_id),) = season.rows("SELECT capture_id, subject_id FROM capture WHERE subject_id IS NOT NULL")
    (url,) = re.findall(r"^subject_url +(\S+)$", look(season, "history", up).stdout, re.MULTILINE)
    slug = season.connect().project(int(season.z.project_id)).slug
    assert url == f"{season.z.url}/projects/{slug}/talk/subjects/{subject_id}"
    assert f"Subject {subject_id}" in requests.get(url, timeout=20).text
    assert requests.get(f"{url}999", timeout=20).status_code == 404
    assert json.loads(look(season, "history", up, "--json").stdout)["capture"]["subject_url"] == url
    ((waiting,),) = season.rows("SELECT capture_id FROM capture WHERE subject_id IS NULL")
    assert "subject_url" not in look(season, "history", waiting).stdout


def test_reports_and_exports_have_addresses(new_season, look) -> None:
    season = new_season(3)
    season.upload(limit=2)
    page = f"{season.z.url}/projects/{season.connect().project(int(season.z.project_id)).slug}"
    assert look(season, "status").stdout.splitlines()[-1] == f"On Zooniverse: {page}"
    assert json.loads(look(season, "status", "--json").stdout)[0]["project_url"] == page
    rows = list(csv.DictReader(io.StringIO(look(season, "export", "captures").stdout)))
    assert [row["subject_url"] for row in rows] == [
        f"{page}/talk/subjects/{row['subject_id']}" if row["subject_id"] else "" for row in rows
    ]
    assert sum(bool(row["subject_url"]) for row in rows) == 2


def test_a_ledger_that_was_uploaded_before_has_them_after_the_next_upload(new_season, look) -> None:
    season = new_season(1)
    season.upload()
    with Ledger.open(season.path) as ledger, ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM meta WHERE name LIKE 'project_slug%'")
    assert "On Zooniverse" not in look(season, "status").stdout
    season.upload()
    assert "On Zooniverse" in look(season, "status").stdout


def test_a_project_that_was_renamed_has_its_new_address(new_season, look) -> None:
    season = new_season(1)
    season.upload()
    with Ledger.open(season.path) as ledger, ledger.write() as connection:
        projects.note_slug(connection, int(season.z.project_id), "owner/old-name")
    assert "/projects/owner/old-name" in look(season, "status").stdout
    season.upload()
    assert "old-name" not in look(season, "status").stdout


@pytest.mark.parametrize("slug", ["", "no-slash", "a/b?c=d", "a/b\nc", "../../etc/passwd", "a/ b", "../x"])
def test_what_is_no_slug_makes_no_address(new_season, look, slug) -> None:
    from ctstate.verbs.pages import note_project

    season = new_season(1)
    with closing(Ledger.open(season.path)) as ledger:
        note_project(ledger, 5, slug)
        with ledger.read() as connection:
            assert projects.slugs(connection) == {}
