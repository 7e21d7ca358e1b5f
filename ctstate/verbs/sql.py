"""A person's own question to the ledger (`ctstate sql`)."""

from contextlib import AbstractContextManager

from ctstate.ledger import Ledger, read_only_sql
from ctstate.ledger.dialect import BUSY_PATIENCE_S, Answer


def ask(ledger: Ledger, question: str, seconds: float = BUSY_PATIENCE_S) -> AbstractContextManager[Answer]:
    """Answer a question in SQL, read-only by construction; the rows are read as they are asked for.

    Args:
        ledger: may be open for reading only.
        question: a SELECT.
        seconds: so long it may take.

    Raises:
        InputError: the database does not understand it, or it would do more than read.
        LedgerError: the ledger cannot be read.
    """
    return read_only_sql.ask(ledger, question, seconds)
