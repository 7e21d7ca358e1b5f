"""Pages of a list: which part of what was found goes into one reply."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from ctstate.sandbox.model import etag
from ctstate.sandbox.replies import Json, document, meta, reply
from ctstate.words import whole_number


@dataclass
class Page:
    """Which page of which size is asked for."""

    number: int
    size: int
    asked: bool

    @classmethod
    def of(cls, query: dict[str, str], default: int = 20, most: int = 100) -> "Page":
        """The page of a request; more than `most` is cut (API notes, section 1)."""
        size = _positive(query.get("page_size", ""), default)
        return cls(_positive(query.get("page", ""), 1), min(size, most), "page_size" in query)

    @property
    def bounds(self) -> tuple[int, int]:
        """Index of its first item, and of the one after its last."""
        return (self.number - 1) * self.size, self.number * self.size


def filters(query: dict[str, str], names: Sequence[str]) -> str:
    """The filters as the reply's links show them: in alphabetical order, unescaped."""
    return "&".join(f"{name}={query[name]}" for name in sorted(names) if name in query)


def page_of(
    resource: str,
    items: Sequence[Any],
    shape: Callable[[Any], Json],
    query: dict[str, str],
    names: Sequence[str],
    default: int = 20,
    most: int = 100,
    sort: str = "",
) -> Response:
    """One page of `items`, which are in order already."""
    page = Page.of(query, default, most)
    first, last = page.bounds
    return page_reply(resource, list(items[first:last]), len(items), shape, page, filters(query, names), sort)


def page_reply(
    resource: str,
    shown: list[Any],
    count: int,
    shape: Callable[[Any], Json],
    page: Page,
    query: str,
    sort: str = "",
) -> Response:
    """A reply with the `shown` ones of `count`."""
    about = meta(
        resource,
        count=count,
        page=page.number,
        page_size=page.size,
        query=query,
        size_asked=page.asked,
        sort=sort,
    )
    tag = etag(resource, [item for item in shown if hasattr(item, "version")])
    return reply(200, document(resource, [shape(item) for item in shown], about), {"ETag": tag})


def _positive(text: str, default: int) -> int:
    return whole_number(text) or default
