"""`ctstate report` in a browser: light and dark, on a telephone and a screen, on paper."""

from collections.abc import Callable

import pytest

from ctstate.ledger import Ledger
from ctstate.verbs.report import report
from tests.browser.browser import WAYS, Seen, assert_clean, overflow
from tests.builders.ledgers import no_ledger_at
from tests.builders.told_season import MARKUP, ODD, make


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a season in which everything happened."""
    folder = tmp_path_factory.mktemp("told")
    place = no_ledger_at(folder / "ledger.db")
    make(folder, place, per_day=1)
    with Ledger.open(place, read_only=True) as ledger:
        report(ledger, folder / "season.html")
    return (folder / "season.html").as_uri()


@pytest.mark.parametrize(("scheme", "width"), WAYS)
def test_it_is_quiet_and_can_be_read_by_all(
    page: str, open_page: Callable[..., Seen], scheme: str, width: int
) -> None:
    seen = open_page(page, scheme=scheme, width=width)
    assert overflow(seen) <= 0
    seen.unfold()
    assert_clean(seen)
    assert seen.requests == [page, *(address for address in seen.requests if address.startswith("data:image/jpeg"))]
    dark = seen.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


def test_names_are_words_and_nothing_else(page: str, open_page: Callable[..., Seen]) -> None:
    seen = open_page(page)
    assert seen.page.locator("script").count() == 0
    names = seen.page.locator("#sites ~ .rows .name").all_text_contents()
    assert set(ODD) <= set(names)
    assert seen.page.get_by_text(MARKUP, exact=True).count() >= 2


def test_each_picture_says_what_it_shows(page: str, open_page: Callable[..., Seen]) -> None:
    seen = open_page(page)
    pictures = seen.page.locator("main svg[role=img]")
    assert pictures.count() > 30
    assert all(label for label in pictures.evaluate_all("all => all.map(each => each.getAttribute('aria-label'))"))
    images = seen.page.locator("img")
    assert images.count() > 0
    assert images.evaluate_all("all => all.every(each => each.complete && each.naturalWidth > 0)")


def test_on_paper_it_is_light_and_unfolded(page: str, open_page: Callable[..., Seen]) -> None:
    seen = open_page(page, scheme="dark", width=794)
    table = seen.page.locator("#sites ~ details table")
    assert not table.is_visible()
    seen.page.emulate_media(media="print")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not seen.page.locator("nav").is_visible()
    assert overflow(seen) <= 0
    assert table.is_visible()
