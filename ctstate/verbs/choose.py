"""Which captures a person means: named ones, those in a file, and those that fit criteria; for verbs that touch
what is on Zooniverse already.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ctstate.capture import PAGE, Season, Snapshot, pages
from ctstate.errors import InputError, UsageError
from ctstate.formats.id_lists import CAPTURE, SUBJECT, read_listed
from ctstate.ledger import Ledger, Selection, captures
from ctstate.ledger.read_only_sql import captures_where


@dataclass(frozen=True)
class Wanted:
    """What a person asks for. Names add up; selection and condition restrict, whether captures are named or not.

    Attributes:
        selection: by season, batch, site, roll, state.
        capture_ids, subject_ids, listed: names, however many; `listed` is a file of either (see
            `ctstate.formats.id_lists`).
        where: a condition on the view `v_captures`.
    """

    selection: Selection = field(default_factory=Selection)
    capture_ids: Sequence[str] = ()
    subject_ids: Sequence[int] = ()
    listed: str | os.PathLike[str] | None = None
    where: str | None = None

    @property
    def names(self) -> bool:
        """Whether captures or subjects are named."""
        return bool(self.capture_ids or self.subject_ids or self.listed is not None)

    @property
    def given(self) -> bool:
        """Whether there is any criterion at all: without one, everything would be chosen."""
        return bool(self.names or self.selection.restricts or self.where is not None)

    def as_arguments(self) -> dict[str, Any]:
        """Return what was asked for, for the record of a run; of long lists only how long they are."""
        given = [*vars(self.selection).items(), *vars(self).items()]
        said = {key: value for key, value in given if value and key != "selection"}
        return {
            key: f"{len(value)} of them"
            if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 20
            else value
            for key, value in said.items()
        }


@dataclass
class Choice:
    """What was chosen: captures, by id, and subject ids that no capture of the ledger has."""

    captures: list[Snapshot] = field(default_factory=list)
    foreign: list[int] = field(default_factory=list)


def choose(ledger: Ledger, wanted: Wanted) -> Choice:
    """Find out which captures are meant; nothing is changed.

    Raises:
        UsageError: a season, batch or capture that the ledger does not know, or a condition that is none.
        InputError: a file that cannot be read, or an entry in it that the ledger does not know.
    """
    selection = wanted.selection
    season = ledger.season(selection.season) if selection.season is not None else None
    if selection.batch is not None:
        _check_batch(ledger, selection.batch, season)
    fitting = set(captures_where(ledger, wanted.where)) if wanted.where is not None else None
    choice = Choice()
    if wanted.names:
        keys, choice.foreign = _named(ledger, wanted)
        # Half a page: the selection has parameters of its own.
        found = captures.snapshots_among(ledger.read, sorted(keys), selection.clause(), size=PAGE // 2)
    else:
        found = captures.snapshots(ledger.read, selection.clause())
    rows = chain.from_iterable(found)
    choice.captures = [row for row in rows if fitting is None or row.capture_id in fitting]
    return choice


def _check_batch(ledger: Ledger, name: str, season: Season | None) -> None:
    known = dict.fromkeys(row.name for row in ledger.batches(season.id if season is not None else None))
    if name not in known:
        there = ", ".join(list(known)[:20]) or "none; make them with `ctstate batch`"
        raise UsageError(f"no batch {name!r} in the ledger; there are: {there}")


def _named(ledger: Ledger, wanted: Wanted) -> tuple[set[int], list[int]]:
    """Return the keys of the captures that are named, and the subjects that are no capture's."""
    keys: set[int] = set()
    foreign: dict[int, None] = {}
    named = [_Entry(f"capture {name!r}", CAPTURE, name) for name in wanted.capture_ids]
    named += [_Entry(f"subject {number}", SUBJECT, str(number)) for number in wanted.subject_ids]
    _look_up(ledger, named, keys, foreign, UsageError)
    if wanted.listed is not None:
        file = os.fspath(wanted.listed)
        entries = (
            _Entry(f"{file}, row {entry.row}: {entry.value.strip()!r}", entry.kind, entry.value.strip())
            for entry in read_listed(wanted.listed, subjects=True)
        )
        _look_up(ledger, entries, keys, foreign, InputError)
    return keys, list(foreign)


@dataclass(frozen=True)
class _Entry:
    """A name that a person gave."""

    shown: str  # in a message
    kind: str  # CAPTURE, SUBJECT, or either
    text: str

    @property
    def number(self) -> int | None:
        """The subject id that it may be."""
        is_one = self.kind != CAPTURE and self.text.isascii() and self.text.isdigit() and len(self.text) < 19
        return int(self.text) if is_one else None


def _look_up(
    ledger: Ledger,
    entries: Iterable[_Entry],
    keys: set[int],
    foreign: dict[int, None],
    error: type[UsageError | InputError],
) -> None:
    for part in pages(entries):
        with ledger.read() as connection:
            by_name = captures.keys_by_capture_id(connection, [e.text for e in part if e.kind != SUBJECT])
            numbers = [entry.number for entry in part if entry.number is not None]
            by_subject = captures.keys_by_subject_id(connection, numbers)
        for entry in part:
            if entry.kind != SUBJECT and entry.text in by_name:
                keys.add(by_name[entry.text])
            elif entry.number is not None and entry.number in by_subject:
                keys.add(by_subject[entry.number])
            elif entry.number is not None:
                foreign[entry.number] = None
            else:
                raise error(f"{entry.shown} is not in the ledger; nothing was changed")
