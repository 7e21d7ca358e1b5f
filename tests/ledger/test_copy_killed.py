"""`ctstate copy` is killed at any step: at most one of the two can be written, and the same call goes on."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ctstate.errors import LedgerError
from ctstate.ledger import Ledger, moving
from ctstate.verbs.copy import copy
from tests.builders.ledgers import ON_POSTGRES
from tests.builders.places import FILE, POSTGRES, Rows, make_full, may_be_written, new_place, rows_of
from tests.ledger.test_copy import WAYS, arrived

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="about both kinds of databases: make test-postgres")

STATEMENT, COMMIT = "s", "c"


@contextmanager
def at_each_step(do: Callable[[str], None]) -> Iterator[None]:
    """Call a function before each statement and each COMMIT of this process."""

    def statement(*_: Any) -> None:
        do(STATEMENT)

    def commit(_: Any) -> None:
        do(COMMIT)

    event.listen(Engine, "before_cursor_execute", statement)
    event.listen(Engine, "commit", commit)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", statement)
        event.remove(Engine, "commit", commit)


def steps_of(source: str, target: str) -> str:
    """Copy, and return what each step was."""
    steps: list[str] = []
    with at_each_step(steps.append):
        copy(source, target)
    return "".join(steps)


def killed_at(step: int, source: str, target: str) -> None:
    """Copy in a process of its own that is killed before that step."""
    child = os.fork()
    if child == 0:
        left = [step]

        def count_down(_: str) -> None:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

        try:
            with at_each_step(count_down):
                copy(source, target)
        finally:
            os._exit(1)  # it should be dead
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), (step, status)


def chosen(steps: str) -> list[int]:
    """Before and after each of the last commits, which are those that write, and now and then in between."""
    commits = [number for number, kind in enumerate(steps) if kind == COMMIT][-6:]
    after = [number + 1 for number in commits if number + 1 < len(steps)]
    return sorted({*commits, *after, *range(0, len(steps), max(len(steps) // 4, 1))})


def check(source: str, target: str, before: Rows, identity: str) -> str:
    """Hold what must hold after a kill; return which of the two is the ledger now: source, target, neither."""
    writable = {place for place in (source, target) if may_be_written(place) == identity}
    assert len(writable) <= 1
    if source in writable:
        assert rows_of(source, but_marks=True) == before
        return "source"
    with pytest.raises(LedgerError, match="it has moved to"):
        Ledger.open(source)
    if target in writable:
        return "target"
    with pytest.raises(LedgerError, match="is not finished"):
        Ledger.open(target)
    return "neither"


def killed_and_called_again(step: int, source: str, target: str) -> str:
    """Kill a copy at a step and call it again; return which of the two could be written in between."""
    before, identity = rows_of(source, but_marks=True), may_be_written(source)
    assert identity is not None
    killed_at(step, source, target)
    writable = check(source, target, before, identity)
    copy(source, target)
    arrived(before, rows_of(target, but_marks=True))
    assert (may_be_written(source), may_be_written(target)) == (None, identity)
    return writable


@pytest.mark.parametrize(("kind", "other"), WAYS, ids=["-to-".join(way) for way in WAYS])
def test_killed_at_any_step_it_is_called_again(kind: str, other: str, tmp_path: Path) -> None:
    steps = steps_of(make_full(new_place(kind, tmp_path)), new_place(other, tmp_path))
    seen = []
    for step in chosen(steps):
        source, target = make_full(new_place(kind, tmp_path)), new_place(other, tmp_path)
        seen.append(killed_and_called_again(step, source, target))
    # It went from the one to the other, and there was an instant at which it was neither.
    assert [name for name, last in zip(seen, [None, *seen], strict=False) if name != last] == [
        "source", "neither", "target",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [FILE, POSTGRES])
def test_killed_on_the_way_back_it_is_called_again(kind: str, tmp_path: Path) -> None:
    """The one that is filled anew was full, and closed, before."""

    def moved() -> tuple[str, str]:
        first, second = make_full(new_place(FILE, tmp_path)), new_place(kind, tmp_path)
        copy(first, second)
        with Ledger.open(second) as ledger, ledger.atomic_run("written in the new one", {}):
            pass
        return second, first

    seen = []
    for step in chosen(steps_of(*moved())):
        source, target = moved()
        seen.append(killed_and_called_again(step, source, target))
    assert {"source", "neither", "target"} == set(seen)


@pytest.mark.parametrize("kind", [FILE, POSTGRES])
def test_a_copy_that_slept_at_the_end_opens_nothing_that_has_moved_on(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have ended its work meanwhile, and moved the ledger again."""
    source, target, third = (
        make_full(new_place(kind, tmp_path)),
        new_place(kind, tmp_path),
        new_place(FILE, tmp_path),
    )
    before, identity = rows_of(source), may_be_written(source)
    assert identity is not None
    open_at_last = moving._open

    def after_a_long_sleep(*arguments: Any) -> Any:
        monkeypatch.undo()
        assert check(source, target, before, identity) == "neither"
        copy(source, target)
        copy(target, third)
        return open_at_last(*arguments)

    monkeypatch.setattr(moving, "_open", after_a_long_sleep)
    with pytest.raises(LedgerError, match=r"it has moved to .*ledger"):
        copy(source, target)
    assert [may_be_written(place) for place in (source, target, third)] == [None, None, identity]


def test_a_copy_that_was_killed_does_not_keep_the_ledger_from_its_work(tmp_path: Path) -> None:
    """It goes on, and a later copy has what it did since; or it goes elsewhere."""
    source, target = make_full(new_place(FILE, tmp_path)), new_place(POSTGRES, tmp_path)
    steps = steps_of(make_full(new_place(FILE, tmp_path)), new_place(POSTGRES, tmp_path))
    # Before the commit that decides; the target is opened after it, and looked at.
    decides = [number for number, kind in enumerate(steps) if kind == COMMIT][-3]
    killed_at(decides, source, target)
    identity = may_be_written(source)
    with pytest.raises(LedgerError, match="is not finished"):
        Ledger.open(target)
    with Ledger.open(source) as ledger, ledger.atomic_run("since", {}) as (_, since):
        pass
    elsewhere = new_place(FILE, tmp_path)
    copy(source, elsewhere)
    with pytest.raises(LedgerError, match=f"it has moved to {elsewhere}"):
        copy(source, target)  # which is of an earlier copying, and stays closed
    with pytest.raises(LedgerError, match="is not finished"):
        Ledger.open(target)
    copy(elsewhere, target)
    assert may_be_written(target) == identity
    assert since in [row[0] for row in rows_of(target)["run"]]
