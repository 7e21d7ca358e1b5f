"""What the server says, how long it asks to wait, and creates and sets whose answers are checked."""

import email.utils
import json

import pytest
import requests

from ctstate.errors import (
    AllowanceError,
    NotFoundError,
    RequestRefusedError,
    StrangeReplyError,
    UnavailableError,
)
from ctstate.machine import running_on
from ctstate.sandbox import SandboxProcess
from ctstate.zooniverse import Backoff, Patience
from ctstate.zooniverse.backoff import keep_trying
from ctstate.zooniverse.wording import plain, without_secrets
from tests.zooniverse_http.servers import Reply, Web, portal, says
from tests.zooniverse_http.test_log_in import Clock


def create(z, images: int = 1):
    return z.create_subject(1, ["image/jpeg"] * images, {"#capture_id": "a"}, "mark")


def test_a_refusal_is_one_printable_line_in_the_servers_words(web: Web, connect) -> None:
    web.answers["POST /api/subjects"] = says(
        422, {"errors": [{"message": "No.\n\x1b[31m" + "x" * 5000}, {"message": "And no."}]}
    )
    with pytest.raises(RequestRefusedError) as caught:
        create(connect(web.url))
    message = str(caught.value)
    assert message.startswith("POST /subjects: 422 No. [31mxxx")
    assert message.isprintable()
    assert len(message) < 340


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no route to http://me:secret@proxy:3128/x", "no route to http://proxy:3128/x"),
        ("'https://store/blob?X-Amz-Signature=secret' is no address", "'https://store/blob' is no address"),
        ("(https://store/a?sig=secret) and\nhttps://a:secret@b/?x=secret", "(https://store/a) and https://b/"),
        ("is it on? and mail@example.org", "is it on? and mail@example.org"),
    ],
)
def test_words_of_a_library_are_told_without_passwords_and_signatures(text: str, told: str) -> None:
    assert without_secrets(text) == told


def test_the_innermost_reason_is_told_and_where_it_has_no_words_its_name() -> None:
    refused = OSError("[Errno 111] Connection refused")
    assert (
        plain(requests.ConnectionError(ValueError("pool: Max retries", refused)))
        == "[Errno 111] Connection refused"
    )
    assert (
        plain(requests.ConnectionError("HTTPSConnectionPool(host='h', port=443): Read timed out"))
        == "Read timed out"
    )
    assert plain(requests.ReadTimeout(TimeoutError())) == "TimeoutError"


@pytest.mark.parametrize(
    "body", [{"errors": "no"}, {"errors": ["No.", None, 7]}, {"errors": {"a": "b"}}, [], "no", None]
)
def test_a_refusal_in_any_form_is_a_refusal(body: object, web: Web, connect) -> None:
    web.answers["POST /api/subjects"] = says(422, body)
    with pytest.raises(RequestRefusedError):
        create(connect(web.url))


def test_a_refusal_without_a_word_is_told_by_its_number(web: Web, connect) -> None:
    web.answers["GET /api/projects/1"] = Reply(418)
    with pytest.raises(RequestRefusedError, match=r"^GET /projects/1: 418$"):
        connect(web.url).project(1)


def test_a_proxys_page_is_told_by_its_title(web: Web, connect) -> None:
    page = b"<html><head><title>504 Gateway Time-out</title></head><body>nginx</body></html>"
    web.answers["POST /api/subjects"] = Reply(504, {"Content-Type": "text/html"}, page)
    with pytest.raises(UnavailableError, match="POST /subjects: 504 Gateway Time-out") as caught:
        create(connect(web.url))
    assert caught.value.maybe_done
    web.answers["POST /api/subjects"] = Reply(
        502, {"Content-Type": "text/html; charset=nonsense"}, b"<h1>Bad</h1> day"
    )
    with pytest.raises(UnavailableError, match="502 Bad day"):
        create(connect(web.url))


def test_the_subject_limit_is_still_known(web: Web, connect) -> None:
    words = "User has uploaded 9 subjects of 9 maximum"
    web.answers["POST /api/subjects"] = says(403, {"errors": [{"message": words}]})
    with pytest.raises(AllowanceError, match=f"^{words}$"):
        create(connect(web.url))
    web.answers["POST /api/subjects"] = Reply(403, {"Content-Type": "text/html"}, words.encode())
    with pytest.raises(RequestRefusedError):
        create(connect(web.url))


NOW = Clock.now


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("7", 7), ("0", 0), ("301", 300), ("9" * 400, 300), ("²", None), ("٣", None), ("-5", None), ("1.5", None),
        ("soon", None), ("", None), (email.utils.formatdate(NOW + 20, usegmt=True), 20),
        (email.utils.formatdate(NOW + 20), 20), (email.utils.formatdate(NOW - 20, usegmt=True), 0),
        (email.utils.formatdate(NOW + 9999, usegmt=True), 300), ("Fri, 31 Dec 9999 23:59:59 +9999", None),
        ("Mon, 99 Foo 0000 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_a_wait_that_the_server_asks_for_is_granted_within_reason(
    asked: str, granted: float | None, web: Web, connect
) -> None:
    web.answers["POST /api/subjects"] = says(429, {}, **{"Retry-After": asked.encode().decode("latin-1")})
    z = connect(web.url)
    z.me()
    with running_on(Clock()), pytest.raises(UnavailableError) as caught:
        create(z)
    assert caught.value.retry_after == granted
    assert not caught.value.maybe_done


def test_waiting_and_giving_up_go_by_the_machines_clock(web: Web, connect) -> None:
    with running_on(clock := Clock()):
        z = connect(web.url)
        z.me()
        began = clock.now
        web.answers["GET /api/me"] = says(503, {}, **{"Retry-After": "0"})
        with pytest.raises(UnavailableError):
            z.me()
        assert 0 < clock.now - began <= z.backoff.give_up
        moment = clock.now
        assert Patience().wait(3600.0) is False
        assert clock.now == moment + 3600.0


def row(**changes: object) -> dict[str, object]:
    places = [{"image/jpeg": "http://store/1"}, {"image/jpeg": "http://store/2"}]
    return {"id": "9223372036854775807", "locations": places, **changes}


def test_a_create_is_believed_when_it_says_which_and_where(web: Web, connect) -> None:
    for key in ("9223372036854775807", 9223372036854775807):
        web.answers["POST /api/subjects"] = says(201, {"subjects": [row(id=key)]}, ETag="e")
        made = create(connect(web.url), 2)
        assert (made.id, made.urls) == (2**63 - 1, ["http://store/1", "http://store/2"])


NO_IDS = (
    "0",
    0,
    -1,
    "-1",
    "1.0",
    1.5,
    "²",
    "9223372036854775808",
    2**63,
    True,
    None,
    "",
    "a",
    " 1",
    [1],
    "9" * 5000,
)
BAD = [
    *({"id": key} for key in NO_IDS), {"locations": None}, {"locations": []}, {"locations": ["image/jpeg"] * 2},
    {"locations": [{"image/jpeg": "http://store/1"}]}, {"locations": {"image/jpeg": "http://store/1"}},
    {"locations": [{"image/jpeg": None}, {"image/jpeg": "b"}]},
    {"locations": [{"image/jpeg": ""}, {"image/jpeg": "b"}]},
    {"locations": [{"image/jpeg": "a", "image/png": "b"}, {"image/jpeg": "c"}]},
]  # fmt: skip


@pytest.mark.parametrize("changes", BAD, ids=lambda value: repr(value)[:50])
def test_a_create_with_an_answer_of_no_use_leaves_a_doubt(changes: dict[str, object], web: Web, connect) -> None:
    web.answers["POST /api/subjects"] = says(201, {"subjects": [row(**changes)]}, ETag="e")
    with pytest.raises(UnavailableError, match=r"does not give|for 2 images") as caught:
        create(connect(web.url), 2)
    assert caught.value.maybe_done
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "reply",
    [says(201, {}), says(201, {"subjects": []}), says(201, {"subjects": {"a": 1}}), says(201, {"subjects": ["a"]}),
     says(201, {"subjects": [{}]}), Reply(201), Reply(204), portal(200), says(200, None), says(200, "subjects")],
)  # fmt: skip
def test_a_create_with_no_answer_to_speak_of_leaves_a_doubt(reply: Reply, web: Web, connect) -> None:
    web.answers["POST /api/subjects"] = reply
    with pytest.raises(UnavailableError) as caught:
        create(connect(web.url))
    assert caught.value.maybe_done
    assert len(web.asked("POST", "/api/subjects")) == 1


def test_metadata_that_no_json_can_hold_fails_this_one_at_once(web: Web, connect) -> None:
    with pytest.raises(RequestRefusedError, match="cannot be written as JSON"):
        connect(web.url).create_subject(1, [], {"#n": float("nan")}, "mark")
    assert web.asked("POST", "/api/subjects") == []


SET = {"id": "5", "links": {"project": "1"}}


def test_a_mark_is_added_to_what_a_set_says_of_itself(sandbox: SandboxProcess, connect) -> None:
    z = connect(sandbox.url, sandbox.login, sandbox.password)
    made = z.create_set(int(sandbox.project_id), "SET", {"ours": "1", "theirs": "2"})
    marked = z.mark_set(made.id, "ours", "3")
    assert marked.metadata == {"ours": "3", "theirs": "2"}
    assert z.subject_set(made.id).metadata == {"ours": "3", "theirs": "2"}
    with pytest.raises(NotFoundError):
        z.mark_set(987654, "ours", "3")


def test_a_mark_that_another_writer_undid_is_seen_in_what_is_returned(web: Web, connect) -> None:
    web.answers["GET /api/subject_sets/5"] = says(200, {"subject_sets": [{**SET, "metadata": {"theirs": "2"}}]})
    answers = [
        says(200, {"subject_sets": [SET]}),
        says(409, {"errors": [{"message": "stale"}]}),
        portal(504),
    ]
    web.answers["PUT /api/subject_sets/5"] = lambda _: answers.pop()
    assert connect(web.url).mark_set(5, "ours", "3").metadata == {"theirs": "2"}
    put = web.asked("PUT", "/api/subject_sets/5")
    assert len(put) == 3
    assert json.loads(put[0].body) == {"subject_sets": {"metadata": {"theirs": "2", "ours": "3"}}}
    assert "If-Match" not in put[0].headers


def test_a_set_without_metadata_can_be_marked(web: Web, connect) -> None:
    web.answers["GET /api/subject_sets/5"] = says(200, {"subject_sets": [{**SET, "metadata": None}]})
    web.answers["PUT /api/subject_sets/5"] = says(200, {"subject_sets": [SET]})
    connect(web.url).mark_set(5, "ours", "3")


@pytest.mark.parametrize("body", [[], {"subjects": None}, {"subjects": {}}, None])
def test_a_list_of_no_use_is_not_an_empty_one(body: object, web: Web, connect) -> None:
    web.answers["GET /api/subjects"] = says(200, body)
    with pytest.raises(UnavailableError):
        connect(web.url).subjects_above(1, 7, 0)


def test_what_the_simulator_builds_is_what_is_used(web: Web) -> None:
    import requests

    from ctstate.zooniverse import Credentials, Timeouts, Zooniverse

    built = []

    class Simulated(Zooniverse):
        def _new_session(self, timeouts: Timeouts) -> requests.Session:
            built.append(timeouts)
            return super()._new_session(timeouts)

    z = Simulated(web.url, Credentials("a", "b"), timeouts=Timeouts(1.0, 2.0, 3.0))
    assert built == [Timeouts(1.0, 2.0, 3.0), Timeouts(1.0, 3.0, 3.0)]
    assert z.me().id == 7


class Waits(Patience):
    """Keeps how long it was to wait."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return False


def test_each_wait_may_be_twice_the_one_before_and_a_stranger_is_asked_five_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ctstate.zooniverse.backoff.random.uniform", lambda low, high: high)
    asked, patience = [], Waits()

    def once() -> None:
        asked.append(1)
        raise StrangeReplyError("a portal's page")

    with running_on(Clock()), pytest.raises(StrangeReplyError):
        keep_trying(once, Backoff(first=1.0, most=60.0, give_up=999.0), patience)
    assert len(asked) == 5
    assert patience.waited == [1.0, 2.0, 4.0, 8.0]


def test_a_subject_is_deleted_once(sandbox: SandboxProcess, connect) -> None:
    z = connect(sandbox.url, sandbox.login, sandbox.password)
    made = z.create_subject(int(sandbox.project_id), ["image/jpeg"], {"#capture_id": "a"}, "mark")
    assert z.delete_subject(made.id) is True
    assert z.delete_subject(made.id) is False


def test_a_set_that_may_not_be_made_is_told_with_the_servers_reason(web: Web, connect) -> None:
    web.answers["GET /api/subject_sets"] = says(200, {"subject_sets": [], "meta": {"subject_sets": {"count": 0}}})
    web.answers["POST /api/subject_sets"] = says(422, {"errors": [{"message": "Display name is taken"}]})
    with pytest.raises(RequestRefusedError, match="Display name is taken"):
        connect(web.url).ensure_set(1, "a", {})


def test_what_is_only_asked_for_is_asked_for_again(web: Web, connect) -> None:
    answers = [says(503, {"errors": [{"message": "busy"}]}, **{"Retry-After": "0"})]
    web.answers["GET /api/projects/1"] = lambda _: (
        answers.pop() if answers else says(200, {"projects": [{"id": "1"}]})
    )
    assert connect(web.url).project(1).id == 1


@pytest.mark.parametrize("status", [199, 300, 304])
def test_what_is_no_success_is_none(status: int, web: Web, connect) -> None:
    web.answers["PUT /api/subjects/1"] = says(status, {"subjects": [{"id": "1", "locations": []}]})
    with pytest.raises(UnavailableError):
        connect(web.url).json_request("PUT", "/subjects/1", json={}, etag="e")
