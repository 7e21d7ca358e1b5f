"""Subjects: creating, finding, changing and deleting them, with the real server's traps."""

import time
from typing import Any

import pytest


def found(client: Any, query: str) -> list[str]:
    reply = client("GET", f"/subjects?project_id={client.sandbox.project_id}&{query}")
    assert reply.status_code == 200, reply.text
    return [s["id"] for s in reply.json()["subjects"]]


def test_creating_is_not_idempotent_and_external_id_is_kept(client: Any) -> None:
    first, second = client.new_subject(external_id="a/1"), client.new_subject(external_id="a/1")
    assert int(second["id"]) > int(first["id"])
    shown = client("GET", f"/subjects/{first['id']}").json()["subjects"][0]
    assert (shown["external_id"], shown["metadata"]) == ("a/1", {})
    changed = client("PUT", f"/subjects/{first['id']}", {"subjects": {"external_id": "b"}}, if_match=first["etag"])
    assert changed.status_code == 422


@pytest.mark.parametrize("mime", ["image/webp", "image/jpg", "IMAGE/JPEG", "", 7])
def test_unknown_types_are_refused(client: Any, mime: Any) -> None:
    reply = client.post_subject(locations=[mime])
    assert reply.status_code == 400
    assert reply.json()["errors"][0]["message"] == "Validation failed: Locations is invalid"


def test_a_nul_in_the_metadata_is_an_error_page(client: Any) -> None:
    reply = client.post_subject(metadata={"deep": {"list": ["a\x00b"]}})
    assert reply.status_code == 500
    assert "<html" in reply.text
    escaped = client.post_subject(metadata={"path": "C:\\u0000"})
    assert escaped.status_code == 201
    assert client.post_subject(metadata={"half a character": "\ud800"}).status_code == 500
    assert client.post_subject(metadata={"whole ones": "\U0001f98c é"}).status_code == 201
    assert escaped.json()["subjects"][0]["metadata"] == {"path": "C:\\u0000"}


@pytest.mark.parametrize("body", ['{"subjects": {"metadata": {"n": NaN}}}', '{"subjects"', "\x00"])
def test_what_is_no_json_is_refused(client: Any, body: str) -> None:
    headers = {"Accept": "application/vnd.api+json; version=1", "Content-Type": "application/json"}
    headers["Authorization"] = f"Bearer {client.tokens['access_token']}"
    reply = client.session.post(client.sandbox.url + "/api/subjects", data=body, headers=headers, timeout=20)
    assert reply.status_code == 400


def test_lost_subjects_are_found_newest_first_page_by_page(client: Any) -> None:
    made = [client.new_subject(whole=False, metadata={"#capture_id": str(n)})["id"] for n in range(6)][1:]
    me = client("GET", "/me").json()["users"][0]["id"]
    query = f"project_id={client.sandbox.project_id}&upload_user_id={me}&sort=-id&page_size=2"
    seen: list[str] = []
    path = f"/subjects?{query}"
    while len(seen) < 5:
        page = client("GET", path).json()
        assert len(page["subjects"]) == 2
        seen += [s["id"] for s in page["subjects"]]
        path = page["meta"]["subjects"]["next_href"]
    assert seen[:5] == made[::-1]
    assert found(client, "sort=-id")[:5] == made[::-1]


def test_unknown_filters_are_ignored_so_that_everything_comes(client: Any) -> None:
    client.new_subject(whole=False, metadata={"#capture_id": "x"})
    everything = found(client, "page_size=100")
    assert everything
    assert found(client, "page_size=100&metadata.%23capture_id=none&external_id=none") == everything


def test_several_by_id_leave_out_what_is_gone(client: Any) -> None:
    a, b, c = (client.new_subject(whole=False) for _ in range(3))
    assert client("DELETE", f"/subjects/{b['id']}", if_match=b["etag"]).status_code == 204
    assert found(client, f"id={c['id']},{b['id']},{a['id']}") == [a["id"], c["id"]]
    assert client("GET", f"/subjects?id={b['id']},987654321").status_code == 404
    assert client("GET", f"/subjects/{a['id']},{c['id']}").status_code == 404


def test_filters_combine(client: Any) -> None:
    name = f"filters {time.time_ns()}"
    one, two = client.new_set(name + " 1"), client.new_set(name + " 2")
    a, b, c = (client.new_subject(whole=False)["id"] for _ in range(3))
    client.link(one, b, a)
    client.link(two, c, b)
    assert found(client, f"subject_set_id={one}") == [a, b]
    assert found(client, f"subject_set_id={one},{two}") == [a, b, c]
    assert found(client, f"subject_set_id={one}&id={b},{c}") == [b]
    assert found(client, f"subject_set_id={one}&upload_user_id=999999") == []
    workflow = client.sandbox.workflow_id
    assert client("POST", f"/workflows/{workflow}/links/subject_sets", {"subject_sets": [two]}).status_code == 200
    assert found(client, f"workflow_id={workflow}") == [b, c]
    assert found(client, f"workflow_id={workflow}&subject_set_id={one},{two}") == [b, c]


def test_changing_needs_the_right_etag_and_linking_does_not_change_it(client: Any) -> None:
    subject = client.new_subject()
    path, body = f"/subjects/{subject['id']}", {"subjects": {"metadata": {"#PRIORITY": 2, "a": 1}}}
    assert client("PUT", path, body).status_code == 428
    assert client("PUT", path, body, if_match='W/"nonsense"').status_code == 412
    client.link(client.new_set(f"etag {time.time_ns()}"), subject["id"])
    changed = client("PUT", path, body, if_match=subject["etag"])
    assert changed.status_code == 200
    assert "ETag" not in changed.headers
    assert changed.json()["subjects"][0]["metadata"] == {"#priority": 2, "a": 1}
    assert client("PUT", path, body, if_match=subject["etag"]).status_code == 412


def test_a_put_of_a_subject_with_its_sets_replaces_them_all(client: Any) -> None:
    name = f"trap {time.time_ns()}"
    one, two = client.new_set(name + " 1"), client.new_set(name + " 2")
    subject = client.new_subject()
    client.link(one, subject["id"])
    body = {"subjects": {"links": {"subject_sets": [two]}}}
    assert client("PUT", f"/subjects/{subject['id']}", body, if_match=subject["etag"]).status_code == 200
    assert (client.members(one), client.members(two)) == ([], [subject["id"]])


def test_deleting_deactivates_even_what_sets_hold(client: Any) -> None:
    subject_set, subject = client.new_set(f"delete {time.time_ns()}"), client.new_subject()
    client.link(subject_set, subject["id"])
    path = f"/subjects/{subject['id']}"
    assert client("DELETE", path).status_code == 428
    assert client("DELETE", path, if_match=subject["etag"]).status_code == 204
    assert client("GET", path).status_code == 404
    assert client.members(subject_set) == []
    assert client.link(subject_set, subject["id"]).status_code == 422
    state = client.sandbox.state()
    assert [s["active"] for s in state["subjects"] if s["id"] == subject["id"]] == [False]


def test_every_reply_has_a_request_id_of_its_own(client: Any) -> None:
    replies = [client("GET", path) for path in ("/me", "/subjects", "/subjects/987654321", "/no/such/route")]
    replies += [client.post_subject(images=0), client.put(client.sandbox.url + "/blob/none?sig=x")]
    ids = [r.headers["X-Request-Id"] for r in replies]
    assert len(set(ids)) == len(ids)
    assert "<html" in replies[3].text


def test_urls_that_are_too_long_do_not_get_through(client: Any) -> None:
    ids = ",".join(["1000000"] * 1370)
    assert client("GET", f"/subjects?id={ids}").status_code == 414
    assert client("GET", f"/subjects?id={ids[:7900]}").status_code == 404
