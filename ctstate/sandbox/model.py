"""The things of the sandbox's world, as they are held in memory."""

import hashlib
import time
from dataclasses import dataclass, field
from typing import Any

Location = tuple[str, str]
"""MIME type and, for an image hosted elsewhere, its URL."""

SUFFIXES = {
    "image/jpeg": "jpeg",
    "image/png": "png",
    "image/gif": "gif",
    "image/svg+xml": "svg",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "video/mp4": "mp4",
    "video/mpeg": "mpeg",
    "text/plain": "txt",
    "application/json": "json",
}
"""MIME types that a location may have (API notes, section 4), and what their files' names end with."""


def timestamp(seconds: float) -> str:
    """A moment as the API writes it: `2026-11-23T19:10:00.000Z`."""
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1000):03d}Z"


@dataclass
class User:
    """An account."""

    id: int
    login: str
    password: str
    subject_limit: int
    banned: bool
    created: float
    uploaded: int = 0
    """Subjects that count towards the limit now."""
    cached_count: int = 0
    """What the API says they are: `uploaded`, as it was when it was last counted."""
    cached_until: float = 0.0


@dataclass
class Token:
    """An access token with its refresh token."""

    access: str
    refresh: str
    user: int
    created: float
    expires: float
    replaces: str = ""
    """The access token to revoke when this one is first used (API notes, section 1)."""
    revoked: bool = False


@dataclass
class Project:
    """A project; `members` are its owner and collaborators."""

    id: int
    owner: int
    display_name: str
    slug: str
    created: float
    updated: float
    version: int = 0
    collaborators: set[int] = field(default_factory=set)

    def open_to(self, user: User | None) -> bool:
        """Whether `user` may see and change what is in it."""
        return user is not None and (user.id == self.owner or user.id in self.collaborators)


@dataclass
class Workflow:
    """A workflow with the ids of its subject sets."""

    id: int
    project: int
    display_name: str
    active: bool
    created: float
    updated: float
    version: int = 0
    sets: list[int] = field(default_factory=list)


@dataclass
class Member:
    """One subject's place in one set."""

    id: int
    set: int
    subject: int
    priority: float | None
    created: float


@dataclass
class SubjectSet:
    """A subject set. `members` holds active subjects only, in the order in which they were linked."""

    id: int
    project: int
    display_name: str
    metadata: dict[str, Any]
    created: float
    updated: float
    version: int = 0
    count: int = 0
    """`set_member_subjects_count` as it was last refreshed."""
    count_due: float = 0.0
    deleted: bool = False
    members: dict[int, Member] = field(default_factory=dict)
    ghosts: set[int] = field(default_factory=set)
    """Members that were deactivated but are not yet removed for good."""
    ordered: list[int] | None = None
    """Cache of the member ids in ascending order."""

    def ids(self) -> list[int]:
        """Ids of the active members, ascending."""
        if self.ordered is None:
            self.ordered = sorted(self.members)
        return self.ordered


@dataclass
class Image:
    """One image of a subject; `key` is empty when it is hosted elsewhere."""

    id: int
    subject: int
    position: int
    mime: str
    key: str
    url: str
    size: int = -1
    md5: str = ""
    content_type: str = ""
    updated: float = 0.0

    @property
    def arrived(self) -> bool:
        """Whether the store has it, be it empty."""
        return self.size >= 0

    @property
    def whole(self) -> bool:
        """Whether a volunteer would see it."""
        return bool(self.url) or self.size > 0


@dataclass
class Subject:
    """A subject. A deactivated one stays here, so that tests can see what once was."""

    id: int
    project: int
    uploader: int
    external_id: str | None
    metadata: dict[str, Any]
    created: float
    updated: float
    version: int = 0
    deactivated: float = 0.0
    images: list[Image] = field(default_factory=list)
    sets: list[int] = field(default_factory=list)

    @property
    def active(self) -> bool:
        """Whether the API still shows it."""
        return not self.deactivated


@dataclass
class Status:
    """What volunteers did with one subject in one workflow."""

    id: int
    workflow: int
    subject: int
    classifications: int
    retired: float
    reason: str | None
    created: float
    updated: float


def etag(kind: str, items: list[Any]) -> str:
    """ETag of one or several resources: it changes when one of them does."""
    text = kind + ";".join(f"{item.id}:{item.version}" for item in items)
    return f'W/"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}"'
