"""The account, what it may do, and whether the clocks agree."""

import email.utils
import os
import stat
import time
from pathlib import Path

from ctstate.errors import NotFoundError
from ctstate.ledger import Ledger, checkup
from ctstate.verbs.doctor.findings import FAIL, OK, SKIP, WARN, Facts, Result
from ctstate.words import counted
from ctstate.zooniverse import read_credentials

CLOCK_WARN_S, CLOCK_FAIL_S = 30.0, 240.0
"""The leases of runs last 300 s by the hosts' own clocks: hosts that differ by more take each other for dead."""

MAY_UPLOAD = frozenset({"owner", "collaborator"})


def password(facts: Facts) -> Result:
    """Return whether the account is known, and to whom."""
    given = facts.patient.password_file
    facts.credentials = read_credentials(given)
    if given is None and os.environ.get("PANOPTES_USERNAME") and os.environ.get("PANOPTES_PASSWORD"):
        return OK, f"account {facts.credentials.username}, from the environment", ""
    path = Path(given or "~/.panoptes/config.yml").expanduser()
    mode = stat.S_IMODE(path.stat().st_mode)
    seen = f"account {facts.credentials.username}, from {path}"
    if mode & 0o077:
        return WARN, f"{seen}, which others may read (mode {mode:03o})", f"run `chmod 600 {path}`"
    return OK, seen, ""


def log_in(facts: Facts) -> Result:
    """Return whether Zooniverse knows the account, and is the ledger's."""
    if facts.credentials is None:
        return SKIP, "no account", ""
    from ctstate.zooniverse import Backoff, Timeouts, Zooniverse

    connection = Zooniverse(
        facts.patient.endpoint,
        facts.credentials,
        timeouts=Timeouts(connect=10, read=30),
        backoff=Backoff(first=0.5, most=2.0, give_up=5.0),
        insecure_http=facts.patient.insecure_http,
    )
    facts.me = connection.me()
    facts.zooniverse = connection
    seen = f"{facts.me.login} at {facts.patient.endpoint}"
    if facts.me.banned:
        return FAIL, f"{seen} is banned", "ask Zooniverse why (contact@zooniverse.org)"
    if facts.ledger:
        with Ledger.open(facts.patient.ledger, read_only=True) as ledger:
            bound = ledger.meta("endpoint")
        if bound is not None and bound != facts.patient.endpoint:
            return FAIL, f"{seen}, but the ledger belongs to {bound}", "name the right one of the two"
    return OK, seen, ""


def rights(facts: Facts) -> Result:
    """Return whether the account may upload to the project."""
    if facts.patient.project_id is None:
        return SKIP, "no --project-id", ""
    if facts.zooniverse is None or facts.me is None:
        return SKIP, "not logged in", ""
    try:
        project = facts.zooniverse.project(facts.patient.project_id)
    except NotFoundError as error:
        return FAIL, str(error), "check the number; its owner can make the account a collaborator"
    seen = f"project {facts.patient.project_id} ({project.display_name})"
    roles = {
        role
        for row in facts.zooniverse.project_roles(facts.patient.project_id)
        if row.links.owner.id == facts.me.id
        for role in row.roles
    }
    if not roles & MAY_UPLOAD:
        has = f"only {', '.join(sorted(roles))}" if roles else "nobody"
        return (
            FAIL,
            f"{seen}: {facts.me.login} is {has} there and may not upload",
            "ask the project's owner to make the account a collaborator",
        )
    return OK, f"{seen}: {facts.me.login} is {', '.join(sorted(roles & MAY_UPLOAD))}", ""


def allowance(facts: Facts) -> Result:
    """Return whether the account may make as many subjects as are pending."""
    if facts.me is None:
        return SKIP, "not logged in", ""
    pending = 0
    if facts.ledger:
        with Ledger.open(facts.patient.ledger, read_only=True) as ledger, ledger.read() as connection:
            pending = checkup.count_to_make(connection)
    if facts.me.allowance is None:
        return OK, f"no limit known; {pending:,} pending", ""
    seen = f"{counted(facts.me.allowance, 'subject')} left of {facts.me.subject_limit:,}; {pending:,} pending"
    if pending > facts.me.allowance:
        return WARN, seen, "ask Zooniverse (contact@zooniverse.org) to raise the account's limit before the upload"
    return OK, seen, ""


def clock(facts: Facts) -> Result:
    """Return whether this host's clock agrees with the server's."""
    if facts.zooniverse is None:
        return SKIP, "not logged in", ""
    date = facts.zooniverse.server_date()
    if date is None:
        return SKIP, "the server does not say what time it is", ""
    return judge_clock(time.time() - email.utils.parsedate_to_datetime(date).timestamp())


def judge_clock(ahead: float) -> Result:
    """Return the verdict on a clock that is so many seconds ahead of the server's, which tells whole seconds."""
    seen = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if abs(ahead) > CLOCK_WARN_S:
        return (
            FAIL if abs(ahead) > CLOCK_FAIL_S else WARN,
            seen,
            "ask the centre's staff to set it (NTP): runs on other hosts may be taken for dead",
        )
    return OK, "agrees with the server's", ""
