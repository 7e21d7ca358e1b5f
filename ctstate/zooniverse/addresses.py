"""Where a person sees with a browser what is on Zooniverse."""

import re

_SLUG = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def is_slug(text: str) -> bool:
    """Tell whether a text is a project's slug, `owner/project`: what is anything else would make no address."""
    return _SLUG.fullmatch(text) is not None


def project_page(endpoint: str, slug: str) -> str:
    """Return the address of a project."""
    return f"{endpoint}/projects/{slug}"


def subject_page(endpoint: str, slug: str, subject_id: int) -> str:
    """Return the address of a subject: its page in Talk, which shows its images to everybody."""
    return f"{project_page(endpoint, slug)}/talk/subjects/{subject_id}"
