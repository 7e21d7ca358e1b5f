"""The ledger, the place that it is in, and whether there is room."""

import os
import shutil
from pathlib import Path

from ctstate.ledger import Ledger, checkup
from ctstate.ledger.database import place_of
from ctstate.ledger.dialect import Level
from ctstate.ledger.migrate import HEAD
from ctstate.ledger.sqlite import file_system_of, on_network
from ctstate.verbs.doctor.findings import FAIL, OK, SKIP, WARN, Facts, Result
from ctstate.verbs.doctor.locks import Locks, LockVerdict, self_test

LITTLE_SPACE, NO_SPACE = 2 * 1024**3, 200 * 1024**2
"""Bytes free: below the first a long run may fill the disk; below the second it will."""


def ledger(facts: Facts) -> Result:
    """Return whether the ledger is there, can be written, and is of this version."""
    place = place_of(facts.patient.ledger)
    facts.path = place.path
    if facts.path is None:
        facts.server = checkup.look_at_server(place)
        if facts.server.version is None:
            return WARN, f"no ledger in {place.name} yet", "`ctstate manifest` makes one; --ledger names another"
        return _of_version(facts, place.name, facts.server.version)
    if not facts.path.exists():
        folder = facts.path.absolute().parent
        if not folder.is_dir():
            return FAIL, f"the folder {folder} does not exist", "make it, or name another place with --ledger"
        if not os.access(folder, os.W_OK | os.X_OK):
            return FAIL, f"no permission to write in {folder}", "name another place with --ledger"
        return WARN, f"no ledger at {facts.path} yet", "`ctstate manifest` makes one; --ledger names another"
    if not os.access(facts.path, os.W_OK) or not os.access(facts.path.absolute().parent, os.W_OK):
        return FAIL, f"no permission to write {facts.path} or beside it", "ask its owner, or copy it elsewhere"
    return _of_version(facts, str(facts.path), checkup.version_of_file(facts.path))


def _of_version(facts: Facts, name: str, version: str) -> Result:
    facts.ledger = version == HEAD
    if version == HEAD:
        with Ledger.open(facts.patient.ledger, read_only=True) as opened:
            why = opened.why_closed()
        if why is not None:
            return FAIL, f"{name} cannot be written", why.words
        return OK, f"{name}, version {version}", ""
    if not version.isdigit() or version > HEAD:
        return FAIL, f"{name} was made by a newer ctstate (version {version})", "run `pip install -U ctstate`"
    copy = "after a backup copy" if facts.path is not None else "in one transaction: make a dump before"
    return (
        WARN,
        f"{name} is of version {version}, this ctstate works with {HEAD}",
        f"the next verb brings it up to date, {copy}",
    )


def server(facts: Facts) -> Result:
    """Return what of the server that has the ledger may go wrong in a long run."""
    if facts.server is None:
        return SKIP, "the ledger is a file" if facts.path is not None else "no ledger", ""
    verdicts = {Level.FINE: OK, Level.ODD: WARN, Level.BAD: FAIL}
    found = [verdicts[finding.level] for finding in facts.server.findings]
    worst = FAIL if FAIL in found else WARN if WARN in found else OK
    seen = "; ".join(finding.seen for finding in facts.server.findings)
    advice = "; ".join(f"{finding.about}: {finding.advice}" for finding in facts.server.findings if finding.advice)
    return worst, seen, advice


def integrity(facts: Facts) -> Result:
    """Return whether SQLite finds the ledger's file whole."""
    if facts.path is None or not facts.path.exists():
        return SKIP, "no ledger in a file", ""
    damage = checkup.damage(facts.path)
    if damage is not None:
        return FAIL, f"damaged: {damage}", "restore a backup copy; never copy a ledger while it is written"
    return OK, "quick_check finds nothing", ""


def place(facts: Facts) -> Result:
    """Return what file system the ledger is on, and whether its journal fits it."""
    if facts.path is None:
        return SKIP, "no ledger in a file", ""
    kind = file_system_of(facts.path) or "unknown"
    journal = ""
    if facts.path.exists():
        journal = f", journal mode {checkup.journal_mode(facts.path)}"
    if on_network(facts.path):
        wal = "wal" in journal
        return (
            FAIL if wal else WARN,
            f"{kind}, a file system that several hosts share{journal}",
            "write-ahead logging is unsafe between hosts: let no verb run, open it once with this ctstate"
            if wal
            else "test its locks between nodes with --nodes 2 before workers of several nodes share it",
        )
    return OK, f"{kind}{journal}", ""


def locks(facts: Facts) -> Result:
    """Return whether locks hold between two processes of this host."""
    if facts.path is None or not facts.path.absolute().parent.is_dir():
        return SKIP, "no place for a ledger", ""
    return of_locks(self_test(facts.path))


def of_locks(found: LockVerdict) -> Result:
    """Return what a test of locks comes to on the page."""
    verdict = {Locks.HOLD: OK, Locks.DO_NOT_HOLD: FAIL, Locks.UNKNOWN: WARN}[found.locks]
    return verdict, f"locks {found.locks} between {found.between}: {found.detail}", found.advice


def space(facts: Facts) -> Result:
    """Return whether there is room for the ledger and the logs."""
    places = {"ledger": facts.path.absolute().parent if facts.path is not None else None}
    places["logs"] = Path(facts.patient.log_dir or ".").absolute()
    seen, worst = [], OK
    for name, folder in places.items():
        while folder is not None and not folder.is_dir() and folder != folder.parent:
            folder = folder.parent  # a log folder is made when it is needed
        if folder is None:
            continue
        free = shutil.disk_usage(folder).free
        seen.append(f"{free / 1e9:,.1f} GB free for the {name}")
        if free < NO_SPACE:
            worst = FAIL
        elif free < LITTLE_SPACE and worst is OK:
            worst = WARN
    advice = "" if worst is OK else "make room, or put the ledger or the logs (--log-dir) elsewhere"
    return worst, "; ".join(seen) + " (a quota may be lower)", advice
