"""SQL that a person types, on PostgreSQL: declared as a cursor, which the server makes of a question and of nothing
else, one statement at a time, in a transaction that is READ ONLY.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy.engine import Connection

from ctstate.ledger.dialect import Answer, SqlError, Value
from ctstate.machine import machine

_AT_ONCE = 1000

_NO_COLUMN = re.compile(r'column "?(?P<name>[^"]+?)"? does not exist')
_QUESTION = re.compile(
    r"\s*(--[^\n]*\n\s*|/\*.*?\*/\s*)*\(*\s*(select|with|values|table)\b", re.IGNORECASE | re.DOTALL
)

_DOES_MORE = re.compile(
    r"pg_(try_)?advisory|pg_(terminate|cancel)_|set_config|pg_sleep|pg_notify|_to_xml|dblink|u&\"", re.IGNORECASE
)
"""Functions that do more than read although all is READ ONLY: on locks, other sessions or settings, or by SQL
that is a text; and names that are spelled by numbers, which could be any of these."""


class PostgresReader:
    """Serves `dialect.Reader`, on a connection within a transaction that can only read."""

    def __init__(self, connection: Connection, until: float, seconds: float) -> None:
        self._connection = connection
        self._until = until  # by this machine's clock: each FETCH alone has the server's whole limit
        self._seconds = seconds
        self._error = connection.dialect.loaded_dbapi.Error
        self._number = 0

    def ask(self, question: str) -> Answer:
        """Answer one question.

        Raises:
            SqlError: PostgreSQL does not understand it, or it would do more than read.
        """
        if not _QUESTION.match(question):
            raise SqlError("no question", denied=True)
        if _DOES_MORE.search(question):
            raise SqlError("it does more than read", denied=True)
        self._number += 1
        name = f"ctstate_answer_{self._number}"
        cursor: Any = self._connection.connection.cursor()
        try:
            # What is prepared is one statement: no COMMIT and a second one can stand behind it.
            bare = question.strip().rstrip(";")
            cursor.execute(f"DECLARE {name} NO SCROLL CURSOR FOR {bare}", prepare=True)
            rows = cursor.execute(f"FETCH FORWARD {_AT_ONCE} FROM {name}").fetchall()
        except self._error as error:
            raise _explained(error) from None
        columns = [str(column[0]) for column in cursor.description or ()]
        return Answer(columns, self._rows(cursor, name, rows))

    def _rows(self, cursor: Any, name: str, rows: list[Sequence[Any]]) -> Iterator[Sequence[Value]]:
        while rows:
            for row in rows:
                yield [_plain(value) for value in row]
            if machine().monotonic() > self._until:
                raise SqlError(f"stopped after {self._seconds:g} s")
            try:
                rows = cursor.execute(f"FETCH FORWARD {_AT_ONCE} FROM {name}").fetchall()
            except self._error as error:
                raise _explained(error) from None


def _plain(value: Any) -> Value:
    """What SQLite would say in its place."""
    if value is None or type(value) in (str, int, float, bytes):
        return value  # type: ignore[no-any-return]
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)


def _explained(error: Any) -> SqlError:
    said = str(error.diag.message_primary or error).splitlines()[0]
    found = _NO_COLUMN.fullmatch(said) if error.sqlstate == "42703" else None
    if error.sqlstate == "57014":
        said = "stopped after its time limit"
    if error.sqlstate == "42601" and "multiple commands" in said:
        said = f"{said}: one statement at a time"
    # Read-only transaction, no permission, and what is no question inside of one.
    denied = error.sqlstate in ("25006", "42501", "0A000") or "DECLARE CURSOR must not contain" in said
    name = found["name"].rpartition(".")[2] if found is not None else None
    return SqlError(said, denied=denied, missing_column=name)
