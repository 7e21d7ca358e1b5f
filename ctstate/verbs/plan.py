"""What a season's file still wants done, step by step (`ctstate plan`, `ctstate run`), and what it will cost.

A step is a verb as a person would call it; what its options are, the season's file says. Nothing is remembered of
what was done: whether a step has something to do is read from the ledger, so that whatever was killed goes on.
"""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ctstate.errors import CtstateError, UsageError
from ctstate.formats.season_file import Exclusion, Predictions, SeasonFile
from ctstate.images import ImageOptions
from ctstate.images.encoding_process import encode_all
from ctstate.ledger import Ledger, pending_steps, uploads
from ctstate.ledger.clock import age
from ctstate.ledger.read_only_sql import captures_where
from ctstate.ledger.seasons import season_named
from ctstate.machine import machine
from ctstate.verbs.upload import UploadOptions, plan_upload
from ctstate.verbs.workflows import the_workflow
from ctstate.words import counted
from ctstate.zooniverse import Zooniverse

SAMPLE = 24
"""Of so many captures the images are encoded, to know how much will be sent."""


@dataclass(frozen=True)
class Step:
    """One verb that has something to do.

    Attributes:
        verb: such as `upload`.
        arguments: further words of its command line.
        what: what it has to do, for a person.
        person: why a person is needed before anything goes on; empty: nobody is.
    """

    verb: str
    arguments: tuple[str, ...] = ()
    what: str = ""
    person: str = ""


def steps(ledger: Ledger | None, said: SeasonFile, *, submit: bool = False) -> list[Step]:
    """Return the steps that have something to do, in their order, as far as the ledger can tell now.

    Args:
        ledger: None: there is none yet.
        said: the season's file.
        submit: upload by jobs of a cluster.

    Raises:
        UsageError: the file does not say what a step needs; or a condition that is none.
        LedgerError: the ledger cannot be read.
    """
    return list(_steps(ledger, said, submit))


def _steps(ledger: Ledger | None, said: SeasonFile, submit: bool) -> Iterator[Step]:
    if ledger is None or ledger.project() is None:
        _need(said, "project_id")
    if ledger is None or not _is_there(ledger, said.season):
        _need(said, "captures", "attribution", "license")
        yield Step("manifest", what=f"read {said.captures}")
        yield from (Step("predict", _of(item), f"read {item.file}") for item in said.predictions)
        yield from (_excluding(rule, "what it fits") for rule in said.exclusions)
        if said.sample is not None:
            yield _sampling(said.sample)
        if _splits(said):
            yield Step("batch", what="split the season")
        yield from _on_zooniverse(said, [], "all captures", submit)
        return
    with ledger.read() as connection:
        read_at = pending_steps.last_run(connection, "manifest", manifest_id=said.season)
        predicted_at = [pending_steps.predicted(connection, item.file) for item in said.predictions]
    if said.captures is not None and _is_newer(said.captures, read_at):
        yield Step("manifest", what=f"{said.captures} is newer than what was read of it")
    unread = [item for item, at in zip(said.predictions, predicted_at, strict=True) if _is_newer(item.file, at)]
    yield from (Step("predict", _of(item), f"read {item.file}") for item in unread)
    for rule in said.exclusions:
        # What a rule fits is known once the predictions are there that it may be about.
        fitting = "what it fits" if unread else _fitting(ledger, rule)
        if fitting:
            yield _excluding(rule, fitting)
    season = ledger.season(said.season)
    sets = [row.name for row in ledger.batches(season.id) if row.subject_set_id is not None]
    with ledger.read() as connection:
        left = uploads.count_left(connection, season.id, None)
    if said.sample is not None and season.most_images != said.sample:
        yield _sampling(said.sample)
    if left.unbatched and _splits(said):
        yield Step("batch", what=counted(left.unbatched, "capture", "are in no batch"))
    if left.pending or left.unbatched:
        yield from _on_zooniverse(said, sets, counted(left.pending + left.unbatched, "capture"), submit)
    elif left.failed:
        yield Step(
            "retry",
            what=counted(left.failed, "capture", "are failed"),
            person='see why with `ctstate sql "SELECT * FROM v_failures"`, then `ctstate retry`',
        )
    else:
        yield from _at_the_end(said, sets)


def _on_zooniverse(said: SeasonFile, sets: Sequence[str], what: str, submit: bool) -> Iterator[Step]:
    yield Step("submit" if submit else "upload", what=f"upload {what}")
    yield from _at_the_end(said, sets)


def _at_the_end(said: SeasonFile, sets: Sequence[str]) -> Iterator[Step]:
    yield Step("verify", what="ask Zooniverse for every subject and image")
    if said.workflow_id is not None:
        flow = f"in workflow {said.workflow_id}"
        yield from (Step("link", ("--batch", name), f"show the subject set of {name} {flow}") for name in sets)
        if not sets:
            yield Step("link", what=f"show the subject sets {flow}")


def _sampling(most: int) -> Step:
    return Step("sample", (str(most),), f"leave images out: at most {counted(most, 'image')} of a capture")


def _need(said: SeasonFile, *keys: str) -> None:
    for key in keys:
        if said.get(key) is None:
            raise UsageError(f"{said.path}: {key} is not said")


def _splits(said: SeasonFile) -> bool:
    return said.batches.number is not None or said.batches.max_size is not None


def _of(item: Predictions) -> tuple[str, ...]:
    """Return a file of predictions as words of `predict`'s command line."""
    words = [item.file]
    for option, value in (
        ("--format", item.format),
        ("--source", item.source),
        ("--strip-prefix", item.strip_prefix),
        ("--base-folder", item.base_folder),
    ):
        if value is not None:
            words += [option, value]
    return tuple(words)


def _excluding(rule: Exclusion, what: str) -> Step:
    """Return a rule as a step of `exclude`."""
    words = ["--where", rule.where] if rule.where is not None else [rule.list or ""]
    whole = ["--whole-captures"] if rule.whole_captures else []
    return Step("exclude", (*words, "--reason", rule.reason, *whole), f"exclude {what} ({rule.reason})")


# -- what the ledger says ------------------------------------------------------------------------------------------


def _is_there(ledger: Ledger, season: str) -> bool:
    with ledger.read() as connection:
        return season_named(connection, season) is not None


def _is_newer(path: str, than: str | None) -> bool:
    """Tell whether a file was changed after a time of the ledger; one that is not there any more was not."""
    if than is None:
        return True
    try:
        return machine().wall() - os.stat(path).st_mtime < age(than)
    except OSError:
        return False


def _fitting(ledger: Ledger, rule: Exclusion) -> str:
    """Return how many captures a rule would exclude, in words; empty for none.

    Raises:
        UsageError: no condition, or one about a column in which no capture has a value: nothing may go on.
    """
    if rule.where is None:
        assert rule.list is not None
        with ledger.read() as connection:
            done = pending_steps.last_run(connection, "exclude", file=rule.list, reason=rule.reason)
        return f"what {rule.list} names" if _is_newer(rule.list, done) else ""
    if next(captures_where(ledger, rule.where, on_values=True), None) is None:
        return ""
    free = f"({rule.where}\n) AND excluded IS NULL AND state IN ('manifested', 'predicted', 'batched')"
    count = sum(1 for _ in captures_where(ledger, free))
    return counted(count, "capture") if count else ""


# -- what it will cost ---------------------------------------------------------------------------------------------


@dataclass
class Cost:
    """What an upload will take.

    Attributes:
        captures, images: to be sent.
        bytes: of the images, by a sample of `sampled` of them.
        requests: at least.
        allowance: subjects that the account may still upload; None: as many as it likes.
        warning: what to do about that; empty where it suffices.
        rate: captures a second when last seen; None: no upload has come far enough.
        broken: problems met in the sample.
    """

    captures: int = 0
    images: int = 0
    bytes: int = 0
    sampled: int = 0
    requests: int = 0
    allowance: int | None = None
    warning: str = ""
    rate: float | None = None
    broken: list[str] = field(default_factory=list)

    @property
    def hours(self) -> float | None:
        """How long it will take at that rate."""
        return self.captures / self.rate / 3600 if self.rate else None


def check_workflow(ledger: Ledger, zooniverse: Zooniverse, said: SeasonFile) -> None:
    """Make sure, before anything is uploaded, that the workflow is there that is to show it in the end.

    Raises:
        NotFoundError, UsageError: it is not, or is another project's.
    """
    if said.workflow_id is not None:
        the_workflow(zooniverse, _project(ledger, said), said.workflow_id)


def _project(ledger: Ledger, said: SeasonFile) -> int:
    project_id = said.project_id if said.project_id is not None else ledger.project()
    if project_id is None:
        raise UsageError(f"{said.path}: project_id is not said")
    return project_id


def cost(ledger: Ledger, zooniverse: Zooniverse, said: SeasonFile) -> Cost:
    """Find out what the upload of a season will take; a sample of its images is encoded, nothing is written.

    Raises:
        UsageError, NotFoundError, ZooniverseError: see `plan_upload`.
    """
    options = UploadOptions(project_id=_project(ledger, said), season=said.season)
    check_workflow(ledger, zooniverse, said)
    plan = plan_upload(ledger, zooniverse, options)
    found = Cost(allowance=plan.account.allowance, warning=plan.warning)
    with ledger.read() as connection:
        for row in (None, *ledger.batches(plan.season_id)):
            part = uploads.count_pending(connection, plan.season_id, row.id if row is not None else None)
            found.captures += part.captures
            found.images += part.images
        found.rate = pending_steps.last_rate(connection)
        sample = pending_steps.sample(connection, plan.season_id, SAMPLE, random.Random(said.season))
    usual, wanted = ImageOptions(), said.images
    images = ImageOptions(
        max_pixels=wanted.max_pixels or usual.max_pixels,
        quality=wanted.quality or usual.quality,
        compress=not wanted.unchanged,
        keep_exif=bool(wanted.keep_exif),
    )
    sent = 0
    for made in encode_all([os.path.join(plan.root or "", path) for path in sample], images, plan.root):
        if isinstance(made, CtstateError):
            found.broken.append(str(made))
        else:
            sent += len(made.data)
            found.sampled += 1
    found.bytes = round(sent / found.sampled * found.images) if found.sampled else 0
    found.requests = found.captures + found.images
    return found
