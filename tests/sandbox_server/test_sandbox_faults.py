"""Failures to order: each kind through real HTTP, and plans that are wrong."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from ctstate.errors import CtstateError, InputError
from ctstate.sandbox.faults import KINDS, Plan


@pytest.fixture
def order(client: Any) -> Iterator[Any]:
    """Puts a plan with these rules in place; the requests are counted from then on."""

    def put(*rules: dict[str, Any], **plan: Any) -> None:
        client.sandbox.reset_requests()
        client.sandbox.set_faults({"rules": list(rules), **plan})

    yield put
    client.sandbox.clear_faults()


def created(client: Any) -> int:
    return len(client.sandbox.state()["subjects"])


@pytest.mark.parametrize(("kind", "done"), [("status_before", 0), ("status_after", 1)])
def test_a_gateway_error_with_and_without_the_work(client: Any, order: Any, kind: str, done: int) -> None:
    before = created(client)
    order({"route": "create subject", "kind": kind, "status": 504, "count": 1})
    reply = client.post_subject()
    assert (reply.status_code, "<html" in reply.text) == (504, True)
    assert created(client) == before + done
    assert client.post_subject().status_code == 201
    assert client.sandbox.requests()["faults"] == {kind: 1}


def test_an_error_in_json_if_so_wished(client: Any, order: Any) -> None:
    order({"route": "me", "kind": "status_before", "status": 502, "proxies_html": False})
    reply = client("GET", "/me")
    assert (reply.status_code, list(reply.json())) == (502, ["errors"])


@pytest.mark.parametrize(("kind", "done"), [("reset_before", 0), ("reset_after", 1)])
def test_a_dropped_connection_with_and_without_the_work(client: Any, order: Any, kind: str, done: int) -> None:
    before = created(client)
    order({"route": "create subject", "kind": kind, "nth": 1})
    with pytest.raises(requests.ConnectionError):
        client.post_subject()
    assert created(client) == before + done
    assert client.post_subject().status_code == 201


def test_a_reply_that_ends_early(client: Any, order: Any) -> None:
    before = created(client)
    order({"route": "create subject", "kind": "truncated", "count": 1})
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        client.post_subject()
    assert created(client) == before + 1


def test_a_reply_whose_json_is_cut(client: Any, order: Any) -> None:
    order({"route": "create subject", "kind": "truncated", "how": "cut", "count": 1})
    reply = client.post_subject()
    assert reply.status_code == 201
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.text)


def test_a_server_that_says_nothing(client: Any, order: Any) -> None:
    before = created(client)
    order({"route": "create subject", "kind": "hang", "seconds": 30, "count": 1})
    with pytest.raises(requests.exceptions.ReadTimeout):
        client("POST", "/subjects", {"subjects": {}}, timeout=0.4)
    assert created(client) == before
    order({"route": "me", "kind": "hang", "seconds": 0.3, "count": 1})
    began = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        client("GET", "/me")
    assert time.monotonic() - began >= 0.3


def test_a_client_that_hangs_up_after_sending_still_creates_the_subject(client: Any, order: Any) -> None:
    before = created(client)
    order(latency_ms={"create subject": 400})
    body = {"subjects": {"locations": [], "links": {"project": client.sandbox.project_id}}}
    with pytest.raises(requests.exceptions.ReadTimeout):
        client("POST", "/subjects", body, timeout=0.2)
    assert created(client) == before
    time.sleep(0.5)
    assert created(client) == before + 1


def test_retry_after(client: Any, order: Any) -> None:
    order({"route": "create subject", "kind": "retry_after", "seconds": 2, "count": 1})
    reply = client.post_subject()
    assert (reply.status_code, reply.headers["Retry-After"]) == (429, "2")
    order({"route": "create subject", "kind": "retry_after", "status": 503, "count": 1})
    assert client.post_subject().status_code == 503


def test_an_outage_by_number_of_requests(client: Any, order: Any) -> None:
    order({"route": "*", "kind": "outage", "from_request": 2, "for_requests": 3})
    assert [client("GET", "/me").status_code for _ in range(6)] == [200, 503, 503, 503, 200, 200]


def test_an_outage_by_time(client: Any, order: Any) -> None:
    order({"route": "*", "kind": "outage", "from_second": 0.4, "for_seconds": 0.6})
    assert client("GET", "/me").status_code == 200
    time.sleep(0.5)
    assert client("GET", "/me").status_code == 503
    time.sleep(0.7)
    assert client("GET", "/me").status_code == 200


def test_images_can_fail_too(client: Any, order: Any) -> None:
    subject = client.new_subject(whole=False)
    url = subject["locations"][0]["image/jpeg"]
    order(
        {"route": "put image", "kind": "reset_after", "nth": 1},
        {"route": "PUT /blob/*", "kind": "outage", "nth": 2},
    )
    with pytest.raises(requests.ConnectionError):
        client.put(url)
    assert requests.head(url.partition("?")[0], timeout=20).status_code == 200, "it arrived all the same"
    assert client.put(url).status_code == 503
    assert client.put(url).status_code == 201


def test_delays_of_different_requests_overlap(client: Any, order: Any, client_of: Any) -> None:
    clients = [client_of(client.sandbox) for _ in range(4)]
    order(latency_ms={"me": 400, "*": 1})
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        assert [r.status_code for r in pool.map(lambda c: c("GET", "/me"), clients)] == [200] * 4
    assert 0.4 <= time.monotonic() - began < 1.2
    order({"route": "me", "kind": "latency", "ms": 300, "nth": 2})
    began = time.monotonic()
    client("GET", "/me")
    quick = time.monotonic() - began
    client("GET", "/me")
    assert quick < 0.25 < 0.3 <= time.monotonic() - began - quick
    assert client.sandbox.requests()["faults"] == {"latency": 1}


def test_chance_is_repeatable_and_depends_on_the_seed(client: Any, order: Any) -> None:
    def run(seed: int) -> list[int]:
        order({"route": "me", "kind": "status_before", "probability": 0.5}, seed=seed)
        return [client("GET", "/me").status_code for _ in range(40)]

    first = run(1)
    assert run(1) == first
    assert run(2) != first
    assert 8 < first.count(503) < 32
    (rule,) = client.sandbox.faults()["rules"]
    assert rule["matched"] == 40


def test_requests_are_counted_by_route(client: Any) -> None:
    client.sandbox.reset_requests()
    client.new_subject(images=2)
    client("GET", "/no/such/route")
    counted = client.sandbox.requests()
    assert counted["routes"] == {"create subject": 1, "put image": 2, "no such route": 1}
    assert counted["total"] == 4
    assert counted["statuses"] == {"201": 3, "404": 1}


def test_a_wrong_plan_is_refused_and_the_old_one_stays(client: Any, order: Any) -> None:
    order({"route": "me", "kind": "status_before"})
    with pytest.raises(CtstateError, match="kind must be one of"):
        client.sandbox.call("PUT", "faults", {"rules": [{"kind": "meteor"}]})
    assert client("GET", "/me").status_code == 503


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        ([], "must be a JSON object"),
        ({"rule": []}, "unknown rule"),
        ({"seed": "x"}, "seed"),
        ({"rules": {}}, "must be a list"),
        ({"rules": [{"kind": "hang", "status": 503}]}, "rule 1: unknown status"),
        ({"rules": [{"kind": "hang"}, {"kind": "latency", "ms": "much"}]}, "rule 2: ms must be a number"),
        ({"rules": [{"kind": "status_before", "status": 42}]}, "42 is no status"),
        ({"rules": [{"kind": "truncated", "how": "long"}]}, "'short' or 'cut'"),
        ({"rules": [{"kind": "hang", "nth": [1, "x"]}]}, "nth must be a number"),
        ({"rules": [{"kind": "hang", "work": 1}]}, "true or false"),
        ({"latency_ms": {"me": -1}}, "latency_ms of 'me'"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said(plan: Any, complaint: str) -> None:
    with pytest.raises(InputError) as error:
        Plan.parse(plan)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_place_and_is_explained(kind: str) -> None:
    import ctstate.sandbox.faults as module

    assert f"`{kind}`" in (module.__doc__ or "")
    verdict = Plan.parse({"rules": [{"kind": kind}]}).decide("me", "GET", "/api/me")
    assert verdict.slowed or verdict.token or verdict.before or verdict.after
