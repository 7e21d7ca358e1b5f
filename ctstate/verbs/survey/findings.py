"""What a survey can find, and how it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ctstate.capture import Batch, Snapshot
from ctstate.ledger import State
from ctstate.words import counted

KINDS: Mapping[str, str] = {
    "own set": "a subject set made from this ledger, which does not know it: note it",
    "adopt": "on Zooniverse and whole, but the ledger does not say uploaded: adopt it",
    "finish": "its subject exists, but is not whole or not linked: note it, the next upload finishes it",
    "unlinked": "the ledger says uploaded, but the subject is in its set no more: to removed",
    "deleted": "its subject is no longer on Zooniverse: to deleted",
    "set gone": "the whole subject set is no longer on Zooniverse: forget it",
    "duplicate": "another subject of a capture that has one: delete it",
    "classified duplicate": "another subject of a capture that has one, but volunteers classified it: left alone",
    "foreign duplicate": "another subject of a capture that has one, not made from this ledger: left alone",
    "images": "uploaded, but images are missing or not as sent: to batched, the next upload puts them again",
    "metadata": "metadata differs from the ledger's: update it",
    "stranger": "in the set, but not this ledger's: never touched; --accept SUBJECT says that it is fine there",
    "unknown set": "a set of the batch's name, or made from this ledger, has subjects that the ledger does not "
    "know: `ctstate adopt` takes it in",
    "not uploaded": "not on Zooniverse yet",
}
"""What a survey can find, and what is done about it."""

ACTED_ON = frozenset(KINDS) - {
    "stranger", "unknown set", "classified duplicate", "foreign duplicate", "not uploaded"
}  # fmt: skip
"""Kinds that `reconcile --apply` does something about."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        kind: one of KINDS.
        batch: name of the batch.
        capture_id, subject_id: what it is about, where known.
        detail: what was seen.
        seen: the capture, as it was.
        batch_id: the batch.
        set_id, set_name: the batch's subject set, or the one it is to have.
        differs: the subject's metadata differs, besides.
    """

    kind: str
    batch: str
    capture_id: str | None = None
    subject_id: int | None = None
    detail: str = ""
    seen: Snapshot | None = field(default=None, compare=False, repr=False)
    batch_id: int = field(default=0, compare=False, repr=False)
    set_id: int | None = field(default=None, compare=False, repr=False)
    set_name: str = field(default="", compare=False, repr=False)
    differs: bool = field(default=False, compare=False, repr=False)


@dataclass
class Survey:
    """What was found: how many captures agree, and everything else.

    Attributes:
        season: manifest id.
        began_at: a time of the ledger.
        part: of which captures every image was asked for; see `Share`.
        captures, subjects, images_asked: how many were looked at.
        kept: it is in the ledger (`v_verifications`).
    """

    season: str
    began_at: str = ""
    part: str | None = None
    captures: int = 0
    subjects: int = 0
    images_asked: int = 0
    kept: bool = False
    agree: int = 0
    under_way: int = 0
    excluded: int = 0
    taken_back: int = 0  # removed or deleted on purpose, and so it is
    accepted: int = 0  # strangers that a person said are fine there
    findings: list[Finding] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """Return how many findings are of a kind."""
        return sum(1 for finding in self.findings if finding.kind == kind)

    @property
    def all_is_well(self) -> bool:
        """Whether ledger and Zooniverse agree about every capture, with none under way at this moment."""
        return not self.findings and not self.under_way

    @property
    def advice(self) -> str:
        """Which verbs help with what was found; empty where all is well."""
        kinds = {finding.kind for finding in self.findings}
        said = []
        if kinds & ACTED_ON:
            said.append("`ctstate reconcile --apply` carries out what is proposed.")
        if "unknown set" in kinds:
            said.append("`ctstate adopt` takes in a set that is there already; do not upload before.")
        if "stranger" in kinds:
            said.append(
                "Strangers are never touched: `ctstate reconcile --accept SUBJECT` says that one is fine there."
            )
        if kinds & {"foreign duplicate", "classified duplicate"}:
            said.append("Look at the duplicates that are left alone: `ctstate delete` takes one back.")
        pending = [f for f in self.findings if f.kind == "not uploaded"]
        if any(f.seen is not None and f.seen.state == State.FAILED.value for f in pending):
            said.append("`ctstate retry` gives failed captures another try.")
        if (
            any(f.seen is None or f.seen.state != State.FAILED.value for f in pending)
            and "unknown set" not in kinds
        ):
            said.append("`ctstate upload` uploads what is not there yet.")
        if self.under_way:
            said.append(f"{counted(self.under_way, 'capture', 'are')} under way at this moment.")
        return " ".join(said)

    @property
    def to_do(self) -> list[Finding]:
        """The findings that `reconcile --apply` does something about."""
        return [finding for finding in self.findings if finding.kind in ACTED_ON]


@dataclass
class Notes:
    """A survey while it is made.

    Attributes:
        survey: what was found so far.
        accounted: subjects that a finding or an agreement speaks of.
        first_set_made: when the first of the subject sets was made, by the server's clock.
    """

    survey: Survey
    accounted: set[int] = field(default_factory=set)
    first_set_made: str | None = None

    def found(
        self,
        kind: str,
        item: Batch,
        seen: Snapshot | None = None,
        subject_id: int | None = None,
        *,
        detail: str,
        set_name: str = "",
        differs: bool = False,
    ) -> None:
        """Add a finding about a batch, or about a capture or a subject of its set; see `Finding`."""
        if subject_id is not None:
            self.accounted.add(subject_id)
        self.survey.findings.append(
            Finding(
                kind=kind,
                batch=item.name,
                capture_id=seen.capture_id if seen is not None else None,
                subject_id=subject_id,
                seen=seen,
                batch_id=item.id,
                set_id=item.subject_set_id,
                detail=detail,
                set_name=set_name,
                differs=differs,
            )
        )
