"""What the page of `ctstate doctor` is made of: checks, verdicts, and what earlier checks found for later ones."""

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctstate.zooniverse import DEFAULT_ENDPOINT, Credentials

if TYPE_CHECKING:  # the client library itself may be what is broken
    from ctstate.ledger.checkup import Server
    from ctstate.zooniverse import Account, Zooniverse


class Verdict(enum.StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"  # could not be made, as something it needs is missing; that has a line of its own

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Check:
    """A line of the page.

    Attributes:
        name: what was looked at.
        verdict: how it came out.
        seen: what was seen, one line.
        advice: what to do, one line; empty where nothing is to be done.
    """

    name: str
    verdict: Verdict
    seen: str
    advice: str = ""


@dataclass(frozen=True)
class Patient:
    """What to look at.

    Attributes:
        ledger: path or URL; need not exist.
        endpoint: of Zooniverse.
        project_id: to check the rights in it; None: not checked.
        password_file: as the verbs take it.
        log_dir: where logs will go; None: the working directory.
        nodes: 2 lets two Slurm nodes contend for a lock.
        partition, account: for that, as Slurm takes them.
        insecure_http: see `Zooniverse`.
    """

    ledger: str
    endpoint: str = DEFAULT_ENDPOINT
    project_id: int | None = None
    password_file: str | None = None
    log_dir: str | None = None
    nodes: int = 1
    partition: str | None = None
    account: str | None = None
    insecure_http: bool = False


@dataclass
class Facts:
    """What earlier checks found, for later ones."""

    patient: Patient
    path: Path | None = None  # None: the ledger is in no file
    server: "Server | None" = None  # that has it then
    ledger: bool = False  # there is one of this version
    credentials: Credentials | None = None
    zooniverse: "Zooniverse | None" = None
    me: "Account | None" = None


Result = tuple[Verdict, str, str]
"""How a check came out, what was seen, and what to do."""

OK, WARN, FAIL, SKIP = Verdict.OK, Verdict.WARN, Verdict.FAIL, Verdict.SKIP
