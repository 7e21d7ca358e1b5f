"""How the ledger's columns are called on PostgreSQL, so that they hold and sort what SQLite's hold, in its order.

SQLite has one kind of whole number (64 bits), one of other numbers (double precision) and one of text (of any
length, in the order of its bytes); what PostgreSQL makes of INTEGER, FLOAT and VARCHAR(40) would overflow, round,
refuse and sort by the rules of a language.
"""

from typing import Any

from sqlalchemy import Column
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler, PGTypeCompiler

_TEXT = 'TEXT COLLATE "C"'


def _of_a_table(how: dict[str, Any]) -> bool:
    """Tell whether a type is asked for in CREATE TABLE or ALTER TABLE, and not in an expression."""
    return isinstance(how.get("type_expression"), Column)


class Types(PGTypeCompiler):
    """Names types: those of columns as the ledger's, others as they are."""

    def visit_INTEGER(self, type_: Any, **how: Any) -> str:  # noqa: N802 - SQLAlchemy's name
        """Name a whole number."""
        return "BIGINT" if _of_a_table(how) else super().visit_INTEGER(type_, **how)

    def visit_FLOAT(self, type_: Any, **how: Any) -> str:  # noqa: N802 - SQLAlchemy's name
        """Name a number with a fraction."""
        return "DOUBLE PRECISION"

    def visit_VARCHAR(self, type_: Any, **how: Any) -> str:  # noqa: N802 - SQLAlchemy's name
        """Name a text of some length."""
        return _TEXT if _of_a_table(how) else super().visit_VARCHAR(type_, **how)

    def visit_TEXT(self, type_: Any, **how: Any) -> str:  # noqa: N802 - SQLAlchemy's name
        """Name a text."""
        return _TEXT if _of_a_table(how) else super().visit_TEXT(type_, **how)


class Tables(PGDDLCompiler):
    """Makes tables."""

    def get_column_specification(self, column: Any, **how: Any) -> str:
        """Describe a column; one that numbers its rows does so with 64 bits."""
        described = str(super().get_column_specification(column, **how))  # type: ignore[no-untyped-call]
        name = self.preparer.format_column(column)
        return described.replace(f"{name} SERIAL", f"{name} BIGSERIAL", 1)
