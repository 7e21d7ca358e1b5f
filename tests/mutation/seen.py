"""A pytest plugin: which functions of ctstate each test calls, and how long it takes; `__main__` reads it."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

_called: set[CodeType] = set()
_tests: dict[str, dict[str, Any]] = {}
_no_good: set[str] = set()


def _note(frame: FrameType, what: str, _: object) -> None:
    if what == "call":
        _called.add(frame.f_code)


def _seconds() -> float:
    """The time, but for what this thread waited because others had the processors."""
    return time.monotonic() - int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if not report.passed:
        _no_good.add(report.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _called.clear()
    threading.setprofile(_note)
    sys.setprofile(_note)
    began = _seconds()
    try:
        return (yield)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        names = {f"{code.co_filename.rpartition('/ctstate/')[2]}:{code.co_firstlineno}" for code in _called}
        rooms = ("ledger/", "verbs/upload/", "zooniverse/")
        _tests[item.nodeid] = {
            "seconds": round(_seconds() - began, 3),
            "calls": sorted(name for name in names if name.startswith(rooms)),
        }


def pytest_sessionfinish() -> None:
    kept = Path(os.environ["CTSTATE_MUTATION_MAP"])
    before = json.loads(kept.read_text()) if kept.exists() else {}
    every = {name: of for name, of in {**before, **_tests}.items() if name not in _no_good}
    kept.write_text(json.dumps(every, indent=0))
