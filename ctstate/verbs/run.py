"""A season's steps, one after the other (`ctstate run`)."""

from collections.abc import Callable
from dataclasses import dataclass

from ctstate.verbs.plan import Step


@dataclass(frozen=True)
class Outcome:
    """How far it came.

    Attributes:
        code: exit code of the last step; 1 where a person is needed; 0: all is done, or jobs do the rest.
        stopped_at: the step that did not come to its end, or needs a person; None: there is none.
        submitted: jobs were submitted; what comes after the upload waits for them.
    """

    code: int = 0
    stopped_at: Step | None = None
    submitted: bool = False


def run(look: Callable[[], list[Step]], carry_out: Callable[[Step], int]) -> Outcome:
    """Do what is to be done, until nothing is, or a step fails or needs a person.

    Each step is done once at most: one that finds nothing new would else be done for ever.

    Args:
        look: returns the steps that have something to do now (`plan.steps`); asked anew after each, as what one did
            decides what comes next.
        carry_out: does one as the command line would; returns its exit code.
    """
    done: set[tuple[str, tuple[str, ...]]] = set()
    while True:
        left = [step for step in look() if (step.verb, step.arguments) not in done]
        if not left:
            return Outcome()
        step = left[0]
        if step.person:
            return Outcome(1, step)
        code = carry_out(step)
        if code:
            return Outcome(code, step)
        if step.verb == "submit":
            return Outcome(submitted=True)
        done.add((step.verb, step.arguments))
