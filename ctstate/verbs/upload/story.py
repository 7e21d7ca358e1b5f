"""The life of one capture on its way to Zooniverse, from what the ledger knows of it to `uploaded`.

Everything that decides what happens next to a capture stands in `life`, and nothing else: it reads and writes no
file, no ledger, no network and no clock. It says what it wants next (a `Want`) and is given the answer, or the
error, by whoever tells it: the runner (`runner`), with threads and connections for many at once; or a test, step by
step.

The rules it keeps (docs/architecture.md says why):

* Nothing is sent before the bytes are ready, and no create before it is announced in the ledger.
* A create whose reply was lost is looked for. It is never sent again before somebody looked.
* An image has arrived when the store itself said so, or when it was asked for and is the one that was sent.
* A subject is linked last. Linking shows it to volunteers.
* Every write names the claim. Where another run has taken the capture over, the story ends, and writes nothing
more.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ctstate.capture import CaptureImage
from ctstate.errors import (
    AllowanceError,
    BrokenImageError,
    CtstateError,
    FencedError,
    LoginError,
    MissingImageError,
    NotFoundError,
    RequestRefusedError,
    UnavailableError,
    ZooniverseError,
)
from ctstate.images import EncodedImage
from ctstate.ledger.claims import Claim
from ctstate.ledger.facts import (
    Arrived,
    Broken,
    Bytes,
    Encoded,
    Fact,
    Made,
    Moved,
    NothingMade,
    ReplyLost,
    SubjectGone,
    ToBlame,
)
from ctstate.ledger.states import FailureKind, State
from ctstate.zooniverse import Created
from ctstate.zooniverse import subject as subjects

MOST_CREATES = 5
"""Creates of one capture whose reply was lost, and that made nothing, before it fails."""

MOST_PUTS = 4
"""Rounds of putting a subject's images (URLs that expire, a store that does not keep them) before it waits for
better times."""

MOST_ENCODINGS = 3
"""Encoding processes that may die of one capture's images: others may have killed them."""


@dataclass(frozen=True)
class Doubt:
    """A create that may have made a subject: which run announced it, above which id the subject must lie, and since
    when (by the clock of the host that wrote it; None: since this moment) its reply has been lost."""

    run_id: int
    floor: int
    since: str | None = None


# -- what a story can want, and what it is answered ------------------------------------------------------------


@dataclass(frozen=True)
class Want:
    """Something a story waits for. Any of them may be answered with `StopAskedError` instead, and is then not
    done."""


@dataclass(frozen=True)
class Encode(Want):
    """Bytes fit for Zooniverse, of each image: `EncodedImage` or the `BrokenImageError`. `EncoderDiedError`."""

    images: tuple[CaptureImage, ...]


@dataclass(frozen=True)
class Write(Want):
    """Facts, in one commit. FencedError: another run has the capture, and nothing of them was written."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Announce(Want):
    """Facts, and that a create is about to be sent, in one commit; answered with the `Doubt` that this leaves."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Create(Want):
    """A subject in no set, by one POST: `Created`. FencedError: others may take this run for dead; nothing was
    sent."""

    mimes: tuple[str, ...]
    metadata: Mapping[str, Any]
    external_id: str


@dataclass(frozen=True)
class FreshUrls(Want):
    """Places to put a subject's images to: URLs, in their order. NotFoundError: the subject is gone."""

    subject_id: int
    mimes: tuple[str, ...]


@dataclass(frozen=True)
class Put(Want):
    """An image put to the store: whether the store vouched for it. A 401, 403, 404: its URL is good no more."""

    url: str
    image: EncodedImage


@dataclass(frozen=True)
class Prove(Want):
    """Whether the store has just this image; asked where it did not say so by itself."""

    url: str
    md5: str


@dataclass(frozen=True)
class LookFor(Want):
    """The subject that a lost create made, or None where it made none and never will."""

    doubt: Doubt


@dataclass(frozen=True)
class Link(Want):
    """The subject in its batch's set. NotFoundError: the subject is gone. RequestRefusedError: it is not taken."""

    subject_id: int


@dataclass(frozen=True)
class TakeBack(Want):
    """A subject deleted that was made too late, if the ledger knows another one of the capture by now."""

    key: int
    subject_id: int


class StopAskedError(CtstateError):
    """The run is to stop: what was wanted was not begun."""


class EncoderDiedError(CtstateError):
    """The process that encoded the images was killed."""


@dataclass(frozen=True)
class Ending:
    """How a story ended.

    Attributes:
        outcome: `uploaded`, `failed`, `given_back` (another run may go on with it) or `fenced`.
        reason: why, unless it was uploaded.
        error: what concerns the whole run: it should stop.
    """

    outcome: str
    reason: str = ""
    error: CtstateError | None = None


Story = Generator[Want, Any, Ending]


# -- the life of a capture -------------------------------------------------------------------------------------


def life(claim: Claim, ledger_id: str, *, skip_broken: bool = False) -> Story:
    """Tell the life of a claimed capture.

    Args:
        claim: the capture, the claim, and what earlier runs knew of it.
        ledger_id: for the mark on its subject.
        skip_broken: leave broken images out where another remains.

    Yields:
        what it wants next; send it the answer, or throw it the error.

    Returns:
        how it ended; the last write has been made by then.
    """
    capture = claim.row
    subject_id = capture.subject_id
    doubt = (
        Doubt(claim.create_run_id or 0, claim.create_floor or 0, claim.ambiguous_at) if claim.ambiguous_at else None
    )
    unsent = False  # a create is announced, and surely not sent
    whole = subject_id is not None and bool(capture.images) and all(image.arrived for image in capture.images)
    ready: list[tuple[CaptureImage, EncodedImage]] = []
    urls: list[str] = []
    creates = puts = 0
    try:
        while not whole:
            # A create whose reply was lost: looked for, in its own time, and never sent again before.
            if doubt is not None:
                subject_id = yield LookFor(doubt)
                doubt = None
                if subject_id is not None:
                    yield Write((Made(subject_id),))
                elif creates >= MOST_CREATES:
                    return (
                        yield from _fail(
                            FailureKind.NO_ANSWER,
                            f"{MOST_CREATES} creates in a row got no usable answer and made nothing",
                            NothingMade(),
                        )
                    )
                else:
                    yield Write((NothingMade(),))
            if not capture.images:
                return (yield from _fail(FailureKind.NO_IMAGE, "no usable image"))

            # Encoded before anything is sent: the places to put images to are good for minutes only.
            facts: list[Fact] = []
            if not ready:
                encoded = yield from _encode(capture.images)
                if encoded is None:
                    why = "encoding its images ends the process (out of memory?)"
                    return (yield from _fail(FailureKind.ENCODER, why))
                pairs = list(zip(capture.images, encoded, strict=True))
                broken = [(image, result) for image, result in pairs if isinstance(result, BrokenImageError)]
                ready = [(image, result) for image, result in pairs if isinstance(result, EncodedImage)]
                if broken and not (skip_broken and ready):
                    return (yield from _fail_of_images(pairs, *broken[0]))
                facts = _encoded_facts(ready, broken)
            mimes = tuple(encoded.mime for _, encoded in ready)

            # Created in no set, announced before it is sent.
            if subject_id is None:
                doubt = yield Announce(tuple(facts))
                unsent = True
                sent = capture._replace(images=tuple(image for image, _ in ready))
                mark = subjects.external_id(ledger_id, capture.id, claim.token)
                try:
                    made: Created = yield Create(mimes, subjects.subject_metadata(sent), mark)
                except UnavailableError as error:
                    unsent = not error.maybe_done
                    if unsent:
                        doubt = None  # announced anew, and sent again
                    else:
                        creates += 1
                        ready = []
                        yield Write((ReplyLost(),))
                    continue
                except (RequestRefusedError, NotFoundError) as error:
                    return (yield from _fail(FailureKind.REFUSED, str(error), NothingMade()))
                unsent, doubt = False, None
                subject_id, urls = made.id, made.urls
                try:
                    yield Write((Made(subject_id),))
                except FencedError:
                    # It fell asleep with its hand on the socket, for longer than its lease: others were faster.
                    yield TakeBack(capture.id, subject_id)
                    raise
            else:
                if facts:
                    yield Write(tuple(facts))
                if not urls:
                    urls = yield FreshUrls(subject_id, mimes)

            # Put, and proved to have arrived; whatever is not proved is put again, to fresh places.
            puts += 1
            if (yield from _put_all(ready, urls)):
                yield Write((Arrived([image.id for image, _ in ready]),))
                whole = True
            elif puts >= MOST_PUTS:
                raise UnavailableError(
                    f"the store at {_host(urls)} did not keep the images of subject {subject_id}: "
                    "is there a portal or filter in between?"
                )
            urls = []

        # Linked last: from now on volunteers see it.
        assert subject_id is not None
        ready = []
        yield Link(subject_id)
        yield Write((Moved(State.UPLOADED),))
        return Ending("uploaded")

    except FencedError as error:
        return Ending("fenced", str(error))
    except (StopAskedError, UnavailableError, AllowanceError) as error:
        # Not its own fault: given back with all that is known of it, a doubt included.
        sure = (NothingMade(),) if unsent or isinstance(error, AllowanceError) else ()
        stops = None if isinstance(error, StopAskedError) else error
        reason = str(error)
        if isinstance(error, AllowanceError):
            reason += "; ask Zooniverse (contact@zooniverse.org) to raise the account's subject limit"
        return (yield from _end(State.BATCHED, reason, *sure, error=stops))
    except NotFoundError as error:
        if subject_id is None:
            return (yield from _end(State.BATCHED, str(error), error=error))
        reason = f"subject {subject_id} is no longer on Zooniverse; `ctstate retry` uploads it again"
        return (yield from _fail(FailureKind.SUBJECT_GONE, reason, SubjectGone()))
    except ZooniverseError as error:
        if isinstance(error, RequestRefusedError) and subject_id is not None:
            return (yield from _fail(FailureKind.REFUSED, str(error)))
        # The log-in, the address, the set: of no capture. A create that was perhaps sent stays in doubt.
        return (yield from _end(State.BATCHED, str(error), error=error))


def _encode(images: tuple[CaptureImage, ...]) -> Generator[Want, Any, list[EncodedImage | BrokenImageError] | None]:
    for _ in range(MOST_ENCODINGS):
        try:
            encoded: list[EncodedImage | BrokenImageError] = yield Encode(images)
            return encoded
        except EncoderDiedError:
            continue
    return None


def _put_all(ready: Sequence[tuple[CaptureImage, EncodedImage]], urls: Sequence[str]) -> Generator[Want, Any, bool]:
    """Put a subject's images; return whether each is proved to be there."""
    for url, (_, encoded) in zip(urls, ready, strict=True):
        try:
            vouched = yield Put(url, encoded)
        except (RequestRefusedError, NotFoundError, LoginError) as error:
            # What a store refuses says nothing of the subject: fresh places are asked for, and they tell.
            if error.status in (401, 403, 404):
                return False
            raise
        if not vouched and not (yield Prove(url, encoded.md5)):
            return False
    return True


def _encoded_facts(
    ready: Sequence[tuple[CaptureImage, EncodedImage]], broken: Sequence[tuple[CaptureImage, BrokenImageError]]
) -> list[Fact]:
    facts: list[Fact] = [Broken(image.id, error.reason) for image, error in broken]
    sizes = [Bytes(image.id, made.md5, len(made.data), made.note) for image, made in ready]
    return [*facts, Encoded(sizes)]


def _fail_of_images(
    pairs: Sequence[tuple[CaptureImage, EncodedImage | BrokenImageError]],
    image: CaptureImage,
    error: BrokenImageError,
) -> Story:
    """Fail as images cannot go up; the reason names the first, the ledger says it of each."""
    kind = FailureKind.IMAGE_MISSING if isinstance(error, MissingImageError) else FailureKind.IMAGE_BROKEN
    reason = f"{image.path}: not a usable image ({error.reason})"
    blame = {each.id: made if isinstance(made, BrokenImageError) else None for each, made in pairs}
    return (yield from _fail(kind, reason, ToBlame(blame)))


def _fail(kind: FailureKind, reason: str, *facts: Fact) -> Story:
    return (yield from _end(State.FAILED, reason, *facts, kind=kind))


def _end(
    state: State, reason: str, *facts: Fact, error: CtstateError | None = None, kind: FailureKind | None = None
) -> Story:
    try:
        yield Write((*facts, Moved(state, reason or "released", kind)))
    except FencedError as fenced:
        return Ending("fenced", str(fenced))
    return Ending("failed" if state is State.FAILED else "given_back", reason, error)


def _host(urls: Sequence[str]) -> str:
    return urls[0].partition("://")[2].partition("/")[0] if urls else "an unknown address"
