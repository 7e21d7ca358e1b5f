"""Everything ctstate raises on purpose.

CtstateError
├── UsageError              the call cannot be carried out as it was made
├── InputError              a file of the user's is not what it should be (file, row, what, what to do)
│   └── BrokenImageError    an image file that cannot be decoded
│       └── MissingImageError an image file that is not there, or cannot be read
├── LedgerError             the ledger cannot be opened, read or written
│   ├── LedgerMissingError  there is no ledger at that place
│   ├── LedgerVersionError  the ledger was made by a newer ctstate
│   ├── LedgerLostError     the connection to the ledger's database broke; nothing of the transaction was written
│   ├── LedgerBehindError   Zooniverse has subjects that this ledger should know and does not
│   └── IllegalMoveError    the state machine does not know that transition
├── FencedError             another run has taken over what this run had claimed
└── ZooniverseError         Zooniverse (or the way to it) refused or failed
    ├── LoginError          user name or password refused, or a token that cannot be renewed
    ├── NotFoundError       no such project, subject set, subject or workflow (or not this account's)
    ├── AllowanceError      the account's subject limit is reached
    ├── RequestRefusedError a definite refusal (4xx): repeating the same request is pointless
    ├── WrongAddressError   the address, proxy or answer shows that this is not Zooniverse (or its store) at all
    └── UnavailableError    no answer, or one that does not say whether the work was done
        └── StrangeReplyError a whole answer, but none that Zooniverse gives

Every message is one line, written for the data manager who sees it. A command prints it and exits with 1
(2 for `UsageError`); the library never prints and never exits.
"""


class CtstateError(Exception):
    """Base of all errors that ctstate raises on purpose; `str(error)` is one line for the user."""


class UsageError(CtstateError):
    """The call cannot be carried out as it was made."""


class InputError(CtstateError):
    """A file of the user's is not what it should be."""


class BrokenImageError(InputError):
    """An image file that cannot be decoded.

    Args:
        path: the image file.
        reason: what the decoder said.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: not a usable image ({reason})")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["BrokenImageError"], tuple[str, str]]:
        # Errors travel back from encoding processes by pickle, which by default replays `args` only.
        return (type(self), (self.path, self.reason))


class MissingImageError(BrokenImageError):
    """An image file that is not there, or cannot be read."""


class LedgerError(CtstateError):
    """The ledger cannot be opened, read or written."""


class LedgerMissingError(LedgerError):
    """There is no ledger at that place."""


class LedgerVersionError(LedgerError):
    """The ledger was made by a newer ctstate."""


class LedgerLostError(LedgerError):
    """The connection to the ledger's database broke; nothing of the transaction was written."""


class IllegalMoveError(LedgerError):
    """The state machine does not know that transition."""


class LedgerBehindError(LedgerError):
    """Zooniverse has subjects that this ledger should know and does not: to upload would double them."""


class FencedError(CtstateError):
    """Another run has taken over what this run had claimed; nothing of it was written."""


class ZooniverseError(CtstateError):
    """Zooniverse, or the way to it, refused or failed.

    Args:
        message: one line.
        status: the HTTP status, where there was a reply.
        request_id: the reply's `X-Request-Id`, which Zooniverse's support can use.
    """

    def __init__(self, message: str, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id


class LoginError(ZooniverseError):
    """User name or password refused, or a token that cannot be renewed."""


class NotFoundError(ZooniverseError):
    """No such project, subject set, subject or workflow, or not this account's."""


class AllowanceError(ZooniverseError):
    """The account's subject limit is reached."""


class RequestRefusedError(ZooniverseError):
    """A definite refusal (4xx): repeating the same request is pointless."""


class WrongAddressError(ZooniverseError):
    """The address, proxy or answer shows that this is not Zooniverse (or its store) at all.

    Repeating is pointless, and no capture is to blame.
    """


class UnavailableError(ZooniverseError):
    """No answer, or one that does not say whether the work was done.

    Args:
        message, status, request_id: as for `ZooniverseError`.
        maybe_done: False where the request surely never reached the server or was turned away (429).
        retry_after: how many seconds the server asked to wait.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        request_id: str | None = None,
        *,
        maybe_done: bool = True,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status, request_id)
        self.maybe_done = maybe_done
        self.retry_after = retry_after


class StrangeReplyError(UnavailableError):
    """A whole answer, but none that Zooniverse gives; it is asked for a few times more, not for half an hour."""
