"""What the tests in a browser hold pages to, on pages that are as they should not be."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser import browser
from tests.browser.browser import Seen, assert_clean, missing, started

GOOD = "<!doctype html><html lang=en><meta charset=utf-8><title>t</title><main><h1>t</h1>{}</main></html>"


@pytest.mark.parametrize(
    "wrong",
    [
        "<p style='color: #aaa'>too pale to read</p>",
        "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>",
        "<p style='width: 3000px'>too wide</p>",
        "<img alt=x src='http://127.0.0.1:9/x.png'>",
        "<script>console.log('x')</script>",
        "<script>throw new Error('x')</script>",
    ],
)
def test_what_is_wrong_is_found(wrong: str, open_page: Callable[..., Seen], tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(GOOD.format(wrong), encoding="utf-8")
    with pytest.raises(AssertionError):
        assert_clean(open_page((tmp_path / "page.html").as_uri()))
    (tmp_path / "good.html").write_text(GOOD.format("<p>fine</p>"), encoding="utf-8")
    assert_clean(open_page((tmp_path / "good.html").as_uri()))


def test_without_a_browser_a_person_is_told_why_and_ci_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(browser, "AXE", browser.ROOT / ".venv-browser" / "none.js")
    assert "make .venv-browser/none.js" in missing()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception), started():
        pass
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception), started():
        pass
