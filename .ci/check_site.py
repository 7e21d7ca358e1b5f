"""Follow every link of the built site that leads into it, without a network: `python .ci/check_site.py FOLDER`."""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ALSO_NAMED = {"genindex.html", "search.html", "py-modindex.html"}


class Page(HTMLParser):
    """Collects where a page leads, and what of it can be led to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a tag."""
        for name, value in attrs:
            if value is None:
                continue
            if name in ("id", "name"):
                self.anchors.add(value)
            elif name in ("href", "src"):
                self.links.append(value)


def broken(site: Path) -> Iterator[str]:
    """Yield the links of a site that lead nowhere."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith(("data:", "mailto:")):
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            if not target.exists():
                if target.name not in ALSO_NAMED:
                    yield f"{path.relative_to(site)}: {link}: no such file"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{path.relative_to(site)}: {link}: no such place in it"


def main(folder: str) -> int:
    """Print what is broken; return 1 if anything is."""
    site = Path(folder).resolve()
    found = list(broken(site))
    count = len(list(site.rglob("*.html")))
    print("\n".join(found) or f"{count} pages, no link leads nowhere")
    return 1 if found or not count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
