"""Pages of ctstate in a real browser: Debian's Chromium, driven by Playwright.

A test takes `open_page(address, scheme=, width=)` (from `conftest.py`), which returns a `Seen`: the page, and all
that it said and asked for. `assert_clean(seen)` is what holds of every page: nothing on the console, no request
outside, no horizontal scrolling, and nothing that axe-core finds, contrast included.
"""

import functools
import importlib.util
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / ".venv-browser" / "axe.min.js"

SCHEMES = ("light", "dark")
WIDTHS = (360, 1400)
WAYS = [pytest.param(scheme, width, id=f"{scheme}-{width}") for scheme in SCHEMES for width in WIDTHS]
"""How a page is looked at: `@pytest.mark.parametrize(("scheme", "width"), WAYS)`."""

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


@functools.cache
def chromium() -> str | None:
    """Return where Chromium is."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def missing() -> str:
    """Return what is missing to open a page; empty where there is all."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed"
    if chromium() is None:
        return "no Chromium is installed (Debian: apt-get install chromium)"
    if not AXE.exists():
        return f"no axe-core: `make {AXE.relative_to(ROOT)}` fetches it (it needs npm)"
    return ""


@contextmanager
def started() -> Iterator["Browser"]:
    """Start a browser; without one, the test is skipped on a person's machine and fails in CI."""
    if what := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(what)
        pytest.skip(what)
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root it does not start in its sandbox
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=options)
        yield browser
        browser.close()


@dataclass
class Seen:
    """A page, and what happened since it was opened.

    Attributes:
        page: Playwright's.
        said: on the console, errors that nobody caught included.
        requests: every address that was asked for.
    """

    page: "Page"
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def unfold(self) -> None:
        """Open all that can be unfolded."""
        self.page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")

    def outside(self, allowed: Sequence[str]) -> list[str]:
        """Return what was asked for and begins with none of these."""
        return [address for address in self.requests if not address.startswith((*allowed, "data:"))]


def opened(browser: "Browser", address: str, *, scheme: str = "light", width: int = 1400) -> Seen:
    """Open a page in a window of its own, as somebody with this colour scheme and width would."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, locale="en-GB")  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(20_000)
    seen = Seen(page)
    page.on("console", lambda message: seen.said.append(message.text))
    page.on("pageerror", lambda error: seen.said.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.goto(address)
    return seen


def violations(seen: Seen) -> list[str]:
    """Return what axe-core finds wrong with a page as it is now."""
    seen.page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = seen.page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", list(RULES)
    )
    return [
        f"{rule['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for rule in found["violations"]
        for node in rule["nodes"][:3]
    ]


def overflow(seen: Seen) -> int:
    """Return by how many pixels a page is wider than its window."""
    return int(seen.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


def assert_clean(seen: Seen, allowed: Sequence[str] = ()) -> None:
    """Fail unless a page is quiet, keeps to itself and to its window, and can be read by all.

    Args:
        seen: the page.
        allowed: with what addresses begin that it may ask for; by default with its own.
    """
    here = seen.page.url.partition("#")[0]
    assert seen.outside(allowed or (here,)) == []
    assert overflow(seen) <= 0
    assert violations(seen) == []
    assert seen.said == []
