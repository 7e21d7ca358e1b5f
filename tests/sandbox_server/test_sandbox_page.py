"""The page for people: what is there, what is missing, and nothing that runs."""

from typing import Any

import requests

EVIL = "<script>alert(1)</script>\"'&"


def page(client: Any, path: str) -> str:
    reply = requests.get(client.sandbox.url + path, timeout=20)
    assert reply.status_code == 200
    assert reply.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    return reply.text


def test_an_empty_sandbox_has_a_page(start: Any) -> None:
    text = page(start(), "/")
    assert "No subject sets yet" in text
    assert "0 of 10000 subjects used" in text


def test_sets_subjects_and_images_are_shown_and_everything_is_escaped(client: Any) -> None:
    subject_set = client.new_set(EVIL)
    whole = client.new_subject(metadata={EVIL: EVIL, "deep": {"a": [1]}}, external_id=EVIL)
    half = client.new_subject(images=2, whole=False)
    client.put(half["locations"][0]["image/jpeg"])
    evil = client.post_subject(locations=[{"image/jpeg": 'javascript:"><script>'}]).json()["subjects"][0]
    client.link(subject_set, whole["id"], half["id"], evil["id"])
    orphan = client.new_subject()

    overview = page(client, "/")
    assert f'href="/sets/{subject_set}"' in overview
    assert "1 incomplete" in overview
    assert "In no subject set" in overview

    listed = page(client, f"/sets/{subject_set}")
    assert f"Subject {whole['id']}" in listed
    assert whole["locations"][0]["image/jpeg"].partition("?")[0].partition("/blob/")[2] in listed
    assert "1 of 2 images missing" in listed
    assert "image 2 never arrived" in listed
    assert "{&quot;a&quot;: [1]}" in listed
    assert f"Subject {orphan['id']}" not in listed

    orphans = page(client, f"/orphans/{client.sandbox.project_id}")
    assert f"Subject {orphan['id']}" in orphans
    assert "in no set" in orphans

    for text in (overview, listed, orphans):
        assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;" in listed


def test_long_sets_have_pages(client: Any) -> None:
    subject_set = client.new_set("long")
    ids = [client.new_subject(whole=False)["id"] for _ in range(31)]
    client.link(subject_set, *ids)
    first, second = page(client, f"/sets/{subject_set}"), page(client, f"/sets/{subject_set}?page=2")
    assert (f"Subject {ids[0]} " in first, f"Subject {ids[30]} " in first) == (True, False)
    assert (f"Subject {ids[0]} " in second, f"Subject {ids[30]} " in second) == (False, True)
    assert page(client, f"/sets/{subject_set}?page=99") == second


def test_what_is_not_there_says_so(client: Any) -> None:
    assert requests.get(client.sandbox.url + "/sets/987", timeout=20).status_code == 404
