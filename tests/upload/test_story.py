"""The life of a capture, told step by step: what it wants next, and what it makes of each answer."""

from typing import Any

import pytest

from ctstate.capture import CaptureContent, CaptureImage
from ctstate.errors import (
    AllowanceError,
    BrokenImageError,
    CtstateError,
    FencedError,
    LoginError,
    NotFoundError,
    RequestRefusedError,
    UnavailableError,
)
from ctstate.images import EncodedImage
from ctstate.ledger.claims import Claim
from ctstate.ledger.facts import (
    Arrived,
    Broken,
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
from ctstate.verbs.upload.connections import Availability
from ctstate.verbs.upload.story import (
    MOST_CREATES,
    Announce,
    Create,
    Doubt,
    Encode,
    EncoderDiedError,
    Ending,
    FreshUrls,
    Link,
    LookFor,
    Prove,
    Put,
    StopAskedError,
    TakeBack,
    Want,
    Write,
    life,
)
from ctstate.zooniverse import Backoff, Created

LEDGER = "0123456789ab"
JPEG = EncodedImage(b"jpeg", "image/jpeg", "0" * 32, 4, 4, 50, "")
LOST = UnavailableError("the reply was lost")
NEVER_SENT = UnavailableError("no connection", maybe_done=False)


def claim(subject_id: int | None = None, arrived: bool = False, ambiguous_at: str | None = None) -> Claim:
    images = tuple(
        CaptureImage(id=10 + rank, rank=rank, path="x.jpg", md5=None, arrived=arrived) for rank in (1, 2)
    )
    row = CaptureContent(7, "S#A#1#7", "S", "A", "1", "7", "a", "l", {}, {}, images, subject_id, "uploading")
    return Claim(row, 3, 5, 1, ambiguous_at, 5 if ambiguous_at else None, 100 if ambiguous_at else None)


class Told:
    """A story that is told by hand; `wants` are the kinds of all that it wanted."""

    def __init__(self, mine: Claim, *, skip_broken: bool = False) -> None:
        self.story = life(mine, LEDGER, skip_broken=skip_broken)
        self.wants: list[str] = []
        self.facts: list[type[Fact]] = []
        self.ending: Ending | None = None
        self.want: Want | None = None
        self.tell(None)

    def tell(self, answer: Any) -> Want | None:
        """Give it an answer, or an error; return what it wants next."""
        try:
            self.want = self.story.throw(answer) if isinstance(answer, CtstateError) else self.story.send(answer)
        except StopIteration as end:
            self.want, self.ending = None, end.value
            return None
        self.wants.append(type(self.want).__name__)
        if isinstance(self.want, Write | Announce):
            self.facts += [type(fact) for fact in self.want.facts]
        return self.want

    def until(self, kind: type[Want], **answers: Any) -> Want:
        """Answer all that goes well until it wants this."""
        good = {
            Encode: [JPEG, JPEG], Write: None, Announce: Doubt(9, 200), Create: Created(300, ["u1", "u2"]),
            FreshUrls: ["f1", "f2"], Put: True, Prove: True, Link: None, LookFor: None, TakeBack: None,
        }  # fmt: skip
        while not isinstance(self.want, kind):
            assert self.want is not None, self.ending
            self.tell(answers.get(type(self.want).__name__, good[type(self.want)]))
        return self.want

    def to_the_end(self) -> Ending:
        """Answer all that goes well until it has ended."""
        with pytest.raises(AssertionError):
            self.until(type("Never", (Want,), {}))
        assert self.ending is not None
        return self.ending


def test_from_claim_to_uploaded() -> None:
    told = Told(claim())
    assert told.to_the_end() == Ending("uploaded")
    assert told.wants == [
        "Encode", "Announce", "Create", "Write", "Put", "Put", "Write", "Link", "Write",
    ]  # fmt: skip
    assert told.facts == [Encoded, Made, Arrived, Moved]


def test_a_create_carries_the_mark_and_no_set() -> None:
    create = Told(claim()).until(Create)
    assert isinstance(create, Create)
    assert create.external_id == f"ctstate:{LEDGER}:7:3"
    assert create.metadata["#capture_id"] == "S#A#1#7"


def test_a_lost_reply_is_looked_for_before_anything_else() -> None:
    told = Told(claim())
    told.until(Create)
    told.tell(LOST)
    assert told.facts[-1] == ReplyLost
    assert told.tell(None) == LookFor(Doubt(9, 200))
    told.tell(301)
    assert told.facts[-1] == Made
    assert told.to_the_end().outcome == "uploaded"
    assert told.wants.count("Create") == 1
    assert "FreshUrls" in told.wants


def test_what_was_lost_and_is_not_there_is_announced_and_sent_anew_but_not_for_ever() -> None:
    told = Told(claim())
    for lost in range(1, MOST_CREATES + 1):
        told.until(Create)
        told.tell(LOST)
        told.until(LookFor)
        told.tell(None)
        assert told.wants.count("Create") == lost
        assert told.wants.count("Announce") == lost
    assert isinstance(told.want, Write)
    assert told.want.facts[0] == NothingMade()
    moved = told.want.facts[-1]
    assert isinstance(moved, Moved)
    assert (moved.state, moved.kind) == (State.FAILED, FailureKind.NO_ANSWER)
    assert told.to_the_end().outcome == "failed"


def test_a_broken_image_is_left_out_where_that_was_asked_and_another_remains() -> None:
    broken = BrokenImageError("x.jpg", "cut off")
    told = Told(claim(), skip_broken=True)
    assert isinstance(told.tell([JPEG, broken]), Announce)
    assert told.facts == [Broken, Encoded]
    create = told.until(Create)
    assert isinstance(create, Create)
    assert create.mimes == ("image/jpeg",)
    assert told.tell(Created(300, ["u1"])) is not None
    assert told.to_the_end().outcome == "uploaded"
    for made, skip in (([JPEG, broken], False), ([broken, broken], True)):
        told = Told(claim(), skip_broken=skip)
        told.tell(made)
        assert told.facts == [ToBlame, Moved]
        assert told.to_the_end().outcome == "failed"


def test_what_was_never_sent_is_announced_and_sent_anew() -> None:
    told = Told(claim())
    told.until(Create)
    assert isinstance(told.tell(NEVER_SENT), Announce)
    assert told.to_the_end().outcome == "uploaded"
    assert told.wants.count("Encode") == 1


@pytest.mark.parametrize("begun", [True, False])
def test_a_stop_gives_the_capture_back_with_what_is_known(begun: bool) -> None:
    told = Told(claim())
    told.until(Create if not begun else Link)
    told.tell(StopAskedError("enough"))
    assert isinstance(told.want, Write)
    assert told.want.facts[-1] == Moved(State.BATCHED, "enough")
    # Announced and surely not sent: no doubt is left behind.
    assert (NothingMade() in told.want.facts) is not begun
    assert told.to_the_end() == Ending("given_back", "enough")


def test_a_stop_while_in_doubt_leaves_the_doubt() -> None:
    told = Told(claim(ambiguous_at="2026-11-01T00:00:00.000000Z"))
    assert told.want == LookFor(Doubt(5, 100, "2026-11-01T00:00:00.000000Z"))
    told.tell(StopAskedError("enough"))
    assert isinstance(told.want, Write)
    assert [type(fact) for fact in told.want.facts] == [Moved]


def test_another_run_has_it_and_nothing_more_is_written() -> None:
    told = Told(claim())
    told.until(Put)
    told.tell(True)
    told.tell(True)
    told.tell(FencedError("taken over"))
    assert told.ending == Ending("fenced", "taken over")


def test_a_subject_made_too_late_is_taken_back() -> None:
    told = Told(claim())
    told.until(Create)
    told.tell(Created(300, ["u1", "u2"]))
    assert told.tell(FencedError("taken over")) == TakeBack(7, 300)
    assert told.to_the_end().outcome == "fenced"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_url_that_is_good_no_more_says_nothing_of_the_subject(status: int) -> None:
    told = Told(claim(subject_id=300))
    told.until(Put)
    error = NotFoundError("404", 404) if status == 404 else RequestRefusedError("no", status)
    assert told.tell(error) == FreshUrls(300, ("image/jpeg", "image/jpeg"))
    assert told.tell(NotFoundError("no such subject", 404)) is not None
    assert told.facts[-2:] == [SubjectGone, Moved]
    assert told.to_the_end().outcome == "failed"


def test_an_image_that_the_store_refuses_for_good_fails_its_capture_with_the_reason() -> None:
    told = Told(claim())
    told.until(Put)
    told.tell(RequestRefusedError("PUT of an image: 413 too large", 413))
    ending = told.to_the_end()
    assert (ending.outcome, ending.reason) == ("failed", "PUT of an image: 413 too large")
    assert "Link" not in told.wants


def test_an_image_is_asked_for_where_the_store_said_nothing() -> None:
    told = Told(claim())
    told.until(Put)
    assert told.tell(False) == Prove("u1", JPEG.md5)
    assert isinstance(told.tell(False), FreshUrls)
    told.until(Prove, Put=False)
    told.tell(True)
    assert told.to_the_end().outcome == "uploaded"


def test_a_store_that_keeps_nothing_stops_the_run() -> None:
    told = Told(claim())
    while not (told.ending or isinstance(told.want, Link)):
        told.until(Put) if not isinstance(told.want, Prove) else told.tell(False)
        if isinstance(told.want, Put):
            told.tell(False)
        if isinstance(told.want, Write) and Moved in told.facts[-1:]:
            break
    ending = told.to_the_end()
    assert ending.outcome == "given_back"
    assert isinstance(ending.error, UnavailableError)
    assert "portal" in ending.reason


def test_what_is_whole_is_only_linked() -> None:
    told = Told(claim(subject_id=300, arrived=True))
    assert told.want == Link(300)
    assert told.to_the_end().outcome == "uploaded"


def test_the_allowance_stops_the_run_and_blames_no_capture() -> None:
    told = Told(claim())
    told.until(Create)
    told.tell(AllowanceError("User has uploaded 5 subjects of 5 maximum", 403))
    assert isinstance(told.want, Write)
    assert told.want.facts[0] == NothingMade()
    ending = told.to_the_end()
    assert (ending.outcome, type(ending.error)) == ("given_back", AllowanceError)


def test_an_encoder_that_dies_again_and_again_fails_the_capture() -> None:
    told = Told(claim())
    for _ in range(2):
        assert isinstance(told.tell(EncoderDiedError("killed")), Encode)
    told.tell(EncoderDiedError("killed"))
    assert told.to_the_end().outcome == "failed"


def test_a_list_that_is_refused_proves_nothing_about_a_lost_create() -> None:
    told = Told(claim(ambiguous_at="2026-11-01T00:00:00.000000Z"))
    told.tell(NotFoundError("no such project", 404))
    assert isinstance(told.want, Write)
    assert [type(fact) for fact in told.want.facts] == [Moved]
    ending = told.to_the_end()
    assert isinstance(ending.error, NotFoundError)


def test_creates_wait_the_longer_the_more_of_them_got_no_answer() -> None:
    backoff = Backoff(first=1.0, most=8.0)
    availability = Availability(backoff)
    assert availability.wait() == 0.0
    for most in (1.0, 2.0, 4.0, 8.0, 8.0):
        availability.bad()
        assert most / 2 < max(availability.wait() for _ in range(200)) <= most
    availability.good()
    assert availability.wait() == 0.0


def test_what_concerns_the_whole_run_ends_it_and_gives_the_capture_back() -> None:
    told = Told(claim())
    told.until(Create)
    refused = LoginError("the password was changed")
    told.tell(refused)
    ending = told.to_the_end()
    assert (ending.outcome, ending.error) == ("given_back", refused)
    assert told.facts[-1] == Moved
