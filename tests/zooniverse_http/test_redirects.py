"""Nothing but a GET or HEAD is sent on, and that only within the same scheme, host and port."""

import io

import pytest
import requests

from ctstate.errors import UnavailableError, WrongAddressError
from ctstate.zooniverse.bounds import WatchedAdapter
from tests.zooniverse_http.servers import Reply, Web, says

STATUSES = (301, 302, 303, 307, 308)


@pytest.mark.parametrize("status", STATUSES)
def test_a_create_is_never_sent_on(status: int, web: Web, other_web: Web, connect) -> None:
    for there in (other_web.url + "/api/subjects", "/api/elsewhere", "http://[broken", "\xff\xfe"):
        web.answers["POST /api/subjects"] = Reply(status, {"Location": there})
        with pytest.raises(UnavailableError) as caught:
            connect(web.url).create_subject(1, ["image/jpeg"], {}, "mark")
        assert caught.value.maybe_done
        assert caught.value.status == status
    assert other_web.requests == []
    assert web.asked("GET", "/api/elsewhere") == []
    assert len(web.asked("POST", "/api/subjects")) == 4


def test_a_change_or_a_delete_is_never_sent_on(web: Web, other_web: Web, connect) -> None:
    z = connect(web.url)
    moved = Reply(302, {"Location": other_web.url})
    web.answers |= {"PUT /api/subjects/1": moved, "DELETE /api/subjects/1": moved}
    for method in ("PUT", "DELETE"):
        with pytest.raises(UnavailableError, match="sent on to"):
            z.json_request(method, "/subjects/1", json={}, etag="e")
    assert other_web.requests == []


@pytest.mark.parametrize("status", STATUSES)
def test_a_password_is_never_sent_on(status: int, web: Web, other_web: Web, connect) -> None:
    for path in ("POST /users/sign_in", "POST /oauth/token", "GET /users/sign_in"):
        good = web.answers[path]
        web.answers[path] = Reply(status, {"Location": other_web.url + "/users/sign_in"})
        with pytest.raises(WrongAddressError) as caught:
            connect(web.url).me()
        assert other_web.url in str(caught.value)
        assert web.url in str(caught.value)
        web.answers[path] = good
    assert other_web.requests == []


def test_an_image_is_never_sent_on(web: Web, other_web: Web, connect) -> None:
    web.answers["PUT /blob/1"] = Reply(307, {"Location": other_web.url + "/blob/1"})
    with pytest.raises(UnavailableError, match="PUT of an image: 307"):
        connect(web.url).put_image(
            web.url + "/blob/1?sig=s", b"a", "image/jpeg", "0cc175b9c0f1b6a831c399e269772661"
        )
    assert other_web.requests == []


def test_the_usual_port_is_the_same_address_named_or_not(web: Web, connect, monkeypatch) -> None:
    """The answers are made up: nobody may listen at these ports here."""
    z = connect(web.url)
    z.me()
    asked: list[str] = []

    def reply(adapter, request, **_):
        asked.append(request.url)
        response = requests.Response()
        response.url, response.request, response.raw = request.url, request, io.BytesIO(b"{}")
        port = {"https": 443, "http": 80}[request.url.partition(":")[0]]
        named = request.url.replace("host/", f"host:{port}/")
        response.status_code = 200 if request.url == named else 302
        response.headers["Location"] = named
        return response

    monkeypatch.setattr(WatchedAdapter, "send", reply)
    for scheme, port in (("https", 443), ("http", 80)):
        assert z.session.get(f"{scheme}://host/a").status_code == 200
        assert asked[-1] == f"{scheme}://host:{port}/a"


@pytest.mark.parametrize("status", STATUSES)
def test_a_get_is_sent_on_at_the_same_address_with_its_token(status: int, web: Web, connect) -> None:
    web.answers["GET /api/projects/3"] = Reply(status, {"Location": "/api/projects/third?http_cache=true"})
    web.answers["GET /api/projects/third"] = says(200, {"projects": [{"id": "3"}]})
    assert connect(web.url).project(3).id == 3
    last = web.requests[-1]
    assert last.path == "/api/projects/third?http_cache=true"
    assert last.headers["Authorization"] == "Bearer token"


@pytest.mark.parametrize(
    "there", ["http://localhost:{port}/api/me", "https://127.0.0.1:{port}/api/me", "http://127.0.0.1:1/api/me"]
)
def test_a_get_that_leads_elsewhere_names_both_addresses_at_once(there: str, web: Web, connect) -> None:
    there = there.format(port=web.url.rpartition(":")[2])
    web.answers["GET /api/me"] = Reply(302, {"Location": there + "?session=secret"})
    with pytest.raises(WrongAddressError) as caught:
        connect(web.url).me()
    assert f"{web.url}/api/me" in str(caught.value)
    assert there in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(web.asked("GET", "/api/me")) == 1


def test_a_get_that_leads_nowhere(web: Web, connect) -> None:
    for nowhere in ("http://[::1", "http://127.0.0.1:99999/"):
        web.answers["GET /api/me"] = Reply(302, {"Location": nowhere})
        with pytest.raises(WrongAddressError, match="no address"):
            connect(web.url).me()


def test_five_redirects_are_followed_and_no_more(web: Web, connect) -> None:
    for n in range(6):
        web.answers[f"GET /api/projects/{n}"] = Reply(302, {"Location": f"/api/projects/{n + 1}"})
    web.answers["GET /api/projects/6"] = says(200, {"projects": [{"id": "6"}]})
    z = connect(web.url)
    assert z.project(1).id == 6
    with pytest.raises(WrongAddressError, match="more than 5 times"):
        z.project(0)


def test_a_get_that_is_sent_on_without_a_place_is_no_answer(web: Web, connect) -> None:
    for reply in (Reply(302), Reply(304), Reply(300)):
        web.answers["GET /api/me"] = reply
        with pytest.raises(UnavailableError):
            connect(web.url).me()


def test_an_image_is_asked_for_at_its_own_store_only(web: Web, other_web: Web, connect) -> None:
    z = connect(web.url)
    web.answers["HEAD /blob/1"] = Reply(302, {"Location": "/blob/2"})
    web.answers["HEAD /blob/2"] = Reply(200, {"Content-MD5": "DMF1ucDxtqgxw5niaXcmYQ==", "Content-Length": "1"})
    assert z.image_md5(web.url + "/blob/1") == "0cc175b9c0f1b6a831c399e269772661"
    web.answers["HEAD /blob/1"] = Reply(302, {"Location": other_web.url + "/blob/2"})
    with pytest.raises(WrongAddressError):
        z.image_md5(web.url + "/blob/1")
    assert other_web.requests == []
