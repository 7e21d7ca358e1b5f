"""What tests build upon: seasons as files, in a ledger, on a sandbox; and the fixtures that make them."""

from ctstate.ledger.states import TRANSITIONS, State


def is_legal(source: State | None, target: State) -> bool:
    """Whether the table of moves has this one."""
    return any((move.source, move.target) == (source, target) for move in TRANSITIONS)
