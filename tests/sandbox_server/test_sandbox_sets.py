"""Subject sets, memberships and workflows, with the real server's traps."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest


@pytest.fixture
def name() -> str:
    return f"set {time.time_ns()}"


def find(client: Any, query: str) -> list[str]:
    reply = client("GET", f"/subject_sets?project_id={client.sandbox.project_id}&{query}")
    return [s["id"] for s in reply.json()["subject_sets"]]


def wait_for(condition: Any, seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_names_are_found_exactly_and_commas_separate_alternatives(client: Any, name: str) -> None:
    one, two = client.new_set(name, metadata={"season": name, "n": 3}), client.new_set(name + " b")
    comma = client.new_set(f"{name}, with a comma")
    assert find(client, f"display_name={name}") == [one]
    assert find(client, f"display_name={name.upper()}") == []
    assert find(client, f"display_name={name},{name} b") == [one, two]
    assert comma not in find(client, f"display_name={name}, with a comma")
    assert find(client, f"metadata.season={name}") == [one]
    assert find(client, f"metadata.season={name}&metadata.n=3") == []


def test_creates_at_the_same_moment_may_all_pass_the_check_of_the_name(start: Any, client_of: Any) -> None:
    client = start(name_check_gap=0.3)
    clients = [client_of(client.sandbox) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        made = [r.status_code for r in pool.map(lambda c: c.post_set("twice"), clients)]
    assert made == [201, 201, 201]
    assert len(find(client, "display_name=twice")) == 3
    assert client.post_set("twice").status_code == 400


def test_links_calls_that_overlap_on_one_set_are_stale(start: Any, client_of: Any) -> None:
    client = start(link_seconds=0.4, counter_delay=60)
    one, two = client.new_set("one"), client.new_set("two")
    a, b, c = (client.new_subject()["id"] for _ in range(3))
    jobs = [(client_of(client.sandbox), one, a), (client_of(client.sandbox), one, b)]
    jobs.append((client_of(client.sandbox), two, c))
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda job: job[0].link(job[1], job[2]), jobs))
    assert sorted(r.status_code for r in replies[:2]) == [200, 409]
    assert replies[2].status_code == 200, "different sets do not disturb each other"
    (stale,) = [r for r in replies if r.status_code == 409]
    assert stale.json() == {"errors": [{"message": "Attempted to update a stale object: SubjectSet."}]}
    assert len(client.members(one)) == 1, "a 409 linked nothing"
    assert client.link(one, a, b).status_code == 200
    assert client.members(one) == [a, b]


def test_one_at_a_time_links_calls_are_not_stale(client: Any, name: str) -> None:
    subject_set = client.new_set(name)
    stale = 0
    for _ in range(10):
        subject = client.new_subject()["id"]
        while (status := client.link(subject_set, subject).status_code) == 409:
            stale += 1
            assert stale < 2, "the set's count is refreshed behind a call once, and once only"
        assert status == 200


def test_a_links_call_links_all_or_nothing(client: Any, name: str) -> None:
    subject_set, subject = client.new_set(name), client.new_subject()["id"]
    for ids in ([subject, subject], [subject, "987654321"], ["987654321"]):
        assert client.link(subject_set, *ids).status_code == 422
    assert client.members(subject_set) == []
    assert client.link(subject_set, subject).status_code == 200
    assert client.link_again(subject_set, subject).status_code == 200
    assert client.members(subject_set) == [subject]


def test_only_the_links_call_copies_priorities_and_one_bad_one_spoils_all(client: Any, name: str) -> None:
    good, bad = client.new_set(name), client.new_set(name + " bad")
    one = client.new_subject(metadata={"#Priority": 1.5})["id"]
    two = client.new_subject(metadata={"#priority": "2"})["id"]
    text = client.new_subject(metadata={"#priority": "soon"})["id"]
    at_once = client.new_subject(metadata={"#priority": 7}, sets=[good])["id"]
    client.link(good, one, two, at_once)
    client.link(bad, one, two, text)
    priorities = {s["id"]: s["priorities"] for s in client.sandbox.state()["subject_sets"]}
    assert priorities[good] == {one: 1.5, two: 2.0}
    assert priorities[bad] == {}
    members = client("GET", f"/set_member_subjects?subject_set_id={good}").json()["set_member_subjects"]
    assert [m["priority"] for m in members] == [None, 1.5, 2.0]


def test_unlinking_ignores_what_is_not_linked(client: Any, name: str) -> None:
    subject_set = client.new_set(name)
    a, b = client.new_subject()["id"], client.new_subject()["id"]
    client.link(subject_set, a)
    assert client("DELETE", f"/subject_sets/{subject_set}/links/subjects/{a},{b},999").status_code == 204
    assert client.members(subject_set) == []
    assert client("GET", f"/subjects/{a}").status_code == 200


def test_a_put_with_subjects_replaces_the_whole_membership(client: Any, name: str) -> None:
    subject_set = client.new_set(name)
    a, b, c = (client.new_subject()["id"] for _ in range(3))
    client.link(subject_set, a, b)
    body = {"subject_sets": {"links": {"subjects": [b, c]}}}
    assert client("PUT", f"/subject_sets/{subject_set}", body).status_code == 200
    assert client.members(subject_set) == [b, c]


def test_the_counter_comes_late_and_counts_deactivated_subjects(start: Any) -> None:
    client = start(counter_delay=0.6, removal_delay=60)
    subject_set, subject = client.new_set("late"), client.new_subject()
    client.link(subject_set, subject["id"], client.new_subject()["id"])

    def count() -> int:
        shown = client("GET", f"/subject_sets/{subject_set}").json()["subject_sets"][0]
        return int(shown["set_member_subjects_count"])

    assert count() == 0
    client("DELETE", f"/subjects/{subject['id']}", if_match=subject["etag"])
    assert wait_for(lambda: count() == 2)
    assert len(client.members(subject_set)) == 1


def test_deleting_a_set_deletes_its_subjects_one_by_one_and_later(start: Any) -> None:
    client = start(set_delete_interval=0.3)
    gone, kept = client.new_set("gone"), client.new_set("kept")
    lost = [client.new_subject()["id"] for _ in range(2)]
    shared, classified = client.new_subject()["id"], client.new_subject()["id"]
    client.link(gone, *lost, shared, classified)
    client.link(kept, shared)
    client.sandbox.classify(classified, client.sandbox.workflow_id)
    assert client("DELETE", f"/subject_sets/{gone}").status_code == 428
    assert wait_for(lambda: delete(client, gone) == 204)
    assert client("GET", f"/subject_sets/{gone}").status_code == 404
    assert client("GET", f"/subjects/{lost[1]}").status_code == 200, "not at once"
    assert wait_for(lambda: client("GET", f"/subjects/{lost[1]}").status_code == 404)
    time.sleep(0.8)
    assert [client("GET", f"/subjects/{s}").status_code for s in (*lost, shared, classified)] == [
        404,
        404,
        200,
        200,
    ]


def delete(client: Any, subject_set: str) -> int:
    etag = client("GET", f"/subject_sets/{subject_set}").headers["ETag"]
    return int(client("DELETE", f"/subject_sets/{subject_set}", if_match=etag).status_code)


# -- workflows --------------------------------------------------------------------------------------------------


def test_a_bare_string_replaces_all_sets_of_a_workflow(client: Any, name: str) -> None:
    path = f"/workflows/{client.sandbox.workflow_id}/links/subject_sets"
    one, two = client.new_set(name), client.new_set(name + " b")

    def linked() -> list[str]:
        shown = client("GET", f"/workflows/{client.sandbox.workflow_id}").json()["workflows"][0]
        return list(shown["links"]["subject_sets"])

    before = linked()
    assert client("POST", path, {"subject_sets": [one]}).status_code == 200
    assert linked() == [*before, one]
    again = client("POST", path, {"subject_sets": [one]})
    assert (again.status_code, again.json()["errors"][0]["message"]) == (
        400,
        "Validation failed: Workflow has already been taken",
    )
    assert client("POST", path, {"subject_sets": two}).status_code == 200
    assert linked() == [two]
    assert client("DELETE", f"{path}/{two}").status_code == 204
    assert client("DELETE", f"{path}/{two}").status_code == 404


def test_workflows_come_25_a_page(client: Any) -> None:
    for n in range(26):
        client.sandbox.call("POST", "workflows", {"display_name": f"workflow {n}"})
    reply = client("GET", f"/workflows?project_id={client.sandbox.project_id}&page_size=100").json()
    assert len(reply["workflows"]) == 25
    rest = client("GET", reply["meta"]["workflows"]["next_href"]).json()["workflows"]
    assert len(rest) >= 2


def test_the_meta_of_statuses_counts_nothing_and_pages_go_on_until_one_is_empty(client: Any) -> None:
    workflow = client.sandbox.workflow_id
    seen, untouched, retired = (client.new_subject()["id"] for _ in range(3))
    client.sandbox.classify(seen, workflow, 3)
    body = {"subject_ids": [retired], "retirement_reason": "blank"}
    assert client("POST", f"/workflows/{workflow}/retired_subjects", body).status_code == 204
    path = f"/subject_workflow_statuses?workflow_id={workflow}&subject_id={seen},{untouched},{retired}&page_size=1"
    rows = []
    while path:
        page = client("GET", path).json()
        meta = page["meta"]["subject_workflow_statuses"]
        assert (meta["count"], meta["page_count"]) == (0, 0)
        rows += page["subject_workflow_statuses"]
        path = meta["next_href"]
    assert [(r["links"]["subject"], r["classifications_count"], r["retirement_reason"]) for r in rows] == [
        (seen, 3, None),
        (retired, 0, "nothing_here"),
    ]
    assert rows[0]["retired_at"] is None
    assert rows[1]["retired_at"]
