"""Whether an image is at the store: only the store's own MD5 is a proof."""

import base64
import gzip
import hashlib

import pytest

from ctstate.errors import RequestRefusedError, UnavailableError, WrongAddressError
from ctstate.sandbox import SandboxProcess
from ctstate.zooniverse import Backoff
from tests.zooniverse_http.servers import Reply, Web, portal

DATA = b"an image"
MD5 = hashlib.md5(DATA).hexdigest()
TOLD = base64.b64encode(bytes.fromhex(MD5)).decode()
OTHER = base64.b64encode(hashlib.md5(b"another").digest()).decode()


def put(z, url: str) -> bool:
    return z.put_image(url, DATA, "image/jpeg", MD5)


def test_the_store_vouches_for_what_it_has(sandbox: SandboxProcess, connect) -> None:
    z = connect(sandbox.url, sandbox.login, sandbox.password)
    made = z.create_subject(int(sandbox.project_id), ["image/jpeg"], {}, "mark")
    assert z.image_md5(made.urls[0]) is None
    assert put(z, made.urls[0]) is True
    assert z.image_md5(made.urls[0]) == MD5


def test_a_portals_page_is_no_proof_of_an_image(web: Web, connect) -> None:
    web.answers["PUT /blob/1"] = portal()
    assert put(connect(web.url), web.url + "/blob/1?sig=s") is False
    web.answers["PUT /blob/1"] = Reply(201)
    assert put(connect(web.url), web.url + "/blob/1?sig=s") is False


@pytest.mark.parametrize("told", [OTHER, "no MD5", TOLD[:-2]])
def test_an_image_that_the_store_has_otherwise_is_put_again(told: str, web: Web, connect) -> None:
    answers = iter([Reply(201, {"Content-MD5": told}), Reply(201, {"Content-MD5": TOLD})])
    web.answers["PUT /blob/1"] = lambda _: next(answers)
    assert put(connect(web.url), web.url + "/blob/1") is True
    assert len(web.asked("PUT", "/blob/1")) == 2
    web.answers["PUT /blob/1"] = Reply(201, {"Content-MD5": told})
    with pytest.raises(UnavailableError, match="stored as"):
        put(connect(web.url), web.url + "/blob/1")


def test_an_expired_place_is_refused_in_the_stores_words(web: Web, connect) -> None:
    body = b"<Error><Code>AuthenticationFailed</Code><Message>Signature not valid.</Message></Error>"
    web.answers["PUT /blob/1"] = Reply(403, {"Content-Type": "application/xml"}, body)
    with pytest.raises(RequestRefusedError, match=r"403 AuthenticationFailed Signature not valid\.") as caught:
        put(connect(web.url), web.url + "/blob/1?sig=secret")
    assert caught.value.status == 403
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["blob/1?sig=secret", "//store/blob/1", "", "ftp://store/blob/1?sig=secret"])
def test_a_place_that_is_no_address_is_not_tried_for_half_an_hour(url: str, web: Web, connect) -> None:
    z = connect(web.url, backoff=Backoff(give_up=1800.0, first=100.0))
    with pytest.raises(WrongAddressError) as caught:
        put(z, url)
    assert "secret" not in str(caught.value)
    with pytest.raises(WrongAddressError):
        z.image_md5(url)


def test_an_image_that_never_arrived(web: Web, connect) -> None:
    z = connect(web.url)
    web.answers["HEAD /blob/1"] = Reply(404)
    assert z.image_md5(web.url + "/blob/1?sig=s") is None
    assert web.requests[-1].path == "/blob/1"
    web.answers["HEAD /blob/1"] = Reply(200, {"Content-Length": "0"})
    assert z.image_md5(web.url + "/blob/1") is None


def test_a_store_that_is_down_has_not_lost_the_image(web: Web, connect) -> None:
    web.answers["HEAD /blob/1"] = Reply(503, {"Content-Length": "0"})
    with pytest.raises(UnavailableError):
        connect(web.url).image_md5(web.url + "/blob/1")


@pytest.mark.parametrize(
    "told", [{}, {"Content-MD5": ""}, {"Content-MD5": "no base64!"}, {"Content-MD5": TOLD[:8]}]
)
def test_a_store_that_does_not_tell_the_md5_is_asked_for_the_image(told: dict[str, str], web: Web, connect) -> None:
    web.answers["HEAD /blob/1"] = Reply(200, {**told, "Content-Length": "8"})
    web.answers["GET /blob/1"] = Reply(200, told, DATA)
    z = connect(web.url)
    assert z.image_md5(web.url + "/blob/1?sig=s") == MD5
    assert web.requests[-1].path == "/blob/1"
    web.answers["GET /blob/1"] = Reply(200, told, b"")
    assert z.image_md5(web.url + "/blob/1") is None
    web.answers["GET /blob/1"] = Reply(404)
    assert z.image_md5(web.url + "/blob/1") is None


def test_the_page_of_a_portal_is_not_taken_for_an_image_that_differs(web: Web, connect) -> None:
    page = Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<!DOCTYPE html><title>Log in</title>")
    web.answers["HEAD /blob/1"] = Reply(200, {"Content-Type": "text/html", "Content-Length": "38"})
    web.answers["GET /blob/1"] = page
    with pytest.raises(UnavailableError, match="a web page came; is there a portal or filter in between"):
        connect(web.url).image_md5(web.url + "/blob/1")


def test_an_image_is_read_as_it_is_stored(web: Web, connect) -> None:
    def answer(request) -> Reply:
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return Reply(200, {"Content-Encoding": "gzip"}, gzip.compress(b"as packed for the way"))
        return Reply(200, {}, DATA)

    web.answers["HEAD /blob/1"] = Reply(200, {"Content-Length": "8"})
    web.answers["GET /blob/1"] = answer
    assert connect(web.url).image_md5(web.url + "/blob/1") == MD5


def test_an_image_that_breaks_off_is_asked_for_again(web: Web, connect) -> None:
    answers = iter([Reply(200, {"Content-Length": "8", "Connection": "close"}, DATA[:3]), Reply(200, {}, DATA)])
    web.answers["HEAD /blob/1"] = Reply(200, {"Content-Length": "8"})

    def answer(_) -> Reply:
        return next(answers)

    web.answers["GET /blob/1"] = answer
    assert connect(web.url).image_md5(web.url + "/blob/1") == MD5
    assert len(web.asked("GET", "/blob/1")) == 2
