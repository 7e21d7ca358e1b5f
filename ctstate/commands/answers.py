"""What `--json` prints, where a verb's report does not say it all as it is; see `schemas`."""

from typing import Any, Literal

from msgspec import Struct

from ctstate.verbs.runs import RunStatus


class Finding(Struct):
    """One thing on which ledger and Zooniverse differ.

    Attributes:
        kind: what it is, in a few words.
        batch, capture_id, subject_id: where; None where there is none.
        detail: what was seen, for a person.
    """

    kind: str
    batch: str | None
    capture_id: str | None
    subject_id: int | None
    detail: str


class Surveyed(Struct, kw_only=True):
    """What a comparison of ledger and Zooniverse found.

    Attributes:
        season: manifest id.
        agree: captures of which both say the same.
        under_way: captures that a live run has.
        excluded: captures that are not to be uploaded.
        accepted: subjects that are no capture's and were said to be fine.
        taken_back: captures removed or deleted on purpose.
        to_do: findings that `reconcile --apply` does something about.
        findings: all that differ.
    """

    season: str
    agree: int
    under_way: int
    excluded: int
    accepted: int
    taken_back: int
    to_do: int
    findings: list[Finding]


class Verified(Surveyed):
    """What `verify` found.

    Attributes:
        ok: all is well; the exit code is 0 then, else 1.
    """

    ok: bool


class Reconciled(Surveyed):
    """What `reconcile` found and did.

    Attributes:
        applied: how many findings of which kind were dealt with; None: nothing was carried out.
    """

    applied: dict[str, int] | None


class Adopted(Struct):
    """What `adopt` did.

    Attributes:
        season, batches: what it looked at.
        captures_new: captures that the ledger had not known.
        adopted: captures now uploaded.
        to_finish: captures whose subject is not whole or not linked; the next upload finishes them.
        released: captures that files claimed, but that are not on Zooniverse.
        without_id: subjects without `#capture_id`: left alone.
        excluded: captures that are on Zooniverse though they are excluded here.
        left: what is left for `reconcile`; None: nothing was compared.
    """

    season: str
    batches: list[str]
    captures_new: int
    adopted: int
    to_finish: int
    released: int
    without_id: int
    excluded: int
    left: Surveyed | None


class Named(Struct):
    """A subject and its capture; None where there is none, or none of this ledger's."""

    subject_id: int | None
    capture_id: str | None


class CarriedOut(Struct):
    """What was done of a plan.

    Attributes:
        done: subjects taken back.
        gone: subjects that were gone from Zooniverse already.
        moved, shared, classified: left alone, as that happened to them since the plan was made.
        stopped: asked to stop before all was done (exit code 75).
    """

    done: int
    gone: int
    moved: list[Named]
    shared: list[Named]
    classified: list[Named]
    stopped: bool


class TakenBack(Struct):
    """The plan of `remove` or `delete`, and what was done of it.

    Attributes:
        verb: remove or delete.
        project_id: where.
        todo: subjects to take back.
        gone: subjects that are no longer on Zooniverse.
        done_before: captures that are removed or deleted already.
        shared, classified, uploading, unfinished: left alone, and why.
        nowhere: captures that have no subject (remove: none in a set).
        foreign: of `todo` and `gone`, how many are not this ledger's.
        carried_out: None: nothing was done (a dry run, or nothing to do).
    """

    verb: str
    project_id: int
    todo: list[Named]
    gone: list[Named]
    done_before: int
    shared: list[Named]
    classified: list[Named]
    uploading: list[Named]
    unfinished: list[Named]
    nowhere: int
    foreign: int
    carried_out: CarriedOut | None


class Checked(Struct):
    """A line of `doctor`.

    Attributes:
        name: what was looked at.
        verdict: ok, warn, fail or skip.
        seen: what was seen.
        advice: what to do; empty where nothing is to be done.
    """

    name: str
    verdict: str
    seen: str
    advice: str


class Examination(Struct):
    """What `doctor` saw.

    Attributes:
        ok: nothing failed; the exit code is 0 then, else 1.
        checks: one by one.
    """

    ok: bool
    checks: list[Checked]


class CaptureHistory(Struct):
    """All that the ledger knows of a capture.

    Attributes:
        capture: its row of `v_captures` (docs/views.md).
        images: rank, path, problem, problem_reason, bytes, note, arrived_at, taken_at, taken_text of each.
        events: at, source, target, run_id, verb, subject_id, reason of each move, oldest first.
    """

    capture: dict[str, Any]
    images: list[dict[str, Any]]
    events: list[dict[str, Any]]


class PlannedStep(Struct):
    """A verb that has something to do.

    Attributes:
        verb, arguments: its command line.
        what: what it has to do.
        person: why a person is needed first; empty: nobody is.
    """

    verb: str
    arguments: list[str]
    what: str
    person: str


class ExpectedCost(Struct):
    """What an upload will take.

    Attributes:
        captures, images: to be sent.
        bytes: of the images, by a sample of `sampled` of them.
        requests: at least.
        allowance: subjects that the account may still upload; None: no limit.
        warning: what to do about that; empty where it suffices.
        rate: captures a second when last seen; None: not known.
        broken: problems met in the sample.
        hours: how long it will take at that rate.
    """

    captures: int
    images: int
    bytes: int
    sampled: int
    requests: int
    allowance: int | None
    warning: str
    rate: float | None
    broken: list[str]
    hours: float | None


class SeasonPlan(Struct):
    """What a season's file still wants done.

    Attributes:
        season, season_file: which.
        steps: in order.
        cost: of the upload; None: there is none to come, or it cannot be said yet.
    """

    season: str
    season_file: str
    steps: list[PlannedStep]
    cost: ExpectedCost | None


class Retried(Struct):
    """What `retry` did.

    Attributes:
        captures: batched again.
    """

    captures: int


class SampleTaken(Struct):
    """What `sample` leaves out.

    Attributes:
        most_images: of a capture; None: all go up.
        captures, images: images left out, of so many captures.
        too_late: captures with more images on Zooniverse already, or on the way.
    """

    most_images: int | None
    captures: int
    images: int
    too_late: int


class StatusRow(Struct):
    """How far a batch is: captures by state, the excluded left out.

    Attributes:
        season: manifest id.
        batch: None: in no batch yet.
        subject_set_id, project_url: where it is on Zooniverse; None: not known.
        excluded: captures that are not to be uploaded.
        in_doubt: captures whose create got no answer, to be looked for.
        total: all captures, the excluded included.
    """

    season: str
    batch: str | None
    subject_set_id: int | None
    project_url: str | None
    manifested: int
    predicted: int
    batched: int
    uploading: int
    uploaded: int
    failed: int
    removed: int
    deleted: int
    excluded: int
    in_doubt: int
    total: int


class QueuedRow(Struct, kw_only=True):
    """Jobs of `submit` that wait in the queue, as long as they wait for the same.

    Attributes:
        state: `queued`.
        job: as the scheduler's own programs take it; of an array the array.
        tasks: how many of it.
        follows: it is the small job that looks whether another array is needed.
        reason: why they wait, in the scheduler's words; empty where it does not say.
        advice: what that means, where it will not pass by itself; empty otherwise.
    """

    state: Literal["queued"]
    job: str
    tasks: int
    follows: bool
    reason: str
    advice: str


RunOrQueued = RunStatus | QueuedRow
"""A row of `runs`: one that is, or was, at work, or what waits."""


class SetRow(Struct):
    """A subject set, on Zooniverse and in the ledger.

    Attributes:
        id, name: as on Zooniverse.
        subjects: counted now; None: it is no longer there.
        workflows: that have it.
        season, batch: whose set it is; None: no batch of the ledger knows it.
        uploaded: captures of that batch that the ledger says are uploaded.
        verdict: see docs/workflows.md.
    """

    id: int
    name: str
    subjects: int | None
    workflows: list[int]
    season: str | None
    batch: str | None
    uploaded: int
    verdict: str


class IdAndName(Struct):
    """A subject set of a workflow; the name is empty where the set is not the project's."""

    id: int
    name: str


class WorkflowRow(Struct):
    """A workflow.

    Attributes:
        completeness: share that is done, 0 to 1.
        subjects, retired: as Zooniverse counts them, minutes late.
    """

    id: int
    name: str
    active: bool
    completeness: float
    subjects: int
    retired: int
    sets: list[IdAndName]


AnyRow = dict[str, Any]
"""A row of a question: its columns."""


class UploadBatch(Struct):
    """What an upload does with a batch.

    Attributes:
        batch, subject_set, subject_set_id: which; the id is None where the set is to be found or made.
        pending: captures to upload; `now`: how many of them this run takes; `images`: theirs.
    """

    batch: str
    subject_set: str
    subject_set_id: int | None
    pending: int
    now: int
    images: int


class UploadCounts(Struct):
    """What a run did, in captures but for images, bytes and requests.

    Attributes:
        uploaded, failed, given_back, fenced: by how their story ended.
        images, bytes: sent.
        requests, image_requests: to the API, and to the image store.
    """

    uploaded: int
    failed: int
    given_back: int
    fenced: int
    images: int
    bytes: int
    requests: int
    image_requests: int


class NotThereYet(Struct):
    """What of the selection is not on Zooniverse.

    Attributes:
        pending: the next upload takes them up.
        in_doubt: of these, to be looked for.
        unbatched: in no batch.
        failed: `retry` gives another try.
    """

    pending: int
    in_doubt: int
    unbatched: int
    failed: int


class Uploaded(Struct):
    """What `upload` would do (`--dry-run`), or did.

    Attributes:
        season, project, account: what, where, by whom.
        batches: that have something pending.
        warning: what to do before a long run; empty where nothing is wrong.
        done, left: None after a dry run.
        stopped: why it ended early; empty where it did all there was to do.
    """

    season: str
    project: str
    account: str
    batches: list[UploadBatch]
    warning: str
    done: UploadCounts | None = None
    left: NotThereYet | None = None
    stopped: str = ""
