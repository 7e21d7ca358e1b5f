"""Carrying out what a story wants of Zooniverse for its one capture."""

import logging
from collections.abc import Callable
from typing import Any

from ctstate.errors import UnavailableError, ZooniverseError
from ctstate.ledger import Ledger, LiveRun, captures
from ctstate.verbs.upload.story import Create, FreshUrls, Prove, Put, TakeBack, Want
from ctstate.words import counted
from ctstate.zooniverse import Created, Zooniverse

log = logging.getLogger(__name__)


def create(want: Create, live: LiveRun, zooniverse: Zooniverse, project_id: int) -> Created:
    """Make a subject with one POST.

    Raises:
        FencedError: others may take this run for dead; nothing was sent.
        ZooniverseError: see `Zooniverse.create_subject`.
    """
    # Asked last: whether this process slept (SIGSTOP, a frozen node, a log-in that took long) through its lease.
    return zooniverse.create_subject(project_id, want.mimes, want.metadata, want.external_id, live.make_sure)


def fresh_urls(want: FreshUrls, zooniverse: Zooniverse) -> list[str]:
    """Return new places for the images of a subject that is there already.

    Raises:
        NotFoundError: it is there no more.
    """
    subject, etag = zooniverse.subject(want.subject_id)
    urls = zooniverse.fresh_urls(want.subject_id, etag, () if subject.mimes == want.mimes else want.mimes)
    if len(urls) != len(want.mimes):
        raise UnavailableError(
            f"subject {want.subject_id}: {counted(len(urls), 'place')} for {counted(len(want.mimes), 'image')}"
        )
    return urls


def put(want: Put, zooniverse: Zooniverse) -> bool:
    """Put an image; return whether the store vouched for it."""
    return zooniverse.put_image(want.url, want.image.data, want.image.mime, want.image.md5)


def prove(want: Prove, zooniverse: Zooniverse) -> bool:
    """Ask the store for an image; return whether it is there and the one that was sent."""
    return zooniverse.image_md5(want.url) == want.md5


def take_back(want: TakeBack, ledger: Ledger, zooniverse: Zooniverse) -> None:
    """Delete a subject that this run made too late, where the capture has another; else leave it to who looks for
    it."""
    with ledger.read() as connection:
        known = captures.subject_of(connection, want.key)
    if known in (None, want.subject_id):
        return
    try:
        zooniverse.delete_subject(want.subject_id)
    except ZooniverseError as error:
        log.warning("subject %s is one too many; `ctstate reconcile` takes it back: %s", want.subject_id, error)


def act_of(
    ledger: Ledger, live: LiveRun, zooniverse: Zooniverse, project_id: int
) -> dict[type[Want], Callable[[Any], Any]]:
    """Return what carries out each kind of want."""
    return {
        Create: lambda want: create(want, live, zooniverse, project_id),
        FreshUrls: lambda want: fresh_urls(want, zooniverse),
        Put: lambda want: put(want, zooniverse),
        Prove: lambda want: prove(want, zooniverse),
        TakeBack: lambda want: take_back(want, ledger, zooniverse),
    }
