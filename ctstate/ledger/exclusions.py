"""Why captures and images must not be uploaded, and what may take such a reason away again.

`capture.excluded` holds one reason. Two of them are ctstate's own and follow from other facts, so that only those
facts take them away: `NO_USABLE_IMAGE` (the images) and `CLAIMED_BY_OLD_SCRIPTS` (rows of `legacy_subject` that
nobody has compared with Zooniverse yet). Any other reason is a person's; it covers the two, and when it is taken
away they come out from under it. An image that a person holds back has the problem `withheld`, which covers any
other problem in the same way.
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.engine import Connection

NO_USABLE_IMAGE = "no usable image"
CLAIMED_BY_OLD_SCRIPTS = "uploaded by the old scripts, not yet checked: run `ctstate adopt`"
OWN_REASONS = (NO_USABLE_IMAGE, CLAIMED_BY_OLD_SCRIPTS)

WITHHELD = "withheld"

_USABLE = "EXISTS (SELECT 1 FROM image i WHERE i.capture_id = capture.id AND i.problem IS NULL)"
_CLAIMED = "EXISTS (SELECT 1 FROM legacy_subject l WHERE l.capture_id = capture.id AND l.checked_at IS NULL)"
_OWN = {"no_image": NO_USABLE_IMAGE, "claimed": CLAIMED_BY_OLD_SCRIPTS}

CHANGEABLE = (
    "(capture.state = 'deleted' OR (capture.state <> 'uploading'"
    " AND capture.subject_id IS NULL AND capture.create_sent_at IS NULL))"
)
"""Captures of which no subject can exist, so that the images it is to have may still be chosen."""


def exclude_imageless(connection: Connection, which: str) -> None:
    """Exclude the captures that have no usable image, and bring back those that have one now.

    Args:
        connection: a write transaction.
        which: condition on `capture`.
    """
    connection.execute(
        text(f"UPDATE capture SET excluded = :why WHERE ({which}) AND excluded IS NULL AND NOT {_USABLE}"),
        {"why": NO_USABLE_IMAGE},
    )
    connection.execute(
        text(f"UPDATE capture SET excluded = NULL WHERE ({which}) AND excluded = :why AND {_USABLE}"),
        {"why": NO_USABLE_IMAGE},
    )


def exclude_claimed(connection: Connection) -> int:
    """Exclude every capture that old scripts say they uploaded, until Zooniverse was looked at; return how many.

    A capture whose subject the ledger knows itself needs no such fence.
    """
    return connection.execute(
        text(
            f"UPDATE capture SET excluded = :claimed WHERE {_CLAIMED} AND subject_id IS NULL"
            " AND (excluded IS NULL OR excluded = :no_image)"
        ),
        _OWN,
    ).rowcount


def exclude(connection: Connection, which: str, reason: str) -> int:
    """Give the captures that `which` chooses a person's reason, unless they have one; return how many."""
    return connection.execute(
        text(
            f"UPDATE capture SET excluded = :reason WHERE ({which})"
            " AND (excluded IS NULL OR excluded IN (:no_image, :claimed))"
        ),
        {"reason": reason, **_OWN},
    ).rowcount


def include(connection: Connection, which: str) -> int:
    """Take a person's reason from the captures that `which` chooses; return how many had one."""
    return connection.execute(
        text(
            f"UPDATE capture SET excluded = CASE WHEN {_CLAIMED} AND subject_id IS NULL THEN :claimed"
            f" WHEN NOT {_USABLE} THEN :no_image END"
            f" WHERE ({which}) AND excluded IS NOT NULL AND excluded NOT IN (:no_image, :claimed)"
        ),
        _OWN,
    ).rowcount


def withhold_images(connection: Connection, which: str, reason: str) -> int:
    """Hold back the images that `which` (a condition on `image`) chooses; return how many.

    Only those of captures that cannot have a subject yet: what is on Zooniverse is not changed by a mark here.
    """
    changed = connection.execute(
        text(
            "UPDATE image SET covered_problem = problem, covered_reason = problem_reason,"
            " problem = :withheld, problem_reason = :reason"
            f" WHERE ({which}) AND coalesce(problem, '') <> :withheld"
            f" AND EXISTS (SELECT 1 FROM capture WHERE capture.id = image.capture_id AND {CHANGEABLE})"
        ),
        {"withheld": WITHHELD, "reason": reason},
    ).rowcount
    exclude_imageless(connection, f"id IN (SELECT capture_id FROM image WHERE {which})")
    return changed


def release_images(connection: Connection, which: str) -> int:
    """Undo `withhold_images`; return how many images were held back."""
    changed = connection.execute(
        text(
            "UPDATE image SET problem = covered_problem, problem_reason = covered_reason,"
            f" covered_problem = NULL, covered_reason = NULL WHERE ({which}) AND problem = :withheld"
            f" AND EXISTS (SELECT 1 FROM capture WHERE capture.id = image.capture_id AND {CHANGEABLE})"
        ),
        {"withheld": WITHHELD},
    ).rowcount
    exclude_imageless(connection, f"id IN (SELECT capture_id FROM image WHERE {which})")
    return changed


def release_claimed(connection: Connection, keys: Sequence[int]) -> int:
    """Let go of captures (at most 500) whose claims were all compared with Zooniverse; return how many."""
    return connection.execute(
        text(
            f"UPDATE capture SET excluded = CASE WHEN NOT {_USABLE} THEN :no_image END"
            f" WHERE id IN ({', '.join(str(int(key)) for key in keys)}) AND excluded = :claimed AND NOT {_CLAIMED}"
        ),
        _OWN,
    ).rowcount
