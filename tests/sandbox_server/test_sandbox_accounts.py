"""Signing in, tokens that die, bans, and the subject limit."""

import time
from typing import Any

import pytest
import requests

LOGIN = {"Accept": "application/json"}


def sign_in(url: str, session: requests.Session, csrf: str, password: str) -> requests.Response:
    user = {"login": "demo", "password": password, "remember_me": True}
    body = {"authenticity_token": csrf, "user": user}
    return session.post(url + "/users/sign_in", json=body, headers=LOGIN, timeout=20)


def granted(client: Any, session: requests.Session) -> int:
    client.session = session
    return int(client.token(grant_type="password").status_code)


def test_a_wrong_csrf_token_is_answered_like_a_right_one_but_makes_no_session(client: Any) -> None:
    url = client.sandbox.url
    session = requests.Session()
    csrf = session.get(url + "/users/sign_in", headers=LOGIN, timeout=20).headers["x-csrf-token"]
    wrong = sign_in(url, session, "wrong", client.password)
    assert (wrong.status_code, wrong.json()["users"][0]["login"]) == (200, "demo")
    assert granted(client, session) == 401
    assert sign_in(url, session, csrf, client.password).status_code == 200
    assert granted(client, session) == 200


def test_an_unknown_client_id_gets_no_token(client: Any) -> None:
    reply = client.token(grant_type="password", login="demo", password=client.password, client_id="no-such-client")
    assert (reply.status_code, reply.json()["error"]) == (401, "invalid_client")


def test_a_refresh_can_be_repeated_until_the_new_token_is_used(client: Any) -> None:
    old = client.tokens
    form = {"grant_type": "refresh_token", "refresh_token": old["refresh_token"]}
    lost, new = client.token(**form), client.token(**form)
    assert (lost.status_code, new.status_code) == (200, 200)
    assert client("GET", "/me").status_code == 200, "the old token is good until the new one is used"
    assert client("GET", "/me", token=new.json()["access_token"]).status_code == 200
    assert client("GET", "/me").status_code == 401
    assert client.token(**form).status_code == 401


def test_two_log_ins_at_once_both_stay_valid(client: Any) -> None:
    first = client.tokens["access_token"]
    client.log_in()
    assert client("GET", "/me").status_code == 200
    assert client("GET", "/me", token=first).status_code == 200


@pytest.fixture
def things(client: Any) -> dict[str, str]:
    """A set with one subject, made with a good token."""
    name = f"things {time.time_ns()}"
    subject_set, subject, spare = client.new_set(name), client.new_subject(), client.new_subject()
    assert client.link(subject_set, subject["id"]).status_code == 200
    return {"set": subject_set, "subject": subject["id"], "etag": subject["etag"], "spare": spare["id"]}


def test_an_expired_token_opens_some_doors_and_not_others(client: Any, things: dict[str, str]) -> None:
    client.sandbox.set_faults({"rules": [{"route": "me", "kind": "expired_token", "count": 1}]})
    me = client("GET", "/me")
    assert (me.status_code, me.text) == (401, "")
    client.sandbox.clear_faults()
    assert client("GET", "/me").status_code == 401, "a token stays expired"
    for refused in (
        client.post_subject(),
        client.post_set("expired"),
        client("PUT", f"/subjects/{things['subject']}", {"subjects": {"metadata": {}}}, if_match=things["etag"]),
        client("DELETE", f"/subjects/{things['subject']}", if_match=things["etag"]),
    ):
        assert (refused.status_code, refused.text) == (401, "")
        assert refused.headers["X-Request-Id"]
    assert client.members(things["set"]) == [things["subject"]]
    assert client("GET", f"/subjects/{things['subject']}").status_code == 200
    assert client.link(things["set"], things["spare"]).status_code == 200
    again = client.token(grant_type="refresh_token", refresh_token=client.tokens["refresh_token"])
    assert client("GET", "/me", token=again.json()["access_token"]).status_code == 200


def test_an_unknown_token_is_anonymous_and_sees_nothing(client: Any, things: dict[str, str]) -> None:
    client.sandbox.set_faults({"rules": [{"route": "list subjects", "kind": "unknown_token", "nth": 1}]})
    empty = client("GET", f"/subjects?subject_set_id={things['set']}")
    assert (empty.status_code, empty.json()["subjects"]) == (200, [])
    assert empty.json()["meta"]["subjects"]["count"] == 0
    assert client("GET", "/subject_sets").json()["subject_sets"] == []
    assert client("GET", f"/subjects/{things['subject']}").status_code == 404
    assert client.link(things["set"], things["spare"]).status_code == 404
    assert client.post_subject().status_code == 401
    assert client("GET", "/me").status_code == 401


def test_tokens_expire_after_their_lifetime(start: Any) -> None:
    client = start(token_lifetime=1)
    assert client.tokens["expires_in"] == 1
    assert client("GET", "/me").status_code == 200
    time.sleep(1.05)
    assert client("GET", "/me").status_code == 401
    assert client("GET", "/subjects").status_code == 200


def test_a_banned_account_is_answered_with_nothing_and_nothing_is_done(client: Any, things: dict[str, str]) -> None:
    client.sandbox.set_account(banned=True)
    before = client.sandbox.state()
    etag = things["etag"]
    subject = f"/subjects/{things['subject']}"
    for status, reply in (
        (201, client.post_subject()),
        (201, client.post_set("banned")),
        (200, client("PUT", subject, {"subjects": {"metadata": {"a": 1}}}, if_match=etag)),
        (204, client("DELETE", subject, if_match=etag)),
        (200, client.link(things["set"], things["spare"])),
        (204, client("DELETE", f"/subject_sets/{things['set']}/links/subjects/{things['subject']}")),
    ):
        assert (reply.status_code, reply.text) == (status, "")
    assert client.sandbox.state() == before
    assert client("GET", "/me").json()["users"][0]["banned"] is True


def test_the_limit_is_checked_against_a_cached_count_that_deleting_does_not_lower(start: Any) -> None:
    client = start(subject_limit=2, removal_delay=0.0)
    first = client.new_subject()
    client.new_subject()
    for _ in range(2):
        refused = client.post_subject()
        assert refused.status_code == 403
        assert refused.json()["errors"] == [{"message": "User has uploaded 2 subjects of 2 maximum"}]
        deleted = client("DELETE", f"/subjects/{first['id']}", if_match=first["etag"])
        assert deleted.status_code in (204, 404)
    me = client("GET", "/me").json()["users"][0]
    assert (me["uploaded_subjects_count"], me["subject_limit"]) == (2, 2)
    client.sandbox.set_account(recount=True)
    assert client("GET", "/me").json()["users"][0]["uploaded_subjects_count"] == 1
    assert client.post_subject().status_code == 201
    client.sandbox.set_account(subject_limit=3)
    assert client.post_subject().status_code == 201
    assert client.post_subject().status_code == 403


def test_a_collaborator_may_do_everything_and_others_see_nothing(client: Any, client_of: Any) -> None:
    sandbox = client.sandbox
    subject = client.new_subject()
    sandbox.set_account(login="colleague", password="secret")
    colleague = client_of(sandbox, "colleague", "secret")
    assert colleague("GET", f"/subjects/{subject['id']}").status_code == 404
    assert colleague.post_subject().status_code == 422
    sandbox.set_account(login="colleague", collaborator=sandbox.project_id)
    assert colleague("GET", f"/projects/{sandbox.project_id}").status_code == 200
    theirs = colleague.new_subject()
    me = colleague("GET", "/me").json()["users"][0]["id"]
    mine = colleague("GET", f"/subjects?project_id={sandbox.project_id}&upload_user_id={me}").json()["subjects"]
    assert [s["id"] for s in mine] == [theirs["id"]]
    assert colleague("DELETE", f"/subjects/{subject['id']}", if_match=subject["etag"]).status_code == 204
    assert colleague("GET", f"/projects/{sandbox.foreign_project_id}").status_code == 404
    roles = client("GET", f"/project_roles?project_id={sandbox.project_id}").json()["project_roles"]
    assert [r["roles"] for r in roles] == [["owner"], ["collaborator"]]
