"""The image store: signed URLs that expire, checked bytes, and what counts as whole."""

import time
from typing import Any

import requests

JPEG = bytes.fromhex("ffd8ffd9") * 50


def url_of(subject: dict[str, Any], n: int = 0) -> str:
    return str(subject["locations"][n]["image/jpeg"])


def public(url: str) -> str:
    return url.partition("?")[0]


def images(client: Any, subject: dict[str, Any]) -> list[dict[str, Any]]:
    found = [s for s in client.sandbox.state()["subjects"] if s["id"] == subject["id"]]
    return list(found[0]["images"])


def test_a_put_is_vouched_for_by_its_md5(client: Any) -> None:
    subject = client.new_subject(whole=False)
    url = url_of(subject)
    assert requests.get(public(url), timeout=20).status_code == 404
    assert requests.head(public(url), timeout=20).status_code == 404
    reply = client.put(url, JPEG)
    assert reply.status_code == 201
    head = requests.head(public(url), timeout=20)
    assert head.headers["Content-MD5"] == reply.headers["Content-MD5"]
    assert head.headers["Content-Length"] == str(len(JPEG))
    got = requests.get(public(url), timeout=20)
    assert (got.content, got.headers["Content-Type"]) == (JPEG, "image/jpeg")
    assert images(client, subject)[0]["whole"] is True


def test_a_damaged_body_is_refused_and_leaves_what_was_there(client: Any) -> None:
    subject = client.new_subject()
    refused = client.put(url_of(subject), b"damaged", **{"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
    assert refused.status_code == 400
    assert requests.get(public(url_of(subject)), timeout=20).content == JPEG


def test_the_blob_type_is_needed_and_the_signature_is_checked(client: Any) -> None:
    subject = client.new_subject(images=2, whole=False)
    url = url_of(subject)
    assert requests.put(url, data=JPEG, timeout=20).status_code == 400
    for spoilt in (url.replace("sig=", "sig=0"), public(url), url.replace("se=", "se=9")):
        assert client.put(spoilt).status_code == 403
    other = url_of(subject, 1)
    assert client.put(public(url) + "?" + other.partition("?")[2]).status_code == 403
    assert not any(i["arrived"] for i in images(client, subject))


def test_put_urls_expire_and_fresh_ones_are_to_be_had(start: Any) -> None:
    client = start(put_url_lifetime=0.1)
    subject = client.new_subject(whole=False)
    time.sleep(1.2)
    assert client.put(url_of(subject)).status_code == 403
    fresh = client("PUT", f"/subjects/{subject['id']}", {"subjects": {"locations": []}}, if_match=subject["etag"])
    assert fresh.status_code == 200
    renewed = fresh.json()["subjects"][0]
    assert public(url_of(renewed)) == public(url_of(subject))
    assert client.put(url_of(renewed)).status_code == 201
    assert client("GET", f"/subjects/{subject['id']}").headers["ETag"] == subject["etag"]


def test_an_empty_body_is_accepted_but_not_whole(client: Any) -> None:
    subject = client.new_subject(whole=False)
    assert client.put(url_of(subject), b"").status_code == 201
    (image,) = images(client, subject)
    assert (image["arrived"], image["whole"], image["bytes"]) == (True, False, 0)


def test_new_locations_replace_the_images(client: Any) -> None:
    subject = client.new_subject(images=2)
    changed = client(
        "PUT", f"/subjects/{subject['id']}", {"subjects": {"locations": ["image/png"]}}, if_match=subject["etag"]
    ).json()["subjects"][0]
    assert [list(location) for location in changed["locations"]] == [["image/png"]]
    assert requests.get(public(url_of(subject)), timeout=20).status_code == 404
    assert [i["arrived"] for i in images(client, subject)] == [False]


def test_publishing_before_the_images_are_whole_is_written_down(client: Any) -> None:
    name = f"incomplete {time.time_ns()}"
    subject_set = client.new_set(name)
    whole, half = client.new_subject(images=2), client.new_subject(images=2, whole=False)
    bare, empty = client.new_subject(images=0), client.new_subject(whole=False)
    client.put(url_of(half))
    client.put(url_of(empty), b"")
    elsewhere = client.post_subject(locations=[{"image/jpeg": "https://example.org/a.jpg"}]).json()["subjects"][0]
    at_once = client.new_subject(whole=False, sets=[subject_set])
    ids = [s["id"] for s in (whole, half, bare, empty, elsewhere)]
    assert client.link(subject_set, *ids).status_code == 200
    client.put(url_of(half, 1))
    log = [e for e in client.sandbox.state()["published_incomplete"] if e["set"] == subject_set]
    assert [(e["subject"], e["how"], e["missing_images"]) for e in log] == [
        (at_once["id"], "create", [0]),
        (half["id"], "link", [1]),
        (bare["id"], "link", []),
        (empty["id"], "link", [0]),
    ]


def test_only_size_and_md5_are_kept_if_so_wished(start: Any) -> None:
    client = start(discard_images=True)
    subject = client.new_subject()
    assert requests.head(public(url_of(subject)), timeout=20).headers["Content-Length"] == str(len(JPEG))
    assert requests.get(public(url_of(subject)), timeout=20).status_code == 410
    assert images(client, subject)[0]["whole"] is True
    client.link(client.new_set("discarded"), subject["id"])
    listed = requests.get(client.sandbox.url + "/sets/5001", timeout=20).text
    assert ("image 1: 200 bytes, not kept" in listed, "<img" in listed) == (True, False)
    assert not (client.sandbox.directory / "images").exists()
