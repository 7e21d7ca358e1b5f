"""The live page in a browser: no message on the console, no request outside, nothing to scroll sideways.

In Debian's Chromium, light and dark, on a wide screen and on a telephone; with the keyboard; without JavaScript.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ctstate.ledger import Ledger
from tests.browser.browser import WAYS, Seen, overflow, violations
from tests.builders.live_page import SCRIPT, Served, make_ledger, serving

PAGES = (
    "/", "/sites", "/captures", "/captures?state=failed", "/capture/4", "/capture/13", "/runs", "/runs/1",
    "/failures", "/sql", "/sql?q=SELECT+*+FROM+v_captures",
)  # fmt: skip


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_ledger(tmp_path_factory.mktemp("browsed") / "season")


@pytest.fixture(scope="module")
def live(ledger: str, browser: Any) -> Iterator[tuple[Served, Any]]:
    """The page, and the cookies of the browser that opened its address."""
    with serving(ledger) as served:
        context = browser.new_context()
        page = context.new_page()
        page.goto(served.entrance)
        page.wait_for_url(f"{served.url}/")
        yield served, context.storage_state()


class Watched:
    """A tab, and what it should not have done."""

    def __init__(self, browser: Any, live: tuple[Served, Any], **options: Any) -> None:
        self.served, cookies = live
        self.context = browser.new_context(storage_state=cookies, **options)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self._is_inside(request.url))

    def _is_inside(self, url: str) -> None:
        if not url.startswith((f"{self.served.url}/", "data:")):
            self.wrong.append(url)

    def open(self, path: str) -> None:
        self.page.goto(self.served.url + path)
        self.page.wait_for_load_state("load")


@pytest.mark.parametrize(("scheme", "width"), WAYS)
def test_every_page_is_clean(browser: Any, live: tuple[Served, Any], scheme: str, width: int) -> None:
    tab = Watched(browser, live, color_scheme=scheme, viewport={"width": width, "height": 900})
    for path in PAGES:
        tab.open(path)
        seen = Seen(tab.page)
        assert overflow(seen) <= 0, path
        seen.unfold()
        assert overflow(seen) <= 0, path
        if width == 1400:  # nothing that axe-core looks for depends on the width
            assert violations(seen) == [], path
        assert tab.page.evaluate(
            "document.querySelectorAll('main script, main [style], main [onclick]').length"
        ) == (0 if path != "/" else tab.page.evaluate("document.querySelectorAll('.plot [style]').length"))
    assert tab.wrong == []
    tab.context.close()


def test_it_looks_again_by_itself(browser: Any, live: tuple[Served, Any], ledger: str) -> None:
    tab = Watched(browser, live)
    tab.open("/")
    before = tab.page.text_content(".lead")
    tab.page.click("#hours-as-table")
    tab.page.evaluate("document.activeElement.blur()")
    with Ledger.open(ledger) as opened, opened.write() as connection:
        connection.execute(
            text("UPDATE capture SET state = 'uploaded', subject_id = 7000000 + id, moved_at = '2030' ||"
                 " substr(moved_at, 5) WHERE state = 'uploading'")
        )  # fmt: skip
    tab.page.wait_for_function(
        "words => document.querySelector('.lead').textContent !== words", arg=before, timeout=30_000
    )
    assert tab.page.evaluate("document.getElementById('hours-as-table').parentElement.open")
    assert tab.page.locator(".plot canvas").count() == 1
    assert tab.wrong == []
    tab.context.close()


def test_it_rests_while_the_tab_is_hidden(browser: Any, live: tuple[Served, Any]) -> None:
    tab = Watched(browser, live)
    tab.page.clock.install()
    tab.open("/runs")
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    tab.page.clock.run_for(60_000)
    assert [url for url in asked if "/static/" not in url] == []
    tab.page.evaluate("delete document.hidden")
    with tab.page.expect_response("**/runs"):
        tab.page.clock.run_for(6_000)
    assert tab.wrong == []
    tab.context.close()


def test_with_the_keyboard_alone(browser: Any, live: tuple[Served, Any]) -> None:
    tab = Watched(browser, live)
    tab.open("/captures")
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.className") == "skip"
    tab.page.keyboard.press("/")
    tab.page.keyboard.type("1#17")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**text=1%2317*")
    tab.page.locator('td a[href^="/capture/"]').first.focus()
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/capture/*")
    assert "#1#17" in str(tab.page.text_content("h1"))
    assert tab.wrong == []
    tab.context.close()


def test_all_can_be_read_without_javascript(browser: Any, live: tuple[Served, Any]) -> None:
    tab = Watched(browser, live, java_script_enabled=False)
    for path in PAGES:
        tab.open(path)
        assert tab.page.locator("h1").count() == 1
    tab.open("/captures")
    tab.page.select_option('select[name="state"]', "failed")
    tab.page.click("text=Show")
    tab.page.wait_for_url("**state=failed*")
    tab.open("/sites")
    tab.page.click(f"text={SCRIPT} >> nth=1")
    assert tab.page.locator("tbody tr").count() > 5
    assert tab.wrong == []
    tab.context.close()


def test_images_are_shown(browser: Any, live: tuple[Served, Any], tmp_path: Path) -> None:
    tab = Watched(browser, live)
    tab.open("/capture/4")
    images = "[...document.querySelectorAll('.images img')]"
    tab.page.evaluate(f"Promise.all({images}.map((image) => image.decode()))")  # they may come after the page
    assert tab.page.evaluate(f"{images}.map((image) => image.naturalWidth)") == [360]
    assert tab.wrong == []
    tab.context.close()
