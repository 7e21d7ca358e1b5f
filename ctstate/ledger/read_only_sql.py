"""SQL that a person types: whole questions (`ctstate sql`), and conditions on the view `v_captures`
(`--where "machine_person > 0.5"`).

It runs here and nowhere else, through one gate: the database's reader (`dialect.Reader`), which lets it read and
compute and nothing else. A condition must also be one expression (no `;`, brackets that match), so that it cannot
become another question.
"""

import contextlib
import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from ctstate.errors import InputError, LedgerError, UsageError
from ctstate.ledger.dialect import BUSY_PATIENCE_S, Answer, Reader, SqlError, Value

if TYPE_CHECKING:
    import pandas as pd

VIEW = "v_captures"


class Readable(Protocol):
    """Of a ledger, what questions need; see `Ledger`."""

    @property
    def name(self) -> str: ...
    def reader(self, seconds: float = ...) -> AbstractContextManager[Reader]: ...


# -- whole questions -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def ask(ledger: Readable, question: str, seconds: float = BUSY_PATIENCE_S) -> Iterator[Answer]:
    """Answer a question in SQL, which may take so many seconds.

    Raises:
        InputError: the database does not understand it, or it would do more than read.
        LedgerError: the ledger cannot be read.
    """
    with ledger.reader(seconds) as reader:
        try:
            columns, rows = reader.ask(question)
        except SqlError as error:
            if error.denied:
                raise InputError("SQL: only questions (SELECT) are allowed here; nothing was changed") from None
            known = "one statement" in str(error) or "stopped after" in str(error)
            hint = "" if known else "; the views are described in docs/views.md"
            raise InputError(f"SQL: {error}{hint}") from None
        yield Answer(columns, _without_surprise(rows))


def _without_surprise(rows: Iterator[Sequence[Value]]) -> Iterator[Sequence[Value]]:
    try:
        yield from rows
    except SqlError as error:
        raise InputError(f"SQL: {error}") from None


def table(ledger: Readable, question: str) -> "pd.DataFrame":
    """Answer a question as a table; whole numbers, of which some may be missing, are pandas' `Int64`.

    Raises:
        InputError, LedgerError: as `ask`.
    """
    import pandas as pd

    with ask(ledger, question) as answer:
        rows = list(answer.rows)
    columns = [pd.Series(values, dtype=_kind(values)) for values in zip(*rows, strict=True)]
    made = pd.concat(columns, axis=1) if columns else pd.DataFrame(columns=range(len(answer.columns)))
    made.columns = pd.Index(answer.columns)
    return made


def _kind(values: Sequence[Value]) -> str | None:
    """Without a word from us pandas makes floats of whole numbers of which one is missing."""
    return "Int64" if {type(value) for value in values} - {type(None)} == {int} else None


# -- conditions ------------------------------------------------------------------------------------------------


def captures_where(ledger: Readable, condition: str, *, on_values: bool = False) -> Iterator[str]:
    """Yield the ids of the captures for which a condition on `v_captures` holds.

    All is read in one transaction that lasts until the iterator is used up: use it up before writing.

    Args:
        ledger: the ledger.
        condition: what follows WHERE, such as `machine_person > 0.5 AND site = 'B04'`.
        on_values: refuse one about a column in which no capture has a value.

    Raises:
        UsageError: it is no condition, or names a column that is not there.
        InputError: `on_values`, and there are none.
        LedgerError: the ledger cannot be read.
    """
    with ledger.reader() as reader:
        try:
            columns = list(reader.ask(f"SELECT * FROM {VIEW} LIMIT 0").columns)
        except SqlError as error:
            raise LedgerError(f"ledger {ledger.name}: {error}") from error
        _check(condition, columns)
        if on_values:
            _check_that_there_are_values(reader, condition, columns)
        try:
            # The line break ends a comment at the condition's end.
            for (capture_id,) in reader.ask(f"SELECT capture_id FROM {VIEW} WHERE (\n{condition}\n)").rows:
                yield str(capture_id)
        except SqlError as error:
            raise UsageError(_explained(condition, error, columns)) from None


_MEANS_NULL = re.compile(r"\b(null|coalesce|ifnull|nullif|iif|case|distinct)\b", re.IGNORECASE)


def _check_that_there_are_values(reader: Reader, condition: str, columns: Sequence[str]) -> None:
    """Refuse a condition on predictions that are not there: it holds for nobody, and people would be shown.

    Who asks for what is NULL in so many words knows.
    """
    if _MEANS_NULL.search(condition):
        return
    words = {word.lower() for word in re.findall(r"\w+", re.sub(r"'[^']*'", " ", condition))}
    named = [column for column in columns if column.lower() in words]
    if not named:
        return
    counts = ", ".join(f'count("{column}")' for column in named)
    (found,) = reader.ask(f"SELECT count(*), {counts} FROM {VIEW}").rows
    for column, count in zip(named, found[1:], strict=True):
        if found[0] and not count:
            raise InputError(
                f"--where {condition!r}: no capture has a value in {column}, so it says nothing; were the "
                f"predictions read in? (`{column} IS NULL` is a condition)"
            )


_PARTS = re.compile(
    r"""
    (?P<quoted> '[^']*' | "(?P<name>[^"]*)" | `[^`]*` | \[[^\]]*\] )
    | (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<unclosed> ['"`\[] | /\* )
    | (?P<sign> [;()] )
    """,
    re.VERBOSE | re.DOTALL,
)
"""What of a condition can hide a bracket or `;`, and these themselves."""


def _check(condition: str, columns: Sequence[str]) -> None:
    """Refuse what is not one expression.

    SQLite takes a name in double quotes that no column has for text: `"machine_persn" > 0.5` would hold for every
    capture. So such a name is refused here.
    """
    if not condition.strip():
        raise UsageError('--where is empty; give a condition such as "machine_person > 0.5"')
    if "\0" in condition:
        raise UsageError("--where holds a NUL character")
    depth = 0
    for part in _PARTS.finditer(condition):
        text, name = part[0], part["name"]
        if part["unclosed"]:
            what = "comment" if text == "/*" else f"{text} at character {part.start() + 1}"
            raise UsageError(f"--where {condition!r}: the {what} is not closed")
        if name is not None and name.lower() not in (column.lower() for column in columns):
            raise UsageError(f"--where {condition!r}: text goes in single quotes: '{name}', not \"{name}\"")
        if text == ";":
            raise UsageError(f"--where {condition!r}: one condition only, without ';'")
        depth += {"(": 1, ")": -1}.get(text, 0)
        if depth < 0:
            break
    if depth != 0:
        raise UsageError(f"--where {condition!r}: the brackets do not match")


def _explained(condition: str, error: SqlError, columns: Sequence[str]) -> str:
    name = error.missing_column
    if name is not None:
        near = difflib.get_close_matches(name.lower(), columns, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the columns are {', '.join(columns)}"
        return f"--where {condition!r}: no column {name!r}; {hint} (text goes in single quotes)"
    if error.denied:
        return f"--where {condition!r}: a condition may only read captures"
    return f"--where {condition!r}: {error}"
