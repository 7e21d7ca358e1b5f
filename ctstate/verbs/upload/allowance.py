"""Watching the account's allowance while an upload goes on (docs/panoptes-api.md, section 2)."""

import logging
from collections.abc import Sequence

from ctstate.errors import CtstateError
from ctstate.ledger import Ledger, uploads
from ctstate.machine import machine
from ctstate.words import counted
from ctstate.zooniverse import Account, Zooniverse

log = logging.getLogger(__name__)

LOOK_EVERY_S = 600.0
"""The server's own count is up to an hour old; to ask more often says little."""


def shortfall(account: Account, pending: int) -> str:
    """Return what to do where an account may not upload as much as is pending; empty where it may."""
    allowance = account.allowance
    if allowance is None or pending <= allowance:
        return ""
    return (
        f"account {account.login} may upload {counted(allowance, 'more subject')}, pending: {pending:,}; "
        f"ask Zooniverse (contact@zooniverse.org) to raise its limit of {account.subject_limit:,}"
    )


class AllowanceWatch:
    """Looks now and then, in a thread of its own, and warns once as soon as the allowance falls short.

    Args:
        ledger, zooniverse: of the upload.
        batches: keys of the batches it works on.
        warned: whether the user was told before it began.
    """

    def __init__(self, ledger: Ledger, zooniverse: Zooniverse, batches: Sequence[int], warned: bool) -> None:
        self._ledger = ledger
        self._zooniverse = zooniverse
        self._batches = list(batches)
        self._warned = warned
        self._ended = machine().event()
        self._thread = machine().thread(self._watch, "allowance")

    def close(self) -> None:
        """Look no more."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._warned and not self._ended.wait(LOOK_EVERY_S):
            try:
                self.look()
            except CtstateError as error:
                log.info("the allowance could not be looked at: %s", error)

    def look(self) -> None:
        """Look now."""
        with self._ledger.read() as connection:
            pending = uploads.count_without_subject(connection, self._batches)
        message = shortfall(self._zooniverse.me(), pending)
        if message and not self._warned:
            self._warned = True
            log.warning("%s", message)
