"""What the pages show, of a ledger whose sites have names that nobody should give them."""

import errno
import io
import re
from html import escape, unescape
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image

from ctstate.ledger import Ledger
from ctstate.verbs.reading import SharedReader
from ctstate.verbs.serve import questions
from ctstate.verbs.serve.questions import Questions
from tests.builders.live_page import CAPTURES, EMOJI, LONG, SCRIPT, Served, make_ledger, serving

ENDLESS = "WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n) SELECT max(k) FROM n"


@pytest.mark.parametrize(
    "path",
    ["/", "/sites", "/captures", "/captures?state=failed", "/capture/4", "/capture/1", "/runs", "/runs/1",
     "/failures", "/sql", "/sql?q=SELECT+*+FROM+v_captures", f"/sql?q=SELECT+'{SCRIPT}'+AS+\"{SCRIPT}\"",
     f"/captures?site={SCRIPT}&text={SCRIPT}&reason={SCRIPT}&state={SCRIPT}&batch={SCRIPT}&season={SCRIPT}"],
)  # fmt: skip
def test_names_are_text(served: Served, path: str) -> None:
    reply = served.get(path)
    assert reply.status_code == 200
    assert "<script>alert" not in reply.text
    assert " style=" not in reply.text  # which the policy forbids
    assert " on" not in re.sub(r">[^<]*<", "><", reply.text).replace(" one", "")  # nor handlers
    part = served.get(path, **{"HX-Request": "true"})
    assert part.status_code == 200
    assert "<html" not in part.text


def test_sites_are_shown_whole(served: Served) -> None:
    page = served.get("/sites").text
    for name in (SCRIPT, EMOJI, LONG):
        assert escape(name).replace("&#x27;", "&#39;") in page


@pytest.mark.parametrize(
    "query", ["", "state=uploaded", "batch=batch_1", "site=B04", "state=excluded", "season=TST_S1", "text=TST"]
)
def test_leafing_through_shows_each_once(served: Served, query: str) -> None:
    seen: list[str] = []
    address: str | None = f"/captures?{query}"
    while address is not None:
        page = served.get(address).text
        seen += re.findall(r'href="/capture/(\d+)"', page)
        following = re.search(r'<a href="([^"]+)" rel="next"', page)
        address = unescape(following[1]) if following else None
    assert len(seen) == len(set(seen)) > 15
    if not query:
        assert len(seen) == CAPTURES


def test_a_whole_id_or_a_subject_leads_to_its_capture(served: Served) -> None:
    for words in (f"TST_S1%23{EMOJI}%231%2317", "7000017"):
        page = served.get(f"/captures?text={words}").text
        assert re.findall(r'href="/capture/(\d+)"', page) == ["17"]


@pytest.mark.parametrize(
    "path",
    ["/capture/0", "/capture/999999", "/runs/99", "/static/..%2f..%2fpages.py", "/static/SHA256SUMS", "/static/",
     "/capture/4/../../../etc/passwd", "/capture/4/..%2f..", "/capture/x", "/capture/99999999999999999999999/1"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(served: Served, path: str) -> None:
    assert served.get(path).status_code == 404


def test_failures_that_differ_in_their_file_alone_are_one_reason(served: Served) -> None:
    page = served.get("/failures").text
    assert re.findall(r'class="said">([^<]*)<', page) == ["…: broken"]


def test_a_thumbnail_is_small_and_without_exif(served: Served) -> None:
    reply = served.get("/capture/4/1")
    assert reply.headers["Content-Type"] == "image/jpeg"
    assert len(reply.content) < 100_000
    picture = Image.open(io.BytesIO(reply.content))
    assert max(picture.size) == 360
    assert not picture.getexif()
    assert b"secret" not in reply.content


@pytest.mark.parametrize(
    ("image", "words"),
    [("1/1", "the file is not there"), ("2/1", "this file cannot be shown"), ("3/1", "this file cannot be shown"),
     ("4/2", "no such image"), ("999/1", "no such image")],
    ids=["gone", "above the folder", "a link out of the folder", "not in the ledger", "of no capture"],
)  # fmt: skip
def test_no_other_file_is_shown(served: Served, image: str, words: str) -> None:
    reply = served.get(f"/capture/{image}")
    assert reply.headers["Content-Type"] == "image/svg+xml"
    assert words in reply.text


def test_an_image_that_was_moved_is_still_on_zooniverse(tmp_path: Path) -> None:
    path = make_ledger(tmp_path / "season")
    with Ledger.open(path) as ledger, ledger.write() as connection:
        connection.exec_driver_sql(
            "UPDATE image SET arrived_at = '2026-11-01T10:00:00.000000Z', bytes = 1000 WHERE capture_id = 4"
        )
    with serving(path) as page:
        page.enter()
        shown = page.get("/capture/4").text
    assert 'class="good">on Zooniverse<' in shown
    assert ">there<" not in shown, "'there' below 'the file is not there' is no help"


def test_sql_only_reads(served: Served) -> None:
    for statement in (
        "DELETE FROM image",
        "UPDATE capture SET reason = 'x'",
        "SELECT 1; DELETE FROM image",
        "PRAGMA x",
    ):
        page = served.get("/sql?" + urlencode({"q": statement})).text
        assert 'role="alert"' in page
        file = served.get("/sql.csv?" + urlencode({"q": statement}))
        assert file.status_code == 400
        assert len(file.text.splitlines()) == 1
    assert f'<span class="clip">{CAPTURES}</span>' in served.get("/sql?q=SELECT+count(*)+FROM+image").text


def test_sql_as_a_file(served: Served) -> None:
    reply = served.get("/sql.csv?q=SELECT+capture_id,site+FROM+v_captures+ORDER+BY+capture_id")
    assert reply.headers["Content-Disposition"] == 'attachment; filename="answer.csv"'
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    lines = reply.content.decode().splitlines()
    assert lines[0] == "capture_id,site"
    assert len(lines) == CAPTURES + 1


def test_one_huge_value_does_not_fill_the_machine(served: Served) -> None:
    for question in ("SELECT zeroblob(900000000)", "SELECT hex(zeroblob(2000000)) FROM v_captures"):
        assert "string or blob too big" in served.get("/sql?" + urlencode({"q": question})).text
        assert served.get("/sql.csv?" + urlencode({"q": question})).status_code == 400


def test_an_answer_that_fills_the_disk_is_given_up(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "_FILE_BYTES", 100_000)
    with Ledger.open(hostile, read_only=True) as ledger, SharedReader(ledger) as reader:
        reader.ask("x", lambda _: None)
        asked = Questions(ledger, reader)
        file = asked.file(ENDLESS.replace("max(k)", "k"))
        assert (file.status_code, bytes(file.body)) == (
            400,
            b"SQL: more than 0.0001 GB; `ctstate sql --csv` gives it whole\n",
        )
        assert asked.file("SELECT 1 AS one").status_code == 200

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(questions, "_bounded", full)
        assert asked.file("SELECT 1 AS one").status_code == 507


def test_sql_is_stopped_in_time(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "_SHOWN_S", 0.3)
    monkeypatch.setattr(questions, "_FILE_S", 0.3)
    with Ledger.open(hostile, read_only=True) as ledger, SharedReader(ledger) as reader:
        reader.ask("x", lambda _: None)
        asked = Questions(ledger, reader)
        found = asked.ask(ENDLESS)
        assert found.trouble is not None
        assert "SQL: stopped after" in found.trouble
        assert found.seconds < 3
        file = asked.file(ENDLESS)
        assert file.status_code == 400
        assert bytes(file.body).startswith(b"SQL: stopped after")
        assert asked.ask("SELECT 1 AS one").rows  # and it goes on
