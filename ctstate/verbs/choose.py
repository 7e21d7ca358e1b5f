"""Which captures a person means: named ones, those in a file, and those that fit criteria; for verbs that touch
what is on Zooniverse already.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection

from ctstate.capture import Snapshot
from ctstate.errors import InputError, UsageError
from ctstate.formats.id_lists import CAPTURE, SUBJECT, read_listed
from ctstate.ledger import Ledger, Selection
from ctstate.ledger.read_only_sql import captures_where
from ctstate.ledger.schema import capture

_PAGE = 500


@dataclass(frozen=True)
class Criteria:
    """What a person asks for. Names add up; criteria restrict, whether captures are named or not.

    Attributes:
        capture_ids, subject_ids, listed: names; `listed` is a file of either (see `ctstate.formats.id_lists`).
        season, batch, sites, rolls, states: see `Selection`.
        where: a condition on the view `v_captures`.
    """

    capture_ids: Sequence[str] = ()
    subject_ids: Sequence[int] = ()
    listed: str | os.PathLike[str] | None = None
    season: str | None = None
    batch: str | None = None
    sites: Sequence[str] = ()
    rolls: Sequence[str] = ()
    states: Sequence[str] = ()
    where: str | None = None

    @property
    def names(self) -> bool:
        """Whether captures or subjects are named."""
        return bool(self.capture_ids or self.subject_ids or self.listed is not None)

    @property
    def given(self) -> bool:
        """Whether there is any criterion at all: without one, everything would be chosen."""
        restricts = self.season or self.batch or self.sites or self.rolls or self.states
        return bool(self.names or restricts or self.where is not None)

    def as_arguments(self) -> dict[str, Any]:
        """Return the criteria for the record of a run; of long lists only how long they are."""
        shown = {key: value for key, value in vars(self).items() if value not in (None, ())}
        return {
            key: f"{len(value)} of them"
            if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 20
            else value
            for key, value in shown.items()
        }


@dataclass
class Choice:
    """What was chosen: captures, by id, and subject ids that no capture of the ledger has."""

    captures: list[Snapshot] = field(default_factory=list)
    foreign: list[int] = field(default_factory=list)


def choose(ledger: Ledger, criteria: Criteria) -> Choice:
    """Find out which captures are meant; nothing is changed.

    Raises:
        UsageError: a season, batch, state or capture that the ledger does not know, or a condition that is none.
        InputError: a file that cannot be read, or an entry in it that the ledger does not know.
    """
    if criteria.season is not None:
        ledger.season(criteria.season)
    if criteria.batch is not None:
        _check_batch(ledger, criteria.batch, criteria.season)
    selection = Selection(
        states=criteria.states,
        season=criteria.season,
        batch=criteria.batch,
        sites=criteria.sites,
        rolls=criteria.rolls,
    )
    wanted = set(captures_where(ledger, criteria.where)) if criteria.where is not None else None
    choice = Choice()
    if criteria.names:
        keys, choice.foreign = _named(ledger, criteria)
        rows = _fitting(ledger, selection, sorted(keys))
    else:
        rows = _all_fitting(ledger, selection)
    choice.captures = [row for row in rows if wanted is None or row.capture_id in wanted]
    return choice


def _check_batch(ledger: Ledger, name: str, season: str | None) -> None:
    with ledger.read() as connection:
        names = connection.exec_driver_sql(
            "SELECT DISTINCT b.name FROM batch b JOIN season s ON s.id = b.season_id"
            " WHERE ? IS NULL OR s.name = ? ORDER BY b.id",
            (season, season),
        ).all()
    known = [row.name for row in names]
    if name not in known:
        there = ", ".join(known[:20]) or "none; make them with `ctstate batch`"
        raise UsageError(f"no batch {name!r} in the ledger; there are: {there}")


_COLUMNS = [capture.c[name] for name in Snapshot._fields]


def _all_fitting(ledger: Ledger, selection: Selection) -> Iterator[Snapshot]:
    last, clause = 0, selection.clause()
    while True:
        with ledger.read() as connection:
            rows = connection.execute(
                select(*_COLUMNS).where(capture.c.id > last, clause).order_by(capture.c.id).limit(_PAGE)
            ).all()
        yield from (Snapshot(*row) for row in rows)
        if len(rows) < _PAGE:
            return
        last = rows[-1].id


def _fitting(ledger: Ledger, selection: Selection, keys: Sequence[int]) -> Iterator[Snapshot]:
    clause = selection.clause()
    for start in range(0, len(keys), _PAGE // 2):
        part = keys[start : start + _PAGE // 2]
        with ledger.read() as connection:
            rows = connection.execute(
                select(*_COLUMNS).where(capture.c.id.in_(part), clause).order_by(capture.c.id)
            ).all()
        yield from (Snapshot(*row) for row in rows)


def _named(ledger: Ledger, criteria: Criteria) -> tuple[set[int], list[int]]:
    """Return the keys of the captures that are named, and the subjects that are no capture's."""
    keys: set[int] = set()
    foreign: dict[int, None] = {}
    named = [(f"capture {name!r}", CAPTURE, name) for name in criteria.capture_ids]
    named += [(f"subject {number}", SUBJECT, str(number)) for number in criteria.subject_ids]
    _look_up(ledger, named, keys, foreign, UsageError)
    if criteria.listed is not None:
        file = os.fspath(criteria.listed)
        entries = [
            (f"{file}, row {entry.row}: {entry.value.strip()!r}", entry.kind, entry.value.strip())
            for entry in read_listed(criteria.listed, subjects=True)
        ]
        _look_up(ledger, entries, keys, foreign, InputError)
    return keys, list(foreign)


def _look_up(
    ledger: Ledger,
    entries: Sequence[tuple[str, str, str]],
    keys: set[int],
    foreign: dict[int, None],
    error: type[UsageError | InputError],
) -> None:
    for start in range(0, len(entries), _PAGE):
        part = entries[start : start + _PAGE]
        with ledger.read() as connection:
            captures = _keys_by(connection, "capture_id", [text for _, kind, text in part if kind != SUBJECT])
            numbers = [int(text) for _, kind, text in part if kind != CAPTURE and text.isdecimal()]
            subjects = _keys_by(connection, "subject_id", numbers)
        for what, kind, text in part:
            number = int(text) if kind != CAPTURE and text.isdecimal() else None
            if kind != SUBJECT and text in captures:
                keys.add(captures[text])
            elif number is not None and number in subjects:
                keys.add(subjects[number])
            elif number is not None:
                foreign[number] = None
            else:
                raise error(f"{what} is not in the ledger; nothing was changed")


def _keys_by(connection: Connection, column: str, values: Sequence[Any]) -> dict[Any, int]:
    if not values:
        return {}
    rows = connection.execute(select(capture.c[column], capture.c.id).where(capture.c[column].in_(values)))
    return {row[0]: int(row[1]) for row in rows}
