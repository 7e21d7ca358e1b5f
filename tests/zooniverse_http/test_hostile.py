"""A server that misbehaves in every way: each ends in one printable line, in bounded time and memory.

The manners are data: what is asked for, what the server does, and what is to come of it.
"""

import functools
import gzip
import io
import json
import resource
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from ctstate.errors import CtstateError, UnavailableError
from ctstate.zooniverse import Timeouts, Zooniverse, connections
from tests.zooniverse_http.servers import Reply, Web, portal, says

LONGEST_S = 12.0
MOST_MEMORY = 400 << 20
TIMEOUTS = Timeouts(connect=1.0, read=1.5, blob=1.5, whole=2.0)


@pytest.fixture(autouse=True)
def smaller_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_BYTES", 8 << 20)


# -- what is asked for -----------------------------------------------------------------------------------------


def project(z: Zooniverse, _: Web) -> object:
    return z.project(1)


def sets(z: Zooniverse, _: Web) -> object:
    return z.find_sets(1, "name")


def members(z: Zooniverse, _: Web) -> object:
    return sum(1 for _ in z.subjects_in_set(1))


def count(z: Zooniverse, _: Web) -> object:
    return z.count_in_set(1)


def me(z: Zooniverse, _: Web) -> object:
    return z.me()


def statuses(z: Zooniverse, _: Web) -> object:
    return list(z.statuses(1, [1, 2]))


def subject(z: Zooniverse, _: Web) -> object:
    return z.subject(1)


def create(z: Zooniverse, _: Web) -> object:
    return z.create_subject(1, ["image/jpeg"], {}, "mark")


def put(z: Zooniverse, web: Web) -> object:
    return z.put_image(web.url + "/blob/1", b"an image", "image/jpeg", "0" * 32)


def md5(z: Zooniverse, web: Web) -> object:
    return z.image_md5(web.url + "/blob/1")


ASKED = {
    project: "GET /api/projects/1", sets: "GET /api/subject_sets", members: "GET /api/subjects",
    count: "GET /api/subjects", me: "GET /api/me", statuses: "GET /api/subject_workflow_statuses",
    subject: "GET /api/subjects/1", create: "POST /api/subjects", put: "PUT /blob/1", md5: "GET /blob/1",
}  # fmt: skip


# -- what the server does --------------------------------------------------------------------------------------

GOOD_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
JSON = {"Content-Type": "application/json"}
SUBJECT = {"id": "1", "links": {"project": "1"}, "metadata": {}, "locations": []}
ZEROS = bytes(1 << 20)


def raw(*parts: bytes, times: int = 1, pause: float = 0.0) -> Reply:
    """Bytes as they are; the last part again and again."""

    def write(out: Any) -> None:
        for part in parts[:-1]:
            out.write(part)
        for _ in range(times):
            out.write(parts[-1])
            out.flush()
            if pause:
                time.sleep(pause)

    return Reply(-1, body=write)


@functools.cache
def bomb() -> bytes:
    """200 MiB of zeros, packed. A piece is packed once, as each begins anew (a full flush): all at once would take
    a second, and so much memory that no reply could be told from it by the most that the process ever had."""
    packer = zlib.compressobj(9, wbits=-15)
    piece = packer.compress(ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = functools.reduce(lambda so_far, zeros: zlib.crc32(zeros, so_far), [ZEROS] * 200, 0)
    return gzip.compress(b"")[:10] + piece * 200 + packer.flush() + struct.pack("<II", checksum, 200 << 20)


def test_the_bomb_is_one() -> None:
    assert len(bomb()) < 1 << 20
    with gzip.open(io.BytesIO(bomb())) as unpacked:  # which looks at the checksum, too
        assert sum(map(len, iter(lambda: unpacked.read(1 << 20), b""))) == 200 << 20


def pages(rows_of: Callable[[int], list[Any]], **meta: Any) -> Callable[[Any], Reply]:
    """A list that says again and again that there is more."""
    seen = [0]

    def answer(_: Any) -> Reply:
        seen[0] += 1
        told = {"count": 0, "next_page": seen[0] + 1, **meta}
        return says(200, {"subjects": rows_of(seen[0]), "meta": {"subjects": told}})

    return answer


def full(page: int) -> list[Any]:
    return [{**SUBJECT, "id": str(page * 100 + n)} for n in range(100)]


class Manner(NamedTuple):
    """What is asked for, and what then happens; `fine` where it is no reason to complain."""

    name: str
    ask: Callable[[Zooniverse, Web], object]
    answer: Any
    fine: bool = False


def odd(name: str, ask: Any, value: Any) -> Manner:
    return Manner(name, ask, says(200, value))


MANNERS = [
    *(odd(f"a project: {json.dumps(value)[:60]}", project, value)
      for value in (None, 5, "text", [], [1], {}, {"projects": 5}, {"projects": None}, {"projects": {}},
                    {"projects": [None]}, {"projects": [[]]}, {"projects": [{}]}, {"projects": [{"id": None}]},
                    {"projects": [{"id": -1}]}, {"projects": [{"id": "-1"}]}, {"projects": [{"id": "1" * 40}]},
                    {"projects": [{"id": "²"}]}, {"projects": [{"id": True}]}, {"projects": [{"id": "1e3"}]},
                    {"projects": [{"id": "1", "display_name": 5}]})),
    *(odd(f"an account: {json.dumps(value)[:60]}", me, {"users": [value]})
      for value in ({"id": "1", "subject_limit": "many"}, {"id": "1", "subject_limit": 10**30}, {"id": 0},
                    {"id": "1", "banned": "no"}, {"id": "1", "login": None})),
    *(odd(f"sets: {json.dumps(value)[:60]}", sets, value)
      for value in ({"subject_sets": [None]}, {"subject_sets": [{"id": "1"}]}, {"subject_sets": "none"},
                    {"subject_sets": [{"id": "1", "links": {"project": "one"}}]},
                    {"subject_sets": [{"id": "1", "links": {"project": "1"}, "metadata": []}]})),
    *(odd(f"subjects: {json.dumps(value)[:90]}", members, {"subjects": [value]})
      for value in (5, {**SUBJECT, "metadata": "m"}, {**SUBJECT, "locations": "l"},
                    {**SUBJECT, "locations": [5]}, {**SUBJECT, "locations": [{"image/jpeg": 5}]},
                    {**SUBJECT, "links": {"project": "1", "subject_sets": ["x"]}}, {**SUBJECT, "links": None})),
    *(odd(f"a count: {json.dumps(value)[:60]}", count, {"subjects": [], "meta": value})
      for value in (None, 5, {"subjects": 5}, {"subjects": {"count": "many"}}, {"subjects": {"count": -1}},
                    {"subjects": {"count": 10**40}}, {"subjects": {"count": True}})),
    odd("statuses of nobody", statuses, {"subject_workflow_statuses": [{"links": {}}]}),
    odd("statuses that are counted in words", statuses,
        {"subject_workflow_statuses": [{"links": {"subject": "1"}, "classifications_count": "many"}]}),
    *(odd(f"a create: {json.dumps(value)[:90]}", create, {"subjects": [{**SUBJECT, **value}]})
      for value in ({"locations": [{"image/jpeg": None}]}, {"id": 10**40}, {"id": "1", "locations": None},
                    {"locations": [{"image/jpeg": "a"}, {"image/jpeg": "b"}]})),
    Manner("JSON that is nested deeply", project, Reply(200, JSON, b"[" * 200_000)),
    Manner("JSON that is nested deeply in a subject", subject,
           Reply(200, JSON, b'{"subjects": [{"metadata": ' + b'{"a":' * 100_000)),
    Manner("a number of 5,000 digits", project, Reply(200, JSON, b'{"projects": [{"id": ' + b"1" * 5000 + b"}]}")),
    Manner("half of its JSON", project, Reply(200, JSON, b'{"projects": [{"id": "1"')),
    Manner("no UTF-8", project, Reply(200, JSON, b'{"projects": [{"id": "1", "display_name": "\xff\xfe"}]}')),
    Manner("a page with a good status", project, portal(200)),
    Manner("nothing with a good status", project, Reply(200)),
    Manner("204", project, Reply(204)),
    Manner("a reply that never ends", project, raw(GOOD_HEAD + b"\r\n", ZEROS, times=4096)),
    Manner("a create whose reply never ends", create, raw(GOOD_HEAD + b"\r\n", ZEROS, times=4096)),
    Manner("an image that never ends", md5, raw(b"HTTP/1.1 200 OK\r\n\r\n", ZEROS, times=4096)),
    Manner("a gzip bomb", project, Reply(200, {**JSON, "Content-Encoding": "gzip"}, bomb())),
    Manner("a gzip bomb in a gzip", project,
           Reply(200, {**JSON, "Content-Encoding": "gzip, gzip"}, gzip.compress(bomb()))),
    Manner("gzip that is none", project, Reply(200, {**JSON, "Content-Encoding": "gzip"}, b"no gzip")),
    Manner("gzip that is cut off", project, Reply(200, {**JSON, "Content-Encoding": "gzip"}, bomb()[:2000])),
    Manner("packed in a way that nobody knows", project, Reply(200, {**JSON, "Content-Encoding": "rot13"}, b"{}")),
    Manner("chunks that are none", project, raw(GOOD_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\nno")),
    Manner("chunks without end", project,
           raw(GOOD_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + ZEROS + b"\r\n", times=4096)),
    Manner("a body that drips", project,
           raw(GOOD_HEAD + b"Content-Length: 1000\r\n\r\n", b" ", times=60, pause=0.3)),
    Manner("chunks that drip", project,
           raw(GOOD_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", times=60, pause=0.3)),
    Manner("an image that drips", md5, raw(b"HTTP/1.1 200 OK\r\n\r\n", b"x", times=60, pause=0.3)),
    Manner("headers that drip", project, raw(b"HTTP/1.1 200 OK\r\nX: ", b"x", times=60, pause=0.3)),
    Manner("a status line that drips", create, raw(b"H", b"T", times=60, pause=0.3)),
    Manner("100 Continue without end", project, raw(b"HTTP/1.1 100 Continue\r\n\r\n", times=60, pause=0.3)),
    Manner("headers without end", project, raw(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", times=100_000)),
    Manner("a header of a megabyte", project, raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n{}")),
    Manner("no status line", project, raw(b"hello\r\n\r\n")),
    Manner("a status of words", project, raw(b"HTTP/1.1 fine OK\r\n\r\n")),
    Manner("a status that is none", project, raw(b"HTTP/1.1 99999 OK\r\n\r\n")),
    Manner("a status of 0", project, raw(b"HTTP/1.1 000 OK\r\n\r\n")),
    Manner("a length of words", project, raw(GOOD_HEAD + b"Content-Length: long\r\n\r\n{}")),
    Manner("a length below nothing", project, raw(GOOD_HEAD + b"Content-Length: -5\r\n\r\n{}")),
    Manner("a length that is too long", project, raw(GOOD_HEAD + b"Content-Length: 50\r\n\r\n{}")),
    Manner("a length of 30 digits", project, raw(GOOD_HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}")),
    Manner("nothing at all", project, Reply(0)),
    Manner("nothing at all to a create", create, Reply(0)),
    Manner("silence", project, raw(b"", pause=4.0)),
    Manner("nobody may", project, says(401, {"errors": 5})),
    Manner("refused in no words", project, says(403, {"errors": 5})),
    Manner("refused in a list of numbers", project, says(403, {"errors": [5, None, []]})),
    Manner("refused in a megabyte of colours", project,
           says(422, {"errors": [{"message": "\x1b[31m\r\n" + "no " * 300_000}]})),
    Manner("refused in JSON that is nested deeply", project, Reply(422, JSON, b'{"errors":' + b"[" * 100_000)),
    Manner("refused in a page of a megabyte", project, Reply(404, {"Content-Type": "text/html"}, b"<" * (1 << 20))),
    *(Manner(f"come again in {value!r}", project, Reply(503, {"Retry-After": value}))
      for value in ("²", "-5", "1e99", "soon", "9" * 400, "Fri, 31 Dec 99999 23:59:59 GMT",
                    "Fri, 31 Dec 1 23:59:59 +9999")),
    Manner("sent on to nowhere", project, Reply(302)),
    Manner("sent on to a file", project, Reply(302, {"Location": "file:///etc/passwd"})),
    Manner("sent on to no address", project, Reply(302, {"Location": "http://[::1"})),
    Manner("sent on in a circle", project, Reply(302, {"Location": "/api/projects/1"})),
    Manner("a create sent on", create, Reply(307, {"Location": "/api/subjects"})),
    Manner("an image sent on", put, Reply(307, {"Location": "/blob/2"})),
    Manner("an image taken by a page", md5, portal(200)),
    Manner("a list that repeats a page", members, pages(lambda _: full(1))),
    Manner("a list that repeats two pages", members, pages(lambda page: full(page % 2))),
    Manner("a list without end", members, pages(full)),
    Manner("a list without end, and a count of it", members, pages(full, count=1000)),
    Manner("a list whose next page is a word", members,
           pages(lambda n: full(n) if n < 3 else [], next_page="x"), True),
    Manner("cookies of all kinds", project,
           Reply(200, {**JSON, "Set-Cookie": "a" * 60_000 + "=\x01; Domain=..; Expires=never; Max-Age=²"},
                 b'{"projects": [{"id": "1"}]}'), True),
    Manner("half of a character in a name", project,
           Reply(200, JSON, b'{"projects": [{"id": "1", "display_name": "\\ud800 \\ud83e\\udd93"}]}'), True),
    Manner("half of a character in a key", subject,
           Reply(200, JSON, b'{"subjects": [{"id": "1", "li\\ud800nks": {"project": "1"}}]}')),
    Manner("a date that is none", project,
           Reply(200, {**JSON, "Date": "²", "ETag": "\x7f"}, b'{"projects": [{"id": "1"}]}'), True),
]  # fmt: skip


def test_there_are_enough() -> None:
    assert len(MANNERS) >= 40
    assert len({manner.name for manner in MANNERS}) == len(MANNERS)


@pytest.mark.parametrize("manner", MANNERS, ids=lambda manner: manner.name)
def test_it_ends_in_one_line(manner: Manner, web: Web, connect) -> None:
    web.answers[ASKED[manner.ask]] = manner.answer
    web.answers["HEAD /blob/1"] = Reply(200, {"Content-Length": "8"})
    z = connect(web.url, timeouts=TIMEOUTS)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    error: CtstateError | None = None
    try:
        manner.ask(z, web)
    except CtstateError as raised:
        error = raised
    took = time.monotonic() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert (error is None) == manner.fine, error
    assert took < LONGEST_S
    assert grown < MOST_MEMORY
    if error is not None:
        told = str(error)
        assert told.isprintable()
        assert 10 < len(told) <= 500
        assert "secret" not in told
        if manner.ask is create:
            assert isinstance(error, UnavailableError)
            assert error.maybe_done
            assert len(web.asked("POST", "/api/subjects")) == 1


@pytest.mark.parametrize("name", ["a body that drips", "headers that drip"])
def test_what_drips_through_a_secure_connection_is_cut_off_too(name: str, tls_web: Web, connect) -> None:
    (manner,) = (each for each in MANNERS if each.name == name)
    tls_web.answers[ASKED[manner.ask]] = manner.answer
    z = connect(tls_web.url, timeouts=TIMEOUTS)
    z.me()
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        manner.ask(z, tls_web)
    assert time.monotonic() - began < LONGEST_S


def test_a_bomb_is_not_unpacked_to_be_measured(web: Web, connect) -> None:
    web.answers["GET /api/projects/1"] = Reply(200, {**JSON, "Content-Encoding": "gzip"}, bomb())
    z = connect(web.url, timeouts=TIMEOUTS)
    z.me()
    tracemalloc.start()
    try:
        with pytest.raises(UnavailableError, match="more than 8 MiB"):
            z.project(1)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()


def test_half_of_a_character_comes_no_further(web: Web, connect) -> None:
    name = b'"\\ud800 \\ud83e\\udd93"'
    web.answers["GET /api/projects/1"] = Reply(
        200, JSON, b'{"projects": [{"id": "1", "display_name": ' + name + b"}]}"
    )
    assert connect(web.url).project(1).display_name == "? \N{ZEBRA FACE}"


def test_one_thread_looks_after_all_connections(web: Web, connect) -> None:
    import threading

    web.answers["GET /api/projects/1"] = says(200, {"projects": [{"id": "1"}]})
    for _ in range(10):
        connect(web.url).project(1)
    assert sum(thread.name == "watchdog" for thread in threading.enumerate()) == 1
