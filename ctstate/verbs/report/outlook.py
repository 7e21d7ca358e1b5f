"""What may come: when all is up, when volunteers are through. Each forecast says what it is made of.

No forecast is more than a rule of three: as fast as of late. Where nothing tells how fast that is, there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ctstate.ledger.clock import age, shifted
from ctstate.ledger.overview import Hour, Poll
from ctstate.web.pages import when

HOURS = 6
"""So many of the last hours in which captures came up say how fast uploads are."""

POLLS_S = 14 * 86400.0
"""What volunteers did for so long before the last look says how fast they are."""

FARTHEST_S = 5 * 365 * 86400.0
"""No forecast looks farther ahead."""


class RunSpeed(NamedTuple):
    """An upload: how many captures it brought up, in how many seconds."""

    uploaded: int
    seconds: float


@dataclass(frozen=True)
class UploadsAhead:
    """When all captures may be up.

    Attributes:
        pending: captures that are still to go up.
        rate: captures a second; None: nothing tells.
        seconds: of uploading that are left; None: it is not known.
        done_at: when that is, if uploads go on as they do; None: none is at work.
        made_of: what the rate is made of, in words.
    """

    pending: int
    rate: float | None
    seconds: float | None
    done_at: str | None
    made_of: str


def uploads_ahead(
    pending: int, hours: Sequence[Hour], last: RunSpeed | None, at: str, *, live: bool
) -> UploadsAhead:
    """Reckon when all is up.

    Args:
        pending: captures that are still to go up.
        hours: in which captures came up, oldest first.
        last: the last upload that came far enough.
        at: now.
        live: uploads are at work.
    """
    rate, made_of = _rate(hours, last, at)
    if rate is None or not pending:
        return UploadsAhead(pending, rate, None, None, made_of)
    seconds = pending / rate
    if seconds > FARTHEST_S:
        return UploadsAhead(pending, rate, None, None, made_of)
    return UploadsAhead(pending, rate, seconds, shifted(at, seconds) if live else None, made_of)


def _rate(hours: Sequence[Hour], last: RunSpeed | None, at: str) -> tuple[float | None, str]:
    up = [hour for hour in hours if hour.uploaded]
    # The hour that is not over says too little, and so does the one in which the first of them began.
    whole = [hour for hour in up if hour.hour != at[:13]][1:][-HOURS:]
    if whole:
        rate = sum(hour.uploaded for hour in whole) / (3600 * len(whole))
        of = f"the last {len(whole)} whole hours" if len(whole) > 1 else "the last whole hour"
        return rate, f"as fast as in {of} in which captures came up"
    if last is not None and last.seconds > 0:
        return last.uploaded / last.seconds, "as fast as the last upload"
    return None, "no upload has come far enough to tell how fast they are"


# -- what volunteers do ----------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """How far volunteers were at one moment, over all batches and workflows that were looked at by then."""

    at: str
    subjects: int
    classified: int
    classifications: int
    retired: int


@dataclass(frozen=True)
class ClassificationAhead:
    """When volunteers may be through.

    Attributes:
        seen: what `progress` saw, oldest first.
        per_day: subjects that are retired a day; None: nothing tells.
        done_at: when all are retired, at that rate; None: it is not known.
        made_of: what it is made of, in words.
        farthest: of each batch what was last seen in the workflow that is farthest with it.
    """

    seen: Sequence[Seen]
    per_day: float | None
    done_at: str | None
    made_of: str
    farthest: Sequence[Poll] = ()


def classification_ahead(polls: Sequence[Poll]) -> ClassificationAhead:
    """Reckon when volunteers are through, from what `progress` saw (oldest first)."""
    newest: dict[tuple[int, int], Poll] = {}
    seen: list[Seen] = []
    for number, poll in enumerate(polls):
        newest[poll.batch_id, poll.workflow_id] = poll
        if number + 1 < len(polls) and polls[number + 1].polled_at == poll.polled_at:
            continue
        each = newest.values()
        seen.append(
            Seen(
                poll.polled_at,
                sum(one.subjects for one in each),
                sum(one.classified for one in each),
                sum(one.classifications for one in each),
                sum(one.retired for one in each),
            )
        )
    if not seen:
        return ClassificationAhead(seen, None, None, "`ctstate progress` has not looked yet")
    best: dict[int, Poll] = {}
    for poll in newest.values():
        known = best.get(poll.batch_id)
        if known is None or (poll.retired, poll.classified) > (known.retired, known.classified):
            best[poll.batch_id] = poll
    farthest = list(best.values())
    last = seen[-1]
    recent = [one for one in seen if age(one.at, last.at) <= POLLS_S]
    days = age(recent[0].at, last.at) / 86400
    if last.retired >= last.subjects > 0:
        return ClassificationAhead(seen, None, None, "all subjects that were looked at are retired", farthest)
    if days <= 0 or last.retired <= recent[0].retired:
        why = "two looks of `ctstate progress` with something retired in between are needed for a forecast"
        return ClassificationAhead(seen, None, None, why, farthest)
    per_day = (last.retired - recent[0].retired) / days
    left = (last.subjects - last.retired) / per_day * 86400
    made_of = f"as many a day as between the looks of {when(recent[0].at)} and {when(last.at)}"
    return ClassificationAhead(
        seen, per_day, shifted(last.at, left) if left < FARTHEST_S else None, made_of, farthest
    )
