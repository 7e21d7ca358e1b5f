"""Writes of many captures share a commit, and none of them waits for company that it does not need."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from ctstate.verbs.upload import commits
from ctstate.verbs.upload.commits import ENOUGH, Committer

FOREVER_S = 3600.0
A_CLAIM: Any = None


class Pad:
    """A ledger that notes how many writes each commit carries; `hold` makes commits wait."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.hold = threading.Event()
        self.hold.set()

    def do(self, work: Callable[[Any], None]) -> None:
        self.hold.wait(30)
        work(None)

    def write_down(self, connection: object, pages: Sequence[object]) -> None:
        self.sizes.append(len(pages))


@pytest.fixture
def pad(monkeypatch: pytest.MonkeyPatch) -> Pad:
    made = Pad()
    monkeypatch.setattr(commits, "write_down", made.write_down)
    return made


@pytest.fixture
def committer(pad: Pad, monkeypatch: pytest.MonkeyPatch) -> Iterator[Committer]:
    monkeypatch.setattr(commits, "GATHER_S", FOREVER_S)
    made = Committer(pad, pytest.fail)  # type: ignore[arg-type]
    yield made
    made.close()


def submit(committer: Committer, number: int) -> threading.Semaphore:
    """Hand in writes; the semaphore is released once for each that is written."""
    written = threading.Semaphore(0)
    for _ in range(number):
        committer.submit(A_CLAIM, (), lambda error: written.release())
    return written


def all_of(written: threading.Semaphore, number: int) -> bool:
    return all(written.acquire(timeout=30) for _ in range(number))


def test_enough_writes_are_a_commit_at_once(committer: Committer, pad: Pad) -> None:
    assert all_of(submit(committer, ENOUGH), ENOUGH)
    assert pad.sizes == [ENOUGH]


def test_what_comes_during_a_commit_is_in_the_next_whatever_its_number(committer: Committer, pad: Pad) -> None:
    pad.hold.clear()
    first = submit(committer, ENOUGH)
    while committer._queue:  # until the thread has taken them
        threading.Event().wait(0.001)
    more = submit(committer, 3 * ENOUGH + 1)
    pad.hold.set()
    assert all_of(first, ENOUGH)
    assert all_of(more, 3 * ENOUGH + 1)
    assert pad.sizes == [ENOUGH, 3 * ENOUGH + 1]


def test_fewer_are_written_when_the_run_ends(committer: Committer, pad: Pad) -> None:
    written = submit(committer, 3)
    committer.close()
    assert all_of(written, 3)
    assert sum(pad.sizes) == 3


def test_fewer_wait_no_longer_than_they_have_to(pad: Pad, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "GATHER_S", 0.01)
    committer = Committer(pad, pytest.fail)  # type: ignore[arg-type]
    assert all_of(submit(committer, 1), 1)
    committer.close()
