"""A live page of a ledger with names that nobody should give a site."""

from collections.abc import Iterator

import pytest

from tests.builders.live_page import Served, make_ledger, serving


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Such a ledger, to look at."""
    return make_ledger(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def served(hostile: str) -> Iterator[Served]:
    """A page of that ledger, entered."""
    with serving(hostile) as page:
        page.enter()
        yield page
