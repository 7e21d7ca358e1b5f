"""A long list is read some pages at a time, and whole, whatever happens to it meanwhile."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from ctstate.zooniverse import PAGES_AT_ONCE, Zooniverse
from tests.zooniverse_http.servers import Reply, Request, Web, says

SET = 5


class Shelf:
    """Subjects of a set, by their pages.

    Attributes:
        ids: in the set; `change` may add and take away.
        asked: how often each page was asked for.
        most: pages that were asked for side by side.
    """

    def __init__(self, count: int, change: Callable[[int, list[int]], None] = lambda page, ids: None) -> None:
        self.ids = list(range(1, count + 1))
        self.asked: Counter[int] = Counter()
        self.most = self._now = 0
        self._change = change
        self._guard = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        found = re.search(r"\bpage=(\d+)", request.path)
        assert found is not None
        page = int(found.group(1))
        with self._guard:
            self._now += 1
            self.most = max(self.most, self._now)
            self.asked[page] += 1
        time.sleep(0.02)
        with self._guard:
            self._now -= 1
            self._change(page, self.ids)
            rows = [_subject(number) for number in self.ids[100 * (page - 1) : 100 * page]]
            more = page + 1 if len(self.ids) > 100 * page else None
            return says(200, {"subjects": rows, "meta": {"subjects": {"count": len(self.ids), "next_page": more}}})


@pytest.fixture
def z(connect: Callable[..., Zooniverse], web: Web) -> Zooniverse:
    return connect(web.url)


def _subject(number: int) -> dict[str, Any]:
    return {"id": str(number), "links": {"project": "1", "subject_sets": [str(SET)]}, "locations": []}


def _listed(z: Zooniverse, web: Web, shelf: Shelf) -> list[int]:
    web.answers["GET /api/subjects"] = shelf
    return [subject.id for subject in z.subjects_in_set(SET)]


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250, 900, 1950])
def test_all_are_there_in_their_order_and_no_page_is_asked_for_twice(z: Zooniverse, web: Web, count: int) -> None:
    shelf = Shelf(count)
    assert _listed(z, web, shelf) == list(range(1, count + 1))
    assert set(shelf.asked) == set(range(1, max(1, -(-count // 100)) + 1))
    assert set(shelf.asked.values()) == {1}
    assert shelf.most <= PAGES_AT_ONCE
    assert shelf.most > 1 or count <= 200


def test_what_is_added_meanwhile_is_there_too(z: Zooniverse, web: Web) -> None:
    def grow(page: int, ids: list[int]) -> None:
        if page == 3 and len(ids) == 250:
            ids.extend(range(251, 621))

    assert _listed(z, web, Shelf(250, grow)) == list(range(1, 621))


def test_a_list_that_gets_shorter_meanwhile_ends(z: Zooniverse, web: Web) -> None:
    def shrink(page: int, ids: list[int]) -> None:
        if page == 4:
            del ids[350:]

    listed = _listed(z, web, Shelf(1950, shrink))
    assert listed[:350] == list(range(1, 351))
    assert listed == sorted(set(listed))


def test_who_stops_reading_has_not_read_it_all(z: Zooniverse, web: Web) -> None:
    shelf = Shelf(1950)
    web.answers["GET /api/subjects"] = shelf
    for subject in z.subjects_in_set(SET):
        if subject.id == 150:
            break
    assert sum(shelf.asked.values()) == 1 + PAGES_AT_ONCE


def test_how_long_replies_took_is_counted(web: Web, connect) -> None:
    z = connect(web.url)
    before = time.monotonic()
    z.me()
    assert 0.0 < z.traffic.seconds < time.monotonic() - before
