"""A log-in that cannot succeed says so at once, in the server's words; one that may later is tried again."""

import pytest

from ctstate.errors import LoginError, UnavailableError, UsageError, WrongAddressError
from ctstate.machine import Machine, running_on
from ctstate.sandbox import SandboxProcess
from ctstate.zooniverse import Backoff
from tests.zooniverse_http.servers import Reply, Web, portal, says

PATIENT = Backoff(first=100.0, most=200.0, give_up=1800.0)
"""With this a test that waits at all, fails by its timeout."""

STEPS = ("GET /users/sign_in", "POST /users/sign_in", "POST /oauth/token")


class Clock(Machine):
    """Clocks that go only where a test moves them."""

    now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_log_in_is_the_official_clients(web: Web, connect) -> None:
    connect(web.url).me()
    assert [f"{r.method} {r.path}" for r in web.requests] == [*STEPS, "GET /api/me"]
    form = web.requests[2]
    assert form.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert b"grant_type=password" in form.body
    assert form.headers["Cookie"] == web.requests[1].headers["Cookie"] == "_session=a"
    assert b'"authenticity_token": "csrf"' in web.requests[1].body


def test_a_wrong_password_is_told_in_the_servers_words(sandbox: SandboxProcess, connect) -> None:
    z = connect(sandbox.url, sandbox.login, "wrong", backoff=PATIENT)
    with pytest.raises(LoginError, match=r"refused: Invalid email or password\."):
        z.me()


def test_an_unknown_client_id_is_told_at_once(
    sandbox: SandboxProcess, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PANOPTES_CLIENT_ID", "nobody")
    with pytest.raises(LoginError, match="Client authentication failed due to unknown client"):
        connect(sandbox.url, sandbox.login, sandbox.password, backoff=PATIENT).me()


@pytest.mark.parametrize("path", STEPS)
@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_any_refusal_in_json_is_told_at_once(path: str, status: int, web: Web, connect) -> None:
    web.answers[path] = says(
        status, {"error": "account_locked", "error_description": "Locked.\x1b[2J\nAsk " + "x" * 999}
    )
    with pytest.raises(LoginError) as caught:
        connect(web.url, backoff=PATIENT).me()
    message = str(caught.value)
    assert "refused: Locked. [2J Ask xxx" in message
    assert message.isprintable()
    assert len(message) < 400
    assert caught.value.status == status


@pytest.mark.parametrize("path", STEPS)
@pytest.mark.parametrize("status", [200, 204, 302, 403, 404, 407, 511])
def test_a_portals_page_is_not_taken_for_zooniverse(path: str, status: int, web: Web, connect) -> None:
    web.answers[path] = portal(status) if status != 204 else Reply(204)
    z = connect(web.url, backoff=PATIENT if status < 500 else Backoff(give_up=0.0))
    with pytest.raises(WrongAddressError if status < 500 else UnavailableError) as caught:
        z.me()
    if status not in (204, 511):
        assert str(status) in str(caught.value)
        assert "text/html" in str(caught.value)
        assert "Welcome to the Lodge's Wi-Fi" in str(caught.value)


def test_words_of_a_refusal_in_a_good_answer_are_not_the_servers(web: Web, connect) -> None:
    web.answers["POST /users/sign_in"] = says(200, {"error": "Welcome. Please pay first."})
    with pytest.raises(WrongAddressError):
        connect(web.url).me()


@pytest.mark.parametrize("path", STEPS)
def test_another_sites_json_is_not_taken_for_zooniverse(path: str, web: Web, connect) -> None:
    for answer in (says(200, {}), says(200, []), says(404, {"message": "no route"}), says(200, {"users": [{}]})):
        web.answers[path] = answer
        with pytest.raises(WrongAddressError):
            connect(web.url, backoff=PATIENT).me()


@pytest.mark.parametrize("path", STEPS)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_log_in_that_may_succeed_later_is_tried_again(path: str, status: int, web: Web, connect) -> None:
    good = web.answers[path]
    answers = [portal(status), says(status, {"error": "busy"}, **{"Retry-After": "0"})]
    web.answers[path] = lambda _: answers.pop() if answers else good
    assert connect(web.url).me().id == 7
    web.answers[path] = portal(status)
    with pytest.raises(UnavailableError) as caught:
        connect(web.url, backoff=PATIENT).create_subject(1, [], {}, "mark")  # a create waits for nothing
    assert not caught.value.maybe_done
    assert caught.value.status == status


@pytest.mark.parametrize("path", STEPS[1:])
def test_an_answer_that_is_cut_off_is_asked_for_again(path: str, web: Web, connect) -> None:
    good = web.answers[path]
    answers = [Reply(200, {"Content-Type": "application/json"}, good.body[:-3])]
    web.answers[path] = lambda _: answers.pop() if answers else good
    assert connect(web.url).me().id == 7


def test_a_token_no_header_can_hold_is_none(web: Web, connect) -> None:
    for token in ("", "a b", "a\nb", "é", 7, None):
        web.answers["POST /oauth/token"] = says(200, {"access_token": token, "expires_in": 7200})
        with pytest.raises(WrongAddressError):
            connect(web.url, backoff=PATIENT).me()


INVALID = says(401, {"error": "invalid_grant", "error_description": "The grant is invalid."})


def test_a_session_without_effect_is_a_refused_log_in(web: Web, connect) -> None:
    """A cookie that a proxy swallows, say: the sign-in is good, and then nobody is signed in."""
    web.answers["POST /oauth/token"] = INVALID
    with pytest.raises(LoginError, match=r"The grant is invalid\."):
        connect(web.url, backoff=PATIENT).me()
    assert len(web.asked("POST", "/oauth/token")) == 1


def test_a_refresh_token_that_is_no_good_leads_to_a_new_log_in(web: Web, connect) -> None:
    good = web.answers["POST /oauth/token"]
    web.answers["POST /oauth/token"] = lambda r: INVALID if b"refresh_token" in r.body else good
    with running_on(clock := Clock()):
        z = connect(web.url)
        z.me()
        clock.now += 7200
        z.me()
    kinds = [r.body.split(b"&")[0] for r in web.asked("POST", "/oauth/token")]
    assert kinds == [b"grant_type=password", b"grant_type=refresh_token", b"grant_type=password"]
    assert len(web.asked("POST", "/users/sign_in")) == 2


def test_a_refresh_refused_for_anything_else_is_told(web: Web, connect) -> None:
    good = web.answers["POST /oauth/token"]
    refused = says(401, {"error": "invalid_client", "error_description": "Unknown client."})
    web.answers["POST /oauth/token"] = lambda r: refused if b"refresh_token" in r.body else good
    with running_on(clock := Clock()):
        z = connect(web.url, backoff=PATIENT)
        z.me()
        clock.now += 7200
        with pytest.raises(LoginError, match=r"Unknown client\."):
            z.me()


def test_a_session_that_has_ended_since_log_in_is_begun_anew(web: Web, connect) -> None:
    good = web.answers["POST /oauth/token"]
    answers = [INVALID]
    web.answers["POST /oauth/token"] = lambda _: answers.pop() if answers else good
    z = connect(web.url, backoff=PATIENT)
    z.login()
    assert z.me().id == 7
    assert len(web.asked("POST", "/users/sign_in")) == 2


@pytest.mark.parametrize(
    ("life", "good_for"),
    [(7200, 7080), (240, 120), (200, 100), (3, 1.5), (None, 7080), ("?", 7080), (10**400, 7080)],
)
def test_a_token_is_renewed_before_it_dies(life: object, good_for: float, web: Web, connect) -> None:
    web.answers["POST /oauth/token"] = says(200, {"access_token": "t", "refresh_token": "r", "expires_in": life})
    with running_on(clock := Clock()):
        z = connect(web.url)
        z.me()
        clock.now += good_for - 0.1
        z.me()
        assert len(web.asked("POST", "/oauth/token")) == 1
        clock.now += 0.2
        z.me()
    assert b"grant_type=refresh_token&refresh_token=r" in web.asked("POST", "/oauth/token")[1].body


def test_a_token_lives_on_when_somebody_sets_the_clock(web: Web, connect) -> None:
    class Summer(Clock):
        def wall(self) -> float:
            return self.now + 3600 * 24 * 365

    with running_on(Clock()):
        z = connect(web.url)
        z.me()
    with running_on(Summer()):
        z.me()
    assert len(web.asked("POST", "/oauth/token")) == 1


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:99999", "http://[::1", "gopher://a", "a.invalid"],
)
def test_an_endpoint_that_is_no_address_is_not_tried_at_all(endpoint: str, connect) -> None:
    with pytest.raises(UsageError):
        connect(endpoint, backoff=PATIENT)


def test_a_host_that_cannot_be_is_not_tried_for_half_an_hour(connect) -> None:
    z = connect("https://a" + "b" * 64 + ".invalid", backoff=PATIENT)
    with pytest.raises(WrongAddressError):
        z.me()
    with pytest.raises(WrongAddressError):
        z.create_subject(1, [], {}, "mark")


@pytest.mark.parametrize(
    "proxy", ["http://me:secret@127.0.0.1:99999", "http://me:secret@[::1", "http://", "gopher://a"]
)
def test_a_proxy_that_is_no_address_is_not_tried_for_half_an_hour(
    proxy: str, web: Web, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(WrongAddressError) as caught:
        connect(web.url, backoff=PATIENT).me()
    assert "secret" not in str(caught.value)


def test_certificates_that_are_not_there_are_named(web: Web, connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    with pytest.raises(WrongAddressError, match=r"/no/such/bundle\.pem"):
        connect("https://127.0.0.1:1", backoff=PATIENT).me()


def test_a_proxy_that_wants_a_password_is_to_blame_and_not_the_capture(web: Web, connect) -> None:
    web.answers["POST /api/subjects"] = portal(407)
    with pytest.raises(WrongAddressError, match="the proxy wants a user name"):
        connect(web.url).create_subject(1, [], {}, "mark")


@pytest.mark.parametrize("deaths", range(1, 8))
def test_nobody_is_not_told_that_a_subject_is_gone(deaths: int, sandbox: SandboxProcess, connect) -> None:
    """A token that the server forgot is nobody's, and nobody is shown nothing. Found by the simulator: `delete`
    wrote down as deleted what three such tokens in a row were not shown."""
    z = connect(sandbox.url, sandbox.login, sandbox.password)
    made = z.create_subject(int(sandbox.project_id), ["image/jpeg"], {"#capture_id": "a"}, "mark")
    for route, ask in (
        ("list subjects", lambda: set(z.subjects_by_id([made.id]))),
        ("show subject", lambda: {z.subject(made.id)[0].id}),
    ):
        sandbox.set_faults({"rules": [{"route": route, "kind": "unknown_token", "count": deaths}]})
        try:
            assert ask() == {made.id}
        except UnavailableError as error:
            assert "the token dies again and again" in str(error)  # noqa: PT017
            assert deaths > 2


def test_who_logs_in_explicitly_does_so_once(web: Web, connect) -> None:
    z = connect(web.url)
    assert z.login().status_code == 200
    assert z.login() is None
    z.me()
    assert len(web.asked("POST", "/users/sign_in")) == 1


def test_a_token_that_is_refused_again_and_again_is_a_matter_of_the_log_in(web: Web, connect) -> None:
    web.answers["GET /api/projects/1"] = says(401, {"errors": [{"message": "You must be logged in"}]})
    with pytest.raises(LoginError, match="You must be logged in"):
        connect(web.url).project(1)
    assert len(web.asked("GET", "/api/projects/1")) == 3
