"""One browser for all tests of a process; see `browser`."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.browser import Seen, opened, started


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, for all tests of this process."""
    with started() as made:
        yield made


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Seen]]:
    """`open_page(address, scheme="dark", width=360)`; the windows are closed with the test."""

    def open_one(address: str, **how: Any) -> Seen:
        return opened(browser, address, **how)

    yield open_one
    for context in browser.contexts:
        context.close()
