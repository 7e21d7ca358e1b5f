"""A copy of the ledger beside it (`ctstate backup`), and the copies that verbs make before what cannot be undone.

A copy that is put back knows nothing of what was uploaded since: `upload` notices that and refuses to go on, and
`reconcile` brings it up to date (docs/disaster.md).
"""

import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ctstate.errors import LedgerError, UsageError
from ctstate.ledger import Ledger, history
from ctstate.ledger.clock import age
from ctstate.ledger.migrate import HEAD

log = logging.getLogger(__name__)

ENOUGH_S = 3600.0
"""No copy is made of itself where one is that is younger."""


@dataclass(frozen=True)
class Backup:
    """A copy of a ledger.

    Attributes:
        path: where it is.
        bytes: its size.
        captures: how many it holds.
        note: what a person, or a verb, said of it.
    """

    path: str
    bytes: int
    captures: int
    note: str | None


def backup(ledger: Ledger, to: str | os.PathLike[str] | None = None, *, note: str | None = None) -> Backup:
    """Copy a ledger that is a file, beside live uploads or not, and look whether the copy is whole.

    The copy is there as a whole or not at all; what it holds is one moment's picture. A row of `v_backups` says so,
    unless the ledger can only be read.

    Args:
        ledger: the ledger.
        to: a new file; by default beside the ledger, with its version and this moment in the name.
        note: for the record.

    Raises:
        UsageError: the ledger is on a server, whose own tool makes copies, or there is something at `to`.
        LedgerError: no copy could be made, or it is damaged as the ledger is.
    """
    if ledger.path is None:
        raise UsageError(
            f"ledger {ledger.name} is on a server, which makes copies of its own: "
            "`pg_dump --format=custom --file=ledger.dump DATABASE`, and `pg_restore` to put one back"
        )
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    target = ledger.path.with_name(f"{ledger.path.name}.backup-{HEAD}-{stamp}") if to is None else Path(to)
    if target.exists():
        raise UsageError(f"{target} is there already: name a new file for the copy")
    captures = ledger.back_up(target)
    made = Backup(str(target.absolute()), target.stat().st_size, captures, note)
    try:
        with ledger.atomic_run("backup", {"note": note}) as (connection, run_id):
            history.note_backup(connection, run_id, made.path, made.bytes, made.captures, made.note)
    except LedgerError as error:  # the copy is worth more than the note of it
        log.warning("the copy is not noted in the ledger: %s", error)
    return made


def back_up_before(ledger: Ledger, verb: str) -> Backup | None:
    """Make a copy before a verb does what cannot be undone; None where one is young enough, or it is on a server.

    Raises:
        LedgerError: no copy could be made.
    """
    if ledger.path is None:
        return None
    with ledger.read() as connection:
        last = history.last_backup(connection)
    if last is not None and age(last.made_at) < ENOUGH_S and Path(last.path).exists():
        return None
    return backup(ledger, note=f"before {verb}")
