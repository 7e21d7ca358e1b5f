"""A server that is never the limit: it answers what one upload asks, and checks and keeps nothing.

    python benchmarks/lean_server.py

It prints its port and answers on 127.0.0.1 until its standard input ends; then it prints how many images came, and
the seconds from the first create to the last of them. A subject's images belong at `/store/N`; every image is
taken, and the store vouches for it with the MD5 that came along.
"""

import asyncio
import itertools
import json
import sys
import time
from typing import Any

PROJECT = "1"
_ids = itertools.count(1000)
_sets: dict[str, dict[str, Any]] = {}
_linked: set[str] = set()
_creates: list[float] = []
_images: list[float] = []
_user = {"id": "7", "login": "lean", "subject_limit": 10_000_000, "uploaded_subjects_count": 0, "banned": False}
_project = {"id": PROJECT, "display_name": "Lean", "slug": "lean/lean", "links": {"owner": {"id": "7"}}}
_role = {"id": "1", "roles": ["owner"], "links": {"owner": {"id": "7"}, "project": PROJECT}}


def _list(kind: str, rows: list[Any], count: int | None = None) -> dict[str, Any]:
    return {kind: rows, "meta": {kind: {"count": len(rows) if count is None else count, "next_page": None}}}


def _set_of(path: str) -> dict[str, Any]:
    return _sets[path.split("/")[3]]


def _answer(method: str, path: str, body: bytes, port: int) -> tuple[dict[str, Any], str]:
    """Return a reply's JSON and further headers."""
    if path == "/api/subjects" and method == "POST":
        _creates.append(time.perf_counter())
        number = next(_ids)
        asked = json.loads(body)["subjects"]
        places = [{mime: f"http://127.0.0.1:{port}/store/{number}"} for mime in asked["locations"]]
        made = {"id": str(number), "locations": places, "links": {"project": PROJECT, "subject_sets": []}}
        return {"subjects": [made]}, ""
    if path == "/users/sign_in":
        return {"users": [_user]}, "x-csrf-token: t\r\n"
    if path == "/oauth/token":
        return {"access_token": "t", "expires_in": 7200, "refresh_token": "r"}, ""
    if path == "/api/me":
        return {"users": [_user]}, ""
    if path.startswith("/api/projects"):
        return _list("projects", [_project]), ""
    if path.startswith("/api/project_roles"):
        return _list("project_roles", [_role]), ""
    if path.startswith("/api/subjects"):
        return _list("subjects", [], len(_linked) if "subject_set_id" in path else 0), ""
    if path.startswith("/api/subject_sets"):
        if method == "POST" and path.endswith("/links/subjects"):
            _linked.update(json.loads(body)["subjects"])
            return {"subject_sets": [_set_of(path)]}, ""
        if method == "POST":
            made = {**json.loads(body)["subject_sets"], "id": str(next(_ids)), "links": {"project": PROJECT}}
            _sets[made["id"]] = made
            return {"subject_sets": [made]}, ""
        if method == "PUT":
            _set_of(path).update(json.loads(body)["subject_sets"])
            return {"subject_sets": [_set_of(path)]}, ""
        one = path.partition("?")[0].split("/")[3:]
        return ({"subject_sets": [_sets[one[0]]]}, "") if one else (_list("subject_sets", [*_sets.values()]), "")
    raise SystemExit(f"{method} {path}: nobody told this server what to answer")


class Lean(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._port = transport.get_extra_info("sockname")[1]
        self._got = b""

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end].decode("latin-1")
            headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            whole = end + 4 + int(headers.get("content-length", 0))
            if len(self._got) < whole:
                return
            body, self._got = self._got[end + 4 : whole], self._got[whole:]
            method, path, _ = head.partition("\r\n")[0].split(" ")
            if path.startswith("/store/"):
                _images.append(time.perf_counter())
                digest = head[head.lower().index("content-md5: ") + 13 :].partition("\r\n")[0]
                self._transport.write(
                    f"HTTP/1.1 201 Created\r\nContent-MD5: {digest}\r\nContent-Length: 0\r\n\r\n".encode()
                )
                continue
            found, more = _answer(method, path, body, self._port)
            reply = json.dumps(found).encode()
            start = (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{more}Content-Length: {len(reply)}\r\n\r\n"
            )
            self._transport.write(start.encode() + reply)


async def main() -> None:
    """Serve until standard input ends."""
    server = await asyncio.get_running_loop().create_server(Lean, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(len(_images), _images[-1] - _creates[0])


if __name__ == "__main__":
    asyncio.run(main())
