"""The one sentence that a page begins with: how much is up, what failed, last verified when, done when."""

from collections.abc import Sequence

from ctstate.ledger.overview import Looked
from ctstate.verbs.report.facts import Facts
from ctstate.verbs.report.outlook import UploadsAhead
from ctstate.web.pages import duration, number, percent, when
from ctstate.words import counted


def sentence(facts: Facts) -> str:
    """Return it."""
    totals = facts.totals
    if not totals.wanted:
        return f"{facts.season.name} has no capture that is to go up yet."
    if totals.uploaded == totals.wanted:
        up = f"All {counted(totals.wanted, 'capture')} that are to go up are on Zooniverse"
        if totals.wanted == 1:
            up = "The one capture that is to go up is on Zooniverse"
    else:
        share = percent(totals.uploaded, totals.wanted)
        up = f"{number(totals.uploaded)} of {counted(totals.wanted, 'capture', 'are')} on Zooniverse ({share})"
    failed = f"{number(totals.failed)} failed" if totals.failed else "none failed"
    return f"{up}, {failed}; {verified(facts.looks)}; {to_come(facts.uploads)}."


def verified(looks: Sequence[Looked]) -> str:
    """Return when Zooniverse was last compared with the ledger, and what came of it.

    A comparison of a batch or of some images says nothing of the rest: when all was last compared is said with it.
    """
    found = next((look for look in looks if look.verb == "verify"), None)
    if found is None:
        return "not verified yet"
    last = f"last verified {when(found.ended_at)}{_of(found)}: {_result(found)}"
    if found.whole:
        return last
    whole = next((look for look in looks if look.whole), None)
    return f"{last}, " + (
        "never as a whole" if whole is None else f"as a whole {when(whole.ended_at)}: {_result(whole)}"
    )


def _of(look: Looked) -> str:
    of = [f"batch {look.batch}"] if look.batch is not None else []
    of += [f"{counted(look.images_asked, 'image')}, {look.part}"] if look.part is not None else []
    return f" ({', '.join(of)})" if of else ""


def _result(look: Looked) -> str:
    return "all was well" if not look.findings else f"{counted(look.findings, 'finding')} to mend"


def to_come(ahead: UploadsAhead) -> str:
    """Return when all is up."""
    if not ahead.pending:
        return "nothing is left to upload"
    left = f"{number(ahead.pending)} still to come"
    if ahead.done_at is not None:
        return f"{left}, done about {when(ahead.done_at)}"
    if ahead.seconds is not None:
        return f"{left}, about {duration(ahead.seconds)} of uploading, and no upload is at work"
    return f"{left}, nobody knows yet for how long"
