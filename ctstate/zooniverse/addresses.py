"""Where Zooniverse is, and where a person sees with a browser what is there."""

import re

DEFAULT_ENDPOINT = "https://www.zooniverse.org"

_SLUG = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def is_slug(text: str) -> bool:
    """Tell whether a text is a project's slug, `owner/project`: what is anything else would make no address."""
    return _SLUG.fullmatch(text) is not None


def project_page(endpoint: str, slug: str) -> str:
    """Return the address of a project."""
    return f"{endpoint}/projects/{slug}"
